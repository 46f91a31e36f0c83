"""Feast's SQLite online store, opened for reading only and with a bounded wait.

Feast's own connection creates an empty database where there is none and waits five seconds for a
lock; a look-up must do neither.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Literal

from feast import RepoConfig
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig

from feature_repo.online_store import READ_ONLY_SQLITE, connect


class ReadOnlySqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """`timeout`: seconds to wait for a lock."""

    type: Literal["feature_repo.sqlite_store.ReadOnlySqliteOnlineStore"] = READ_ONLY_SQLITE  # type: ignore[assignment]
    timeout: float = 0.2


class ReadOnlySqliteOnlineStore(SqliteOnlineStore):
    """Feast asks `_get_conn` for its connection before each read."""

    _conn: sqlite3.Connection | None = None

    def _get_conn(self, config: RepoConfig) -> sqlite3.Connection:
        if self._conn is None:
            self._conn = connect(Path(config.online_store.path), timeout=config.online_store.timeout)
        return self._conn

    def release(self) -> None:
        """Let go of the file."""
        if self._conn is not None:
            self._conn.close()
            self._conn = None
