"""The Feast store: definitions, the two yaml files, the Redis address, and a root on S3."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from feature_cases import HISTORY, fill, market

from feature_repo import store as store_module
from feature_repo.build import build_features
from feature_repo.definitions import MARKET_SERVICE, SERVICE
from feature_repo.materialise import materialise
from feature_repo.online import OnlineMarket
from feature_repo.store import (
    FOLDER,
    REGISTRY,
    local_views,
    make_definitions,
    open_store,
    redis_connection,
    repo_config,
    view_path,
)
from feature_repo.training_set import build_training_set, load_training_set, market_as_of
from graildient.errors import InvalidSettings
from graildient.pricing.market import ALL_VIEWS, SELLER, VIEWS
from graildient.settings import FeatureSettings
from graildient.storage import Storage

FOLDER_OF_ROOM = Path(store_module.__file__).parent


def test_definitions_are_the_views_of_the_market(storage: Storage) -> None:
    made = make_definitions(storage, FeatureSettings(ttl_days=99, publication_lag_hours=36))
    assert [view.name for view in made.views] == [view.name for view in ALL_VIEWS]
    for ours, view in zip(ALL_VIEWS, made.views, strict=True):
        assert {field.name: field.description for field in view.features} == dict(ours.features)
        assert [column.name for column in view.entity_columns] == [ours.join_key]
        assert view.ttl is not None
        assert view.ttl.days == 99
        assert view.description
        assert view.batch_source is not None
        assert view.batch_source.path == storage.url(view_path(ours))
        assert (view.batch_source.timestamp_field, view.batch_source.created_timestamp_column) == (
            "event_at",
            "known_at",
        )
        for field in view.features:
            assert field.tags["knowable"] == "first midnight UTC after sale + 36 h"
            assert field.tags["source"] == "lake/sold"
            assert field.tags["unit"] in ("sales", "days", "share", "log1p of US dollars")
    served = {p.name: [f.name for f in p.features] for p in made.service.feature_view_projections}
    assert served == {view.name: list(view.features) for view in VIEWS}
    whole = {p.name: [f.name for f in p.features] for p in made.market_service.feature_view_projections}
    assert whole == {view.name: list(view.features) for view in ALL_VIEWS}


def test_the_model_takes_what_is_marked_and_never_a_key_that_no_form_states() -> None:
    assert [view.name for view in VIEWS] == ["category_market", "designer_market", "designer_category_market"]
    assert [len(view.features) for view in VIEWS] == [8, 5, 2]
    assert not SELLER.on_form
    with pytest.raises(ValueError, match="nobody states seller"):
        replace(SELLER, stored=tuple(replace(feature, model=True) for feature in SELLER.stored))


def test_a_build_registers_the_definitions(storage: Storage) -> None:
    fill(storage, market(10))
    build_features(storage, HISTORY)
    store = open_store(storage, HISTORY)
    assert sorted(view.name for view in store.list_feature_views()) == sorted(view.name for view in ALL_VIEWS)
    assert store.get_feature_service(SERVICE).name == SERVICE
    assert {entity.name for entity in store.list_entities()} >= {view.join_key for view in ALL_VIEWS}


def test_a_view_that_is_no_longer_ours_leaves_the_registry(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import String

    fill(storage, market(10))
    entity = Entity(name="seller", join_keys=["seller"], value_type=ValueType.STRING)
    source = FileSource(path="old.parquet", timestamp_field="event_at")
    schema = [Field(name="seller", dtype=String), Field(name="grade", dtype=String)]
    old = FeatureView(name="of_last_year", entities=[entity], schema=schema, source=source)
    registry = FeatureStore(config=repo_config(storage, HISTORY, online=False)).registry
    registry.apply_entity(entity, HISTORY.project)
    registry.apply_feature_view(old, HISTORY.project)
    build_features(storage, HISTORY)
    names = [view.name for view in open_store(storage, HISTORY).list_feature_views()]
    assert sorted(names) == sorted(view.name for view in ALL_VIEWS)


def described(config: Any) -> dict[str, Any]:
    return {
        "project": config.project,
        "provider": config.provider,
        "keys": config.entity_key_serialization_version,
        "registry": config.registry.model_dump(),
        "offline": config.offline_store.model_dump(),
        "online": config.online_store.model_dump(),
    }


@pytest.mark.parametrize(
    ("file", "root", "settings"),
    [
        ("feature_store.yaml", "/some/where", FeatureSettings(online_store="sqlite")),
        (
            "feature_store.cluster.yaml",
            "s3://bucket/prefix",
            FeatureSettings(online_store="redis", redis_url="rediss://u:p%2C%20%3D1@redis.example:7000/3"),
        ),
    ],
)
def test_the_yaml_files_say_what_the_settings_say(
    file: str, root: str, settings: FeatureSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feast.repo_config import load_repo_config

    monkeypatch.setenv("GRAILDIENT_ROOT", root)
    monkeypatch.setenv("GRAILDIENT_FEAST_REDIS", redis_connection(settings.redis_url.get_secret_value()))
    read = load_repo_config(FOLDER_OF_ROOM, FOLDER_OF_ROOM / file)
    assert described(read) == described(repo_config(Storage(root), settings))


def test_feast_apply_finds_the_definitions_and_nothing_else(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feast.repo_operations import get_repo_files, parse_repo

    monkeypatch.setenv("GRAILDIENT_ROOT", storage.root)
    monkeypatch.setenv("GRAILDIENT_FEATURES_TTL_DAYS", "77")
    monkeypatch.chdir(FOLDER_OF_ROOM)
    monkeypatch.syspath_prepend(str(FOLDER_OF_ROOM))
    monkeypatch.delitem(sys.modules, "definitions.repository", raising=False)
    monkeypatch.delitem(sys.modules, "definitions", raising=False)
    assert get_repo_files(FOLDER_OF_ROOM) == [FOLDER_OF_ROOM / "definitions" / "repository.py"]
    found = parse_repo(FOLDER_OF_ROOM)
    made = make_definitions(storage, FeatureSettings(ttl_days=77))
    assert sorted(found.feature_views, key=str) == sorted(made.views, key=str)
    assert {e.name for e in found.entities} >= {e.name for e in made.entities}
    assert {s.name for s in found.data_sources} == {s.name for s in (*made.sources, *made.pushes)}
    assert sorted(s.name for s in found.feature_services) == [MARKET_SERVICE, SERVICE]
    for name in ("definitions.repository", "definitions"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.invalidate_caches()


@pytest.mark.parametrize(
    ("url", "connection"),
    [
        ("redis://cache", "cache:6379,db=0"),
        ("redis://cache:7000/2", "cache:7000,db=2"),
        (
            "rediss://:p@cache/0?ssl_cert_reqs=none",
            'cache:6379,db=0,ssl=true,password="p",ssl_cert_reqs="none"',
        ),
    ],
)
def test_a_redis_address_in_feasts_form(url: str, connection: str) -> None:
    assert redis_connection(url) == connection


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://:secret@cache", "must look like"),
        ("redis://:secret@cache:port/0", "port or database"),
        ("redis://:secret@cache/first", "port or database"),
        ("redis://:secret@[::1]:6379/0", "IPv6"),
        ("redis://", "must look like"),
    ],
)
def test_a_bad_redis_address_is_refused_without_repeating_it(url: str, reason: str) -> None:
    with pytest.raises(InvalidSettings, match=reason) as caught:
        redis_connection(url)
    assert caught.value.details[0].field == "GRAILDIENT_FEATURES_REDIS_URL"
    assert "secret" not in str(caught.value.to_json())


def test_a_password_of_every_kind_of_sign_reaches_redis(storage: Storage, redis_url: str) -> None:
    import redis

    password = 'p,w=1"\\ é'
    with redis.Redis.from_url(redis_url) as admin:
        admin.acl_setuser("tester", enabled=True, passwords=[f"+{password}"], keys=["*"], commands=["+@all"])
        try:
            url = redis_url.replace("redis://", "redis://tester:p%2Cw%3D1%22%5C%20%C3%A9@")
            settings = FeatureSettings(clock="history", online_store="redis", redis_url=url)
            fill(storage, market(10))
            build_features(storage, settings)
            materialise(storage, settings)
            asked = [s.model_copy(update={"created_at": None}) for s in market(10)]
            with OnlineMarket(storage, settings) as shop:
                assert shop.lookup(asked).rows == market_as_of(asked, storage, settings)
        finally:
            admin.acl_deluser("tester")


@pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")
def test_a_root_on_s3_gives_what_a_local_one_gives(
    storage: Storage, s3_storage: Storage, s3_env: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Build, register, training set by both joins, materialise and look up, on a real S3 server."""
    monkeypatch.setenv("GRAILDIENT_S3_ENDPOINT", s3_env.endpoint)
    settings = FeatureSettings(clock="history", online_store="redis", redis_url=redis_url)
    for root in (storage, s3_storage):
        fill(root, market(25, days=20))
    built = [build_features(root, settings) for root in (storage, s3_storage)]
    assert built[0] == built[1]
    assert build_features(s3_storage, settings).reused
    sets = [build_training_set(root, settings, "runs/r/t.parquet") for root in (storage, s3_storage)]
    assert sets[0] == sets[1] == build_training_set(s3_storage, settings, "runs/r/t.parquet", by_feast=True)
    listings, _ = load_training_set(s3_storage, "runs/r/t.parquet")
    asked = [s.model_copy(update={"created_at": None}) for s in listings]
    assert not materialise(s3_storage, settings).reused
    with OnlineMarket(s3_storage, settings) as shop:
        assert shop.lookup(asked).rows == market_as_of(asked, storage, settings)
    store = open_store(s3_storage, settings)
    assert sorted(view.name for view in store.list_feature_views()) == sorted(view.name for view in ALL_VIEWS)
    assert s3_storage.exists(REGISTRY)
    with local_views(s3_storage) as folder:
        copies = Path(folder)
        assert sorted(p.name for p in copies.iterdir()) == sorted(
            f"{view.name}.parquet" for view in ALL_VIEWS
        )
    assert not copies.exists()


def test_views_of_a_local_root_are_read_where_they_are(storage: Storage) -> None:
    fill(storage, market(5))
    build_features(storage, HISTORY)
    with local_views(storage) as folder:
        assert folder == str(storage.local(FOLDER))


@pytest.mark.slow
@pytest.mark.parametrize("earlier", ["", "import feast"])
def test_feast_leaves_the_metrics_of_a_server_alone(tmp_path: Path, earlier: str) -> None:
    """In a fresh process: no multi-process mode, no folder left, no series of Feast's."""
    code = """
import os, pathlib, tempfile
EARLIER
from feature_repo.store import code_store
from graildient.settings import FeatureSettings
from graildient.storage import Storage
store = code_store(Storage("root"), FeatureSettings(), online={"type": "sqlite", "path": "online.db"})
store.apply(store.list_feature_views())
keys = {"category_path": ["a"], "designer": ["a"], "designer_category": ["a"]}
service = store.get_feature_service("price_model_v1")
store.get_online_features(features=service, entity_rows=keys, full_feature_names=True)
from prometheus_client import REGISTRY, Counter, generate_latest
Counter("graildient_asked", "x").inc()
text = generate_latest(REGISTRY).decode()
assert "graildient_asked_total 1.0" in text
assert "feast" not in text, text
assert not [name for name in os.environ if name.startswith("PROMETHEUS_MULTI")]
assert not list(pathlib.Path(tempfile.gettempdir()).iterdir())
"""
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith("PROMETHEUS_MULTI")}
    done = subprocess.run(
        [sys.executable, "-c", code.replace("EARLIER", earlier)],
        cwd=tmp_path,
        env={**env, "TMPDIR": str(scratch)},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
