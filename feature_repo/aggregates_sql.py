"""The SQL of the market aggregates: how :mod:`feature_repo.aggregates` gets from sales to its tables.

Statements run in the order of :data:`PREPARE`, then one query of :data:`QUERIES` a view. Parameters:
`$as_of` (days since 1970), `$lag_us`, `$refresh` (days), and `$part` of `$parts`: only keys whose hash
falls into the part get rows, which is how several machines share the work. What a key borrows from
its parents (all categories, its category) is computed in full in each part.
"""

# ruff: noqa: S608 - the SQL is put together from this module's own names and numbers

from __future__ import annotations

from graildient.pricing import market

SCALE = 1_000_000
"""Log prices are counted in millionths: a ten-thousandth of a per cent of a price."""

WINDOW_DAYS = 365
RECENT_DAYS = (7, 30, 90)

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
CATEGORY_DEPARTMENT_WEIGHT = 10
SELLER_WEIGHT = 5

CONDITIONS = ("new", "gently_used", "used", "worn")


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


def _in_part(key: str) -> str:
    return f"hash({key}) % $parts = $part"


def _row_days(name: str, windows: tuple[int, ...], *, table: str = "", only: str = "true") -> str:
    """Days on which each key has a row: changes, snapshot, and refreshes in between."""
    left = " ".join(f"UNION SELECT key, day + {days} FROM {name}_total WHERE {only}" for days in windows)
    return f"""
    CREATE TABLE {table or name}_day AS
    WITH change AS (
        SELECT key, day FROM {name}_total WHERE {only} {left}
        UNION SELECT key, $as_of FROM {name}_total WHERE {only}
    ), gap AS (
        SELECT key, day, lead(day) OVER (PARTITION BY key ORDER BY day) AS next
        FROM change WHERE day <= $as_of
    )
    SELECT key, unnest(generate_series(day, coalesce(next - 1, day), $refresh)) AS day FROM gap
    """


def _quantiles(table: str, key: str) -> str:
    """Quartiles of the price and the median pace of each key, over all that was known by each day."""
    return f"""
    CREATE TABLE {key}_quantile AS
    SELECT DISTINCT {key} AS key, day, quantile_cont(y, [0.25, 0.5, 0.75]) OVER known AS q,
        quantile_cont(days_to_sale, 0.5) OVER known AS days
    FROM {table}
    WINDOW known AS (PARTITION BY {key} ORDER BY day RANGE UNBOUNDED PRECEDING)
    """


# A mean shrunk to a parent's: (sum + weight * parent) / (count + weight), in millionths.
_MARKET_MEAN = f"""((coalesce(m.y, 0) + {MARKET_WEIGHT} * ln(1 + {PRIOR_PRICE}) * {SCALE})
    / (coalesce(m.n, 0) + {MARKET_WEIGHT}))"""


def _shrunk(total: str, count: str, weight: int, parent: str) -> str:
    return f"((coalesce({total}, 0) + {weight} * {parent}) / (coalesce({count}, 0) + {weight}))"


def _recent(table: str, column: str, weight: int, parent: str, begin: str = "o") -> str:
    """The same over a window: totals now (`table`) minus those of the day it begins (`begin`)."""
    return _shrunk(
        f"({table}.{column} - coalesce({begin}.{column}, 0))", _since(table, begin), weight, parent
    )


def _since(table: str, begin: str = "o") -> str:
    return f"({table}.n - coalesce({begin}.n, 0))"


def _begins(name: str) -> str:
    """Joins of the totals at the beginning of each window, as `o7`, `o30`, `o90` and `o` (365 days)."""
    return " ".join(
        f"ASOF LEFT JOIN {name}_total o{days} ON r.key = o{days}.key AND r.day - {days} >= o{days}.day"
        for days in RECENT_DAYS
    ) + _begin(name)


def _begin(name: str) -> str:
    return f" ASOF LEFT JOIN {name}_total o ON r.key = o.key AND r.day - {WINDOW_DAYS} >= o.day"


def _deviation(table: str, column: str) -> str:
    """Standard deviation, exact up to the root: sums are whole numbers."""
    n, total, squares = f"{table}.n", f"{table}.{column}", f"{table}.{column}{column}"
    root = f"sqrt(({n} * {squares} - {total} * {total}) / ({n} * ({n} - 1)))"
    return f"CASE WHEN {n} > 1 THEN {root} / {SCALE} END"


_CATEGORY_MEAN = _shrunk("c.y", "c.n", CATEGORY_WEIGHT, _MARKET_MEAN)
_CATEGORY_MEAN_YEAR = _recent("c", "y", CATEGORY_RECENT_WEIGHT, _CATEGORY_MEAN)
_TIMES = "to_timestamp(r.day * 86400) AS event_at, to_timestamp(r.day * 86400) AS known_at"
_QUARTILES = f"""q.q[2] / {SCALE} AS median_log_price,
        q.q[1] / {SCALE} AS p25_log_price,
        q.q[3] / {SCALE} AS p75_log_price"""
_OF_CONDITION = ", ".join(f"(condition = '{c}')::INT AS k_{c}" for c in CONDITIONS)
_STATED = " + ".join(f"c.k_{c}" for c in CONDITIONS)
_SHARES = ", ".join(f"c.k_{c} / nullif({_STATED}, 0)::DOUBLE AS share_{c}" for c in CONDITIONS)

PREPARE = (
    f"""
    CREATE TABLE sale AS
    SELECT *, y * y AS yy, row_number() OVER (ORDER BY id) AS row,
        category_path || '|' || department AS category_department
    FROM (
        SELECT id, designers,
            coalesce(category || coalesce('.' || subcategory, ''), '{market.UNKNOWN}') AS category_path,
            coalesce(department, '{market.UNKNOWN}') AS department,
            nullif(seller_hash, '') AS seller, {_OF_CONDITION},
            (epoch_us(sold_at) + $lag_us) // 86400000000 + 1 AS day,
            round(ln(1 + sold_price) * {SCALE})::BIGINT AS y,
            (epoch_us(sold_at) - epoch_us(created_at)) / 86400000000.0 AS days_to_sale,
            'all' AS market
        FROM lake_sale
    ) WHERE day <= $as_of
    """,
    _running("sale", "market", "y"),
    _running("sale", "category_path", " ".join(["y", "yy", *(f"k_{c}" for c in CONDITIONS)])),
    # What a sale was worth against its category, as that was known from the days before its own.
    f"""
    CREATE TABLE residual AS
    SELECT s.row, s.designers, s.seller, s.category_path, s.day, s.y, s.days_to_sale,
        round(s.y - {_CATEGORY_MEAN})::BIGINT AS r
    FROM sale s
    ASOF LEFT JOIN category_path_total c ON s.category_path = c.key AND s.day > c.day
    ASOF LEFT JOIN market_total m ON s.market = m.key AND s.day > m.day
    """,
    f"""
    CREATE TABLE designer_sale AS
    WITH named AS (
        SELECT row, category_path, day, y, days_to_sale, r, unnest(designers) AS name FROM residual
    ), every AS (
        SELECT DISTINCT row, k.key AS designer, category_path, day, y, days_to_sale, r
        FROM named JOIN designer_key k USING (name)
        UNION ALL
        SELECT row, '{market.UNKNOWN}', category_path, day, y, days_to_sale, r
        FROM residual WHERE coalesce(len(designers), 0) = 0
    )
    SELECT *, r * r AS rr, designer || '|' || category_path AS designer_category
    FROM every WHERE {_in_part("designer")}
    """,
    _running("designer_sale", "designer", "r rr"),
    _running("designer_sale", "designer_category", "r"),
    "CREATE TABLE designer_of AS SELECT DISTINCT designer_category AS key, designer FROM designer_sale",
    f"CREATE TABLE part_sale AS SELECT * FROM sale WHERE {_in_part('category_path')}",
    _running("part_sale", "category_department", "y"),
    "CREATE TABLE path_of AS SELECT DISTINCT category_department AS key, category_path FROM part_sale",
    f"CREATE TABLE seller_sale AS SELECT * FROM residual WHERE seller IS NOT NULL AND {_in_part('seller')}",
    _running("seller_sale", "seller", "r"),
    _quantiles("part_sale", "category_path"),
    _quantiles("part_sale", "category_department"),
    _quantiles("designer_sale", "designer"),
    _quantiles("designer_sale", "designer_category"),
    _quantiles("seller_sale", "seller"),
    _row_days("category_path", (WINDOW_DAYS,), only=_in_part("key")),
    _row_days("category_path", (*RECENT_DAYS, WINDOW_DAYS), table="category_recent", only=_in_part("key")),
    _row_days("designer", (WINDOW_DAYS,)),
    _row_days("designer", (30, 90, WINDOW_DAYS), table="designer_recent"),
    _row_days("designer_category", ()),
    _row_days("category_department", (WINDOW_DAYS,)),
    _row_days("seller", (WINDOW_DAYS,)),
)

_CATEGORY = f"""
    SELECT r.key AS category_path,
        c.n::BIGINT AS sales_count,
        {_since("c")}::BIGINT AS sales_count_365d,
        {_CATEGORY_MEAN} / {SCALE} AS mean_log_price,
        {_QUARTILES},
        {_CATEGORY_MEAN_YEAR} / {SCALE} AS mean_log_price_365d,
        q.days AS days_to_sale,
        {_deviation("c", "y")} AS spread,
        {_SHARES},
        {_TIMES}
    FROM category_path_day r
    ASOF JOIN category_path_total c ON r.key = c.key AND r.day >= c.day
    {_begin("category_path")}
    ASOF JOIN market_total m ON m.key = 'all' AND r.day >= m.day
    ASOF JOIN category_path_quantile q ON r.key = q.key AND r.day >= q.day
    ORDER BY category_path, event_at
"""

_RECENT_COUNTS = ", ".join(_since("c", f"o{d}") + f"::BIGINT AS sales_count_{d}d" for d in RECENT_DAYS)
_CATEGORY_RECENT = f"""
    SELECT category_path, sales_count_7d, sales_count_30d, sales_count_90d,
        m30 / {SCALE} AS mean_log_price_30d, m90 / {SCALE} AS mean_log_price_90d,
        (m90 - m365) / {SCALE} AS trend_90d, event_at, known_at
    FROM (
        SELECT r.key AS category_path,
            {_RECENT_COUNTS},
            {_CATEGORY_MEAN_YEAR} AS m365,
            {_recent("c", "y", CATEGORY_RECENT_WEIGHT, "m365", "o90")} AS m90,
            {_recent("c", "y", CATEGORY_RECENT_WEIGHT, "m90", "o30")} AS m30,
            {_TIMES}
        FROM category_recent_day r
        ASOF JOIN category_path_total c ON r.key = c.key AND r.day >= c.day
        {_begins("category_path")}
        ASOF JOIN market_total m ON m.key = 'all' AND r.day >= m.day
    )
    ORDER BY category_path, event_at
"""

_DESIGNER_RESIDUAL = _shrunk("d.r", "d.n", DESIGNER_WEIGHT, "0")
_DESIGNER_RESIDUAL_YEAR = _recent("d", "r", DESIGNER_RECENT_WEIGHT, _DESIGNER_RESIDUAL)

_DESIGNER = f"""
    SELECT r.key AS designer,
        d.n::BIGINT AS sales_count,
        {_since("d")}::BIGINT AS sales_count_365d,
        {_DESIGNER_RESIDUAL} / {SCALE} AS residual,
        {_DESIGNER_RESIDUAL_YEAR} / {SCALE} AS residual_365d,
        {_deviation("d", "r")} AS spread,
        {_QUARTILES},
        q.days AS days_to_sale,
        {_TIMES}
    FROM designer_day r
    ASOF JOIN designer_total d ON r.key = d.key AND r.day >= d.day
    {_begin("designer")}
    ASOF JOIN designer_quantile q ON r.key = q.key AND r.day >= q.day
    ORDER BY designer, event_at
"""

_DESIGNER_RECENT = f"""
    SELECT designer, sales_count_30d, sales_count_90d,
        r30 / {SCALE} AS residual_30d, r90 / {SCALE} AS residual_90d,
        (r90 - r365) / {SCALE} AS trend_90d, event_at, known_at
    FROM (
        SELECT r.key AS designer,
            {_since("d", "o30")}::BIGINT AS sales_count_30d,
            {_since("d", "o90")}::BIGINT AS sales_count_90d,
            {_DESIGNER_RESIDUAL_YEAR} AS r365,
            {_recent("d", "r", DESIGNER_RECENT_WEIGHT, "r365", "o90")} AS r90,
            {_recent("d", "r", DESIGNER_RECENT_WEIGHT, "r90", "o30")} AS r30,
            {_TIMES}
        FROM designer_recent_day r
        ASOF JOIN designer_total d ON r.key = d.key AND r.day >= d.day
        {_begins("designer")}
    )
    ORDER BY designer, event_at
"""

_DESIGNER_CATEGORY = f"""
    SELECT r.key AS designer_category,
        b.n::BIGINT AS sales_count,
        {_shrunk("b.r", "b.n", DESIGNER_CATEGORY_WEIGHT, _DESIGNER_RESIDUAL)} / {SCALE} AS residual,
        q.q[2] / {SCALE} AS median_log_price,
        {_TIMES}
    FROM (SELECT * FROM designer_category_day JOIN designer_of USING (key)) r
    ASOF JOIN designer_category_total b ON r.key = b.key AND r.day >= b.day
    ASOF JOIN designer_total d ON r.designer = d.key AND r.day >= d.day
    ASOF JOIN designer_category_quantile q ON r.key = q.key AND r.day >= q.day
    ORDER BY designer_category, event_at
"""

_PATH_MEAN = _shrunk("b.y", "b.n", CATEGORY_DEPARTMENT_WEIGHT, _CATEGORY_MEAN)

_CATEGORY_DEPARTMENT = f"""
    SELECT r.key AS category_department,
        b.n::BIGINT AS sales_count,
        {_since("b")}::BIGINT AS sales_count_365d,
        {_PATH_MEAN} / {SCALE} AS mean_log_price,
        {_recent("b", "y", CATEGORY_RECENT_WEIGHT, _PATH_MEAN)} / {SCALE} AS mean_log_price_365d,
        {_QUARTILES},
        q.days AS days_to_sale,
        {_TIMES}
    FROM (SELECT * FROM category_department_day JOIN path_of USING (key)) r
    ASOF JOIN category_department_total b ON r.key = b.key AND r.day >= b.day
    {_begin("category_department")}
    ASOF JOIN category_path_total c ON r.category_path = c.key AND r.day >= c.day
    ASOF JOIN market_total m ON m.key = 'all' AND r.day >= m.day
    ASOF JOIN category_department_quantile q ON r.key = q.key AND r.day >= q.day
    ORDER BY category_department, event_at
"""

_SELLER = f"""
    SELECT r.key AS seller,
        d.n::BIGINT AS sales_count,
        {_since("d")}::BIGINT AS sales_count_365d,
        {_shrunk("d.r", "d.n", SELLER_WEIGHT, "0")} / {SCALE} AS residual,
        q.days AS days_to_sale,
        {_TIMES}
    FROM seller_day r
    ASOF JOIN seller_total d ON r.key = d.key AND r.day >= d.day
    {_begin("seller")}
    ASOF JOIN seller_quantile q ON r.key = q.key AND r.day >= q.day
    ORDER BY seller, event_at
"""

QUERIES = {
    market.CATEGORY.name: _CATEGORY,
    market.DESIGNER.name: _DESIGNER,
    market.DESIGNER_CATEGORY.name: _DESIGNER_CATEGORY,
    market.CATEGORY_RECENT.name: _CATEGORY_RECENT,
    market.DESIGNER_RECENT.name: _DESIGNER_RECENT,
    market.CATEGORY_DEPARTMENT.name: _CATEGORY_DEPARTMENT,
    market.SELLER.name: _SELLER,
}
"""View name to the query that gives its table, sorted by key and time."""
