"""Market aggregates as of each day: one event-time table a view, computed by DuckDB.

**Time.** A sale is knowable at ``sold_at + publication lag``. The row of day D of a key
(``event_at = known_at = D 00:00 UTC``) holds everything about the sales with
``knowable_at < D 00:00``, so a sale enters the tables at the first midnight after it became
knowable; D is called its *day* below. Windows of 365 days hold the sales with
``D - 365 d <= knowable_at < D``.

**Rows.** A key has a row on

* each day on which a sale enters it,
* each day on which a sale leaves its 365-day window (views that have such a window),
* a refresh day whenever nothing else happened for `refresh_days`: a quiet key must not look
  expired, because time-to-live is there to catch a feature pipeline that lags, and
* the `as_of` day (the snapshot that is materialised).

So a key with n sales has at most ``2n + span / refresh_days + 1`` rows, and rows that are older
than some day never change because of sales that became knowable later (but for the snapshot row,
which moves on). What a key borrows from its parent when it is shrunk (all categories, its
designer) is the parent's value of the row's own day, and so at most `refresh_days` old when read.

**Exactness.** Log prices are whole numbers of millionths, so that sums are exact whatever the
order of the rows and the number of threads: the same sales give the same bytes.
"""

# ruff: noqa: S608 - the SQL is put together from this module's own names and numbers

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graildient.pricing import market

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)

SCALE = 1_000_000
"""Log prices are counted in millionths: a ten-thousandth of a per cent of a price."""

WINDOW_DAYS = 365
REFRESH_DAYS = 90

# Pseudo-counts: how many sales of its own a key needs before it counts as much as what it is shrunk to.
PRIOR_PRICE = 100.0
"""US dollars; stands in for the market before the first sale."""
MARKET_WEIGHT = 10
"""Sales that `PRIOR_PRICE` is worth in the mean of all categories."""
CATEGORY_WEIGHT = 10
CATEGORY_RECENT_WEIGHT = 10
DESIGNER_WEIGHT = 5
DESIGNER_RECENT_WEIGHT = 5
DESIGNER_CATEGORY_WEIGHT = 5

SALE_COLUMNS = ("id", "designers", "category", "subcategory", "sold_price", "created_at", "sold_at")
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
    """Changes with the code that decides the values: this module and the keys."""
    digest = hashlib.sha256()
    for path in (__file__, market.__file__):
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


def aggregate(sales: pa.Table, *, as_of: datetime, publication_lag: timedelta, ttl: timedelta) -> Aggregates:
    """Compute every view.

    Args:
        sales: one row a sale with the columns `SALE_COLUMNS`, in any order.
        as_of: a midnight (UTC); nothing knowable at or after it enters.
        publication_lag: from a sale until it can be known.
        ttl: time-to-live of the views; decides how often quiet keys are refreshed.
    """
    import duckdb

    if as_of != midnight(as_of):
        raise ValueError(f"as_of is no midnight: {as_of.isoformat()}")
    settings = {
        "as_of": (as_of - EPOCH).days,
        "lag_us": publication_lag // timedelta(microseconds=1),
        "refresh": refresh_days(ttl),
    }
    with duckdb.connect(":memory:") as db:
        db.execute("SET TimeZone = 'UTC'")
        db.register("lake_sale", sales)
        db.register("designer_key", _designer_keys(sales))
        for statement in _PREPARE:
            _run(db, statement, settings)
        known = _count(db, "sale")
        tables = {
            view.name: db.sql(query).to_arrow_table()
            for view, query in (
                (market.CATEGORY, _CATEGORY),
                (market.DESIGNER, _DESIGNER),
                (market.DESIGNER_CATEGORY, _BOTH),
            )
        }
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
    used = {name: value for name, value in settings.items() if f"${name}" in statement}
    db.execute(statement, used).complete()


def _count(db: duckdb.DuckDBPyConnection, table: str) -> int:
    rows = db.sql(f"SELECT count(*) FROM {table}").fetchall()
    return int(rows[0][0])


def _running(table: str, key: str, sums: str) -> str:
    """A table of running totals: one row a key and day on which a sale entered it."""
    columns = ["n", *sums.split()]
    daily = ", ".join(["count(*) AS n", *(f"sum({c})::HUGEINT AS {c}" for c in sums.split())])
    total = ", ".join(f"sum({c}) OVER running AS {c}" for c in columns)
    return f"""
    CREATE TABLE {key}_total AS
    SELECT key, day, {total}
    FROM (SELECT {key} AS key, day, {daily} FROM {table} GROUP BY ALL)
    WINDOW running AS (PARTITION BY key ORDER BY day ROWS UNBOUNDED PRECEDING)
    """


def _row_days(name: str, *, windowed: bool) -> str:
    """Days on which each key has a row: changes, snapshot, and refreshes in between."""
    leaving = f"UNION SELECT key, day + {WINDOW_DAYS} FROM {name}_total" if windowed else ""
    return f"""
    CREATE TABLE {name}_day AS
    WITH change AS (
        SELECT key, day FROM {name}_total {leaving} UNION SELECT key, $as_of FROM {name}_total
    ), gap AS (
        SELECT key, day, lead(day) OVER (PARTITION BY key ORDER BY day) AS next
        FROM change WHERE day <= $as_of
    )
    SELECT key, unnest(generate_series(day, coalesce(next - 1, day), $refresh)) AS day FROM gap
    """


# A mean shrunk to a parent's: (sum + weight * parent) / (count + weight), in millionths.
_MARKET_MEAN = f"""((coalesce(m.y, 0) + {MARKET_WEIGHT} * ln(1 + {PRIOR_PRICE}) * {SCALE})
    / (coalesce(m.n, 0) + {MARKET_WEIGHT}))"""


def _shrunk(total: str, count: str, weight: int, parent: str) -> str:
    return f"((coalesce({total}, 0) + {weight} * {parent}) / (coalesce({count}, 0) + {weight}))"


def _recent(table: str, column: str, weight: int, parent: str) -> str:
    """The same over the window: totals now (`table`) minus those of the day it begins (`o`)."""
    return _shrunk(
        f"({table}.{column} - coalesce(o.{column}, 0))", f"({table}.n - coalesce(o.n, 0))", weight, parent
    )


_CATEGORY_MEAN = _shrunk("c.y", "c.n", CATEGORY_WEIGHT, _MARKET_MEAN)
_TIMES = "to_timestamp(r.day * 86400) AS event_at, to_timestamp(r.day * 86400) AS known_at"

_PREPARE = (
    f"""
    CREATE TABLE sale AS
    SELECT *, row_number() OVER (ORDER BY id) AS row FROM (
        SELECT id, designers,
            coalesce(category || coalesce('.' || subcategory, ''), '{market.UNKNOWN}') AS category_path,
            (epoch_us(sold_at) + $lag_us) // 86400000000 + 1 AS day,
            round(ln(1 + sold_price) * {SCALE})::BIGINT AS y,
            (epoch_us(sold_at) - epoch_us(created_at)) / 86400000000.0 AS days_to_sale,
            'all' AS market
        FROM lake_sale
    ) WHERE day <= $as_of
    """,
    _running("sale", "market", "y"),
    _running("sale", "category_path", "y"),
    # What a sale was worth against its category, as that was known from the days before its own.
    f"""
    CREATE TABLE residual AS
    SELECT s.row, s.designers, s.category_path, s.day, round(s.y - {_CATEGORY_MEAN})::BIGINT AS r
    FROM sale s
    ASOF LEFT JOIN category_path_total c ON s.category_path = c.key AND s.day > c.day
    ASOF LEFT JOIN market_total m ON s.market = m.key AND s.day > m.day
    """,
    f"""
    CREATE TABLE designer_sale AS
    WITH named AS (SELECT row, category_path, day, r, unnest(designers) AS name FROM residual)
    SELECT DISTINCT row, k.key AS designer, category_path, day, r, r * r AS rr,
        k.key || '|' || category_path AS designer_category
    FROM named JOIN designer_key k USING (name)
    UNION ALL
    SELECT row, '{market.UNKNOWN}', category_path, day, r, r * r, '{market.UNKNOWN}|' || category_path
    FROM residual WHERE coalesce(len(designers), 0) = 0
    """,
    _running("designer_sale", "designer", "r rr"),
    _running("designer_sale", "designer_category", "r"),
    "CREATE TABLE designer_of AS SELECT DISTINCT designer_category AS key, designer FROM designer_sale",
    """
    CREATE TABLE category_quantile AS
    SELECT DISTINCT category_path AS key, day, quantile_cont(y, [0.25, 0.5, 0.75]) OVER known AS q,
        quantile_cont(days_to_sale, 0.5) OVER known AS days
    FROM sale
    WINDOW known AS (PARTITION BY category_path ORDER BY day RANGE UNBOUNDED PRECEDING)
    """,
    _row_days("category_path", windowed=True),
    _row_days("designer", windowed=True),
    _row_days("designer_category", windowed=False),
)

_CATEGORY = f"""
    SELECT r.key AS category_path,
        c.n::BIGINT AS sales_count,
        (c.n - coalesce(o.n, 0))::BIGINT AS sales_count_365d,
        {_CATEGORY_MEAN} / {SCALE} AS mean_log_price,
        q.q[2] / {SCALE} AS median_log_price,
        q.q[1] / {SCALE} AS p25_log_price,
        q.q[3] / {SCALE} AS p75_log_price,
        {_recent("c", "y", CATEGORY_RECENT_WEIGHT, _CATEGORY_MEAN)} / {SCALE} AS mean_log_price_365d,
        q.days AS days_to_sale,
        {_TIMES}
    FROM category_path_day r
    ASOF JOIN category_path_total c ON r.key = c.key AND r.day >= c.day
    ASOF LEFT JOIN category_path_total o ON r.key = o.key AND r.day - {WINDOW_DAYS} >= o.day
    ASOF JOIN market_total m ON m.key = 'all' AND r.day >= m.day
    ASOF JOIN category_quantile q ON r.key = q.key AND r.day >= q.day
    ORDER BY category_path, event_at
"""

_DESIGNER_RESIDUAL = _shrunk("d.r", "d.n", DESIGNER_WEIGHT, "0")

_DESIGNER = f"""
    SELECT r.key AS designer,
        d.n::BIGINT AS sales_count,
        (d.n - coalesce(o.n, 0))::BIGINT AS sales_count_365d,
        {_DESIGNER_RESIDUAL} / {SCALE} AS residual,
        {_recent("d", "r", DESIGNER_RECENT_WEIGHT, _DESIGNER_RESIDUAL)} / {SCALE} AS residual_365d,
        CASE WHEN d.n > 1 THEN sqrt((d.n * d.rr - d.r * d.r) / (d.n * (d.n - 1))) / {SCALE} END AS spread,
        {_TIMES}
    FROM designer_day r
    ASOF JOIN designer_total d ON r.key = d.key AND r.day >= d.day
    ASOF LEFT JOIN designer_total o ON r.key = o.key AND r.day - {WINDOW_DAYS} >= o.day
    ORDER BY designer, event_at
"""

_BOTH = f"""
    SELECT r.key AS designer_category,
        b.n::BIGINT AS sales_count,
        {_shrunk("b.r", "b.n", DESIGNER_CATEGORY_WEIGHT, _DESIGNER_RESIDUAL)} / {SCALE} AS residual,
        {_TIMES}
    FROM (SELECT * FROM designer_category_day JOIN designer_of USING (key)) r
    ASOF JOIN designer_category_total b ON r.key = b.key AND r.day >= b.day
    ASOF JOIN designer_total d ON r.designer = d.key AND r.day >= d.day
    ORDER BY designer_category, event_at
"""
