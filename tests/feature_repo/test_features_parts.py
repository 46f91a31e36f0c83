"""The aggregates of some keys alone, as several machines would share the work."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pyarrow as pa
from feature_cases import market, table

from feature_repo.aggregates import Aggregates, aggregate, next_midnight
from graildient.pricing.market import ALL_VIEWS

LAG, TTL = timedelta(hours=24), timedelta(days=365)


def test_parts_together_are_the_whole() -> None:
    """Every key is in one part, with the values of the whole."""
    sales = market(80)
    end = next_midnight(max(sale.sold_at for sale in sales) + LAG)

    def made(part: int, parts: int) -> Aggregates:
        return aggregate(table(sales), as_of=end, publication_lag=LAG, ttl=TTL, part=part, parts=parts)

    whole, third = made(0, 1), [made(i, 3) for i in range(3)]
    for view in ALL_VIEWS:
        tables = [one.tables[view.name] for one in third]
        assert sum(part.num_rows > 0 for part in tables) > 1
        keys = [set(part[view.join_key].to_pylist()) for part in tables]
        assert not any(a & b for a, b in itertools.combinations(keys, 2))
        together = pa.concat_tables(tables).sort_by([(view.join_key, "ascending"), ("event_at", "ascending")])
        assert together.equals(whole.tables[view.name])
