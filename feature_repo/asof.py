"""The point-in-time join: what the tables said about a listing's keys at a moment.

Two implementations of one meaning, held equal by a test: :func:`feast_join` is Feast's
`get_historical_features`, and :func:`native_join` is a DuckDB ASOF join, which costs a pass over
both sides instead of every pair of a key's rows and requests.

The meaning: of a key's facts with ``event_at <= moment`` and ``known_at <= moment`` the one with
the newest event time (then: known time), unless ``event_at + ttl < moment``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from feature_repo.definitions import SERVICE
from graildient.listing import Listing
from graildient.pricing.market import ALL_VIEWS, VIEWS, Values, View, keys_of, reduce_rows
from graildient.settings import FeatureSettings
from graildient.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

MOMENT = "event_timestamp"
"""Column of the moment asked for; the name is Feast's default."""
POSITION = "position"
"""Column of the listing's place in the sequence that was asked for."""


def column(view: View, feature: str) -> str:
    """Name of a feature in a joined table, as Feast builds full feature names."""
    return f"{view.name}__{feature}"


def entity_rows(listings: Sequence[Listing], moments: Sequence[datetime]) -> pa.Table:
    """One row a listing and designer: position, every view's join key, and the moment (UTC)."""
    import pyarrow as pa

    keys = [keys_of(listing) for listing in listings]
    joins = {
        view.join_key: pa.array(
            [key for k in keys for key in (k.of(view) if view.several else k.of(view) * len(k.designers))],
            pa.string(),
        )
        for view in ALL_VIEWS
    }
    return pa.table(
        {
            POSITION: pa.array([i for i, k in enumerate(keys) for _ in k.designers], pa.int64()),
            **joins,
            MOMENT: pa.array(
                [m for k, m in zip(keys, moments, strict=True) for _ in k.designers],
                pa.timestamp("us", tz="UTC"),
            ),
        }
    )


def native_join(
    entities: pa.Table, tables: Mapping[str, pa.Table], ttl: timedelta, views: Sequence[View] = VIEWS
) -> pa.Table:
    """The features of every entity row, in its order, as columns named by :func:`column`.

    Args:
        entities: see :func:`entity_rows`.
        tables: view name to its table (join key, features, `event_at`, `known_at`; any order).
        ttl: time-to-live, applied to event time.
        views: whose features; default: what the price model takes.
    """
    import duckdb
    import pyarrow as pa

    joined: dict[str, Any] = {}
    with duckdb.connect(":memory:") as db:
        db.execute("SET TimeZone = 'UTC'").complete()
        db.register("entity", entities.append_column("row", pa.array(range(entities.num_rows), pa.int64())))
        for view in views:
            db.register("fact", tables[view.name])
            found = db.sql(_asof(view), params={"ttl": ttl}).to_arrow_table()
            for name in view.features:
                joined[column(view, name)] = found[name].combine_chunks()
            db.unregister("fact")
    return pa.table(joined)


def _asof(view: View) -> str:
    """An ASOF join takes one inequality, so facts are ordered by the moment at which both of their
    times had passed, and a fact is dropped when a newer event was seen no later than it."""
    live = ", ".join(
        f"CASE WHEN e.{MOMENT} <= f.event_at + $ttl::INTERVAL THEN f.{name} END AS {name}"
        for name in view.features
    )
    return f"""
    WITH seen AS (
        SELECT *, greatest(event_at, known_at) AS seen_at,
            max(event_at) OVER (PARTITION BY {view.join_key} ORDER BY greatest(event_at, known_at)) AS newest
        FROM fact
    ), kept AS (
        SELECT * FROM seen WHERE event_at = newest
        QUALIFY row_number() OVER (PARTITION BY {view.join_key}, seen_at ORDER BY known_at DESC) = 1
    )
    SELECT {live} FROM entity e
    ASOF LEFT JOIN kept f ON e.{view.join_key} = f.{view.join_key} AND e.{MOMENT} >= f.seen_at
    ORDER BY e.row
    """  # noqa: S608 - names of our own views and features


def feast_join(
    entities: pa.Table, storage: Storage, settings: FeatureSettings, views: Sequence[View] = VIEWS
) -> pa.Table:
    """The same by Feast's `get_historical_features` through the feature service, with its DuckDB store.

    Raises:
        FeatureStoreError: there are no features yet.
    """
    import pyarrow as pa

    from feature_repo.store import code_store, local_views

    keys = list(dict.fromkeys(view.join_key for view in views))
    # Feast gives one answer for equal rows, in no stated order: ask each once, and go back by value.
    asked = entities.select([*keys, MOMENT]).to_pandas()
    with local_views(storage) as folder:
        store = code_store(storage, settings, folder=folder, online=False)
        answer = store.get_historical_features(
            entity_df=asked.drop_duplicates(ignore_index=True),
            features=[f"{view.name}:{name}" for view in views for name in view.features]
            if views is not VIEWS
            else store.get_feature_service(SERVICE),
            full_feature_names=True,
            filter_by_created_timestamp=True,
        ).to_df()
    merged = asked.merge(answer, on=[*keys, MOMENT], how="left", sort=False)
    kinds = {column(v, f.name): pa.int64() if f.whole else pa.float64() for v in views for f in v.stored}
    return pa.table({name: pa.array(merged[name], kind, from_pandas=True) for name, kind in kinds.items()})


def reduce_joined(
    entities: pa.Table, joined: pa.Table, count: int, views: Sequence[View] = VIEWS
) -> list[Values]:
    """The market row of each of `count` listings."""
    positions = entities[POSITION].to_pylist()
    rows: dict[str, list[dict[str, Any]]] = {
        view.name: joined.select([column(view, n) for n in view.features])
        .rename_columns(list(view.features))
        .to_pylist()
        for view in views
    }
    found: list[dict[str, list[Values]]] = [{view.name: [] for view in views} for _ in range(count)]
    for row, position in enumerate(positions):
        for view in views:
            of_view = found[position][view.name]
            if view.several or not of_view:
                of_view.append(rows[view.name][row])
    return [reduce_rows(of_listing, views) for of_listing in found]
