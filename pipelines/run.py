"""Run the pipeline on this machine: the compiled YAML in KFP's local runner, or its steps in this process.

Both do the same and leave the same files below `runs/<run id>`; the local runner leaves its YAML,
its log and its artifacts there as well. A run that was killed and started again with the same data
and settings finds its folder, and goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graildient.progress import Reporter
from graildient.progress import report as report_progress
from graildient.settings import FeatureSettings, StorageSettings, TrainingSettings, load
from graildient.storage import Storage
from pipelines.config import RunConfig, override

VERBOSE = "GRAILDIENT_VERBOSE"


@dataclass(frozen=True)
class RunResult:
    """What a run led to. `verdict`: the gate's, with `reasons`. `metrics`: of the model on the holdout.

    `steps`: name of a step to `seconds`, whether it was `reused`, and the `reason` why or why not.
    """

    run_id: str
    version: str
    promoted: bool
    verdict: dict[str, Any]
    metrics: dict[str, Any]
    steps: dict[str, dict[str, Any]]


def run_in_process(
    storage: Storage,
    features: FeatureSettings,
    training: TrainingSettings,
    overrides: Mapping[str, str] | None = None,
    report: Reporter = report_progress,
    *,
    cache: bool = True,
) -> RunResult:
    """The steps one after the other in this process, without Kubeflow.

    Args:
        cache: whether steps that were done before on the same inputs are left out.

    Raises:
        InvalidSettings: an override is no setting, or its value is out of bounds.
        GraildientError: as the step that failed raised it.
    """
    from pipelines import steps

    config = make_config(storage, features, training, overrides, cache=cache)
    return read_result(config.root, steps.run_all(config, report))


def run_pipeline(
    storage: Storage,
    features: FeatureSettings,
    training: TrainingSettings,
    overrides: Mapping[str, str] | None = None,
    report: Reporter = report_progress,
    *,
    verbose: bool | None = None,
    cache: bool = True,
) -> RunResult:
    """The compiled pipeline in KFP's local runner, each step a process of its own.

    Args:
        verbose: show what KFP and the steps print; default: whether GRAILDIENT_VERBOSE is set.
        cache: whether steps that were done before on the same inputs are left out.

    Raises:
        InvalidSettings: an override is no setting, or its value is out of bounds.
        GraildientError: of the class and with the message of the step that failed, which it names.
    """
    from pipelines.local_runner import run_compiled

    config = make_config(storage, features, training, overrides, cache=cache)
    loud = bool(os.environ.get(VERBOSE)) if verbose is None else verbose
    return read_result(config.root, run_compiled(config, report, verbose=loud))


def make_config(
    storage: Storage,
    features: FeatureSettings,
    training: TrainingSettings,
    overrides: Mapping[str, str] | None = None,
    *,
    cache: bool = True,
) -> RunConfig:
    """The settings of a run below `storage`.

    Raises:
        InvalidSettings: an override is no setting, or its value is out of bounds.
    """
    endpoint = None if storage.is_local else getattr(storage.fs, "endpoint_url", None)
    where = load(StorageSettings, root=storage.root, **({"s3_endpoint": endpoint} if endpoint else {}))
    return RunConfig(where, features, override(training, overrides or {}), cache)


def read_result(storage: Storage, run_id: str) -> RunResult:
    """What the release step of a run wrote.

    Raises:
        StorageError: the run was never released.
    """
    content = json.loads(storage.read_bytes(f"runs/{run_id}/release.json"))
    about = json.loads(storage.read_bytes(f"runs/{run_id}/run.json"))
    wanted = ("version", "promoted", "verdict", "metrics")
    return RunResult(run_id=run_id, **{key: content[key] for key in wanted}, steps=about["steps"])
