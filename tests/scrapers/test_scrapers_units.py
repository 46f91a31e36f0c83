"""The parts of the scraper that need no server."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from scrapy import Request
from scrapy.exceptions import DropItem
from scrapy.http import Response

from graildient.errors import InvalidSettings, StorageError
from graildient.lake import Lake
from graildient.settings import ScraperSettings
from graildient.storage import Storage
from scrapers.ledger import LEDGER, Covered, only_run, read_covered, write_covered
from scrapers.middlewares import ANSWER, read_results, retry_after
from scrapers.pipelines import ScrapedHit, Validate
from scrapers.run import crawler_settings, scrape
from scrapers.session import Session


def day(number: int) -> datetime:
    return datetime(2024, 1, number, tzinfo=UTC)


def test_what_is_covered_is_remembered(storage: Storage) -> None:
    assert read_covered(storage) is None
    write_covered(storage, Covered(day(1), day(5)))
    assert read_covered(storage) == Covered(day(1), day(5))


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (4, 9, Covered(day(3), day(9))),
        (1, 3, Covered(day(1), day(5))),
        (4, 5, Covered(day(3), day(5))),
        (7, 9, Covered(day(3), day(5))),
        (1, 2, Covered(day(3), day(5))),
    ],
)
def test_only_ranges_that_touch_are_joined(start: int, end: int, expected: Covered) -> None:
    assert Covered(day(3), day(5)).joined(day(start), day(end)) == expected


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"start": 1, "end": 2}'])
def test_a_damaged_ledger_is_named(storage: Storage, body: bytes) -> None:
    storage.write_bytes(LEDGER, body)
    with pytest.raises(StorageError, match=r"sold_sweep\.json"):
        read_covered(storage)


def test_the_lock_is_free_again_after_a_run(storage: Storage) -> None:
    for _ in range(2):
        with only_run(storage), pytest.raises(StorageError, match="another scrape"), only_run(storage):
            pass


def test_an_empty_range_is_refused(storage: Storage) -> None:
    with pytest.raises(InvalidSettings, match="since: must be before until"):
        scrape(ScraperSettings(), storage, since=day(2), until=day(2))


def test_a_public_source_is_asked_politely() -> None:
    public = crawler_settings(ScraperSettings())
    assert public["AUTOTHROTTLE_ENABLED"]
    assert public["ROBOTSTXT_OBEY"]
    assert (public["DOWNLOAD_DELAY"], public["CONCURRENT_REQUESTS"]) == (1.0, 1)
    local = crawler_settings(ScraperSettings(base_url="http://127.0.0.1:9", requests_per_second=50))
    assert not local["AUTOTHROTTLE_ENABLED"]
    assert local["DOWNLOAD_DELAY"] == 0.02


def response(value: str | None) -> Response:
    headers = {} if value is None else {"Retry-After": value}
    return Response("http://localhost/", status=429, headers=headers, request=Request("http://localhost/"))


def test_retry_after_as_seconds_and_as_a_date() -> None:
    assert retry_after(response("120")) == 120
    later = retry_after(response(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)))
    assert later is not None
    assert 50 < later <= 60
    assert retry_after(response("Wed, 21 Oct 2015 07:28:00 GMT")) == 0
    for nonsense in (None, "", "soon", "-5", "1e9"):
        assert retry_after(response(nonsense)) is None


GOOD = {"nbHits": 0, "hits": []}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"results": [{"nbHits": 0, "hits": []}',
        json.dumps({"results": [GOOD]}).encode(),
        json.dumps({"results": [GOOD, None]}).encode(),
        json.dumps({"results": [GOOD, {"nbHits": "0", "hits": []}]}).encode(),
        json.dumps({"results": [GOOD, {"nbHits": 0, "hits": {}}]}).encode(),
        b"[" * 100_000,
        b"\xff\xfe\xfa",
    ],
)
def test_a_body_that_is_no_answer_is_none(body: bytes) -> None:
    assert ANSWER
    assert read_results(body, 2) is None


def test_a_good_answer_is_its_results() -> None:
    assert read_results(json.dumps({"results": [GOOD, GOOD]}).encode(), 2) == [GOOD, GOOD]


class FullDisk(Lake):
    error: Exception

    def append(self, listings: Any) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [StorageError("no space left"), OSError(28, "no space left")])
def test_a_lake_that_cannot_be_written_ends_the_run(tmp_path: Path, error: Exception) -> None:
    lake = FullDisk(Storage(str(tmp_path)))
    lake.error = error
    session = Session(ScraperSettings(), lake, day(1), day(2), report=lambda *_, **__: None)
    session.quarantine("invalid", "title", {"objectID": "1"})
    asyncio.run(session.flush())
    assert isinstance(session.broken, StorageError)
    assert "no space left" in session.broken.message


def test_a_payload_that_nobody_thought_of_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("scrapers.pipelines.parse_hit", fail)
    lake = Lake(Storage(str(tmp_path)))
    session = Session(ScraperSettings(), lake, day(1), day(2), report=lambda *_, **__: None)
    with pytest.raises(DropItem):
        Validate(session).process_item(ScrapedHit({"objectID": "1"}))
    asyncio.run(session.flush())
    (kept,) = lake.quarantined()
    assert (kept.cause, kept.field, kept.payload) == ("error", "ZeroDivisionError", {"objectID": "1"})
