"""One trial: CatBoost in a thread of a Ray Tune trainable that reports while it trains.

The actor is used again for the next trial, because starting one costs more than many a trial.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from ray import tune

from training.search_checkpoint import Checkpoints, Kept

STEPS = 12
"""Reports of a trial between its start and its end, besides those at the rungs."""


class Curve:
    """CatBoost's callback: follows the validation score, and says when there is something to report."""

    def __init__(
        self,
        milestones: Sequence[int],
        rungs: Sequence[int],
        patience: int,
        put: Callable[[dict[str, Any]], None],
    ) -> None:
        self.milestones = frozenset(milestones) | frozenset(rungs)
        self.patience = patience
        self.stop = False
        self.resumed = 0
        self._rungs = frozenset(rungs)
        self._put = put
        self._best = float("inf")
        self._best_at = 0
        self._reached: dict[str, float] = {}
        self.at = 0
        self._ended = False

    def after_iteration(self, info: Any) -> bool:
        """Called by CatBoost with the scores of all iterations; False ends the training."""
        return self.follow(info.metrics["validation"]["RMSE"])

    def follow(self, scores: Sequence[float]) -> bool:
        """Take up what is new of the scores of all iterations; returns whether to go on.

        After a restart that is what was reported before too: whoever stops trials sees the same reports,
        even if the trial was killed between a report and the decision on it.
        """
        if not self.at:
            self.resumed = len(scores) - 1
        for score in scores[self.at :]:
            if self._ended:
                break
            self.at += 1
            if score < self._best:
                self._best, self._best_at = float(score), self.at
            if self.at in self._rungs:
                self._reached[str(self.at)] = self._best
            if self.at in self.milestones:
                self._put(self.result())
            self._ended = self.at - self._best_at >= self.patience
        return not self.stop and not self._ended

    def result(self, *, done: bool = False, error: str | None = None) -> dict[str, Any]:
        """What Tune is told. `score` is the best so far; a list of pairs, because Tune flattens dicts."""
        return {
            "iteration": self.at,
            "score": self._best,
            "best_iteration": self._best_at,
            "rungs": sorted(self._reached.items()),
            "resumed": self.resumed,
            "finished": done,
            "error": error,
            "done": done,
        }


Train = Callable[[dict[str, Any], Curve, Kept | None], object]
"""Trains with the parameters, from what is kept of an earlier try; tells the curve of each iteration, and
stops when it says False."""


class Trial(tune.Trainable):
    """A trial of `config`: {"params": …} in deterministic mode, the parameters themselves otherwise."""

    def setup(
        self,
        config: dict[str, Any],
        train: Train,
        rungs: Sequence[int],
        limits: dict[str, int],
        checkpoints: Checkpoints | None = None,
    ) -> None:
        """`limits`: "iterations" at most, and the "patience" of early stopping."""
        self._train = train
        self._checkpoints = checkpoints
        self._rungs = tuple(rungs)
        self._limits = limits
        self._begin(config)

    def step(self) -> dict[str, Any]:
        return self._results.get()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._end()
        self._begin(new_config)
        return True

    def cleanup(self) -> None:
        self._end()

    def _begin(self, config: dict[str, Any]) -> None:
        every = max(1, self._limits["iterations"] // STEPS)
        self._results: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._curve = Curve(
            range(every, self._limits["iterations"], every),
            self._rungs,
            self._limits["patience"],
            self._results.put,
        )
        params = dict(config.get("params", config))
        # Tune's own names are the same after a restore; the batches start again with new ones.
        name = f"{config['number']:03d}" if "number" in config else self.trial_id
        self._thread = threading.Thread(target=self._run, args=(params, name), daemon=True)
        self._thread.start()

    def _run(self, params: dict[str, Any], name: str) -> None:
        try:
            with nullcontext() if self._checkpoints is None else self._checkpoints.of(name) as kept:
                self._train(params, self._curve, kept)
            result = self._curve.result(done=True)
        except Exception as error:  # whatever CatBoost has to say becomes the record of a failed trial
            result = self._curve.result(done=True, error=" ".join(f"{type(error).__name__}: {error}".split()))
        self._results.put(result)

    def _end(self) -> None:
        self._curve.stop = True
        self._thread.join()
