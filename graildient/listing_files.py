"""Files of listings, read row by row: csv, jsonl (both also as .gz) and parquet.

A bad row is an item with an error, not an exception; a bad file is a StorageError. Memory
does not grow with the file. The rows may be page strings of 2021, search hits, or flat
rows under our own names (see :func:`graildient.parsing.parse_row`).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fsspec

from graildient.errors import Detail, InvalidListing, StorageError
from graildient.listing import Listing, SoldListing
from graildient.parsing import parse_row

FORMATS = ("csv", "csv.gz", "jsonl", "jsonl.gz", "parquet")
_MAX_CELL = 16 * 1024 * 1024
_EXTRA = "values beyond the header"


@dataclass(frozen=True)
class Read:
    """One row of a file: its number (from 1, the header not counted), and a listing or an error."""

    row: int
    listing: Listing | SoldListing | None
    error: InvalidListing | None
    payload: dict[str, Any]


def read_listings(path: str | Path, *, sold: bool) -> Iterator[Read]:
    """Every row of a file, in its order, duplicates too.

    Args:
        path: a local path, or an address that fsspec knows (`s3://…`).
        sold: True: each row must tell of a sale. False: the sale, if any, is left out.

    Raises:
        StorageError: there is no such file, or its format is unknown or broken.
    """
    for number, payload, problem in _rows(str(path)):
        error = problem
        listing: Listing | SoldListing | None = None
        if error is None:
            try:
                listing = parse_row(payload, sold=sold)
            except InvalidListing as found:
                error = found
        yield Read(number, listing, error, payload)


def count_rows(path: str | Path) -> int:
    """Rows of a file, for a progress bar, without reading them as listings.

    Raises:
        StorageError: there is no such file, or its format is unknown or broken.
    """
    if _format(str(path)) == "parquet":
        with _opened(str(path)) as file:
            import pyarrow.parquet as pq

            return int(pq.ParquetFile(file).metadata.num_rows)
    return sum(1 for _ in _rows(str(path)))


_Row = tuple[int, dict[str, Any], InvalidListing | None]


def _rows(path: str) -> Iterator[_Row]:
    kind = _format(path)
    with _opened(path) as file:
        if kind == "parquet":
            yield from _parquet(file)
            return
        unpacked: Any = gzip.GzipFile(fileobj=file) if kind.endswith(".gz") else file
        # Bytes that are no UTF-8 reach the contract as lone surrogates, which it refuses by field.
        text = io.TextIOWrapper(unpacked, encoding="utf-8-sig", errors="surrogateescape", newline="")
        yield from (_csv(text, path) if kind.startswith("csv") else _jsonl(text))


def _format(path: str) -> str:
    kind = next((f for f in sorted(FORMATS, key=len, reverse=True) if path.lower().endswith(f".{f}")), None)
    if kind is None:
        raise StorageError(f"unknown kind of file: {path}", hint=f"one of .{', .'.join(FORMATS)}")
    return kind


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    import pyarrow as pa

    try:
        with fsspec.open(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise StorageError(f"no file at {path}") from None
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise StorageError(f"cannot read {path}: {error}") from None


def _problem(reason: str) -> InvalidListing:
    return InvalidListing(f"row: {reason}", details=[Detail("row", reason)])


def _csv(text: IO[str], path: str) -> Iterator[_Row]:
    csv.field_size_limit(_MAX_CELL)
    reader = csv.DictReader(text, restkey=_EXTRA)
    try:
        header = reader.fieldnames
    except csv.Error as error:
        raise StorageError(f"cannot read {path}: {error}") from None
    if not header:
        raise StorageError(f"{path} is empty", hint="the first line must name the columns")
    number = 0
    while True:
        number += 1
        try:
            row: dict[str, Any] = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, {}, _problem(f"is not csv: {error}")
            continue
        extra = _problem("has more values than the header has names") if _EXTRA in row else None
        yield number, row, extra


def _jsonl(text: IO[str]) -> Iterator[_Row]:
    number = 0
    for line in text:
        if not line.strip():
            continue
        number += 1
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            yield number, {"line": line}, _problem("is not JSON")
            continue
        if isinstance(row, dict):
            yield number, row, None
        else:
            yield number, {"line": line}, _problem("is not an object")


def _parquet(file: IO[bytes]) -> Iterator[_Row]:
    import pyarrow.parquet as pq

    number = 0
    for batch in pq.ParquetFile(file).iter_batches(batch_size=1000):
        for row in batch.to_pylist():
            number += 1
            yield number, row, None
