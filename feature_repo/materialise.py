"""Fill the online store with the snapshot of the newest build.

Only the row of the `as_of` day is written, one a key, in the order of the keys: Feast's SQLite store
keeps whichever row was written last, not the newest. Feast's own `materialize` finds the same rows
(a test holds the two equal) but tells its progress on the terminal, and reads `s3://` only with a
DuckDB extension that is downloaded at run time; so rows are handed to `write_to_online_store`.

A run that was killed leaves the old marker, so the next one fills the store again: SQLite in a new
file that replaces the old one when it is complete, Redis key by key.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.manifest import FeatureManifest, read_manifest, read_view
from feature_repo.online_store import (
    Marker,
    RedisServer,
    SqliteFile,
    open_online_store,
    state_of,
    unavailable,
)
from feature_repo.store import FOLDER, feast_store, make_definitions, repo_config
from graildient.errors import FeatureStoreError
from graildient.pricing.market import ALL_VIEWS, View
from graildient.progress import Reporter
from graildient.progress import report as report_progress
from graildient.settings import FeatureSettings
from graildient.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore

STAGE = "materialise"
MATERIALISED = f"{FOLDER}/materialised.json"
CHUNK = 1000
"""Rows handed to Feast at once; it looks at the first record batch of a frame only, so keep them few."""
TIMEOUT = 10.0
"""Seconds for one answer of Redis."""


@dataclass(frozen=True)
class Materialised:
    """Rows in the online store, by view, of the build of `as_of`."""

    rows: dict[str, int]
    as_of: datetime
    reused: bool


def materialise(
    storage: Storage, settings: FeatureSettings, report: Reporter = report_progress
) -> Materialised:
    """Write the newest build's snapshot to the online store that the settings name.

    Nothing is done when the store holds it already, every row of it.

    Raises:
        FeatureStoreError: there are no features, or they are half built, or rows were lost on the way.
        OnlineStoreUnavailable: the store cannot be reached.
        InvalidSettings: SQLite and a remote root.
    """
    manifest = read_manifest(storage)
    store = open_online_store(storage, settings, timeout=TIMEOUT)
    marker = Marker(as_of=manifest.as_of, fingerprint=manifest.fingerprint, rows=manifest.keys)
    total = sum(marker.rows.values())
    reused = state_of(store, manifest.fingerprint) == "current"
    if reused:
        report(STAGE, done=total, total=total, note="reused")
    else:
        snapshots = {view.name: _snapshot(storage, manifest, view) for view in ALL_VIEWS}
        if isinstance(store, SqliteFile):
            _fill_sqlite(store, storage, settings, snapshots, marker, report)
        else:
            _fill_redis(store, storage, settings, snapshots, marker, report)
        report(STAGE, done=total, total=total, note=store.name)
    body = _Record(**marker.model_dump(), store=store.name).model_dump_json(indent=2).encode()
    if not storage.exists(MATERIALISED) or storage.read_bytes(MATERIALISED) != body:
        storage.write_bytes(MATERIALISED, body)
    return Materialised(marker.rows, marker.as_of, reused)


class _Record(Marker):
    """`features/materialised.json`: the last success, for people and `features status`."""

    store: str


def _snapshot(storage: Storage, manifest: FeatureManifest, view: View) -> pa.Table:
    """The rows of the `as_of` day: one for every key that there is."""
    import pyarrow as pa

    moment = pa.scalar(manifest.as_of, pa.timestamp("us", tz="UTC"))
    rows = read_view(storage, manifest, view, filters=[("event_at", "=", moment)])
    if rows.num_rows != manifest.keys[view.name]:
        raise FeatureStoreError(
            f"{view.name} has {rows.num_rows} rows of its last day, not {manifest.keys[view.name]}",
            hint="remove features/ and run: graildient features build",
        )
    return rows


def _fill_sqlite(
    target: SqliteFile,
    storage: Storage,
    settings: FeatureSettings,
    snapshots: dict[str, pa.Table],
    marker: Marker,
    report: Reporter,
) -> None:
    part = target.path.with_name(f".{target.path.name}.part")
    with unavailable("the SQLite online store"), open(part.with_suffix(".lock"), "wb") as lock:
        # The lock goes with its process, so whatever lies there now was left by one that was killed.
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in (part, part.with_name(f"{part.name}-journal")):
            left.unlink(missing_ok=True)
        _write(storage, settings, snapshots, report, online=part)
        target.mark(part, marker)
        _expect(SqliteFile(part, settings.project, timeout=TIMEOUT).counts(), marker.rows)
        with open(part, "rb") as written:
            os.fsync(written.fileno())
        os.replace(part, target.path)


def _fill_redis(
    target: RedisServer,
    storage: Storage,
    settings: FeatureSettings,
    snapshots: dict[str, pa.Table],
    marker: Marker,
    report: Reporter,
) -> None:
    with unavailable("Redis"):
        _write(storage, settings, snapshots, report, online=None)
    for view in ALL_VIEWS:
        target.drop_others(view, set(snapshots[view.name][view.join_key].to_pylist()))
    _expect(target.counts(), marker.rows)
    target.mark(marker)


def _expect(counts: dict[str, int], rows: dict[str, int]) -> None:
    if counts != rows:
        raise FeatureStoreError(
            f"the online store holds {counts} keys after writing {rows}",
            hint="is it out of memory, or does it evict keys? (Redis: maxmemory-policy noeviction)",
        )


def _write(
    storage: Storage,
    settings: FeatureSettings,
    snapshots: dict[str, pa.Table],
    report: Reporter,
    *,
    online: Path | None,
) -> None:
    """Hand every row to Feast, in chunks."""
    store = _writing_store(storage, settings, online)
    total, done = sum(table.num_rows for table in snapshots.values()), 0
    for view in ALL_VIEWS:
        rows = snapshots[view.name]
        for start in range(0, rows.num_rows, CHUNK):
            report(STAGE, done=done, total=total, note=view.name)
            chunk = rows.slice(start, CHUNK)
            store.write_to_online_store(view.name, df=chunk.to_pandas())
            done += chunk.num_rows
    report(STAGE, done=done, total=total, note="checking")


def _writing_store(storage: Storage, settings: FeatureSettings, online: Path | None) -> FeatureStore:
    """Definitions from the code, applied, so that SQLite has its tables."""
    config = repo_config(storage, settings, online=online or True, timeout=TIMEOUT, shared=False)
    store = feast_store(config)
    store.apply(make_definitions(storage, settings).objects())
    return store
