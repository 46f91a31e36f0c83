"""Every answer as a row of Parquet, written off the request path, without personal data.

    predictions/date=YYYY-MM-DD/<time>-<process>-<number>.parquet

The free text of a listing, its place and its seller are not kept. Drift and live accuracy are read
from here and joined with the sales that come later, by listing id.
"""

from __future__ import annotations

import hashlib
import io
import logging
import secrets
import threading
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from graildient.errors import GraildientError
from graildient.listing import Listing
from graildient.storage import Storage
from serving import metrics

if TYPE_CHECKING:
    from serving.dataplane import Answers

log = logging.getLogger("graildient.serving")

SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("row", pa.int32()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("protocol", pa.string()),
        ("listing_id", pa.int64()),
        ("listing_hash", pa.string()),
        ("department", pa.string()),
        ("category", pa.string()),
        ("subcategory", pa.string()),
        ("designers", pa.list_(pa.string())),
        ("condition", pa.string()),
        ("photo_count", pa.int32()),
        ("price", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("model_version", pa.string()),
        ("as_of", pa.timestamp("us", tz="UTC")),
        ("market", pa.string()),
    ]
)
"""Prices in US dollars; `listing_hash` tells whether two requests were about the same listing."""


_ROW_BYTES = 1_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One answered request."""

    at: datetime
    protocol: str
    listings: list[Listing]
    answers: Answers

    @property
    def size(self) -> int:
        """Roughly the bytes that it holds in memory."""
        return sum(_ROW_BYTES + len(x.title) + len(x.description or "") for x in self.listings)

    def rows(self) -> list[dict[str, Any]]:
        answers = self.answers
        return [
            {
                "request_id": answers.request_id,
                "row": i,
                "at": self.at,
                "protocol": self.protocol,
                "listing_id": listing.id,
                "listing_hash": listing_hash(listing),
                "department": listing.department,
                "category": listing.category,
                "subcategory": listing.subcategory,
                "designers": list(listing.designers),
                "condition": listing.condition,
                "photo_count": listing.photo_count,
                "price": float(answers.price[i]),
                "low": float(answers.low[i]),
                "high": float(answers.high[i]),
                "model_version": answers.version,
                "as_of": answers.as_of,
                "market": answers.market[i],
            }
            for i, listing in enumerate(self.listings)
        ]


def listing_hash(listing: Listing) -> str:
    """16 hex digits of everything the seller said, so that a repeated question is recognised."""
    return hashlib.sha256(listing.model_dump_json().encode()).hexdigest()[:16]


class PredictionLog:
    """A bounded queue and the thread that empties it into the storage.

    What does not fit, or cannot be written before the server ends, is counted as dropped. While the
    storage fails, answers stay in the queue and are tried again.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        flush_rows: int = 5_000,
        flush_seconds: float = 15,
        capacity: int = 64 * 1024 * 1024,
    ) -> None:
        """`capacity` bounds the queue by (roughly) the bytes that its listings hold."""
        self._storage = storage
        self._flush_rows = flush_rows
        self._flush_seconds = flush_seconds
        self._capacity = capacity
        self._name = secrets.token_hex(4)
        self._number = 0
        self._entries: deque[Entry] = deque()
        self._rows = 0
        self._bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Queue an answer; never waits for the storage."""
        with self._changed:
            if self._closing or self._bytes + entry.size > self._capacity:
                metrics.LOG_DROPPED.inc(len(entry.listings))
                return
            self._entries.append(entry)
            self._rows += len(entry.listings)
            self._bytes += entry.size
            if self._rows >= self._flush_rows:
                self._changed.notify()

    def close(self, timeout: float = 10) -> None:
        """Write what is queued and stop."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closing or (self._rows >= self._flush_rows and not self._failing),
                    self._flush_seconds,
                )
                closing, batch = self._closing, list(self._entries)
            # One file a day of answers; a day that was written leaves the queue even if the next one fails.
            days = [list(entries) for _, entries in groupby(batch, key=lambda entry: entry.at.date())]
            for entries in days:
                written = self._write(entries)
                if not written and not closing:
                    break
                rows = sum(len(entry.listings) for entry in entries)
                (metrics.LOG_ROWS if written else metrics.LOG_DROPPED).inc(rows)
                with self._changed:
                    for entry in entries:
                        self._entries.popleft()
                        self._bytes -= entry.size
                    self._rows -= rows
            if closing:
                return

    def _write(self, entries: list[Entry]) -> bool:
        at = entries[0].at
        try:
            table = pa.Table.from_pylist([row for entry in entries for row in entry.rows()], schema=SCHEMA)
            sink = io.BytesIO()
            pq.write_table(table, sink, compression="zstd")
            self._number += 1
            name = f"{at:%H%M%S%f}-{self._name}-{self._number:06d}.parquet"
            self._storage.write_bytes(f"predictions/date={at.date()}/{name}", sink.getvalue())
        except Exception as error:
            if not self._failing:
                foreseen = isinstance(error, GraildientError)
                log.error(
                    "the prediction log cannot be written: %s", error, exc_info=None if foreseen else error
                )
            self._failing = True
            return False
        self._failing = False
        return True
