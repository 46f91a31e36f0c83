"""The prediction log: complete, bounded, without personal data, and no reason to lose a request."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from graildient.errors import StorageError
from graildient.listing import Listing
from graildient.storage import Storage
from serving import metrics
from serving.dataplane import Answers
from serving.prediction_log import Entry, PredictionLog, listing_hash

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def entry(*listings: Listing, at: datetime = NOON) -> Entry:
    prices = np.arange(1.0, len(listings) + 1)
    answers = Answers(
        "r-1", "v1", NOON, prices, prices / 2, prices * 2, {}, ["fresh"] * len(listings), [()] * len(listings)
    )
    return Entry(at, "rest_v1", list(listings), answers)


def logged(storage: Storage) -> list[dict[str, object]]:
    rows = []
    for path in storage.glob("predictions/date=*/*.parquet"):
        rows += pq.read_table(storage.local(path), partitioning=None).to_pylist()
    return sorted(rows, key=lambda row: (row["at"], row["row"]))


def test_every_answer_is_written_below_its_day(storage: Storage) -> None:
    log = PredictionLog(storage)
    log.put(entry(Listing(title="a", id=5, category="tops", designers=("Nike",), condition="used")))
    log.put(entry(Listing(title="b"), Listing(title="c"), at=NOON + timedelta(days=1)))
    log.close()
    assert storage.list("predictions") == ["date=2026-03-01", "date=2026-03-02"]
    first, *others = logged(storage)
    assert (first["listing_id"], first["category"], first["designers"], first["condition"]) == (
        5,
        "tops",
        ["Nike"],
        "used",
    )
    assert (first["price"], first["low"], first["high"], first["market"]) == (1.0, 0.5, 2.0, "fresh")
    assert [row["price"] for row in others] == [1.0, 2.0]


def test_nothing_personal_and_no_free_text_is_kept(storage: Storage) -> None:
    log = PredictionLog(storage)
    secret = "xyzzy-4711"
    log.put(
        entry(
            Listing(title=secret, description=secret, location=secret, seller_hash=secret, hashtags=(secret,))
        )
    )
    log.close()
    (row,) = logged(storage)
    assert secret not in str(row)
    assert row["listing_hash"] == listing_hash(
        Listing(title=secret, description=secret, location=secret, seller_hash=secret, hashtags=(secret,))
    )
    assert row["listing_hash"] != listing_hash(Listing(title=secret))


def test_what_does_not_fit_is_counted_and_nobody_waits(storage: Storage) -> None:
    before = metrics.LOG_DROPPED._value.get()
    log = PredictionLog(storage, capacity=2_500)
    for _ in range(5):
        log.put(entry(Listing(title="a")))
    log.close()
    assert len(logged(storage)) == 2
    assert metrics.LOG_DROPPED._value.get() - before == 3


class Flaky(Storage):
    """A storage whose disk is full until `mend` is called."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.broken = True
        self.tried = threading.Event()

    def write_bytes(self, path: str, data: bytes) -> None:
        if self.broken:
            self.tried.set()
            raise StorageError("no space left")
        super().write_bytes(path, data)


def test_answers_wait_while_the_storage_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    storage = Flaky(str(tmp_path))
    log = PredictionLog(storage, flush_seconds=0.02)
    log.put(entry(Listing(title="a")))
    assert storage.tried.wait(5)
    log.put(entry(Listing(title="b")))
    storage.broken = False
    log.close()
    assert len(logged(storage)) == 2
    assert sum("no space left" in r.getMessage() for r in caplog.records) == 1


def test_what_cannot_be_written_before_the_end_is_counted(tmp_path: Path) -> None:
    before = metrics.LOG_DROPPED._value.get()
    log = PredictionLog(Flaky(str(tmp_path)))
    log.put(entry(Listing(title="a"), Listing(title="b")))
    log.close()
    assert metrics.LOG_DROPPED._value.get() - before == 2
