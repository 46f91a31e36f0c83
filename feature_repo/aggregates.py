"""Market aggregates as of each day: one event-time table a view, computed by DuckDB.

**Time.** A sale is knowable at ``sold_at + publication lag``. The row of day D of a key
(``event_at = known_at = D 00:00 UTC``) holds everything about the sales with
``knowable_at < D 00:00``, so a sale enters the tables at the first midnight after it became
knowable; D is called its *day* below. A window of w days holds the sales with
``D - w d <= knowable_at < D``.

**Rows.** A key has a row on

* each day on which a sale enters it,
* each day on which a sale leaves one of its windows (365 days; the `_recent` views: 7, 30 and 90 too),
* a refresh day whenever nothing else happened for `refresh_days`: a quiet key must not look
  expired, because time-to-live is there to catch a feature pipeline that lags, and
* the `as_of` day (the snapshot that is materialised).

So a key with n sales has at most ``(1 + windows) n + span / refresh_days + 1`` rows, and rows that are older
than some day never change because of sales that became knowable later (but for the snapshot row,
which moves on). What a key borrows from its parent when it is shrunk (all categories, its
designer) is the parent's value of the row's own day, and so at most `refresh_days` old when read.

**Exactness.** Log prices are whole numbers of millionths, so that sums are exact whatever the
order of the rows and the number of threads: the same sales give the same bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo import aggregates_sql
from feature_repo.aggregates_sql import PREPARE, QUERIES
from graildient.pricing import market

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)

REFRESH_DAYS = 90

SALE_COLUMNS = (
    "id",
    "designers",
    "department",
    "category",
    "subcategory",
    "condition",
    "seller_hash",
    "sold_price",
    "created_at",
    "sold_at",
)
"""Columns of the lake that the aggregates are made of."""


@dataclass(frozen=True)
class Aggregates:
    """The tables and what they hold.

    `tables`: view name to Arrow table (join key, features, `event_at`, `known_at`), sorted by
    key and time. `sales`: sales in them. `later`: sales of the lake that were not knowable at `as_of`.
    """

    tables: Mapping[str, pa.Table]
    as_of: datetime
    sales: int
    later: int


def code_fingerprint() -> str:
    """Changes with the code that decides the values: this module, its SQL and the keys."""
    digest = hashlib.sha256()
    for path in (__file__, aggregates_sql.__file__, market.__file__):
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def next_midnight(moment: datetime) -> datetime:
    """The first midnight after a moment, a midnight's being the next one."""
    return midnight(moment) + DAY


def midnight(moment: datetime) -> datetime:
    """The newest midnight that is not after a moment (UTC)."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def refresh_days(ttl: timedelta) -> int:
    """Days after which a quiet key gets a row again: half the time-to-live, 1 to 90."""
    return max(1, min(REFRESH_DAYS, ttl.days // 2))


def aggregate(
    sales: pa.Table,
    *,
    as_of: datetime,
    publication_lag: timedelta,
    ttl: timedelta,
    part: int = 0,
    parts: int = 1,
) -> Aggregates:
    """Compute every view.

    Args:
        sales: one row a sale with the columns `SALE_COLUMNS`, in any order.
        as_of: a midnight (UTC); nothing knowable at or after it enters.
        publication_lag: from a sale until it can be known.
        ttl: time-to-live of the views; decides how often quiet keys are refreshed.
        part: only the keys whose hash falls into this one of `parts`; all of them together are
            the whole, so several machines can share the work.
    """
    import duckdb

    if as_of != midnight(as_of):
        raise ValueError(f"as_of is no midnight: {as_of.isoformat()}")
    settings = {
        "as_of": (as_of - EPOCH).days,
        "lag_us": publication_lag // timedelta(microseconds=1),
        "refresh": refresh_days(ttl),
        "part": part,
        "parts": parts,
    }
    with duckdb.connect(":memory:") as db:
        db.execute("SET TimeZone = 'UTC'")
        db.register("lake_sale", sales)
        db.register("designer_key", _designer_keys(sales))
        for statement in PREPARE:
            _run(db, statement, settings)
        known = _count(db, "sale")
        tables = {view.name: db.sql(QUERIES[view.name]).to_arrow_table() for view in market.ALL_VIEWS}
    return Aggregates(tables, as_of, known, sales.num_rows - known)


def _designer_keys(sales: pa.Table) -> pa.Table:
    """Designer name to its key, by the one rule (Unicode case folding is Python's, not SQL's)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = pc.unique(sales["designers"].combine_chunks().flatten()).to_pylist()
    return pa.table(
        {
            "name": pa.array(names, pa.string()),
            "key": pa.array([market.designer_key(n) for n in names], pa.string()),
        }
    )


def _run(db: duckdb.DuckDBPyConnection, statement: str, settings: Mapping[str, Any]) -> None:
    used = {name: value for name, value in settings.items() if re.search(rf"\${name}\b", statement)}
    db.execute(statement, used).complete()


def _count(db: duckdb.DuckDBPyConnection, table: str) -> int:
    rows = db.sql(f"SELECT count(*) FROM {table}").fetchall()  # noqa: S608 - our own table
    return int(rows[0][0])
