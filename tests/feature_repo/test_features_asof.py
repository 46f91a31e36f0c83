"""The point-in-time join: ours is Feast's, and time-to-live and created time mean what they should."""

from __future__ import annotations

import io
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feature_cases import HISTORY

from feature_repo.asof import MOMENT, POSITION, column, entity_rows, feast_join, native_join, reduce_joined
from feature_repo.store import view_path
from graildient.errors import FeatureStoreError
from graildient.listing import Listing
from graildient.pricing.market import ALL_VIEWS, DESIGNER, View
from graildient.settings import FeatureSettings
from graildient.storage import Storage

# ibis still calls a method that DuckDB 2 has renamed.
feast_offline = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")
T0 = datetime(2020, 1, 1, tzinfo=UTC)
NAMES = ("a", "b", "c", "d")


def facts(view: View, rows: list[dict[str, Any]]) -> pa.Table:
    time = pa.timestamp("us", tz="UTC")
    kinds = [
        (view.join_key, pa.string()),
        *((n, pa.int64() if n.startswith("sales_count") else pa.float64()) for n in view.features),
        ("event_at", time),
        ("known_at", time),
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema(kinds))


def random_facts(view: View, draw: random.Random) -> pa.Table:
    """Facts in no order, known at, before or long after their event, some values missing; no two alike."""
    rows = {}
    for _ in range(160):
        event = T0 + timedelta(hours=draw.randrange(2000))
        known = event + timedelta(hours=draw.choice((-5, 0, 0, 1, 24, 700)))
        key = draw.choice(NAMES)
        values = {
            n: draw.randrange(99) if n.startswith("sales_count") else draw.choice((None, draw.random()))
            for n in view.features
        }
        rows[key, event, known] = {view.join_key: key, "event_at": event, "known_at": known, **values}
    made = list(rows.values())
    draw.shuffle(made)
    return facts(view, made)


def asked(rows: list[tuple[int, str, str, str, datetime]]) -> pa.Table:
    names = [POSITION, "category_path", "designer", "designer_category", "category_department", "seller"]
    columns = list(zip(*((i, a, b, c, a, b, moment) for i, a, b, c, moment in rows), strict=True))
    kinds = [pa.int64(), *[pa.string()] * 5, pa.timestamp("us", tz="UTC")]
    return pa.table({n: pa.array(c, k) for n, c, k in zip([*names, MOMENT], columns, kinds, strict=True)})


def put(storage: Storage, tables: dict[str, pa.Table]) -> None:
    for view in ALL_VIEWS:
        out = io.BytesIO()
        pq.write_table(tables[view.name], out)
        storage.write_bytes(view_path(view), out.getvalue())


@feast_offline
@pytest.mark.parametrize("seed", [1, 2])
def test_the_native_join_is_feasts_row_for_row(storage: Storage, seed: int) -> None:
    draw = random.Random(seed)
    tables = {view.name: random_facts(view, draw) for view in ALL_VIEWS}
    put(storage, tables)
    rows = [
        (
            i,
            draw.choice((*NAMES, "nobody")),
            draw.choice((*NAMES, "nobody")),
            draw.choice((*NAMES, "nobody")),
            T0 + timedelta(minutes=draw.choice((0, 30, 60))) + timedelta(hours=draw.randrange(-50, 3500)),
        )
        for i in range(500)
    ]
    entities = asked(rows + rows[:20])
    settings = FeatureSettings(ttl_days=20)
    ours = native_join(entities, tables, settings.ttl, ALL_VIEWS)
    theirs = feast_join(entities, storage, settings, ALL_VIEWS)
    assert ours.select(native_join(entities, tables, settings.ttl).column_names) == native_join(
        entities, tables, settings.ttl
    )
    assert ours.num_rows == 520
    assert ours.equals(theirs.select(ours.column_names))
    assert all(0 < c.null_count < 520 for c in ours.columns)


def one_fact(event: datetime, known: datetime, count: int = 1) -> dict[str, Any]:
    return {"designer": "a", "sales_count": count, "event_at": event, "known_at": known}


def seen(rows: list[dict[str, Any]], moment: datetime, ttl: timedelta = timedelta(days=10)) -> int | None:
    tables = {view.name: facts(view, rows if view is DESIGNER else []) for view in ALL_VIEWS}
    found = native_join(asked([(0, "a", "a", "a", moment)]), tables, ttl)
    value: int | None = found[column(DESIGNER, "sales_count")][0].as_py()
    return value


def test_a_fact_is_seen_from_its_event_until_its_time_to_live_has_passed() -> None:
    fact, tick = [one_fact(T0, T0)], timedelta(microseconds=1)
    assert seen(fact, T0 - tick) is None
    assert seen(fact, T0) == 1
    assert seen(fact, T0 + timedelta(days=10)) == 1
    assert seen(fact, T0 + timedelta(days=10) + tick) is None


def test_a_fact_is_not_seen_before_it_was_known() -> None:
    late = [one_fact(T0, T0 + timedelta(days=3), 2), one_fact(T0 - timedelta(days=1), T0, 1)]
    assert seen(late, T0 + timedelta(days=2)) == 1
    assert seen(late, T0 + timedelta(days=3)) == 2


def test_an_older_event_that_became_known_later_does_not_replace_a_newer_one() -> None:
    rows = [one_fact(T0, T0, 1), one_fact(T0 - timedelta(days=5), T0 + timedelta(days=1), 2)]
    assert seen(rows, T0 + timedelta(days=2)) == 1


def test_of_one_event_the_fact_known_last_counts() -> None:
    rows = [one_fact(T0, T0, 1), one_fact(T0, T0 + timedelta(days=1), 2)]
    assert [seen(rows, T0 + timedelta(days=d)) for d in (0, 1)] == [1, 2]


def test_several_designers_are_reduced_and_the_category_counts_once() -> None:
    tables = {
        view.name: facts(
            view,
            [
                {view.join_key: key, "sales_count": n, "event_at": T0, "known_at": T0}
                for key, n in (("a", 1), ("b", 4), ("tops", 7), ("a|tops", 2))
            ],
        )
        for view in ALL_VIEWS
    }
    listings = [Listing(title="x", designers=("A", "B", "C"), category="tops"), Listing(title="y")]
    entities = entity_rows(listings, [T0, T0])
    row, nothing = reduce_joined(entities, native_join(entities, tables, timedelta(days=1)), 2)
    assert row["category_sales_count"] == 7.0
    assert (row["designer_sales_count_max"], row["designer_sales_count_mean"]) == (4.0, 2.5)
    assert row["designer_category_sales_count_max"] == 2.0
    assert row["designer_residual_max"] is None
    assert set(nothing.values()) == {None}


def test_no_features_is_said(storage: Storage) -> None:
    with pytest.raises(FeatureStoreError, match="no features") as caught:
        feast_join(asked([(0, "a", "a", "a", T0)]), storage, HISTORY)
    assert "features build" in caught.value.hint
