"""Looking up: online equals offline, time-to-live, threads, stores that are down or not what they were."""

from __future__ import annotations

import re
import socket
import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from feature_cases import HISTORY, START, fill, market, prepared, questions, sale, settings_of

from feature_repo import online
from feature_repo.build import build_features
from feature_repo.manifest import read_manifest, read_view
from feature_repo.materialise import materialise
from feature_repo.online import Lookup, OnlineMarket
from feature_repo.status import status
from feature_repo.store import (
    ONLINE,
    REGISTRY,
    code_store,
    feast_store,
    make_definitions,
    repo_config,
)
from feature_repo.training_set import market_as_of
from graildient.errors import FeatureStoreError, InvalidSettings, OnlineStoreUnavailable
from graildient.listing import Listing
from graildient.pricing.market import ALL_VIEWS, CATEGORY, MARKET_FEATURES, VIEWS
from graildient.settings import FeatureSettings
from graildient.storage import Storage


def test_online_equals_offline_for_every_key_and_type(storage: Storage, settings: FeatureSettings) -> None:
    prepared(storage, settings)
    done = materialise(storage, settings)
    assert done.rows == read_manifest(storage).keys
    listings = questions()
    with OnlineMarket(storage, settings) as shop:
        found = shop.lookup(listings)
        assert shop.materialised() == done.as_of
    offline = market_as_of(listings, storage, settings)
    assert found.rows == offline
    assert [type(v) for row in found.rows for v in row.values()] == [
        type(v) for row in offline for v in row.values()
    ]
    assert (found.as_of, found.newest, found.expired) == (done.as_of, done.as_of, 0)
    # Of the strangers: designer twice (with and without "kappa"), both with their category, footwear, …
    assert found.missing == sum(_missing(storage, listing) for listing in listings) > 0
    # A designer sold once has no spread: a null that was stored, not a row that is missing.
    once = [row for row in found.rows if row["designer_sales_count_max"] == 1.0]
    assert all(row["designer_spread_max"] is None for row in once)


def test_a_pushed_row_is_served_at_once_and_the_next_build_replaces_it(
    storage: Storage, settings: FeatureSettings
) -> None:
    import pandas as pd

    prepared(storage, settings)
    done = materialise(storage, settings)
    asked = [Listing(title="x", category="tops", subcategory="short_sleeve_shirts")]
    with OnlineMarket(storage, settings) as shop:
        before = shop.lookup(asked).rows[0]
    path = "tops.short_sleeve_shirts"
    fresh = dict.fromkeys(CATEGORY.features, None) | {"sales_count": 4711, "mean_log_price": 3.25}
    when = done.as_of + timedelta(hours=1)
    rows = [
        {"category_path": key, **fresh, "event_at": when, "known_at": when}
        for key in (path, "womens_dresses")
    ]
    store = feast_store(repo_config(storage, settings, online=True, timeout=10.0, shared=False))
    store.apply(make_definitions(storage, settings).objects())
    kinds = {name: "Int64" if name.startswith("sales_count") else "float64" for name in CATEGORY.features}
    store.push(f"{CATEGORY.name}_push", pd.DataFrame(rows).astype(kinds))
    with OnlineMarket(storage, settings) as shop:
        found = shop.lookup(asked).rows[0]
        unsold = shop.lookup([Listing(title="x", category="womens_dresses")]).rows[0]
    assert (found["category_sales_count"], found["category_mean_log_price"]) == (4711.0, 3.25)
    assert unsold["category_sales_count"] == 4711.0
    assert found["category_p25_log_price"] is None
    assert found["designer_sales_count_max"] == before["designer_sales_count_max"]
    assert status(storage, settings)["online"]["state"] == "current", "more keys than built are no damage"

    fill(storage, [sale(9000, created=done.as_of, days=2)])
    build_features(storage, settings)
    materialise(storage, settings)
    with OnlineMarket(storage, settings) as shop:
        assert shop.lookup(asked).rows[0]["category_sales_count"] in (
            before["category_sales_count"],
            (before["category_sales_count"] or 0) + 1,
        )
        assert shop.lookup([Listing(title="x", category="womens_dresses")]).missing > 0


def _missing(storage: Storage, listing: Listing) -> int:
    from graildient.pricing.market import keys_of

    manifest = read_manifest(storage)
    known = {v.name: set(read_view(storage, manifest, v)[v.join_key].to_pylist()) for v in VIEWS}
    return sum(key not in known[view.name] for view in VIEWS for key in keys_of(listing).of(view))


def test_a_stored_null_is_a_null(storage: Storage, settings: FeatureSettings) -> None:
    fill(storage, [sale(1, created=START, designers=["Once"], category="tops")])
    build_features(storage, settings)
    materialise(storage, settings)
    with OnlineMarket(storage, settings) as shop:
        found = shop.lookup([Listing(title="x", designers=("Once",), category="tops")])
    assert found.missing == 0
    assert found.rows[0]["designer_sales_count_max"] == 1.0
    assert found.rows[0]["designer_spread_max"] is None


def test_a_value_older_than_its_time_to_live_is_left_out_and_counted(
    storage: Storage, settings: FeatureSettings
) -> None:
    """A pipeline that stood still: the store holds a build that is older than the time-to-live."""
    prepared(storage, settings, count=60)
    old = materialise(storage, settings)
    asked = [
        Listing(title="x", designers=("Kappa", "Vintage"), category="tops", subcategory="short_sleeve_shirts")
    ]
    for days, expired in ((365, 0), (366, 5)):
        fill(storage, [sale(900 + days, created=old.as_of - timedelta(days=2), days=days)])
        build_features(storage, settings)
        now = read_manifest(storage).as_of
        assert now - old.as_of == timedelta(days=days)
        with OnlineMarket(storage, settings) as shop:
            found = shop.lookup(asked)
        assert (found.expired, found.missing, found.as_of, found.newest) == (expired, 0, now, old.as_of)
        assert (found.rows[0]["designer_sales_count_max"] is None) == bool(expired)
    assert set(found.rows[0].values()) == {None}
    assert found.rows[0].keys() == set(MARKET_FEATURES)


def test_live_expires_against_the_wall_clock(storage: Storage) -> None:
    fill(storage, market(30))
    live = FeatureSettings(clock="live", online_store="sqlite", ttl_days=30)
    build_features(storage, live, now=datetime.now(UTC) - timedelta(days=29))
    materialise(storage, live)
    asked = [Listing(title="x", designers=("Kappa",))]
    with OnlineMarket(storage, live) as shop:
        fresh = shop.lookup(asked)
        assert (fresh.expired, fresh.rows[0]["designer_sales_count_max"] is None) == (0, False)
        assert abs(fresh.as_of - datetime.now(UTC)) < timedelta(minutes=1)
    build_features(storage, live, now=datetime.now(UTC) - timedelta(days=32))
    materialise(storage, live)
    with OnlineMarket(storage, live) as shop:
        assert shop.lookup(asked).expired > 0


def test_a_running_server_sees_a_new_materialisation(
    storage: Storage, settings: FeatureSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online, "CHECK_SECONDS", 0.0)
    fill(storage, market(40, seed=4))
    build_features(storage, settings)
    materialise(storage, settings)
    asked = questions()
    with OnlineMarket(storage, settings) as shop:
        assert shop.lookup(asked).rows == market_as_of(asked, storage, settings)
        prepared(storage, settings)
        new = materialise(storage, settings)
        after = shop.lookup(asked)
        assert after.rows == market_as_of(asked, storage, settings)
        assert shop.materialised() == after.newest == new.as_of


def test_many_threads_look_up_at_once(storage: Storage, settings: FeatureSettings) -> None:
    prepared(storage, settings)
    materialise(storage, settings)
    asked = questions()
    wanted = market_as_of(asked, storage, settings)
    wrong: list[Any] = []

    def work(start: int) -> None:
        try:
            for i in range(start, start + 40):
                at = i % len(asked)
                if shop.lookup(asked[at : at + 3]).rows != wanted[at : at + 3]:
                    wrong.append(at)
        except Exception as error:
            wrong.append(error)

    with OnlineMarket(storage, settings, timeout_ms=5000) as shop:
        threads = [threading.Thread(target=work, args=(n * 17,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def refused(shop: OnlineMarket, within: float) -> OnlineStoreUnavailable:
    started = time.monotonic()
    with pytest.raises(OnlineStoreUnavailable) as caught:
        shop.lookup([Listing(title="x", designers=("Kappa",))])
    assert time.monotonic() - started < within
    assert caught.value.to_json()["code"] == "online_store_unavailable"
    return caught.value


def test_a_removed_and_a_locked_file_are_unavailable_in_time(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online, "PAUSE_SECONDS", 0.0)
    with OnlineMarket(storage, HISTORY) as shop:
        refused(shop, within=0.5)
        assert not storage.exists(ONLINE)
        prepared(storage, HISTORY)
        materialise(storage, HISTORY)
        good = shop.lookup(questions())
        blocker = sqlite3.connect(storage.local(ONLINE), isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        assert "locked" in refused(shop, within=1.0).message
        blocker.rollback()
        blocker.close()
        assert shop.lookup(questions()) == good
        storage.local(ONLINE).unlink()
        refused(shop, within=0.5)
        storage.write_bytes(ONLINE, b"no database" * 100)
        refused(shop, within=0.5)
        storage.write_bytes(ONLINE, b"")
        assert "empty" in refused(shop, within=0.5).message


def test_a_redis_that_is_down_or_silent_is_unavailable_in_time(storage: Storage, free_port: int) -> None:
    prepared(storage, HISTORY, count=10)
    down = FeatureSettings(
        clock="history", online_store="redis", redis_url=f"redis://:secret@127.0.0.1:{free_port}/0"
    )
    with OnlineMarket(storage, down) as shop:
        assert "secret" not in refused(shop, within=1.0).message
        # The next ones do not queue up for the same time-out.
        assert "a moment ago" in refused(shop, within=0.05).message
    with pytest.raises(OnlineStoreUnavailable):
        materialise(storage, down)
    assert status(storage, down)["online"]["state"] == "unavailable"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        hung = down.model_copy(update={"redis_url": type(down.redis_url)(f"redis://127.0.0.1:{port}/0")})
        with OnlineMarket(storage, hung, timeout_ms=100) as shop:
            refused(shop, within=1.0)


def test_dropped_connections_cost_at_most_one_answer(
    storage: Storage, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    import redis

    monkeypatch.setattr(online, "PAUSE_SECONDS", 0.0)
    settings = settings_of(request, "redis")
    prepared(storage, settings)
    materialise(storage, settings)
    with (
        OnlineMarket(storage, settings) as shop,
        redis.Redis.from_url(settings.redis_url.get_secret_value()) as admin,
    ):
        good = shop.lookup(questions())
        admin.client_kill_filter(_type="normal", skipme=True)
        time.sleep(0.05)
        answers: list[Lookup | None] = []
        for _ in range(3):
            try:
                answers.append(shop.lookup(questions()))
            except OnlineStoreUnavailable:
                answers.append(None)
        assert answers[1:] == [good, good]


def test_looking_up_reads_no_registry(storage: Storage, settings: FeatureSettings) -> None:
    """Definitions come from the code: a registry that another process wrote is not even opened."""
    prepared(storage, settings)
    materialise(storage, settings)
    storage.write_bytes(REGISTRY, b"\x80\x04 not a registry")
    with OnlineMarket(storage, settings) as shop:
        assert shop.lookup(questions()).rows == market_as_of(questions(), storage, settings)


def test_nothing_built_is_said(storage: Storage) -> None:
    with pytest.raises(FeatureStoreError, match="no features"):
        materialise(storage, HISTORY)
    with OnlineMarket(storage, HISTORY) as shop, pytest.raises(FeatureStoreError, match="no features"):
        shop.as_of()


def test_an_empty_batch_is_an_empty_answer(storage: Storage) -> None:
    prepared(storage, HISTORY, count=10)
    materialise(storage, HISTORY)
    with OnlineMarket(storage, HISTORY) as shop:
        assert shop.lookup([]).rows == []


def test_sqlite_needs_a_local_root() -> None:
    with pytest.raises(InvalidSettings, match="needs a local root") as caught:
        OnlineMarket(Storage("memory://somewhere"), HISTORY)
    assert caught.value.details[0].field == "GRAILDIENT_FEATURES_ONLINE_STORE"


def test_the_code_store_touches_nothing(storage: Storage) -> None:
    store = code_store(storage, HISTORY)
    assert sorted(view.name for view in store.list_feature_views()) == sorted(view.name for view in ALL_VIEWS)
    assert storage.list("") == []
    assert re.search("MemoryRegistryStore", str(store.config.registry.registry_store_type))
