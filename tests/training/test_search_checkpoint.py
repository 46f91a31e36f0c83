"""A killed trial goes on from its snapshot and ends as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from graildient.storage import Storage
from training.fit import Prepared, prepare_split
from training.search import Fit
from training.search_checkpoint import Checkpoints
from training.search_trial import Curve

import search_once  # isort: skip

PARAMS = {"learning_rate": 0.1, "depth": 4, "l2_leaf_reg": 3.0}
ITERATIONS = 60
RUNGS = (7, 15, 30)


@dataclass
class Told:
    """A trial's reports, and whether it kills itself in the middle as a lost node would."""

    dies_at: int = 0
    stops_at: int = 0
    reports: list[dict[str, Any]] = field(default_factory=list)

    def curve(self, patience: int = 1000) -> Curve:
        curve = Curve(range(5, ITERATIONS, 5), RUNGS, patience, self.reports.append)
        follow = curve.follow

        def dying(scores: Any) -> bool:
            if self.dies_at and len(scores) == self.dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return follow(scores)

        curve.follow = dying  # type: ignore[method-assign]
        return curve


@pytest.fixture(scope="module")
def rows() -> tuple[Prepared, Prepared]:
    listings, market = search_once.rows(400)
    return prepare_split(listings, market, int(len(listings) * 0.8))


@pytest.fixture(scope="module")
def fit(rows: tuple[Prepared, Prepared]) -> Fit:
    return Fit(*rows, ITERATIONS, 5)


def train(fit: Fit, checkpoints: Checkpoints | None, told: Told, patience: int = 1000) -> Curve:
    curve = told.curve(patience)
    if checkpoints is None:
        fit(dict(PARAMS), curve)
    else:
        with checkpoints.of("trial") as kept:
            fit(dict(PARAMS), curve, kept)
    return curve


def killed(fit: Fit, checkpoints: Checkpoints, at: int) -> None:
    """Train in a process of its own, which gets a SIGKILL at an iteration."""
    child = multiprocessing.get_context("fork").Process(
        target=train, args=(fit, checkpoints, Told(dies_at=at))
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL


def plain(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in report.items() if k != "resumed"} for report in reports]


@pytest.mark.parametrize("at", [2, 16, 60])
def test_killed_at_an_iteration_it_loses_only_that_one(fit: Fit, tmp_path: Path, at: int) -> None:
    undisturbed = Told()
    whole = train(fit, None, undisturbed)
    checkpoints = Checkpoints(str(tmp_path), 0)
    killed(fit, checkpoints, at)
    resumed = Told()
    curve = train(fit, checkpoints, resumed)
    assert curve.resumed == at - 1
    assert plain(resumed.reports) == plain(undisturbed.reports), "also those of before it was killed"
    assert plain([curve.result(done=True)]) == plain([whole.result(done=True)])
    assert whole.at == ITERATIONS

    again = train(fit, checkpoints, Told())  # a snapshot of the last iteration: nothing is left to train
    assert plain([again.result(done=True)]) == plain([whole.result(done=True)])
    assert again.resumed == ITERATIONS - 1


def test_patience_ends_a_continued_trial_where_it_ended_an_undisturbed_one(fit: Fit, tmp_path: Path) -> None:
    reports = Told()
    train(fit, None, reports)
    bests = [r["best_iteration"] for r in reports.reports]
    assert bests == sorted(bests)
    whole = train(fit, None, Told(), patience=1)
    assert whole.at < ITERATIONS, "it gets worse once"
    checkpoints = Checkpoints(str(tmp_path), 0)
    killed(fit, checkpoints, ITERATIONS)  # far behind the end that patience sets
    assert train(fit, checkpoints, Told(), patience=1).result() | {"resumed": 0} == whole.result()


def test_between_two_snapshots_nothing_is_written(fit: Fit, tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path), 3600)
    killed(fit, checkpoints, 30)
    assert train(fit, checkpoints, Told()).resumed == 0


@pytest.mark.parametrize("content", [b"", b"no snapshot at all"])
def test_a_snapshot_that_cannot_be_read_is_none(fit: Fit, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "snapshot").write_bytes(content)
    curve = train(fit, Checkpoints(str(tmp_path), 0), Told())
    assert (curve.at, curve.resumed) == (ITERATIONS, 0)


def test_a_snapshot_of_another_training_is_none(fit: Fit, tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path), 0)
    train(Fit(fit.train, fit.valid, ITERATIONS, seed=6), checkpoints, Told())
    whole, other = train(fit, None, Told()), train(fit, checkpoints, Told())
    assert other.result() == whole.result()


def test_where_nobody_can_write_the_trial_says_so(fit: Fit, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        train(fit, Checkpoints(str(tmp_path / "file"), 0), Told())


def test_on_another_machine_it_goes_on_from_s3(fit: Fit, s3_storage: Storage) -> None:
    endpoint = s3_storage.fs.endpoint_url
    checkpoints = Checkpoints(s3_storage.root, 0, endpoint)
    killed(fit, checkpoints, 10)
    assert s3_storage.exists("trial/snapshot")
    curve = train(fit, checkpoints, Told())
    assert curve.resumed == 9
    assert curve.result() | {"resumed": 0} == train(fit, None, Told()).result()
    checkpoints.remove("trial")
    assert s3_storage.list("") == []
