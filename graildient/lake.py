"""The lake: sold listings as Parquet, partitioned by day of sale, append-only and idempotent.

A row is written once: a listing whose facts are in its partition already is a duplicate,
whenever it was scraped. A corrected fact (same id, other content) is a further row, and
readers take the row scraped last, over all days, because a correction may move the sale.
So half a run that is repeated leaves the rows of one clean run.

A part's name is the sum of its rows' content hashes. The sum of a day's names is therefore
the same however its rows came to be split into parts, and :meth:`Lake.fingerprint` is too.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import blake2b, sha256
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from graildient.errors import StorageError
from graildient.listing import SoldListing
from graildient.storage import Storage

T = TypeVar("T")

SOLD = "lake/sold"
QUARANTINE = "lake/quarantine"
BATCH = 10_000
"""Rows held in memory before they are written."""
_THREADS = 8
_SMALL = 500

_TIME = pa.timestamp("us", tz="UTC")
SCHEMA: pa.Schema = pa.schema(
    [
        ("id", pa.int64()),
        ("title", pa.string()),
        ("description", pa.string()),
        ("designers", pa.list_(pa.string())),
        ("department", pa.string()),
        ("category", pa.string()),
        ("subcategory", pa.string()),
        ("size", pa.string()),
        ("color", pa.string()),
        ("condition", pa.string()),
        ("hashtags", pa.list_(pa.string())),
        ("photo_count", pa.int32()),
        ("asking_price", pa.float64()),
        ("location", pa.string()),
        ("seller_hash", pa.string()),
        ("created_at", _TIME),
        ("time_is_estimated", pa.bool_()),
        ("sold_price", pa.float64()),
        ("sold_at", _TIME),
        ("shipping_price", pa.float64()),
        ("shipping_included", pa.bool_()),
        ("scraped_at", _TIME),
    ]
)
"""Columns of the lake: the fields of a :class:`SoldListing`, prices in US dollars, times in UTC."""

_NAMES: tuple[str, ...] = tuple(SCHEMA.names)
_CONTENT = "content"
# What a part holds besides: the hash of the row's facts, by which duplicates are known.
_STORED: pa.Schema = SCHEMA.append(pa.field(_CONTENT, pa.uint64()))
_MASK = 2**64 - 1


@dataclass(frozen=True)
class Appended:
    """What an append did: rows written, and rows that were there already (or came twice)."""

    written: int
    duplicates: int


@dataclass(frozen=True)
class Quarantined:
    """Something that broke the contract, kept whole.

    `cause` is one of few words (it labels a metric), `field` the field at fault or "",
    `source` where it came from.
    """

    cause: str
    field: str
    payload: Any
    source: str


def row_from_listing(listing: SoldListing) -> dict[str, Any]:
    """The lake's row of a listing: lists for tuples, else the same values."""
    row = {name: getattr(listing, name) for name in _NAMES}
    row["designers"] = list(row["designers"])
    row["hashtags"] = list(row["hashtags"])
    return row


def row_to_listing(row: Mapping[str, Any]) -> SoldListing:
    """The listing of a lake's row, without validation: what is in the lake has passed the contract."""
    fields = dict(row)
    for name in ("designers", "hashtags"):
        fields[name] = tuple(fields[name] or ())
    for name in ("created_at", "sold_at", "scraped_at"):
        moment = fields[name]
        if moment is not None and moment.tzinfo is not UTC:
            fields[name] = moment.replace(tzinfo=UTC)
    return SoldListing.model_construct(**fields)


def content_hash(row: Mapping[str, Any]) -> int:
    """64 bits over a row's facts, which are all but the time of scraping.

    Empty fields are left out, so that a column added later changes the hash of no older row.
    """
    facts = [
        (name, value.isoformat() if isinstance(value, datetime) else value)
        for name, value in row.items()
        if name != "scraped_at" and value is not None and value != []
    ]
    text = json.dumps(sorted(facts), ensure_ascii=True, separators=(",", ":"))
    return int(struct.unpack("<Q", blake2b(text.encode(), digest_size=8).digest())[0])


class Lake:
    """The lake below a storage root."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._quarantined: set[str] | None = None

    def append(self, listings: Iterable[SoldListing]) -> Appended:
        """Write what is new, in batches, each partition's part whole or not at all.

        Raises:
            StorageError: the lake cannot be written.
        """
        written = duplicates = 0
        rows = iter(listings)
        while batch := list(islice(rows, BATCH)):
            days: dict[date, list[dict[str, Any]]] = {}
            for listing in batch:
                row = row_from_listing(listing)
                row[_CONTENT] = content_hash(row)
                days.setdefault(listing.sold_at.date(), []).append(row)
            new = sum(_threads(self._write_day, days.items()))
            written += new
            duplicates += len(batch) - new
        return Appended(written, duplicates)

    def _write_day(self, item: tuple[date, list[dict[str, Any]]]) -> int:
        day, rows = item
        folder = f"{SOLD}/sold_date={day.isoformat()}"
        known: set[int] = set()
        for name in self.storage.list(folder):
            known |= self._content(f"{folder}/{name}")
        new = {row[_CONTENT]: row for row in reversed(rows) if row[_CONTENT] not in known}
        if not new:
            return 0
        ordered = sorted(new.values(), key=lambda row: (row["id"], row[_CONTENT]))
        body = _parquet(pa.Table.from_pylist(ordered, schema=_STORED))
        self.storage.write_bytes(f"{folder}/part-{sum(new) & _MASK:016x}.parquet", body)
        return len(new)

    def _content(self, part: str) -> set[int]:
        file = io.BytesIO(self.storage.read_bytes(part))
        try:
            return set(pq.ParquetFile(file).read([_CONTENT], use_threads=False)[_CONTENT].to_pylist())
        except pa.ArrowException as error:
            raise StorageError(f"cannot read {self.storage.url(part)}: {error}") from None

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """One row a listing, the one scraped last, sorted by `sold_at` and `id`.

        Args:
            columns: names of :data:`SCHEMA` to read; all by default.

        Raises:
            StorageError: the lake cannot be read, or there is no such column.
        """
        wanted = list(_NAMES if columns is None else columns)
        unknown = sorted(set(wanted) - set(_NAMES))
        if unknown:
            raise StorageError(f"the lake has no column {', '.join(unknown)}")
        names = list(dict.fromkeys([*wanted, "id", "sold_at", "scraped_at", _CONTENT]))
        # One chunk a column: thousands of small ones make every step below slow.
        table = self._scan(names).combine_chunks()
        keep = _newest(table)
        order = np.lexsort((_ints(table["id"])[keep], _ints(table["sold_at"])[keep]))
        return table.select(wanted).take(pa.array(keep[order]))

    def _parts(self) -> list[str]:
        return self.storage.glob(f"{SOLD}/sold_date=*/part-*.parquet")

    def _scan(self, names: list[str]) -> pa.Table:
        parts = self._parts()
        schema = pa.schema([_STORED.field(name) for name in names])
        if not parts:
            return schema.empty_table()
        if self.storage.is_local:
            filesystem: Any = None
        else:
            from pyarrow.fs import FSSpecHandler, PyFileSystem

            filesystem = PyFileSystem(FSSpecHandler(self.storage.fs))
        paths = [self.storage.url(part).split("://", 1)[-1] for part in parts]
        try:
            import pyarrow.dataset as ds  # it brings pandas, more than a second that a scraper need not pay

            return ds.dataset(paths, schema=schema, format="parquet", filesystem=filesystem).to_table()
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"cannot read the lake at {self.storage.url(SOLD)}: {error}") from None

    def listings(self) -> Iterator[SoldListing]:
        """Every listing once, in order of sale."""
        for batch in self.read().to_batches(max_chunksize=1000):
            yield from map(row_to_listing, batch.to_pylist())

    def ids(self) -> set[int]:
        """Ids of all listings."""
        return set(pc.unique(self._scan(["id"])["id"]).to_pylist())

    def count(self) -> int:
        """How many listings (not rows) the lake holds."""
        return int(pc.count_distinct(self._scan(["id"])["id"]).as_py())

    def rows(self) -> int:
        """How many rows it holds, older versions of corrected listings included."""
        return len(self._scan(["id"]))

    def newest_sale(self) -> datetime | None:
        """Time of the last sale; None for an empty lake."""
        newest: datetime | None = pc.max(self.read(["sold_at"])["sold_at"]).as_py()
        return None if newest is None else newest.replace(tzinfo=UTC)

    def fingerprint(self) -> str:
        """64 hex digits that change when a row is added, however the rows are split into parts."""
        days: dict[str, int] = {}
        for part in self._parts():
            day, _, name = part.removeprefix(f"{SOLD}/").partition("/")
            content = int(name.removeprefix("part-").removesuffix(".parquet"), 16)
            days[day] = (days.get(day, 0) + content) & _MASK
        return sha256(json.dumps(days, sort_keys=True).encode()).hexdigest()

    def quarantine(self, items: Iterable[Quarantined]) -> int:
        """Keep what broke the contract, with cause and payload, each item once. How many were new."""
        if self._quarantined is None:
            self._quarantined = {key for key, _ in self._quarantine_lines()}
        new = 0
        rows = iter(items)
        while batch := list(islice(rows, 1000)):
            lines: dict[str, str] = {}
            for item in batch:
                line = _line(item)
                key = blake2b(line.encode(), digest_size=8).hexdigest()
                if key not in self._quarantined:
                    lines[key] = line
            if lines:
                body = "".join(lines[key] + "\n" for key in sorted(lines)).encode()
                name = blake2b(body, digest_size=8).hexdigest()
                day = datetime.now(UTC).date().isoformat()
                self.storage.write_bytes(f"{QUARANTINE}/date={day}/{name}.jsonl", body)
                self._quarantined.update(lines)
                new += len(lines)
        return new

    def quarantined(self) -> Iterator[Quarantined]:
        """What the quarantine holds, each item once, oldest day first."""
        seen: set[str] = set()
        for key, line in self._quarantine_lines():
            if key not in seen:
                seen.add(key)
                yield Quarantined(**json.loads(line))

    def _quarantine_lines(self) -> Iterator[tuple[str, str]]:
        for path in self.storage.glob(f"{QUARANTINE}/date=*/*.jsonl"):
            for line in self.storage.read_bytes(path).decode().splitlines():
                yield blake2b(line.encode(), digest_size=8).hexdigest(), line


def _parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    if len(table) < _SMALL:
        # A day of a small lake has a few rows, and thousands of such files are read at once: what helps
        # a large file (dictionaries, statistics, a compressor for each column) takes most of the time.
        pq.write_table(
            table, out, compression={"description": "zstd"}, use_dictionary=False, write_statistics=False
        )
    else:
        pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def _line(item: Quarantined) -> str:
    body = {"cause": item.cause, "field": item.field, "payload": item.payload, "source": item.source}
    try:
        return json.dumps(body)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(body | {"payload": repr(item.payload)})


def _threads(work: Callable[[Any], T], items: Iterable[Any]) -> list[T]:
    """In order, several at once: writing many small files is waiting for the disk or the network."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(work, items))


def _ints(column: pa.ChunkedArray) -> Any:
    """A column of whole numbers or times as int64; missing times before all others."""
    return column.cast(pa.int64()).fill_null(np.iinfo(np.int64).min).to_numpy()


def _newest(table: pa.Table) -> Any:
    """Positions of the row of each id that was scraped last (then: of the higher content hash)."""
    ids = _ints(table["id"])
    content = table[_CONTENT].to_numpy()
    order = np.lexsort((content, _ints(table["scraped_at"]), ids))
    last = np.ones(len(order), dtype=bool)
    last[:-1] = ids[order][1:] != ids[order][:-1]
    return order[last]
