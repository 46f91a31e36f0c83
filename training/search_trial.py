"""One trial: CatBoost in a thread of a Ray Tune trainable that reports while it trains.

The actor is used again for the next trial, because starting one costs more than many a trial.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from ray import tune

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
        self._rungs = frozenset(rungs)
        self._put = put
        self._best = float("inf")
        self._best_at = 0
        self._reached: dict[str, float] = {}
        self._at = 0

    def after_iteration(self, info: Any) -> bool:
        """Called by CatBoost with `info.iteration` (from 1) and `info.metrics`; False ends the training."""
        self._at = int(info.iteration)
        score = float(info.metrics["validation"]["RMSE"][-1])
        if score < self._best:
            self._best, self._best_at = score, self._at
        if self._at in self._rungs:
            self._reached[str(self._at)] = self._best
        if self._at in self.milestones:
            self._put(self.result())
        return not self.stop and self._at - self._best_at < self.patience

    def result(self, *, done: bool = False, error: str | None = None) -> dict[str, Any]:
        """What Tune is told. `score` is the best so far; a list of pairs, because Tune flattens dicts."""
        return {
            "iteration": self._at,
            "score": self._best,
            "best_iteration": self._best_at,
            "rungs": sorted(self._reached.items()),
            "finished": done,
            "error": error,
            "done": done,
        }


Train = Callable[[dict[str, Any], Curve], object]
"""Trains with the parameters; tells the curve of each iteration, and stops when it says False."""


class Trial(tune.Trainable):
    """A trial of `config`: {"params": …} in deterministic mode, the parameters themselves otherwise."""

    def setup(
        self, config: dict[str, Any], train: Train, rungs: Sequence[int], limits: dict[str, int]
    ) -> None:
        """`limits`: "iterations" at most, and the "patience" of early stopping."""
        self._train = train
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
        self._thread = threading.Thread(target=self._run, args=(params,), daemon=True)
        self._thread.start()

    def _run(self, params: dict[str, Any]) -> None:
        try:
            self._train(params, self._curve)
            result = self._curve.result(done=True)
        except Exception as error:  # whatever CatBoost has to say becomes the record of a failed trial
            result = self._curve.result(done=True, error=" ".join(f"{type(error).__name__}: {error}".split()))
        self._results.put(result)

    def _end(self) -> None:
        self._curve.stop = True
        self._thread.join()
