"""The steps of the pipeline as plain functions: call them, debug them, or let KFP run them.

Each takes the settings of the run and the run's id, leaves its files below `runs/<run id>`, and
does nothing when it was done on the same inputs before:

    training_set.parquet, run.json    training_set_step    features, then the training rows
    search/                           search_step          Ray Tune
    model/, holdout.npz, evaluation.json   train_step      the model, and its figures on newer listings
    release.json, report.html         release_step         gate, registry, alias; the report of the run

The id follows from the data, the settings and the code, so a run that was killed and started again
finds what it did, and ends in one registered model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from graildient.code_version import code_version
from graildient.lake import Lake
from graildient.progress import Reporter
from graildient.progress import report as report_progress
from pipelines.config import RunConfig
from pipelines.run_folder import files_below, local_folder, run_path
from pipelines.step_cache import Step, cached, fingerprint, read_steps

Numbers = dict[str, float]
"""What a step shows as metrics."""

CHAMPION, CHALLENGER = "champion", "challenger"


def training_set_step(
    config: RunConfig, run_id: str = "", report: Reporter = report_progress
) -> tuple[str, Numbers]:
    """Build what is missing of the features, then the training set. Decides the id of the run.

    Raises:
        NotEnoughData: the lake holds nothing that was knowable.
        FeatureStoreError, StorageError: lake or features cannot be read or written.
    """
    from feature_repo.build import build_features
    from feature_repo.training_set import build_training_set

    storage = config.root
    built = build_features(storage, config.features, report=report)
    inputs = {
        "code": code_version(),
        "features": built.fingerprint,
        "lake": Lake(storage).fingerprint(),
        "settings": config.identity(),
    }
    run_id = f"{built.as_of:%Y%m%d}-{fingerprint(inputs)[:10]}"

    def work() -> tuple[dict[str, Any], list[str]]:
        made = build_training_set(
            storage, config.features, run_path(run_id, "training_set.parquet"), report=report
        )
        value = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in asdict(made).items()}
        return value, ["training_set.parquet"]

    step = cached(storage, run_path(run_id), "training_set", inputs, work)
    about = {"run_id": run_id, **inputs, "training_set": step.value}
    _write(config, run_id, "run.json", about | {"settings": json.loads(config.to_json()), "steps": {}})
    _record(config, run_id, step, "training set", report)
    return run_id, {"sales": built.sales, "rows": step.value["rows"], "reused": int(step.reused)}


def search_step(config: RunConfig, run_id: str, report: Reporter = report_progress) -> tuple[str, Numbers]:
    """Search for parameters on the past.

    Raises:
        NotEnoughData: too few listings.
        InvalidSettings: the search space is not sound, or the Ray cluster does not answer.
        GraildientError: every trial failed, or Ray does not start.
    """
    from training.search_space import read_space

    inputs = {
        "code": code_version(),
        "settings": config.identity()["training"],
        "space": read_space(config.training.space),
        "training_set": _training_set(config, run_id).sha256,
    }

    def work() -> tuple[dict[str, Any], list[str]]:
        from training.dataset import load_dataset
        from training.search import search
        from training.split import split

        dataset = load_dataset(config.root, _training_set(config, run_id))
        past = split(len(dataset), config.training).past
        with local_folder(config, run_id, "search") as folder:
            found = search(
                dataset.listings[:past], dataset.market[:past], config.training, folder / "search", report
            )
        states = [trial["state"] for trial in found.trials]
        value = {
            "params": found.params,
            "iterations": found.iterations,
            "score": found.score,
            "trials": {state: states.count(state) for state in sorted(set(states))},
        }
        return value, ["search/result.json", "search/trials.jsonl"]

    step = cached(config.root, run_path(run_id), "search", inputs, work)
    _record(config, run_id, step, "search", report)
    return run_id, {
        "validation_rmsle": step.value["score"],
        "iterations": step.value["iterations"],
        **{f"trials_{state}": count for state, count in step.value["trials"].items()},
        "reused": int(step.reused),
    }


def train_step(config: RunConfig, run_id: str, report: Reporter = report_progress) -> tuple[str, Numbers]:
    """Train the model with the parameters that the search found, and measure it on the newest listings.

    Raises:
        NotEnoughData: too few listings.
        StorageError: the training set or the search of this run is missing.
    """
    from training.policy import load_policy

    found = _step(config, run_id, "search").value
    inputs = {
        "code": code_version(),
        "policy": load_policy(config.training.policy).model_dump(),
        "search": {"params": found["params"], "iterations": found["iterations"]},
        "settings": config.identity()["training"],
        "training_set": _training_set(config, run_id).sha256,
    }

    def work() -> tuple[dict[str, Any], list[str]]:
        from feature_repo.training_set import market_as_of
        from training.assess import assess
        from training.dataset import load_dataset
        from training.train import train_model

        dataset = load_dataset(config.root, _training_set(config, run_id))
        with local_folder(config, run_id, "model", "holdout.npz") as folder:
            trained = train_model(
                dataset, found["params"], found["iterations"], config.training, folder, report
            )
            evaluation = assess(
                dataset,
                trained,
                found["params"],
                found["iterations"],
                config.training,
                lambda listings: market_as_of(listings, config.root, config.features),
                report,
            )
        _write(config, run_id, "evaluation.json", evaluation)
        return {"version": trained.version, "holdout": trained.holdout}, [
            "evaluation.json",
            "holdout.npz",
            *files_below(config, run_id, "model"),
        ]

    step = cached(config.root, run_path(run_id), "train", inputs, work)
    _record(config, run_id, step, "train", report)
    return run_id, {**_plain(step.value["holdout"]), "reused": int(step.reused)}


def release_step(config: RunConfig, run_id: str, report: Reporter = report_progress) -> tuple[str, Numbers]:
    """Ask the gate, register the model, and make it champion, or challenger when it may not be that.

    Never reused: the registry may have moved on. Run again it ends the same.

    Raises:
        ArtifactCorrupted: the model is not what training sealed.
        ModelError: the champion was replaced by somebody else meanwhile.
        StorageError: a file of this run is missing, or the registry cannot be written.
    """
    from graildient.pricing.artifact import read_manifest
    from graildient.pricing.registry import Registry
    from pipelines.pages import REPORT, make_report
    from training.dataset import load_dataset
    from training.gate import judge
    from training.train import Trained, load_scored

    started, clock = datetime.now(UTC), time.monotonic()
    report("release", done=0, total=1)
    registry = Registry(config.root, scratch=config.storage.scratch)
    dataset = load_dataset(config.root, _training_set(config, run_id))
    with local_folder(config, run_id, "model", "holdout.npz") as folder:
        manifest = read_manifest(folder / "model")
        trained = Trained(
            folder / "model",
            manifest.version,
            load_scored(folder / "holdout.npz"),
            manifest.metrics["holdout"],
        )
        version = registry.register(folder / "model")
        evaluation = json.loads(config.root.read_bytes(run_path(run_id, "evaluation.json")))
        verdict = judge(trained, registry, dataset, config.training, report, evaluation["leakage"])
    before, reasons = verdict["champion"], "; ".join(verdict["reasons"])
    if before != version:
        # First the note: the verdict that moved an alias is known even if we are killed in between.
        registry.note(version, "gate", verdict | {"run_id": run_id})
        if verdict["promote"]:
            registry.set_alias(CHAMPION, version, reason=reasons, expected=before)
        else:
            registry.set_alias(CHALLENGER, version, reason=reasons)
    promoted = bool(verdict["promote"]) or before == version
    release = {
        "version": version,
        "alias": CHAMPION if promoted else CHALLENGER,
        "promoted": promoted,
        "verdict": verdict,
        "metrics": manifest.metrics["holdout"],
    }
    _write(config, run_id, "release.json", release)
    page = run_path(run_id, REPORT)
    # Run again, the champion is not judged again: the report keeps the verdict that made it champion.
    if before != version or not config.root.exists(page):
        config.root.write_bytes(page, make_report(config.root, run_id).encode())
    seconds = round(time.monotonic() - clock, 3)
    step = Step("release", {}, {}, {}, started.isoformat(timespec="seconds"), seconds, reason="never reused")
    _record(config, run_id, step, "release", report)
    report("release", done=1, total=1, note=f"{version} is {release['alias']}")
    levels = [alarm["level"] for alarm in verdict["alarms"]]
    raised = {f"leakage_{level}": levels.count(level) for level in ("told", "warning", "blocking")}
    return run_id, {"promoted": int(promoted), **raised, **_plain(verdict["figures"])}


BY_NAME: dict[str, Callable[[RunConfig, str], tuple[str, Numbers]]] = {
    "training_set": training_set_step,
    "search": search_step,
    "train": train_step,
    "release": release_step,
}


def run_all(config: RunConfig, report: Reporter = report_progress) -> str:
    """All steps in this process; returns the id of the run. Raises what the steps raise."""
    run_id, _ = training_set_step(config, report=report)
    for step in (search_step, train_step, release_step):
        step(config, run_id, report)
    return run_id


def _training_set(config: RunConfig, run_id: str) -> Any:
    from feature_repo.training_set import TrainingSet

    value = dict(_step(config, run_id, "training_set").value)
    times = {name: datetime.fromisoformat(value[name]) for name in ("as_of", "start", "end")}
    return TrainingSet(**(value | times))


def _step(config: RunConfig, run_id: str, name: str) -> Step:
    from graildient.errors import StorageError

    for step in read_steps(config.root, run_path(run_id)):
        if step.name == name:
            return step
    raise StorageError(
        f"run {run_id} has no finished step {name!r} at {config.root.url(run_path(run_id))}",
        hint="run the pipeline from its start; what was done is not done again",
    )


def _record(config: RunConfig, run_id: str, step: Step, stage: str, report: Reporter) -> None:
    """Note in `run.json` when a step ran and for how long, or that it was reused, and why."""
    about = json.loads(config.root.read_bytes(run_path(run_id, "run.json")))
    wanted = ("started_at", "seconds", "reused", "reason")
    about["steps"][step.name] = {key: value for key, value in asdict(step).items() if key in wanted}
    _write(config, run_id, "run.json", about)
    if step.reused:
        report(stage, done=1, total=1, note=f"reused: {step.reason}")


def _plain(figures: dict[str, Any]) -> Numbers:
    return {k: v for k, v in figures.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def _write(config: RunConfig, run_id: str, name: str, content: Any) -> None:
    data = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    config.root.write_bytes(run_path(run_id, name), data.encode())
