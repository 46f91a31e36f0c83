"""Materialising: reuse, rebuilds, kills, and stores that were emptied or are shared."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from feature_cases import HISTORY, START, fill, market, prepared, questions, sale, settings_of

from feature_repo.build import build_features
from feature_repo.manifest import read_manifest
from feature_repo.materialise import MATERIALISED, materialise
from feature_repo.online import OnlineMarket
from feature_repo.status import status
from feature_repo.store import ONLINE, make_definitions, repo_config
from feature_repo.training_set import market_as_of
from graildient.errors import OnlineStoreUnavailable
from graildient.listing import Listing
from graildient.pricing.market import ALL_VIEWS, DESIGNER
from graildient.settings import FeatureSettings
from graildient.storage import Storage


def test_materialising_again_does_nothing_until_something_changed(
    storage: Storage, settings: FeatureSettings
) -> None:
    prepared(storage, settings)
    told: list[tuple[str, float, float | None, str]] = []

    def report(stage: str, *, done: float, total: float | None = None, note: str = "") -> None:
        told.append((stage, done, total, note))

    assert not materialise(storage, settings, report).reused
    total = float(sum(read_manifest(storage).keys.values()))
    assert [note for *_, note in told] == [*(v.name for v in ALL_VIEWS), "checking", settings.online_store]
    assert [done for _, done, *_ in told] == sorted(done for _, done, *_ in told)
    assert told[-1][1:3] == (total, total)
    assert materialise(storage, settings).reused
    record = json.loads(storage.read_bytes(MATERIALISED))
    assert (record["store"], record["rows"]) == (settings.online_store, read_manifest(storage).keys)
    assert status(storage, settings)["online"]["state"] == "current"
    fill(storage, [sale(900, created=START, designers=["New"])])
    build_features(storage, settings)
    assert status(storage, settings)["online"]["state"] == "stale"
    assert not materialise(storage, settings).reused


def test_a_rebuild_of_the_same_day_replaces_values_and_drops_keys(
    storage: Storage, settings: FeatureSettings
) -> None:
    """A correction changes a designer and a price, and moves no date: event times stay what they are."""
    late = sale(2, created=START + timedelta(days=90), designers=["Stays"])
    wrong = sale(1, created=START, price=10, designers=["Wrong"])
    fill(storage, [wrong, late])
    first = build_features(storage, settings)
    materialise(storage, settings)
    right = {"designers": ("Right",), "sold_price": 500.0, "scraped_at": START + timedelta(days=200)}
    fill(storage, [wrong.model_copy(update=right)])
    assert build_features(storage, settings).as_of == first.as_of
    assert not materialise(storage, settings).reused
    asked = [Listing(title="x", designers=(name,)) for name in ("Right", "Wrong", "Stays")]
    with OnlineMarket(storage, settings) as shop:
        found = shop.lookup(asked)
    assert found.rows == market_as_of(asked, storage, settings)
    assert found.rows[1]["designer_sales_count_max"] is None


@pytest.mark.slow
def test_a_killed_run_repeated_ends_as_an_undisturbed_one(tmp_path: Path, settings: FeatureSettings) -> None:
    undisturbed, killed = Storage(str(tmp_path / "a")), Storage(str(tmp_path / "b"))
    prepared(undisturbed, settings)
    materialise(undisturbed, settings)
    expected = content(undisturbed, settings)
    if settings.online_store == "redis":
        wipe(settings)
    fill(killed, market(60, seed=4))
    build_features(killed, settings)
    materialise(killed, settings)
    fill(killed, market(150, seed=4))
    build_features(killed, settings)
    kill_in_the_middle(killed, settings)
    assert status(killed, settings)["online"]["state"] == "stale"
    with OnlineMarket(killed, settings) as shop:
        assert len(shop.lookup(questions()).rows) == len(questions())
    assert not materialise(killed, settings).reused
    assert content(killed, settings) == expected
    assert not [p.name for p in killed.local("features").glob(".online*part*")]


def kill_in_the_middle(storage: Storage, settings: FeatureSettings) -> None:
    """A real process, killed when two of the three views are written."""
    code = f"""
import os, signal
from feature_repo.materialise import materialise
from graildient.settings import FeatureSettings
from graildient.storage import Storage
def report(stage, *, done, total=None, note=""):
    if note == "designer_category_market":
        os.kill(os.getpid(), signal.SIGKILL)
materialise(Storage({storage.root!r}), FeatureSettings(), report)
"""
    env = {
        **os.environ,
        "GRAILDIENT_FEATURES_CLOCK": "history",
        "GRAILDIENT_FEATURES_ONLINE_STORE": settings.online_store,
        "GRAILDIENT_FEATURES_REDIS_URL": settings.redis_url.get_secret_value(),
    }
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=180)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def content(storage: Storage, settings: FeatureSettings) -> Any:
    """Everything that the store holds, as it holds it."""
    if settings.online_store == "sqlite":
        with sqlite3.connect(storage.local(ONLINE)) as db:
            tables = [
                r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            ]
            return {t: sorted(db.execute(f'SELECT * FROM "{t}"').fetchall(), key=repr) for t in tables}
    import redis

    with redis.Redis.from_url(settings.redis_url.get_secret_value()) as client:
        keys = sorted(client.keys())
        return {k: client.hgetall(k) if client.type(k) == b"hash" else client.get(k) for k in keys}


def wipe(settings: FeatureSettings) -> None:
    import redis

    with redis.Redis.from_url(settings.redis_url.get_secret_value()) as client:
        client.flushall()


@pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")
def test_feasts_own_materialize_writes_the_same_rows(storage: Storage, tmp_path: Path) -> None:
    from feast import FeatureStore

    prepared(storage, HISTORY)
    materialise(storage, HISTORY)
    ours = content(storage, HISTORY)
    store = FeatureStore(config=repo_config(storage, HISTORY, online=tmp_path / "theirs.db", shared=False))
    store.apply(make_definitions(storage, HISTORY).objects())
    end = read_manifest(storage).as_of
    store.materialize(end - HISTORY.ttl, end)
    with sqlite3.connect(tmp_path / "theirs.db") as db:
        for view in ALL_VIEWS:
            table = f"{HISTORY.project}_{view.name}"
            assert sorted(db.execute(f'SELECT * FROM "{table}"').fetchall(), key=repr) == ours[table]


def test_an_emptied_or_thinned_store_is_noticed_and_filled_again(
    storage: Storage, settings: FeatureSettings
) -> None:
    prepared(storage, settings)
    materialise(storage, settings)
    before = content(storage, settings)
    if settings.online_store == "sqlite":
        with sqlite3.connect(storage.local(ONLINE)) as db:
            db.execute(
                f'DELETE FROM "{settings.project}_{DESIGNER.name}" WHERE feature_name = ?', ("residual",)
            )
            db.execute(f'DELETE FROM "{settings.project}_{DESIGNER.name}" WHERE rowid % 2')
            db.execute(f'DELETE FROM "{settings.project}_category_market"')
    else:
        import redis

        with redis.Redis.from_url(settings.redis_url.get_secret_value()) as client:
            client.delete(next(k for k in client.scan_iter() if client.type(k) == b"hash"))
    assert status(storage, settings)["online"]["state"] == "damaged"
    assert not materialise(storage, settings).reused
    assert content(storage, settings) == before
    if settings.online_store == "sqlite":
        storage.local(ONLINE).unlink()
    else:
        wipe(settings)
    assert status(storage, settings)["online"]["state"] == "empty"
    with (
        OnlineMarket(storage, settings) as shop,
        pytest.raises(OnlineStoreUnavailable, match=r"not available|is empty") as caught,
    ):
        shop.lookup(questions())
    assert "features materialize" in caught.value.hint
    assert not materialise(storage, settings).reused
    assert content(storage, settings) == before


def test_projects_whose_names_end_alike_share_a_redis(
    storage: Storage, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    ours = settings_of(request, "redis", project="market")
    other = settings_of(request, "redis", project="my_market")
    second = Storage(str(tmp_path / "second"))
    prepared(second, other)
    materialise(second, other)
    fill(storage, market(10))
    build_features(storage, ours)
    materialise(storage, ours)
    assert materialise(second, other).reused
    with OnlineMarket(second, other) as shop:
        assert shop.lookup(questions()).rows == market_as_of(questions(), second, other)


def test_feature_tables_carry_a_row_of_the_last_day_for_every_key(storage: Storage) -> None:
    prepared(storage, HISTORY)
    manifest = read_manifest(storage)
    for view in ALL_VIEWS:
        rows = pq.read_table(storage.local(f"features/{view.name}.parquet")).to_pylist()
        last = {r[view.join_key] for r in rows if r["event_at"] == manifest.as_of}
        assert last == {r[view.join_key] for r in rows}
        assert max(r["event_at"] for r in rows) == manifest.as_of
