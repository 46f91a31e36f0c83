"""Training rows: every listing of the lake beside the market as it was known when the listing was made.

A listing's own sale is never in its row: it became knowable after `sold_at`, so after `created_at`,
and a table's row of some day holds only what was knowable before that day.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from feature_repo.asof import entity_rows, feast_join, native_join, reduce_joined
from feature_repo.manifest import FeatureManifest, read_manifest, read_view
from graildient.errors import NotEnoughData, StorageError
from graildient.lake import SCHEMA, Lake, row_to_listing
from graildient.listing import Listing, SoldListing
from graildient.pricing.market import MARKET_FEATURES, VIEWS, Values
from graildient.progress import Reporter
from graildient.progress import report as report_progress
from graildient.settings import FeatureSettings
from graildient.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

STAGE = "training set"


@dataclass(frozen=True)
class TrainingSet:
    """Where a training set lies and what it holds. `start` and `end`: first and last label time."""

    path: str
    rows: int
    sha256: str
    as_of: datetime
    start: datetime
    end: datetime


def build_training_set(
    storage: Storage,
    settings: FeatureSettings,
    target: str,
    report: Reporter = report_progress,
    *,
    by_feast: bool = False,
) -> TrainingSet:
    """Write the training rows as one Parquet file: the lake's columns and `MARKET_FEATURES`.

    Rows are the sales that were knowable at the features' `as_of`, sorted by `created_at` and `id`;
    the market is that of `created_at`, the label time. `sha256` is of the content (not of `scraped_at`,
    and not of Parquet's own bytes).

    Args:
        target: path below the root.
        by_feast: join with Feast's own join instead of the equal and faster native one.

    Raises:
        FeatureStoreError: there are no features, or they are half built.
        NotEnoughData: no sale was knowable at `as_of`.
        StorageError: the lake cannot be read or the target not written.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    report(STAGE, done=0, total=3, note="reading the lake")
    manifest = read_manifest(storage)
    lake = Lake(storage).read()
    knowable = pc.less(
        lake["sold_at"], pa.scalar(manifest.as_of - settings.publication_lag, lake["sold_at"].type)
    )
    lake = lake.filter(knowable).sort_by([("created_at", "ascending"), ("id", "ascending")])
    if not lake.num_rows:
        raise NotEnoughData(
            f"no sale was knowable at {manifest.as_of.isoformat()}", hint="scrape more listings"
        )
    report(STAGE, done=1, total=3, note=f"joining {lake.num_rows} listings")
    listings = [row_to_listing(row) for row in lake.to_pylist()]
    market = _join(
        storage, settings, manifest, listings, [listing.created_at for listing in listings], by_feast=by_feast
    )
    report(STAGE, done=2, total=3, note="writing")
    for name in MARKET_FEATURES:
        lake = lake.append_column(name, pa.array([row[name] for row in market], pa.float64()))
    lake = lake.replace_schema_metadata(None)
    out = io.BytesIO()
    pq.write_table(lake, out, compression="zstd")
    storage.write_bytes(target, out.getvalue())
    report(STAGE, done=3, total=3, note=f"{lake.num_rows} rows")
    return TrainingSet(
        path=target,
        rows=lake.num_rows,
        sha256=content_sha256(lake),
        as_of=manifest.as_of,
        start=listings[0].created_at,
        end=listings[-1].created_at,
    )


def load_training_set(storage: Storage, path: str) -> tuple[list[SoldListing], list[Values]]:
    """The listings of a training set and the market row of each, in the file's order.

    Raises:
        StorageError: there is no such file, or it is no training set.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = storage.read_bytes(path)
    try:
        table = pq.read_table(io.BytesIO(data), columns=[*SCHEMA.names, *MARKET_FEATURES])
    except (pa.ArrowException, OSError, KeyError) as error:
        raise StorageError(f"{storage.url(path)} is no training set: {error}") from None
    missing = sorted({*SCHEMA.names, *MARKET_FEATURES} - set(table.column_names))
    if missing:
        raise StorageError(f"{storage.url(path)} is no training set: it has no column {', '.join(missing)}")
    listings = [row_to_listing(row) for row in table.select(SCHEMA.names).to_pylist()]
    market: list[Values] = list(table.select(list(MARKET_FEATURES)).to_pylist())
    return listings, market


def market_as_of(
    listings: Sequence[Listing], storage: Storage, settings: FeatureSettings, *, now: datetime | None = None
) -> list[Values]:
    """The market row of each listing as it was known at the listing's `created_at`.

    A listing without one is asked for as of now: the features' `as_of` when the clock stands at
    the end of history, else the wall clock. One made after the features' `as_of` sees the newest
    rows, as long as their time-to-live lasts. Only the lake's facts enter, never the listings' prices.

    Args:
        now: the wall clock; default: the machine's.

    Raises:
        FeatureStoreError: there are no features, or they are half built.
    """
    manifest = read_manifest(storage)
    present = manifest.as_of if settings.clock == "history" else (now or datetime.now(UTC))
    return _join(
        storage, settings, manifest, listings, [listing.created_at or present for listing in listings]
    )


def _join(
    storage: Storage,
    settings: FeatureSettings,
    manifest: FeatureManifest,
    listings: Sequence[Listing],
    moments: Sequence[datetime],
    *,
    by_feast: bool = False,
) -> list[Values]:
    entities = entity_rows(listings, moments)
    # Read (and checked) for both joins: Feast would read a half-built table without a word.
    tables = {view.name: read_view(storage, manifest, view) for view in VIEWS}
    joined = (
        feast_join(entities, storage, settings) if by_feast else native_join(entities, tables, settings.ttl)
    )
    return reduce_joined(entities, joined, len(listings))


def content_sha256(table: pa.Table) -> str:
    """SHA-256 of names, types and values, without `scraped_at`: equal facts give equal hashes."""
    digest = hashlib.sha256()
    for name in table.column_names:
        if name == "scraped_at":
            continue
        digest.update(f"{name} {table.schema.field(name).type}\n".encode())
        values = table[name].to_pylist()
        digest.update(json.dumps(values, default=datetime.isoformat).encode())
    return digest.hexdigest()
