"""What makes a parallel search deterministic: every decision is a function of finished batches.

Trials are numbered and cut into batches. Whatever decides about a trial of batch b (which
parameters it tries, when it is stopped) sees the finished batches 0 … b - 2 and nothing else, so
it does not matter which trial was faster. Batch b - 1 is left out so that a free core can take up
the next batch while the last trial of the one before is still running.

The records of a batch lie in `batch-000.json`, which is written anew, whole, when a trial of it ends.
A search that was killed reads what is finished and runs the rest, each trial from its last snapshot
(`search_checkpoint`), and ends in the same result as one that ran undisturbed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from graildient.storage import Storage
from training.search_checkpoint import Checkpoints
from training.search_space import Space, defaults

REDUCTION = 2
"""Only the better 1/REDUCTION of the trials goes on from one rung to the next."""
RUNGS = 3
"""Rungs before the end, each REDUCTION times as many iterations as the one before."""
STARTUP = 4
"""Trials before the Tree-structured Parzen Estimator has something to go on."""


@dataclass(frozen=True)
class Record:
    """How a trial ended. Holds no times: those lie in `timings.json`.

    `score`: best validation RMSLE up to where it ran, None when it failed. `iterations`: where that
    was. `stopped_at`: the rung at which it was stopped. `rungs`: best score up to each rung reached.
    """

    number: int
    params: dict[str, Any]
    state: str
    score: float | None = None
    iterations: int | None = None
    stopped_at: int | None = None
    rungs: dict[str, float] = field(default_factory=dict)
    error: str | None = None


def rungs(max_iterations: int) -> tuple[int, ...]:
    """Iterations at which trials are compared: 75, 150, 300 of 600."""
    found = (max_iterations // REDUCTION**k for k in range(RUNGS, 0, -1))
    return tuple(sorted({r for r in found if 0 < r < max_iterations}))


def cutoffs(seen: Sequence[Record]) -> dict[str, float]:
    """The score at each rung that a trial must not be worse than.

    A rung that fewer than two trials reached stops nobody.
    """
    reached: dict[str, list[float]] = {}
    for record in seen:
        for rung, score in record.rungs.items():
            reached.setdefault(rung, []).append(score)
    return {
        rung: float(np.percentile(scores, 100 / REDUCTION))
        for rung, scores in sorted(reached.items(), key=lambda item: int(item[0]))
        if len(scores) > 1
    }


def propose(
    space: Space,
    seen: Sequence[Record],
    batch: int,
    size: int,
    seed: int,
    given: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """The parameters of a batch: those `given`, then Optuna's (TPE, from the records it may see)."""
    if len(given) >= size:
        return [dict(params) for params in given[:size]]  # the sampler would only cost time
    import optuna
    from optuna.trial import TrialState, create_trial

    distributions = {name: parameter.distribution() for name, parameter in space.items()}
    sampler = optuna.samplers.TPESampler(
        seed=seed + batch, n_startup_trials=STARTUP, multivariate=True, constant_liar=True
    )
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction="minimize", sampler=sampler)
        states = {"complete": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
        for record in sorted(seen, key=lambda r: r.number):
            study.add_trial(
                create_trial(
                    state=states[record.state],
                    params={name: record.params[name] for name in space},
                    distributions=distributions,
                    value=record.score if record.state == "complete" else None,
                    intermediate_values={int(rung): score for rung, score in record.rungs.items()},
                )
            )
        for params in given:
            study.enqueue_trial(dict(params))
        return [study.ask(distributions).params for _ in range(size)]
    finally:
        optuna.logging.set_verbosity(verbosity)


class Batches:
    """The trials of a search: what is finished, what may start, and with what.

    `folder` holds the batches that are finished; `identity` says what the search is about, and
    batches of another one are thrown away.
    """

    def __init__(
        self,
        folder: Path,
        space: Space,
        *,
        trials: int,
        size: int,
        seed: int,
        identity: Mapping[str, Any],
        warm: Sequence[Mapping[str, Any]] = (),
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.space = space
        self.first = [defaults(space), *(dict(params) for params in warm)]
        self.checkpoints = checkpoints
        self.trials = trials
        self.size = size
        self.seed = seed
        self.records: dict[int, Record] = {}
        self.seconds: dict[int, float] = {}
        self.resumed: dict[int, int] = {}
        self._files = Storage(str(folder))
        self._folder = folder
        self._proposed: dict[int, list[dict[str, Any]]] = {}
        self._resume(dict(identity))

    @property
    def best(self) -> Record | None:
        """The finished trial with the lowest score, the earlier one of two equal ones."""
        scored = [r for r in self.records.values() if r.state == "complete" and r.score is not None]
        return min(scored, key=lambda r: (r.score, r.number), default=None)

    def left(self) -> list[int]:
        """Numbers of the trials that have not ended, in order."""
        return [n for n in range(self.trials) if n not in self.records]

    def start(self, number: int) -> dict[str, Any] | None:
        """What a trial needs to know, or None when the batches that decide it have not finished."""
        batch = number // self.size
        decided_by = range(max(0, (batch - 1) * self.size))
        if any(n not in self.records for n in decided_by):
            return None
        seen = [self.records[n] for n in decided_by]
        if batch not in self._proposed:
            members = self._members(batch)
            given = self.first[members.start : members.stop]
            self._proposed[batch] = propose(self.space, seen, batch, len(members), self.seed, given)
        return {
            "number": number,
            "params": self._proposed[batch][number % self.size],
            "cutoffs": cutoffs(seen),
        }

    def finish(self, record: Record, seconds: float, resumed: int = 0) -> None:
        """Write down how a trial ended. `resumed`: the iterations that it took over from a snapshot."""
        self.records[record.number] = record
        self.seconds[record.number] = seconds
        if resumed:
            self.resumed[record.number] = resumed
        members = self._members(record.number // self.size)
        known = [asdict(self.records[n]) for n in members if n in self.records]
        self._write(_name(record.number // self.size), known)
        told: dict[str, dict[int, Any]] = {"seconds": self.seconds, "resumed": self.resumed}
        self._write("timings.json", {k: {str(n): v[n] for n in sorted(v)} for k, v in told.items()})

    def _members(self, batch: int) -> range:
        return range(batch * self.size, min(self.trials, (batch + 1) * self.size))

    def _resume(self, identity: dict[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._read("search.json") != identity:
            for stale in self._folder.glob("batch-*.json"):
                stale.unlink()
            shutil.rmtree(self._folder / "tune", ignore_errors=True)
            if self.checkpoints is not None:
                self.checkpoints.remove()
            self._write("search.json", identity)
        for batch in range(-(-self.trials // self.size)):
            for content in self._read(_name(batch)) or []:
                record = Record(**content)
                self.records[record.number] = record
        times = self._read("timings.json") or {}
        self.seconds = {int(n): s for n, s in times.get("seconds", {}).items() if int(n) in self.records}
        self.resumed = {int(n): i for n, i in times.get("resumed", {}).items() if int(n) in self.records}

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self._folder / name).read_bytes())
        except (OSError, ValueError):
            return None  # absent or unreadable: run again

    def _write(self, name: str, content: Any) -> None:
        self._files.write_bytes(name, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def _name(batch: int) -> str:
    return f"batch-{batch:03d}.json"
