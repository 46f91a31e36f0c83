"""What Ray Tune makes of a search. One Ray for all tests here, and as few Tune runs as will do."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from graildient.errors import GraildientError, NotEnoughData
from training.search import load_result, search
from training.search_batches import Batches, Record, rungs
from training.search_checkpoint import Checkpoints
from training.search_ray import ray_session
from training.search_space import load_space

import search_once  # isort: skip

slow = pytest.mark.slow

SPACE = load_space("quick")
ITERATIONS = 40
LIMITS = {"iterations": ITERATIONS, "patience": 1000}


def _rays_left() -> list[str]:
    """Command lines of Ray's living processes below this one."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            found.append(" ".join(process.cmdline()))
    return [command for command in found if "ray" in command]


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    with ray_session(cpus=2, address="", data_bytes=0):
        from ray import cloudpickle

        cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test
        yield
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert signal.getsignal(signal.SIGTERM) == before
    assert _rays_left() == []


@dataclass
class Known:
    """A training whose curve follows from its parameters, at a pace that does not."""

    pace: float = 0.0
    fails_above_depth: int = 99
    dies_once: str = ""

    def __call__(self, params: dict[str, Any], curve: Any, kept: Any = None) -> None:
        if params["depth"] > self.fails_above_depth:
            raise ValueError("so deep\nis not for us")
        scores: list[float] = []
        if kept is not None and kept.snapshot.exists():
            scores = json.loads(kept.snapshot.read_bytes())
        for iteration in range(len(scores) + 1, ITERATIONS + 1):
            scores.append(0.4 + abs(params["learning_rate"] - 0.15) + 1 / iteration)
            time.sleep(self.pace * params["learning_rate"])
            info = SimpleNamespace(iteration=iteration, metrics={"validation": {"RMSE": scores}})
            if not curve.after_iteration(info):
                return
            if kept is not None and iteration == 15:
                kept.snapshot.write_text(json.dumps(scores))
            if self.dies_once and iteration == 20 and not os.path.exists(self.dies_once):
                Path(self.dies_once).touch()
                time.sleep(0.5)  # so that its reports arrive
                os.kill(os.getpid(), signal.SIGKILL)


def run(folder: Path, train: Known, *, mode: str = "batched") -> Batches:
    from training.search_tune import run_async, run_batched

    def check(running: Any) -> None:
        assert all(0 <= share <= 1 for share in running.values())

    keep = Checkpoints(str(folder / "checkpoints"), 0)
    batches = Batches(folder, SPACE, trials=6, size=2, seed=3, identity={"mode": mode}, checkpoints=keep)
    if mode == "batched":
        run_batched(train, batches, rungs(ITERATIONS), LIMITS, folder / "scratch", check)
    else:
        run_async(train, batches, rungs(ITERATIONS), LIMITS, folder, check)
    return batches


@slow
def test_neither_pace_nor_a_dying_worker_decides_anything(ray: None, tmp_path: Path) -> None:
    plain = run(tmp_path / "plain", Known(fails_above_depth=5))
    died = tmp_path / "died"
    other = run(tmp_path / "other", Known(pace=0.1, fails_above_depth=5, dies_once=str(died)))
    assert died.exists()
    assert set(plain.records) == set(range(6))
    assert plain.records == other.records
    assert (len(plain.resumed), list(other.resumed.values())) == (0, [15])
    for name in ("batch-000.json", "batch-001.json", "batch-002.json"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()

    states = [plain.records[n].state for n in range(6)]
    assert set(states) == {"complete", "stopped", "failed"}, "the seed gives a trial of each kind"
    for record in plain.records.values():
        if record.state == "failed":
            assert record == Record(
                record.number, record.params, "failed", error="ValueError: so deep is not for us"
            )
        if record.state == "complete":
            expected = 0.4 + abs(record.params["learning_rate"] - 0.15) + 1 / ITERATIONS
            assert record.score == pytest.approx(expected)
            assert record.iterations == ITERATIONS
        if record.state == "stopped":
            assert record.number >= 4, "the first two batches have nothing to be compared with"
            assert record.stopped_at in rungs(ITERATIONS)
            assert record.score == record.rungs[str(record.stopped_at)]


@slow
def test_plain_asha_and_what_it_leaves_for_a_restart(ray: None, tmp_path: Path) -> None:
    batches = run(tmp_path, Known(dies_once=str(tmp_path / "died")), mode="async")
    assert list(batches.resumed.values()) == [15], "Tune starts it again, and it goes on"
    assert set(batches.records) == set(range(6))
    assert {r.state for r in batches.records.values()} <= {"complete", "stopped"}
    assert batches.best is not None
    for file in tmp_path.glob("batch-*.json"):
        file.unlink()  # as if killed between the last trial and its record
    again = run(tmp_path, Known(fails_above_depth=0), mode="async")
    assert again.records == batches.records, "no trial ran again"


@slow
def test_killed_and_started_again_it_ends_as_undisturbed(
    ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[float, float | None, str]] = []

    def report(stage: str, *, done: float, total: float | None = None, note: str = "") -> None:
        assert stage == "search"
        events.append((done, total, note))

    listings, market = search_once.rows()
    whole = search(listings, market, search_once.SETTINGS, tmp_path / "whole", report)
    assert [t["number"] for t in whole.trials] == [0, 1, 2, 3, 4]
    assert whole.score == min(t["score"] for t in whole.trials if t["state"] == "complete")
    assert 0 < whole.iterations <= 300
    assert events[0] == (0, 5, "")
    assert any(re.fullmatch(r"best 0\.\d{4}, about \d+ s left", note) for _, _, note in events)
    assert not (tmp_path / "whole" / "checkpoints").exists()
    assert events[-1] == (5, 5, f"best {whole.score:.4f}")
    assert [done for done, _, _ in events] == sorted(done for done, _, _ in events)
    assert load_result(tmp_path / "whole") == whole

    with monkeypatch.context() as patched:
        patched.setattr("training.search._run", None)  # a finished search starts nothing
        assert search(listings, market, search_once.SETTINGS, tmp_path / "whole") == whole

    killed = tmp_path / "killed"
    command = [sys.executable, "-W", "ignore", str(Path(search_once.__file__)), str(killed)]
    process = subprocess.Popen(command, start_new_session=True)
    family = [psutil.Process(process.pid)]
    try:
        until = time.monotonic() + 300
        while not list(killed.glob("checkpoints/00[234]/snapshot")):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        time.sleep(0.1)
        family += family[0].children(recursive=True)
        process.kill()
        process.wait()
        assert not (killed / "result.json").exists(), "it was killed in the middle"
        _, left = psutil.wait_procs(family, timeout=10)
        # Two of Ray's agents look after their raylet once in a while only.
        assert len(left) <= 2, left
    finally:
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
    ended = [r["number"] for file in killed.glob("batch-*.json") for r in json.loads(file.read_bytes())]
    assert ended
    again = search(listings, market, search_once.SETTINGS, killed)
    assert again == whole
    assert again.resumed, "what was running went on where it was"
    assert not set(again.resumed) & set(ended)
    assert all(done > 0 for done in again.resumed.values())
    for name in ("result.json", "trials.jsonl", "batch-000.json", "batch-001.json", "batch-002.json"):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_when_every_trial_fails_the_cause_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_all(fit: Any, batches: Batches, *_: Any) -> None:
        for number in batches.left():
            batches.finish(Record(number, {}, "failed", error="CatBoostError: no such thing"), 0.1)

    monkeypatch.setattr("training.search._run", fail_all)
    listings, market = search_once.rows(200)
    with pytest.raises(GraildientError, match="all 5 trials of the search failed: CatBoostError: no such"):
        search(listings, market, search_once.SETTINGS, tmp_path / "search")


def test_too_few_listings_are_refused_before_anything_starts(tmp_path: Path) -> None:
    listings, market = search_once.rows(60)
    with pytest.raises(NotEnoughData, match="needs 20 of each"):
        search(listings, market, search_once.SETTINGS, tmp_path)


def test_a_trial_follows_its_curve_and_ends_when_it_gets_no_better() -> None:
    from training.search_trial import Curve

    told: list[dict[str, Any]] = []
    curve = Curve(milestones=[3], rungs=[2, 6], patience=3, put=told.append)
    scores = [0.9, 0.7, 0.5, 0.6, 0.6, 0.6, 0.4]
    goes_on = [
        curve.after_iteration(SimpleNamespace(iteration=i, metrics={"validation": {"RMSE": scores[:i]}}))
        for i in range(1, 7)
    ]
    assert goes_on == [True, True, True, True, True, False]
    seen = [(t["iteration"], t["score"], t["best_iteration"]) for t in told]
    assert seen == [(2, 0.7, 2), (3, 0.5, 3), (6, 0.5, 3)]
    assert told[-1]["rungs"] == [("2", 0.7), ("6", 0.5)]
    assert not told[-1]["done"]
    assert curve.result(done=True)["finished"]
    curve.stop = True
    better = SimpleNamespace(iteration=7, metrics={"validation": {"RMSE": scores}})
    assert not curve.after_iteration(better)
