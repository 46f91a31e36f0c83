"""The steps of the pipeline as plain functions: call them, debug them, or let KFP run them.

Each takes the settings of the run and the run's id, leaves its files below `runs/<run id>`, and
does nothing when it was done on the same inputs before:

    validation.json, training_set.parquet, run.json
                                      training_set_step    a look at the lake, features, training rows
    search/                           search_step          Ray Tune
    model/, holdout.npz, evaluation.json   train_step      the model, and its figures on newer listings
    release.json, report.html         release_step         gate, registry, alias; the report of the run

The id follows from the data, the settings and the code, so a run that was killed and started again
finds what it did, and ends in one registered model.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from graildient.code_version import code_version
from graildient.errors import LakeRefused, StorageError
from graildient.lake import Lake
from graildient.progress import Reporter
from graildient.progress import report as report_progress
from pipelines.config import RunConfig
from pipelines.run_folder import files_below, local_folder, run_path
from pipelines.step_cache import Step, cached, fingerprint, read_steps
from pipelines.validate import validate

Numbers = dict[str, float]
"""What a step shows as metrics."""

CHAMPION, CHALLENGER = "champion", "challenger"


def training_set_step(
    config: RunConfig, run_id: str = "", report: Reporter = report_progress
) -> tuple[str, Numbers]:
    """Look at the lake, build what is missing of the features, then the training set.

    Decides the id of the run.

    Raises:
        NotEnoughData: the lake holds nothing, or nothing that was knowable.
        LakeRefused: too much of the lake cannot be true (see `pipelines.validate`).
        FeatureStoreError, StorageError: lake or features cannot be read or written.
    """
    from feature_repo.build import build_features
    from feature_repo.training_set import build_training_set

    storage = config.root
    report("validation", done=0, total=1)
    found = validate(Lake(storage))
    told = json.dumps(found.to_json(), indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    try:
        found.refuse(config.training)
    except LakeRefused:
        storage.write_bytes("runs/failed/validation.json", told)
        raise
    noted = f"{found.listings:,} listings" + "".join(f"; {warning}" for warning in found.warnings[:2])
    report("validation", done=1, total=1, note=noted)
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

    step = cached(
        storage,
        run_path(run_id),
        "training_set",
        inputs,
        work,
        reuse=config.cache,
        since=lambda: _since(config, run_id, inputs),
    )
    storage.write_bytes(run_path(run_id, "validation.json"), told)
    about = {"run_id": run_id, **inputs, "training_set": step.value}
    _write(config, run_id, "run.json", about | {"settings": json.loads(config.to_json()), "steps": {}})
    _record(config, run_id, step, "training set", report)
    return run_id, {
        "listings": found.listings,
        "quarantine_share": found.quarantine_share,
        "absurd_share": found.absurd_share,
        "sales": built.sales,
        "rows": step.value["rows"],
        "reused": int(step.reused),
    }


def search_step(config: RunConfig, run_id: str, report: Reporter = report_progress) -> tuple[str, Numbers]:
    """Search for parameters on the past.

    Raises:
        NotEnoughData: too few listings.
        InvalidSettings: the search space is not sound, or the Ray cluster does not answer.
        GraildientError: every trial failed, or Ray does not start.
    """
    from training.search_space import read_space

    warm = _warm(config, run_id)
    inputs = {
        "code": code_version(),
        "settings": config.identity()["training"],
        "space": read_space(config.training.space),
        "training_set": _training_set(config, run_id).sha256,
        "warm_start": warm,
    }

    def work() -> tuple[dict[str, Any], list[str]]:
        from training.dataset import load_dataset
        from training.search import search
        from training.split import split

        dataset = load_dataset(config.root, _training_set(config, run_id))
        past = split(len(dataset), config.training).past
        with local_folder(config, run_id, "search") as folder:
            target = folder / "search"
            if not config.cache:
                shutil.rmtree(target, ignore_errors=True)  # its finished trials would be taken over
            rows = dataset.listings[:past], dataset.market[:past]
            found = search(*rows, config.training, target, report, warm=warm)
        states = [trial["state"] for trial in found.trials]
        value = {
            "params": found.params,
            "iterations": found.iterations,
            "score": found.score,
            "trials": {state: states.count(state) for state in sorted(set(states))},
        }
        return value, ["search/result.json", "search/trials.jsonl"]

    step = cached(config.root, run_path(run_id), "search", inputs, work, reuse=config.cache)
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

    step = cached(config.root, run_path(run_id), "train", inputs, work, reuse=config.cache)
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


def _warm(config: RunConfig, run_id: str) -> list[dict[str, Any]]:
    """What the search tries first of what earlier ones found.

    Chosen once a run: started again, it is the same search, whatever other runs have ended meanwhile.
    """
    count = config.training.warm_start
    if count == 0:
        return []
    path = run_path(run_id, "warm_start.json")
    if config.cache and config.root.exists(path):
        chosen: list[dict[str, Any]] = json.loads(config.root.read_bytes(path))
        return chosen
    from training.search_space import load_space
    from training.search_warm import earlier

    chosen = earlier(config.root, load_space(config.training.space), count, but=run_id)
    _write(config, run_id, "warm_start.json", chosen)
    return chosen


def _since(config: RunConfig, run_id: str, inputs: dict[str, Any]) -> str:
    """What is not as in the run before this one."""
    runs = []
    for path in config.root.glob("runs/*/run.json"):
        with suppress(StorageError, ValueError, KeyError, TypeError):
            about = json.loads(config.root.read_bytes(path))
            if about["run_id"] != run_id:
                runs.append((about["steps"]["training_set"]["started_at"], about["run_id"], about))
    if not runs:
        return "the first run here"
    _, last, about = max(runs, key=lambda run: run[:2])
    changed = []
    for group, now in inputs.items():
        if group == "settings":
            # What a run was told is kept whole; only what decides its result is compared.
            before = about["settings"]
            changed += [
                f"{room}.{key}"
                for room, values in now.items()
                for key, value in values.items()
                if before.get(room, {}).get(key) != value
            ]
        elif about.get(group) != now:
            changed.append(group)
    return f"since run {last} changed: {', '.join(changed) or 'nothing'}"


def _step(config: RunConfig, run_id: str, name: str) -> Step:
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
