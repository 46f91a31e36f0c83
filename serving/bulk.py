"""Prices for a whole file of listings: streamed, in constant memory, nothing lost.

The target has one row a row of the source, in its order: `row` (from 1), `id`, `price`, `low`, `high`,
`market`, `warnings`, `error`, `model_version`, `as_of`. A row that breaks the contract keeps its place,
with its reason in `error` and no price. Prices in US dollars.
"""

from __future__ import annotations

import csv
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from graildient.errors import StorageError
from graildient.listing_files import count_rows, read_listings
from graildient.progress import Reporter, report
from graildient.settings import FeatureSettings, ServingSettings
from graildient.storage import Storage
from serving.champion import Champion, Served
from serving.dataplane import answer
from serving.lookup import MarketLookup, opener

if TYPE_CHECKING:
    from graildient.listing_files import Read

CHUNK = 2_000
SUFFIXES = (".csv", ".jsonl", ".parquet")

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.int64()),
        ("price", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("market", pa.string()),
        ("warnings", pa.string()),
        ("error", pa.string()),
        ("model_version", pa.string()),
        ("as_of", pa.timestamp("us", tz="UTC")),
    ]
)

Row = dict[str, Any]
Writer = Callable[[list[Row]], None]


@dataclass(frozen=True)
class ScoreReport:
    """What became of a file: `refused` of its `rows` have an error instead of a price; `market` counts the
    priced ones by what the market knew of them."""

    rows: int
    refused: int
    seconds: float
    path: Path
    model_version: str
    market: dict[str, int] = field(default_factory=dict)


def default_target(source: Path) -> Path:
    """`listings.csv.gz` → `listings.prices.csv`, beside it."""
    return source.with_name(source.name.split(".")[0] + ".prices.csv")


def score_file(
    source: str | Path,
    target: str | Path | None,
    storage: Storage,
    features: FeatureSettings,
    serving: ServingSettings,
    *,
    report: Reporter = report,
) -> ScoreReport:
    """Price every listing of a csv, csv.gz, jsonl, jsonl.gz or parquet file, into csv, jsonl or parquet.

    The target appears whole once everything is priced, or not at all.

    Raises:
        StorageError: a file cannot be read or written, or the target's suffix is unknown.
        ModelNotFound, ArtifactCorrupted: the registry has no sound model under `serving.model`.
    """
    from graildient.pricing.registry import Registry

    start = time.monotonic()
    source = Path(source)
    target = Path(target) if target is not None else default_target(source)
    if target.suffix not in SUFFIXES:
        raise StorageError(
            f"{target}: cannot write {target.suffix or 'this'}", hint=f"use {', '.join(SUFFIXES)}"
        )
    if target.exists() and source.exists() and os.path.samefile(source, target):
        raise StorageError(f"{target} is the file to be read", hint="give another target with --output")
    total = count_rows(source)
    served = Champion(Registry(storage), serving.model, serving.model_name).load()
    market = MarketLookup(opener(storage, features, serving.lookup_timeout_ms), serving.lookup_timeout_ms)
    rows = refused = 0
    states: dict[str, int] = {}
    try:
        with _written(target) as write:
            for chunk in _chunks(read_listings(source, sold=False)):
                out = _score(chunk, served, market)
                write(out)
                rows += len(out)
                for row in out:
                    if row["error"] is None:
                        states[row["market"]] = states.get(row["market"], 0) + 1
                    else:
                        refused += 1
                report("score", done=rows, total=total, note=f"{refused} refused" if refused else "")
    finally:
        market.close()
    return ScoreReport(rows, refused, time.monotonic() - start, target, served.version, states)


def _chunks(reads: Iterator[Read]) -> Iterator[list[Read]]:
    while chunk := list(islice(reads, CHUNK)):
        yield chunk


def _score(chunk: Sequence[Read], served: Served, market: MarketLookup) -> list[Row]:
    listings = [read.listing for read in chunk if read.listing is not None]
    answers = answer(served, listings, market.seen_now(listings), "") if listings else None
    rows, i = [], 0
    for read in chunk:
        row: Row = dict.fromkeys(SCHEMA.names)
        row |= {"row": read.row, "model_version": served.version}
        if read.listing is None or answers is None:
            row["error"] = read.error.message if read.error else "cannot be read"
        else:
            row |= {
                "id": read.listing.id,
                "price": float(answers.price[i]),
                "low": float(answers.low[i]),
                "high": float(answers.high[i]),
                "market": answers.market[i],
                "warnings": "; ".join(answers.warnings[i]) or None,
                "as_of": answers.as_of,
            }
            i += 1
        rows.append(row)
    return rows


@contextmanager
def _written(target: Path) -> Iterator[Writer]:
    """A writer by the target's suffix; the file is renamed into place at the end."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _OPEN[target.suffix](part) as write:
            yield write
        os.replace(part, target)
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _text(row: Row) -> Row:
    return row | {"as_of": row["as_of"].isoformat().replace("+00:00", "Z") if row["as_of"] else None}


@contextmanager
def _csv(path: Path) -> Iterator[Writer]:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, SCHEMA.names, lineterminator="\n")
        writer.writeheader()
        yield lambda rows: writer.writerows(map(_text, rows))


@contextmanager
def _jsonl(path: Path) -> Iterator[Writer]:
    file: IO[str]
    with open(path, "w", encoding="utf-8") as file:
        yield lambda rows: file.writelines(json.dumps(_text(row), ensure_ascii=False) + "\n" for row in rows)


@contextmanager
def _parquet(path: Path) -> Iterator[Writer]:
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        yield lambda rows: writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))


_OPEN = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
