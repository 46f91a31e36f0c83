"""Build the market aggregates from the lake and register their definitions with Feast."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo import aggregates
from feature_repo.manifest import (
    MANIFEST,
    FeatureManifest,
    build_settings,
    content_fingerprint,
    find_manifest,
    tables_match,
)
from feature_repo.store import REGISTRY, feast_store, make_definitions, repo_config, view_path
from graildient.errors import NotEnoughData
from graildient.lake import Lake
from graildient.pricing.market import ALL_VIEWS, View
from graildient.progress import Reporter
from graildient.progress import report as report_progress
from graildient.settings import FeatureSettings
from graildient.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

STAGE = "features"


@dataclass(frozen=True)
class Built:
    """A build: `sales` that were knowable at `as_of`, rows a view, and the content's fingerprint."""

    as_of: datetime
    sales: int
    rows: dict[str, int]
    fingerprint: str
    reused: bool


def build_features(
    storage: Storage,
    settings: FeatureSettings,
    report: Reporter = report_progress,
    *,
    now: datetime | None = None,
) -> Built:
    """Aggregate the lake as of each day into `features/<view>.parquet`, and apply the definitions.

    `as_of` is the newest midnight when the clock is live, else the first midnight at which every
    sale of the lake was knowable. The same sales, `as_of` and settings give the same bytes,
    whatever parts the lake has and whenever it was scraped; when they were built before, by the
    same code, nothing is done.

    Args:
        now: the wall clock of a live build; default: the machine's.

    Raises:
        NotEnoughData: the lake has no sale that was knowable at `as_of`.
        FeatureStoreError: the manifest of the last build is broken.
        StorageError: lake or features cannot be read or written.
    """
    lake = Lake(storage)
    fingerprint, code = lake.fingerprint(), code_fingerprint()
    last = find_manifest(storage)
    today = aggregates.midnight(now or datetime.now(UTC))
    if (
        last is not None
        and (last.lake_fingerprint, last.code, last.settings) == (fingerprint, code, build_settings(settings))
        and (settings.clock == "history" or last.as_of == today)
        and tables_match(storage, last)
    ):
        if not _registered(storage):
            _register(storage, settings)
        report(STAGE, done=4, total=4, note="reused")
        return Built(last.as_of, last.sales, last.rows, last.fingerprint, reused=True)

    report(STAGE, done=0, total=4, note="reading the lake")
    sales = lake.read(aggregates.SALE_COLUMNS)
    newest = _newest_sale(sales, storage, now or datetime.now(UTC))
    as_of = today if settings.clock == "live" else aggregates.next_midnight(newest + settings.publication_lag)
    report(STAGE, done=1, total=4, note=f"aggregating {sales.num_rows} sales")
    made = aggregates.aggregate(
        sales, as_of=as_of, publication_lag=settings.publication_lag, ttl=settings.ttl
    )
    if not made.sales:
        raise NotEnoughData(
            f"none of {sales.num_rows} sales was knowable at {as_of.isoformat()}",
            hint="a sale is knowable after the publication lag, from the next midnight on; "
            "set GRAILDIENT_FEATURES_CLOCK=history to stand at the end of the lake",
        )
    report(STAGE, done=2, total=4, note="writing")
    manifest = _write(storage, settings, made, newest=newest, lake_fingerprint=fingerprint, code=code)
    report(STAGE, done=3, total=4, note="registering")
    _register(storage, settings)
    report(STAGE, done=4, total=4, note=f"{made.sales} sales")
    return Built(made.as_of, made.sales, manifest.rows, manifest.fingerprint, reused=False)


def code_fingerprint() -> str:
    """Changes with the code that decides what the tables hold and how Feast sees them."""
    from feature_repo.definitions import __file__ as definitions

    market = Path(definitions).with_name("market.py").read_bytes()
    return hashlib.sha256(aggregates.code_fingerprint().encode() + market).hexdigest()


def _newest_sale(sales: pa.Table, storage: Storage, now: datetime) -> datetime:
    """Time of the newest sale; a sale from the future (a wrong clock) does not move the end of history."""
    import pyarrow as pa
    import pyarrow.compute as pc

    times = sales["sold_at"]
    past = times.filter(pc.less_equal(times, pa.scalar(now, times.type)))
    newest = pc.max(past).as_py()
    if newest is None:
        raise NotEnoughData(
            f"no sold listings at {storage.url('lake')}"
            + (f" before {now:%Y-%m-%d %H:%M} UTC, but {len(times)} after" if len(times) else ""),
            hint="scrape some first: graildient scrape, or graildient up",
        )
    return datetime.fromtimestamp(newest.timestamp(), UTC)


def _write(
    storage: Storage,
    settings: FeatureSettings,
    made: aggregates.Aggregates,
    *,
    newest: datetime,
    lake_fingerprint: str,
    code: str,
) -> FeatureManifest:
    """Every table whole, the manifest last."""
    import pyarrow.compute as pc

    sha256: dict[str, str] = {}
    for view in ALL_VIEWS:
        data = _parquet(made.tables[view.name], view)
        sha256[view.name] = hashlib.sha256(data).hexdigest()
        storage.write_bytes(view_path(view), data)
    manifest = FeatureManifest(
        as_of=made.as_of,
        fingerprint=content_fingerprint(made.as_of, sha256),
        lake_fingerprint=lake_fingerprint,
        code=code,
        settings=build_settings(settings),
        sales=made.sales,
        later=made.later,
        newest_sale=newest,
        rows={v.name: made.tables[v.name].num_rows for v in ALL_VIEWS},
        keys={v.name: pc.count_distinct(made.tables[v.name][v.join_key]).as_py() for v in ALL_VIEWS},
        sha256=sha256,
    )
    storage.write_bytes(MANIFEST, manifest.model_dump_json(indent=2).encode())
    return manifest


def _parquet(table: pa.Table, view: View) -> bytes:
    import pyarrow.parquet as pq

    expected = [view.join_key, *view.features, "event_at", "known_at"]
    if table.column_names != expected:
        raise AssertionError(f"{view.name} has columns {table.column_names}, not {expected}")
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def _registered(storage: Storage) -> bool:
    """Whether the registry speaks of these very tables (a root may have been moved since)."""
    if not storage.exists(REGISTRY):
        return False
    data = storage.read_bytes(REGISTRY)
    return all(storage.url(view_path(view)).encode() in data for view in ALL_VIEWS)


def _register(storage: Storage, settings: FeatureSettings) -> None:
    """`feast apply` of the definitions, without an online store: materialisation makes its own tables."""
    store = feast_store(repo_config(storage, settings, online=False))
    made = make_definitions(storage, settings)
    ours = {view.name for view in made.views}
    gone = [view for view in store.list_feature_views() if view.name not in ours]
    store.apply(made.objects(), objects_to_delete=gone, partial=not gone)
