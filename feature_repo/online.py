"""Online look-up of the market rows of listings, as a model server does it.

The definitions come from the code (nothing that another process wrote is unpickled), the service is
resolved once, and every failure of the store ends in OnlineStoreUnavailable within a bounded time,
so that a server can go on without looked-up features and say so.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from feature_repo.asof import column
from feature_repo.definitions import SERVICE
from feature_repo.manifest import find_manifest
from feature_repo.online_store import READ_ONLY_SQLITE, Marker, SqliteFile, open_online_store, unavailable
from feature_repo.store import code_store, no_features
from graildient.errors import GraildientError, OnlineStoreUnavailable
from graildient.listing import Listing
from graildient.pricing.market import UNKNOWN, VIEWS, Keys, Values, keys_of, reduce_rows
from graildient.settings import FeatureSettings
from graildient.storage import Storage

if TYPE_CHECKING:
    from feast import FeatureService, FeatureStore

CHUNK = 2000
"""Key tuples in one request to the store."""
CHECK_SECONDS = 5.0
"""How long the store's marker and the features' `as_of` are taken for granted."""
PAUSE_SECONDS = 0.5
"""After a failure nobody asks the store again for so long: requests must not queue up behind time-outs."""


@dataclass(frozen=True)
class Lookup:
    """Market rows of a batch of listings.

    `rows`: one a listing, in order. `as_of`: against which time-to-live was applied. `newest`: event
    time of the newest row that was found, None when there was none. `missing` and `expired`: of all
    keys of all listings, how many had no row, and how many one that is too old (and was left out).
    """

    rows: list[Values]
    as_of: datetime
    newest: datetime | None
    missing: int
    expired: int


@dataclass(frozen=True)
class _Row:
    values: dict[str, Any]
    event_at: float


class OnlineMarket:
    """The online store, opened once and used by any number of threads.

    Opening asks the store once, for the imports that Feast does at its first read, and forgives
    it a failure: a server starts while the store is down.

    Args:
        timeout_ms: for a connection, an answer or a lock; a look-up takes at most a few times as long.
    """

    def __init__(self, storage: Storage, settings: FeatureSettings, *, timeout_ms: float = 200.0) -> None:
        self._storage = storage
        self._settings = settings
        self._timeout = timeout_ms / 1000
        self._online = open_online_store(storage, settings, timeout=self._timeout)
        self._lock = threading.RLock()
        self._file: tuple[int, int] | None = None
        self._marker: Marker | None = None
        self._history: datetime | None = None
        self._checked = float("-inf")
        self._paused_until = float("-inf")
        self._store = self._open()
        self._service: FeatureService = self._store.get_feature_service(SERVICE)
        with suppress(OnlineStoreUnavailable), unavailable("the online store"):
            self._fetch([Keys(UNKNOWN, (UNKNOWN,), (f"{UNKNOWN}|{UNKNOWN}",))])

    def lookup(self, listings: Sequence[Listing]) -> Lookup:
        """Look up the keys of listings and reduce what is found; `created_at` plays no part: this is now.

        Raises:
            OnlineStoreUnavailable: the store cannot be reached in time, or was never filled.
        """
        if time.monotonic() < self._paused_until:
            raise OnlineStoreUnavailable("the online store did not answer a moment ago")
        try:
            with self._exclusive():
                self._check()
                as_of = self.as_of()
                keys = [keys_of(listing) for listing in listings]
                with unavailable("the online store"):
                    found = self._fetch(keys)
        except OnlineStoreUnavailable:
            self._checked = float("-inf")
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            raise
        return self._reduce(keys, found, as_of)

    def as_of(self) -> datetime:
        """The moment against which time-to-live is applied: now, or the end of history.

        Raises:
            FeatureStoreError: the clock stands at the end of history and nothing was built.
        """
        if self._settings.clock == "live":
            return datetime.now(UTC)
        if self._history is None:
            manifest = find_manifest(self._storage)
            if manifest is None:
                raise no_features(self._storage)
            self._history = manifest.as_of
        return self._history

    def materialised(self) -> datetime | None:
        """The `as_of` of the build that the store holds; None before the first look-up that succeeded."""
        return self._marker.as_of if self._marker else None

    def close(self) -> None:
        """Let go of file or connection."""
        with self._lock:
            self._release()
            self._online_close()

    def __enter__(self) -> OnlineMarket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One SQLite connection serves one thread at a time; a Redis client serves many."""
        with self._lock if isinstance(self._online, SqliteFile) else nullcontext():
            yield

    def _open(self) -> FeatureStore:
        online: dict[str, Any] | None = None
        if isinstance(self._online, SqliteFile):
            online = {"type": READ_ONLY_SQLITE, "path": str(self._online.path), "timeout": self._timeout}
        return code_store(self._storage, self._settings, online=online or True, timeout=self._timeout)

    def _release(self) -> None:
        if isinstance(self._online, SqliteFile):
            self._store.provider.online_store.release()

    def _online_close(self) -> None:
        if not isinstance(self._online, SqliteFile):
            self._online.close()

    def _check(self) -> None:
        """See that the store holds a finished materialisation, and which; cheap most of the time."""
        if isinstance(self._online, SqliteFile):
            with unavailable("the SQLite online store"):
                status = os.stat(self._online.path)
            if self._file != (status.st_ino, status.st_mtime_ns):
                # Materialising replaces the file: the open connection still sees the old one.
                self._release()
                self._file = (status.st_ino, status.st_mtime_ns)
                self._checked = float("-inf")
        if time.monotonic() - self._checked < CHECK_SECONDS:
            return
        marker = self._online.marker()
        if marker is None:
            raise OnlineStoreUnavailable(
                "the online store is empty", hint="run: graildient features materialize"
            )
        if self._settings.clock == "history":
            self._history = self._end_of_history() or self._history or marker.as_of
        self._marker = marker
        self._checked = time.monotonic()

    def _end_of_history(self) -> datetime | None:
        """It moves on with each build; a look-up does not fail because it cannot be read."""
        try:
            manifest = find_manifest(self._storage)
        except GraildientError:
            return None
        return manifest.as_of if manifest else None

    def _fetch(self, keys: Sequence[Keys]) -> dict[str, dict[str, _Row]]:
        """Rows by view name and key, of all keys of all listings."""
        joins = {view.join_key: view for view in VIEWS}
        tuples = sorted(
            {
                one
                for k in keys
                for one in zip(
                    *(
                        k.of(view) if view.several else k.of(view) * len(k.designers)
                        for view in joins.values()
                    ),
                    strict=True,
                )
            }
        )
        found: dict[str, dict[str, _Row]] = {view.name: {} for view in VIEWS}
        for start in range(0, len(tuples), CHUNK):
            asked = dict(zip(joins, zip(*tuples[start : start + CHUNK], strict=True), strict=True))
            self._fetch_chunk({name: list(values) for name, values in asked.items()}, found)
        return found

    def _fetch_chunk(self, asked: dict[str, list[str]], found: dict[str, dict[str, _Row]]) -> None:
        answer = self._store.get_online_features(
            features=self._service, entity_rows=asked, full_feature_names=True
        ).to_dict(include_event_timestamps=True)
        for view in VIEWS:
            names = list(view.features)
            times = answer[f"{column(view, names[0])}__ts"]
            columns = [answer[column(view, name)] for name in names]
            for key, event_at, *values in zip(asked[view.join_key], times, *columns, strict=True):
                # Feast gives the epoch where it has no row.
                if event_at:
                    found[view.name][key] = _Row(dict(zip(names, values, strict=True)), event_at)

    def _reduce(self, keys: Sequence[Keys], found: dict[str, dict[str, _Row]], as_of: datetime) -> Lookup:
        oldest = (as_of - self._settings.ttl).timestamp()
        missing = expired = 0
        newest: float | None = None
        rows: list[Values] = []
        for of_listing in keys:
            live: dict[str, list[Values]] = {}
            for view in VIEWS:
                live[view.name] = []
                for key in of_listing.of(view):
                    row = found[view.name].get(key)
                    if row is None:
                        missing += 1
                        continue
                    newest = row.event_at if newest is None else max(newest, row.event_at)
                    if row.event_at < oldest:
                        expired += 1
                    else:
                        live[view.name].append(row.values)
            rows.append(reduce_rows(live))
        return Lookup(
            rows=rows,
            as_of=as_of,
            newest=None if newest is None else datetime.fromtimestamp(newest, UTC),
            missing=missing,
            expired=expired,
        )
