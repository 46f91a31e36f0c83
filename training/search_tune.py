"""How Ray Tune runs a search: the searcher and the scheduler of the deterministic mode, and plain ASHA.

Both of the deterministic mode have no will of their own: parameters and cut-offs come with the
trial, from the batches that were finished before (`search_batches`).
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from training.search_batches import REDUCTION, Batches, Record
from training.search_checkpoint import Checkpoints
from training.search_trial import Train, Trial

METRIC = "score"
NAME = "search"
DIED: dict[str, Any] = {"error": "its worker process died", METRIC: math.inf}

Progress = Callable[[dict[str, float]], None]
"""Told the share of its iterations that each running trial has done."""


class BatchSearcher(Searcher):
    """Hands out the trials in order, each as soon as the batches that decide it have finished."""

    def __init__(
        self, batches: Batches, iterations: int, progress: Progress, errors: Mapping[str, str]
    ) -> None:
        super().__init__(metric=METRIC, mode="min")
        self._errors = errors
        self._batches = batches
        self._iterations = iterations
        self._progress = progress
        self._waiting = batches.left()
        self._running: dict[str, dict[str, Any]] = {}
        self._shares: dict[str, float] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if not self._waiting:
            return str(Searcher.FINISHED)
        config = self._batches.start(self._waiting[0])
        if config is not None:
            self._running[trial_id] = config
            self._waiting.pop(0)
        return config

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._shares[trial_id] = result["iteration"] / self._iterations
        self._progress(self._shares)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        config = self._running.pop(trial_id)
        self._shares.pop(trial_id, None)
        if error or result is None:
            result = DIED | {"error": self._errors.get(trial_id, DIED["error"])}
        record = to_record(config["number"], config["params"], result)
        self._batches.finish(record, float(result.get("time_total_s", 0.0)), int(result.get("resumed", 0)))
        if self._batches.checkpoints is not None:
            self._batches.checkpoints.remove(f"{record.number:03d}")
        self._progress(self._shares)

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; the state is that of the batches."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a deterministic search is restored from its batches")

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles it with each snapshot of an experiment that is never restored."""
        return {}


class FrozenRungs(FIFOScheduler):
    """Successive halving whose cut-offs came with the trial, so that timing decides nothing.

    `errors` gets what ended a trial from outside of its training; Tune tells it to the scheduler only.
    """

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__()
        self._errors = errors

    def on_trial_error(self, tune_controller: Any, trial: TuneTrial) -> None:  # noqa: ARG002
        lines = str(trial.get_error() or "").strip().splitlines()
        if lines and re.match(r"[\w.]*(Error|Exception): ", lines[-1]):
            self._errors[trial.trial_id] = lines[-1]

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:  # noqa: ARG002
        cutoff = trial.config["cutoffs"].get(str(result["iteration"]), math.inf)
        if result[METRIC] > cutoff and not result["finished"]:
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)


def run_batched(
    train: Train,
    batches: Batches,
    levels: Sequence[int],
    limits: dict[str, int],
    scratch: Path,
    progress: Progress,
) -> None:
    """Run what is left of the batches."""
    errors: dict[str, str] = {}
    tuner = tune.Tuner(
        _trainable(train, levels, limits, batches.checkpoints),
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="min",
            num_samples=len(batches.left()),
            search_alg=BatchSearcher(batches, limits["iterations"], progress, errors),
            scheduler=FrozenRungs(errors),
            max_concurrent_trials=batches.size,
            reuse_actors=True,
        ),
        run_config=_run_config(scratch),
    )
    tuner.fit()


def run_async(
    train: Train,
    batches: Batches,
    levels: Sequence[int],
    limits: dict[str, int],
    folder: Path,
    progress: Progress,
) -> None:
    """Plain ASHA with Optuna; one that was killed in `folder` goes on where it was."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    trainable = _trainable(train, levels, limits, batches.checkpoints)
    path = folder / "tune" / NAME
    if tune.Tuner.can_restore(str(path)):
        tuner = tune.Tuner.restore(
            str(path), trainable=trainable, resume_unfinished=True, resume_errored=True
        )
    else:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                metric=METRIC,
                mode="min",
                num_samples=batches.trials,
                search_alg=OptunaSearch(
                    {name: parameter.distribution() for name, parameter in batches.space.items()},
                    metric=METRIC,
                    mode="min",
                    points_to_evaluate=batches.first,
                    seed=batches.seed,
                ),
                scheduler=ASHAScheduler(
                    time_attr="iteration",
                    max_t=limits["iterations"],
                    grace_period=min(levels, default=limits["iterations"]),
                    reduction_factor=REDUCTION,
                ),
                max_concurrent_trials=batches.size,
                reuse_actors=True,
            ),
            run_config=_run_config(folder / "tune", [_Telling(limits["iterations"], progress)]),
        )
    with warnings.catch_warnings():
        # A trial whose worker died reports the same scores once more.
        warnings.filterwarnings("ignore", message="The reported value is ignored")
        ended = sorted(tuner.fit(), key=_started)
    for number, found in enumerate(ended):
        metrics = dict(found.metrics or {})
        if found.error is not None or METRIC not in metrics:
            metrics = DIED
        record = to_record(number, dict(found.config or {}), metrics)
        batches.finish(record, float(metrics.get("time_total_s", 0.0)), int(metrics.get("resumed", 0)))


def _started(found: tune.Result) -> int:
    """Which trial it was, counted from its start. Only the name of its folder says so after a restart."""
    counted = re.match(r"[^_]+_[^_]+_(\d+)_", Path(found.path).name)
    return int(counted[1]) if counted else 0


class _Telling(tune.Callback):
    """Passes on how far the running trials are."""

    def __init__(self, iterations: int, progress: Progress) -> None:
        self._iterations = iterations
        self._progress: Progress | None = progress

    def on_trial_result(self, iteration: int, trials: list[TuneTrial], *_: Any, **__: Any) -> None:  # noqa: ARG002
        if self._progress is not None:
            ended = {t.trial_id: 1.0 for t in trials if t.is_finished()}
            running = {
                t.trial_id: t.last_result.get("iteration", 0) / self._iterations
                for t in trials
                if not t.is_finished()
            }
            self._progress(ended | running)

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps a pickle of it for :meth:`Tuner.restore`; whoever listens cannot be pickled."""
        return {"_iterations": self._iterations, "_progress": None}


def to_record(number: int, params: dict[str, Any], result: dict[str, Any]) -> Record:
    """A trial's record from its last result."""
    if result["error"] is not None or not math.isfinite(result[METRIC]):
        return Record(number, params, "failed", error=result["error"] or "no validation score")
    finished = bool(result["finished"])
    return Record(
        number,
        params,
        "complete" if finished else "stopped",
        score=result[METRIC],
        iterations=result["best_iteration"],
        stopped_at=None if finished else result["iteration"],
        rungs=dict(result["rungs"]),
    )


def _trainable(
    train: Train, levels: Sequence[int], limits: dict[str, int], checkpoints: Checkpoints | None
) -> Any:
    """The parameters go into Ray's object store once, whatever the number of trials."""
    shared = tune.with_parameters(
        Trial, train=train, rungs=tuple(levels), limits=limits, checkpoints=checkpoints
    )
    return tune.with_resources(shared, {"cpu": 1})


def _run_config(where: Path, callbacks: Sequence[tune.Callback] = ()) -> tune.RunConfig:
    return tune.RunConfig(
        name=NAME,
        callbacks=list(callbacks),
        storage_path=str(where.resolve()),
        verbose=0,
        # A worker that died (out of memory, a node that went) is no verdict on its parameters.
        failure_config=tune.FailureConfig(max_failures=1),
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
    )
