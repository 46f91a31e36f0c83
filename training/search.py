"""The search for CatBoost's parameters: Optuna proposes, Ray Tune runs, successive halving stops.

Trials are judged by RMSLE on the newest listings of the past (`validation_share`), never on the
holdout. Two modes:

* `batched` is deterministic: the same listings, settings and seed give the same trials, whatever
  the timing, and also when the search was killed and started again (see `search_batches`).
* `async` is plain asynchronous successive halving by Ray Tune (ASHA), for clusters where waiting for
  a batch costs more than repeatability is worth. Killed, it goes on with `Tuner.restore`.

The folder of a search holds `search.json` (what it is about), `batch-*.json`, `trials.jsonl` and
`result.json`; none of them holds a time. Seconds are in `timings.json`. While it runs there are the
snapshots of the trials too, from which they go on after a SIGKILL (`search_checkpoint`).
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from graildient.code_version import code_version
from graildient.errors import GraildientError, NotEnoughData
from graildient.listing import SoldListing
from graildient.pricing.market import Values
from graildient.progress import Reporter
from graildient.progress import report as report_progress
from graildient.settings import StorageSettings, TrainingSettings, load
from graildient.storage import Storage
from training.fit import PARAMS, Prepared, prepare_split, train_booster
from training.search_batches import Batches, Record, rungs
from training.search_checkpoint import FOLDER, Checkpoints, Kept
from training.search_space import Space, describe, load_space

STAGE = "search"
PATIENCE = 60
"""Iterations without a better validation score after which a trial ends by itself."""
MIN_PART = 20
"""Fewest listings to train on, and fewest to validate on."""


@dataclass(frozen=True)
class SearchResult:
    """What the search found.

    `params`: of CatBoost. `iterations`: for a model of all past listings. `score`: RMSLE on the
    validation part. `trials`: every trial in order (see `search_batches.Record`). `seconds`: a trial
    number to how long it ran, `resumed`: to the iterations that it took over from a snapshot; no part of
    the result.
    """

    params: dict[str, Any]
    iterations: int
    score: float
    trials: list[dict[str, Any]]
    seconds: dict[int, float] = field(default_factory=dict, compare=False)
    resumed: dict[int, int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Fit:
    """What every trial does with its parameters, and with which rows. It lies in Ray's object store."""

    train: Prepared
    valid: Prepared
    iterations: int
    seed: int

    def __call__(self, params: dict[str, Any], curve: Any, kept: Kept | None = None) -> object:
        chosen = {**PARAMS, **params}
        if kept is None:
            return self._train(chosen, curve)
        options, before = kept.options(), kept.snapshot.exists()
        try:
            return self._train(chosen | options, _Keeping(curve, kept))
        except Exception:
            if not before or curve.at:
                raise
            kept.forget()  # of another version of CatBoost, say
            return self._train(chosen | options, _Keeping(curve, kept))

    def _train(self, params: dict[str, Any], callback: Any) -> Any:
        model = train_booster(self.train, self.valid, params, self.iterations, self.seed, 1, callback)
        # A snapshot of the last iteration leaves CatBoost nothing to call back about.
        callback.follow(model.get_evals_result()["validation"]["RMSE"])
        return model


@dataclass(frozen=True)
class _Keeping:
    """The curve as CatBoost's callback, with a look at the snapshot after each iteration."""

    curve: Any
    kept: Kept

    def after_iteration(self, info: Any) -> bool:
        self.kept.send()
        return bool(self.curve.after_iteration(info))

    def follow(self, scores: Sequence[float]) -> bool:
        return bool(self.curve.follow(scores))


class Remaining:
    """How long the rest of a search takes, from how long its trials took so far."""

    def __init__(self, total: int, now: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._now = now
        self._calls = 0
        self._from = (0.0, 0.0)

    def left(self, done: float) -> str:
        """`about 40 s left`, or nothing as long as nobody can say. `done`: trials, with parts of one."""
        self._calls += 1
        if self._calls <= 2:  # before the second call Ray starts, which says nothing of the rest
            self._from = (self._now(), done)
        since, first = self._from
        if done - first < 0.2 or done >= self._total:
            return ""
        seconds = (self._now() - since) / (done - first) * (self._total - done)
        return f"about {seconds:.0f} s left" if seconds < 100 else f"about {seconds / 60:.0f} min left"


def search(
    listings: Sequence[SoldListing],
    market: Sequence[Values],
    settings: TrainingSettings,
    folder: Path,
    report: Reporter = report_progress,
    *,
    warm: Sequence[Mapping[str, Any]] = (),
) -> SearchResult:
    """Search on past listings (without the holdout), sorted by the time of their creation.

    What `folder` holds of the very same search, killed before, is taken over.

    Args:
        warm: parameters to try right after the defaults (see `search_warm`).

    Raises:
        NotEnoughData: the validation part or what is before it is too small.
        InvalidSettings: the search space is not sound, or no Ray cluster answers at `ray_address`.
        GraildientError: every trial failed, or Ray does not start.
    """
    space = load_space(settings.space)
    cut = len(listings) - math.ceil(len(listings) * settings.validation_share)
    if min(cut, len(listings) - cut) < MIN_PART:
        raise NotEnoughData(
            f"{len(listings)} past listings leave {cut} to train on and {len(listings) - cut} to "
            f"validate on; a search needs {MIN_PART} of each",
            hint="scrape more listings",
        )
    train, valid = prepare_split(listings, market, cut)
    fit = Fit(train, valid, settings.max_iterations, settings.seed)
    batches = Batches(
        folder,
        space,
        trials=settings.trials,
        size=settings.batch,
        seed=settings.seed,
        identity=_identity(fit, space, settings) | {"warm": [dict(params) for params in warm]},
        warm=warm,
        checkpoints=_checkpoints(settings, folder),
    )
    clock = Remaining(settings.trials)

    def progress(running: Mapping[str, float]) -> None:
        done = len(batches.records) + sum(running.values())
        note = ", ".join(filter(None, (_note(batches.best), clock.left(done))))
        report(STAGE, done=round(done, 2), total=settings.trials, note=note)

    progress({})
    if batches.left():
        _run(fit, batches, settings, folder, progress)
    best = batches.best
    if best is None or best.score is None or best.iterations is None:
        raise _all_failed(batches)
    result = SearchResult(
        params=dict(sorted(best.params.items())),
        # A model of all rows carries a few more trees than one of the older part of them.
        iterations=min(settings.max_iterations, round(best.iterations * len(listings) / cut)),
        score=best.score,
        trials=[asdict(batches.records[n]) for n in sorted(batches.records)],
        seconds=dict(sorted(batches.seconds.items())),
        resumed=dict(sorted(batches.resumed.items())),
    )
    _write(folder, result)
    if batches.checkpoints is not None:
        batches.checkpoints.remove()
    return result


def _run(
    fit: Fit,
    batches: Batches,
    settings: TrainingSettings,
    folder: Path,
    progress: Callable[[Mapping[str, float]], None],
) -> None:
    from training.search_ray import ray_session

    levels = rungs(settings.max_iterations)
    limits = {"iterations": settings.max_iterations, "patience": PATIENCE}
    with ray_session(cpus=settings.batch, address=settings.ray_address, data_bytes=_size(fit)) as scratch:
        from training.search_tune import run_async, run_batched

        if settings.mode == "batched":
            run_batched(fit, batches, levels, limits, scratch, progress)
        else:
            run_async(fit, batches, levels, limits, folder, progress)


def _checkpoints(settings: TrainingSettings, folder: Path) -> Checkpoints | None:
    """Beside the records, or, when a cluster's workers cannot see those, where the settings say."""
    if not settings.ray_address:
        return Checkpoints(str(folder / FOLDER), settings.checkpoint_seconds)
    if not settings.checkpoint_root:
        return None
    endpoint = load(StorageSettings).s3_endpoint
    # Searches of other folders and machines share that root.
    own = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    root = f"{settings.checkpoint_root.rstrip('/')}/{own}"
    return Checkpoints(root, settings.checkpoint_seconds, endpoint)


def _identity(fit: Fit, space: Space, settings: TrainingSettings) -> dict[str, Any]:
    """What decides the trials; a folder of another search is not taken over."""
    decides = ("seed", "trials", "batch", "mode", "max_iterations")
    return {
        "settings": {name: getattr(settings, name) for name in decides},
        "space": describe(space),
        "code": code_version(),
        "rows": {"train": _hash(fit.train), "valid": _hash(fit.valid)},
    }


def _hash(rows: Prepared) -> str:
    from pandas.util import hash_pandas_object

    digest = hashlib.sha256(json.dumps([*rows.x.columns, *rows.cat_features]).encode())
    digest.update(hash_pandas_object(rows.x, index=False).to_numpy().tobytes())
    digest.update(np.ascontiguousarray(rows.y, dtype=np.float64).tobytes())
    return digest.hexdigest()


def _size(fit: Fit) -> int:
    return int(sum(rows.x.memory_usage(deep=True).sum() for rows in (fit.train, fit.valid)))


def _note(best: Record | None) -> str:
    return "" if best is None else f"best {best.score:.4f}"


def _all_failed(batches: Batches) -> GraildientError:
    causes = sorted({record.error or "" for record in batches.records.values()})
    return GraildientError(
        f"all {len(batches.records)} trials of the search failed: {'; '.join(causes[:3])}",
        hint="look at the search space and the training set",
    )


def _write(folder: Path, result: SearchResult) -> None:
    files = Storage(str(folder))
    lines = "".join(json.dumps(trial, sort_keys=True) + "\n" for trial in result.trials)
    files.write_bytes("trials.jsonl", lines.encode())
    content = {"params": result.params, "iterations": result.iterations, "score": result.score}
    files.write_bytes("result.json", (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def load_result(folder: Path) -> SearchResult:
    """What :func:`search` left in a folder.

    Raises:
        StorageError: there is no finished search.
    """
    files = Storage(str(folder))
    content = json.loads(files.read_bytes("result.json"))
    trials = [json.loads(line) for line in files.read_bytes("trials.jsonl").splitlines()]
    return SearchResult(**content, trials=trials)
