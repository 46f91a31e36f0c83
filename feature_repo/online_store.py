"""What lies in the online store besides Feast's rows: a marker that says which build they are of.

The marker is in the store itself, written after the rows, so a store that was emptied, replaced or
half filled is known as such, whatever other files say.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from feature_repo.manifest import Moment
from feature_repo.store import online_path
from graildient.errors import OnlineStoreUnavailable
from graildient.pricing.market import ALL_VIEWS, View
from graildient.settings import FeatureSettings
from graildient.storage import Storage

if TYPE_CHECKING:
    from redis import Redis

READ_ONLY_SQLITE = "feature_repo.sqlite_store.ReadOnlySqliteOnlineStore"
"""Name, to Feast, of its SQLite store as look-ups open it."""
MARKER_TABLE = "graildient_materialised"


def connect(path: Path, *, timeout: float) -> sqlite3.Connection:
    """A read-only connection; sqlite3.OperationalError when there is no such file."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=timeout,
        check_same_thread=False,
        detect_types=sqlite3.PARSE_DECLTYPES | sqlite3.PARSE_COLNAMES,
    )


class Marker(BaseModel):
    """The build whose snapshot the store holds, and how many keys each view has in it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    as_of: Moment
    fingerprint: str
    rows: dict[str, int]


class OnlineStore(Protocol):
    """The two kinds of store, as materialisation and look-ups see them.

    Every method raises OnlineStoreUnavailable when the store cannot be reached.
    """

    def marker(self) -> Marker | None:
        """The marker; None for a store that was never filled, or was emptied."""
        ...

    def counts(self) -> dict[str, int]:
        """Keys that the store holds, by view."""
        ...


def open_online_store(
    storage: Storage, settings: FeatureSettings, *, timeout: float
) -> SqliteFile | RedisServer:
    """The online store that the settings name; nothing is connected yet.

    Args:
        timeout: seconds to wait for a connection, an answer or a lock.
    """
    if settings.online_store == "redis":
        return RedisServer(settings, timeout=timeout)
    return SqliteFile(online_path(storage), settings.project, timeout=timeout)


@contextmanager
def unavailable(what: str) -> Iterator[None]:
    """Turn a store's own errors into OnlineStoreUnavailable."""
    # Redis is only imported by those who use it; its errors are known by their base's name.
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise OnlineStoreUnavailable(f"{what} is not available: {error}", hint=_HINT) from None
    except Exception as error:
        if not any(kind.__module__ == "redis.exceptions" for kind in type(error).__mro__):
            raise
        raise OnlineStoreUnavailable(f"{what} is not available: {error}", hint=_HINT) from None


_HINT = "run: graildient features materialize, or graildient doctor"


def _parse(body: str | bytes | None) -> Marker | None:
    if body is None:
        return None
    try:
        return Marker.model_validate_json(body)
    except ValidationError:
        return None


class SqliteFile:
    """The embedded store: one file, replaced whole by each materialisation."""

    name = "sqlite"

    def __init__(self, path: Path, project: str, *, timeout: float) -> None:
        self.path = path
        self._project = project
        self._timeout = timeout

    def marker(self) -> Marker | None:
        if not self.path.exists():
            return None
        rows = self._rows(f"SELECT body FROM {MARKER_TABLE}", MARKER_TABLE)  # noqa: S608 - our own table
        return _parse(rows[0][0]) if rows else None

    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for view in ALL_VIEWS:
            table = f"{self._project}_{view.name}"
            rows = self._rows(f'SELECT count(DISTINCT entity_key) FROM "{table}"', table)  # noqa: S608
            counts[view.name] = rows[0][0] if rows else 0
        return counts

    def _rows(self, query: str, table: str) -> list[tuple[Any, ...]]:
        """Rows of a query; none when the table is not there."""
        with unavailable("the SQLite online store"), closing(connect(self.path, timeout=self._timeout)) as db:
            known = db.execute(
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
            ).fetchall()
            return db.execute(query).fetchall() if known else []

    @staticmethod
    def mark(path: Path, marker: Marker) -> None:
        """Write the marker into a finished file."""
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(f"CREATE TABLE {MARKER_TABLE} (body TEXT NOT NULL)")
            db.execute(f"INSERT INTO {MARKER_TABLE} VALUES (?)", (marker.model_dump_json(),))  # noqa: S608


class RedisServer:
    """The cluster's store: one hash a key, as Feast lays them out, and the marker beside them."""

    name = "redis"

    def __init__(self, settings: FeatureSettings, *, timeout: float) -> None:
        self._settings = settings
        self._timeout = timeout
        self._client: Redis | None = None

    @property
    def marker_key(self) -> str:
        return f"graildient:{self._settings.project}:materialised"

    def client(self) -> Redis:
        """One client, without retries: each failure is told at once."""
        if self._client is None:
            import redis

            try:
                self._client = redis.Redis.from_url(
                    self._settings.redis_url.get_secret_value(),
                    socket_timeout=self._timeout,
                    socket_connect_timeout=self._timeout,
                    retry=None,
                )
            except ValueError as error:
                raise OnlineStoreUnavailable(f"Redis is not available: {error}", hint=_HINT) from None
        return self._client

    def marker(self) -> Marker | None:
        with unavailable("Redis"):
            body: Any = self.client().get(self.marker_key)
        return _parse(body)

    def mark(self, marker: Marker) -> None:
        with unavailable("Redis"):
            self.client().set(self.marker_key, marker.model_dump_json())

    def counts(self) -> dict[str, int]:
        return {view.name: sum(1 for _ in self._keys(view)) for view in ALL_VIEWS}

    def drop_others(self, view: View, expected: set[str]) -> int:
        """Delete the view's keys that are not expected (what a correction left behind). How many."""
        gone = [raw for key, raw in self._keys(view) if key not in expected]
        with unavailable("Redis"):
            for start in range(0, len(gone), 1000):
                self.client().delete(*gone[start : start + 1000])
        return len(gone)

    def _keys(self, view: View) -> Iterator[tuple[str, bytes]]:
        """The view's keys with the names under which Redis holds them.

        Feast's name is a prefix with the join key, the value's type and length (4 bytes each), the
        value, and the project; the length tells our project from one whose name ends the same.
        """
        from feast.infra.key_encoding_utils import serialize_entity_key_prefix

        prefix = serialize_entity_key_prefix([view.join_key])
        project = self._settings.project.encode()
        start = len(prefix) + 8
        with unavailable("Redis"):
            for raw in self.client().scan_iter(prefix + b"*" + project, count=5000):
                (length,) = struct.unpack_from("<I", raw, len(prefix) + 4)
                if start + length + len(project) == len(raw):
                    yield raw[start : start + length].decode(), raw

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def state_of(store: OnlineStore, fingerprint: str) -> str:
    """`current`, `stale` (of another build), `empty`, or `damaged` (rows are missing)."""
    marker = store.marker()
    if marker is None:
        return "empty"
    if marker.fingerprint != fingerprint:
        return "stale"
    counts = store.counts()
    # More keys than were built are no damage: fresh sales were pushed in between.
    lost = any(counts.get(name, 0) < rows for name, rows in marker.rows.items())
    return "damaged" if lost else "current"
