"""The pipeline from the lake to the registry: in this process, and compiled in KFP's local runner."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from graildient.errors import InvalidSettings, LakeRefused, NotEnoughData, StorageError
from graildient.lake import Lake
from graildient.listing import SoldListing
from graildient.parsing import parse_hit
from graildient.pricing.registry import Registry
from graildient.settings import FeatureSettings, TrainingSettings
from graildient.storage import Storage
from pipelines import steps
from pipelines.run import RunResult, make_config, run_in_process, run_pipeline
from scrapers.marketplace.generator import generate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

HISTORY = FeatureSettings(clock="history")
# A holdout of some sixty listings says little of coverage; the paths are part of what is compared.
LAX = str(Path(__file__).parent / "lax_policy.yaml")
SMALL = {"trials": "3", "max_iterations": "40", "space": "quick", "policy": LAX, "forward_folds": "0"}
FILES = (
    "validation.json",
    "training_set.parquet",
    "search/result.json",
    "search/trials.jsonl",
    "evaluation.json",
    "holdout.npz",
    "report.html",
)


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    """One Ray for all runs in this process."""
    from training.search_ray import ray_session

    with ray_session(cpus=2, address="", data_bytes=0):
        yield


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with nothing but some 330 sales."""
    root = tmp_path_factory.mktemp("sales")
    parsed = (parse_hit(hit) for hit in generate(400, 3))
    Lake(Storage(str(root))).append(listing for listing in parsed if isinstance(listing, SoldListing))
    return root


@pytest.fixture(scope="module")
def first(ray: None, lake: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Storage, RunResult]:
    """The first run of all, in this process."""
    root = tmp_path_factory.mktemp("in-process") / "root"
    shutil.copytree(lake, root)
    storage = Storage(str(root))
    return storage, run_in_process(storage, HISTORY, TrainingSettings(), SMALL)


def read(storage: Storage, run_id: str, name: str) -> Any:
    return json.loads(storage.read_bytes(f"runs/{run_id}/{name}"))


def hashes(storage: Storage, result: RunResult) -> dict[str, str]:
    """Of what a run leaves, but for what holds a time."""
    found = {
        name: hashlib.sha256(storage.read_bytes(f"runs/{result.run_id}/{name}")).hexdigest() for name in FILES
    }
    return found | Registry(storage).manifest(result.version).files


def test_the_first_model_becomes_champion(first: tuple[Storage, RunResult]) -> None:
    storage, result = first
    registry = Registry(storage)
    assert result.promoted, result.verdict
    assert registry.versions() == [result.version]
    assert registry.alias("champion") == result.version
    assert registry.alias("challenger") is None
    assert registry.notes(result.version)["gate"]["run_id"] == result.run_id
    assert result.verdict["reasons"][-1] == "there is no champion yet"
    assert result.metrics["rmsle"] < result.metrics["median_rmsle"]

    about = read(storage, result.run_id, "run.json")
    assert about["settings"]["training"]["trials"] == 3
    assert about["training_set"]["rows"] == Lake(storage).count()
    assert about["training_set"]["start"] < about["training_set"]["end"] < about["training_set"]["as_of"]
    assert about["code"] == registry.manifest(result.version).code_version
    assert set(about["steps"]) == {"training_set", "search", "train", "release"}
    assert all(not step["reused"] for step in about["steps"].values())


def test_run_again_nothing_is_done_twice_and_the_champion_stays(
    first: tuple[Storage, RunResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, before = first
    told: list[str] = []
    monkeypatch.setattr("training.search.search", None)
    monkeypatch.setattr("training.train.train_model", None)
    result = run_in_process(
        storage,
        HISTORY,
        TrainingSettings(),
        SMALL,
        lambda stage, *, done, total=None, note="": told.append(note),
    )
    assert (result.run_id, result.version) == (before.run_id, before.version)
    assert result.verdict["reasons"] == [f"{before.version} is already champion"]
    assert result.promoted
    assert len(Registry(storage).history("champion")) == 1
    assert Registry(storage).notes(before.version)["gate"]["promote"], "the verdict that promoted it is kept"
    assert sum("reused: same inputs" in note for note in told) == 3
    page = storage.read_bytes(f"runs/{result.run_id}/report.html").decode()
    assert "there is no champion yet" in page, "the report keeps the verdict that promoted it"
    assert [read(storage, result.run_id, "run.json")["steps"][s]["reused"] for s in ("search", "train")] == [
        True
    ] * 2


def test_without_the_cache_everything_is_done_again_and_comes_out_the_same(
    first: tuple[Storage, RunResult],
) -> None:
    storage, before = first
    made = hashes(*first)
    result = run_in_process(storage, HISTORY, TrainingSettings(), SMALL, cache=False)
    assert (result.run_id, result.version) == (before.run_id, before.version)
    assert {name: step["reason"] for name, step in result.steps.items() if not step["reused"]} == {
        "training_set": "the cache is off",
        "search": "the cache is off",
        "train": "the cache is off",
        "release": "never reused",
    }
    assert hashes(storage, result) == made


def test_a_warm_start_begins_with_what_was_best_before(
    first: tuple[Storage, RunResult], tmp_path: Path
) -> None:
    before = first[1]
    shutil.copytree(first[0].root, tmp_path / "root")
    storage = Storage(str(tmp_path / "root"))
    result = run_in_process(storage, HISTORY, TrainingSettings(), SMALL | {"warm_start": "1"})
    assert result.run_id != before.run_id
    changes = f"not done before, since run {before.run_id} changed: training.warm_start"
    assert result.steps["training_set"]["reason"] == changes

    def trials(run_id: str) -> list[dict[str, Any]]:
        lines = storage.read_bytes(f"runs/{run_id}/search/trials.jsonl").splitlines()
        return [json.loads(line) for line in lines]

    ended = [t for t in trials(before.run_id)[1:] if t["state"] == "complete"]
    best = min(ended, key=lambda t: (t["score"], t["number"]))["params"]
    assert read(storage, result.run_id, "warm_start.json") == [best]
    assert trials(result.run_id)[1]["params"] == best


def test_a_worse_model_is_registered_and_not_promoted(first: tuple[Storage, RunResult]) -> None:
    storage, champion = first
    worse = run_in_process(
        storage,
        HISTORY,
        TrainingSettings(),
        SMALL | {"max_iterations": "2", "trials": "2", "forward_folds": "1"},
    )
    registry = Registry(storage)
    assert worse.run_id != champion.run_id
    assert not worse.promoted
    assert sorted(registry.versions()) == sorted([champion.version, worse.version])
    assert (registry.alias("champion"), registry.alias("challenger")) == (champion.version, worse.version)
    assert any(champion.version in reason for reason in worse.verdict["reasons"])
    assert [check["rule"] for check in worse.verdict["checks"] if not check["passed"]] == ["champion"]
    assert "not promoted" in storage.read_bytes(f"runs/{worse.run_id}/report.html").decode()
    assert len(read(storage, worse.run_id, "evaluation.json")["folds"]) == 1
    assert registry.notes(worse.version)["gate"]["reasons"] == worse.verdict["reasons"]


def test_compiled_in_the_local_runner_it_is_the_same_model(
    first: tuple[Storage, RunResult],
    lake: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, plain = first
    root = tmp_path / "python3 root"  # a word that KFP's runner would replace, and a space
    shutil.copytree(lake, root)
    storage = Storage(str(root))
    short, environment = tempfile.mkdtemp(dir="/tmp"), dict(os.environ)
    monkeypatch.setattr(tempfile, "tempdir", short)
    stages: list[str] = []
    result = run_pipeline(
        storage, HISTORY, TrainingSettings(), SMALL, lambda stage, **_: stages.append(stage), verbose=False
    )
    assert (result.run_id, result.version, result.promoted) == (plain.run_id, plain.version, True)
    assert hashes(storage, result) == hashes(*first)
    assert result.metrics == plain.metrics
    # But for how long a price took.
    times = [verdict["measured"].pop("latency_ms") for verdict in (result.verdict, plain.verdict)]
    assert min(times) > 0
    assert result.verdict == plain.verdict

    order = ["validation", "features", "training set", "search", "train", "evaluate", "release", "gate"]
    assert list(dict.fromkeys(stages)) == order
    assert capfd.readouterr() == ("", "")
    assert dict(os.environ) == environment
    assert os.listdir(short) == [], "nothing is left in the temporary folder"
    run = storage.local(f"runs/{result.run_id}")
    assert "SUCCESS" in (run / "pipeline.log").read_text()
    assert (run / "pipeline.yaml").read_text().startswith("# PIPELINE DEFINITION")
    shown = (run / "kfp" / "release" / "report").read_text()
    assert shown == (run / "report.html").read_text()
    assert "promoted to champion" in shown
    assert "promoted" not in (run / "kfp" / "train" / "report").read_text()
    assert "- column scraped_at is empty" in (run / "kfp" / "training-set" / "summary").read_text()
    assert "| trial | state |" in (run / "kfp" / "search" / "summary").read_text()
    release = json.loads((run / "kfp" / "release" / "executor_output.json").read_text())
    metrics = release["artifacts"]["metrics"]["artifacts"][0]["metadata"]
    assert (metrics["promoted"], metrics["leakage_blocking"]) == (1, 0)

    # A step that fails: of the class that it raised, with its name, and without a trace.
    with pytest.raises(InvalidSettings, match=r"^step search: there is no search space 'nowhere'$") as caught:
        run_pipeline(storage, HISTORY, TrainingSettings(), SMALL | {"space": "nowhere"})
    assert caught.value.details[0].field == "space"
    assert "Traceback" not in capfd.readouterr().err
    assert (
        "step search failed: there is no search space"
        in storage.local("runs/failed/pipeline.log").read_text()
    )


def test_an_empty_lake(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughData, match="no sold listings"):
        run_in_process(Storage(str(tmp_path)), HISTORY, TrainingSettings())


@pytest.mark.parametrize("price", ["as it was", "one for all"])
def test_one_designer_an_empty_column_and_strange_texts(
    ray: None, lake: Path, tmp_path: Path, price: str
) -> None:
    storage, texts = (
        Storage(str(tmp_path)),
        itertools.cycle(["👖🔥 東京 ÆØÅ", "x" * 20_000, "\u202eعربى", None]),
    )
    odd = [
        listing.model_copy(
            update={
                "designers": ("Ünïcode 東京 👖",),
                "color": None,
                "title": f"{next(texts) or 'plain'}"[:300],
                "description": next(texts),
            }
            | ({"sold_price": 50.0} if price == "one for all" else {})
        )
        for listing in Lake(Storage(str(lake))).listings()
    ]
    Lake(storage).append(odd)
    small = SMALL | {"trials": "2", "max_iterations": "10"}
    result = run_in_process(storage, HISTORY, TrainingSettings(), small)
    warnings = read(storage, result.run_id, "validation.json")["warnings"]
    assert {"column color is empty", "there is one designer only"} <= set(warnings)
    assert all(math.isfinite(v) for v in result.metrics.values() if isinstance(v, float))
    if price == "one for all":
        assert "every listing sold for $50.00" in warnings
        assert not result.promoted, "where the median is always right, nothing is better than the median"
        assert any("median" in reason for reason in result.verdict["reasons"])


def test_a_lake_that_cannot_be_true_fails_before_anything_is_built(lake: Path, tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    dear = [s.model_copy(update={"sold_price": 1e9}) for s in Lake(Storage(str(lake))).listings()]
    Lake(storage).append(dear)
    with pytest.raises(LakeRefused, match=r"100\.0% of \d+ listings cannot be true"):
        run_in_process(storage, HISTORY, TrainingSettings(), SMALL)
    assert json.loads(storage.read_bytes("runs/failed/validation.json"))["absurd_share"] == 1
    assert not storage.exists("features")


def test_a_step_out_of_order_says_what_is_missing(tmp_path: Path) -> None:
    config = make_config(Storage(str(tmp_path)), HISTORY, TrainingSettings())
    with pytest.raises(StorageError, match="has no finished step 'training_set'"):
        steps.search_step(config, "20260101-abc")


def test_on_s3_it_is_the_same_model(
    first: tuple[Storage, RunResult],
    lake: Path,
    s3_storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    storage, plain = first
    monkeypatch.setenv("GRAILDIENT_SCRATCH", str(tmp_path / "scratch"))
    upload(lake, s3_storage, "lake/**")
    # A search that another pod had finished but for its last words.
    upload(Path(storage.root), s3_storage, f"runs/{plain.run_id}/search/*-*.json")
    upload(Path(storage.root), s3_storage, f"runs/{plain.run_id}/search/search.json")
    monkeypatch.setattr("training.search._run", None)
    result = run_in_process(s3_storage, HISTORY, TrainingSettings(), SMALL)
    assert (result.run_id, result.version) == (plain.run_id, plain.version)
    assert hashes(s3_storage, result) == hashes(storage, plain)
    shutil.rmtree(tmp_path / "scratch")  # as on another pod
    again = run_in_process(s3_storage, HISTORY, TrainingSettings(), SMALL)
    assert again.verdict["reasons"] == [f"{plain.version} is already champion"]


def upload(root: Path, target: Storage, pattern: str) -> None:
    for path in Storage(str(root)).glob(pattern):
        if (root / path).is_file():
            target.write_bytes(path, (root / path).read_bytes())


def test_terminated_in_the_middle_it_leaves_no_process(lake: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(lake, root)
    events = tmp_path / "progress.jsonl"
    env = os.environ | {
        "GRAILDIENT_ROOT": str(root),
        "GRAILDIENT_FEATURES_CLOCK": "history",
        "GRAILDIENT_PROGRESS_FILE": str(events),
    }
    words = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-W", "ignore", "-m", "graildient", "pipeline", "run", *words]
    process = subprocess.Popen(command, env=env, start_new_session=True)
    family = [psutil.Process(process.pid)]
    try:
        until = time.monotonic() + 400
        while not (events.exists() and '"search"' in events.read_text()):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        time.sleep(2)  # Ray is coming up
        family += family[0].children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
        _, left = psutil.wait_procs(family, timeout=20)
        assert left == []
    finally:
        for member in family:
            if member.is_running():
                member.kill()
