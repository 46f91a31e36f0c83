"""The Feast store, opened from the settings.

`feature_store.yaml` and `feature_store.cluster.yaml` say the same for people who use the `feast`
command; a test holds them to it. The address of Redis may carry a password, so it is never logged.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from graildient.errors import Detail, FeatureStoreError, InvalidSettings
from graildient.pricing.market import ALL_VIEWS, View
from graildient.settings import FeatureSettings
from graildient.storage import Storage

if TYPE_CHECKING:
    from feast import FeatureStore, RepoConfig

    from feature_repo.definitions.market import Definitions

FOLDER = "features"
REGISTRY = f"{FOLDER}/registry.db"
ONLINE = f"{FOLDER}/online.db"

# Feast would report usage and write a user id to the home directory.
os.environ.setdefault("FEAST_USAGE", "False")


def view_path(view: View) -> str:
    """Where a view's table lies below the root."""
    return f"{FOLDER}/{view.name}.parquet"


def online_path(storage: Storage) -> Path:
    """The SQLite file of the online store.

    Raises:
        InvalidSettings: the root is remote; SQLite needs a disk.
    """
    if not storage.is_local:
        raise InvalidSettings(
            f"the online store 'sqlite' needs a local root, not {storage.root}",
            hint="set GRAILDIENT_FEATURES_ONLINE_STORE=redis",
            details=[Detail("GRAILDIENT_FEATURES_ONLINE_STORE", "sqlite needs a local root")],
        )
    return storage.local(ONLINE)


def redis_connection(url: str, *, timeout: float | None = None) -> str:
    """Feast's form of a Redis address: `host:port,key=json value,…`.

    Args:
        url: `redis://[user:password@]host[:port][/db][?option=value]`, `rediss://` with TLS.
        timeout: seconds for connecting and for each answer, without retries; None: redis-py's
            defaults, which retry for many seconds.

    Raises:
        InvalidSettings: the address cannot be understood. Its text is not repeated: it may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
        database = int(parts.path.strip("/") or 0)
    except ValueError:
        raise _bad_redis("no valid port or database number") from None
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise _bad_redis("must look like redis://host:6379/0")
    if ":" in parts.hostname:
        raise _bad_redis("Feast cannot take an IPv6 address here; give a host name")
    options: dict[str, Any] = {"db": database}
    if parts.scheme == "rediss":
        options["ssl"] = True
    if parts.username:
        options["username"] = unquote(parts.username)
    if parts.password:
        options["password"] = unquote(parts.password)
    options.update(parse_qsl(parts.query))
    if timeout is not None:
        options |= {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": None}
    # Feast splits at commas and reads values as JSON: a comma inside one must be escaped.
    pairs = [f"{name}={json.dumps(value)}".replace(",", "\\u002c") for name, value in options.items()]
    return ",".join([f"{parts.hostname}:{port}", *pairs])


def _bad_redis(reason: str) -> InvalidSettings:
    field = "GRAILDIENT_FEATURES_REDIS_URL"
    return InvalidSettings(f"{field}: {reason}", details=[Detail(field, reason)])


@cache
def import_feast() -> ModuleType:
    """Import Feast so that a server's own metrics go on working.

    Importing Feast turns `prometheus_client` to its multi-process mode through the environment
    (this process' `/metrics` would fall silent) and leaves files in the temporary folder. Its
    metrics only move in Feast's own server, so they leave the registry, too.
    """
    # The first import of prometheus_client decides the mode: before Feast's, with the environment as it is.
    import prometheus_client
    from prometheus_client import values
    from prometheus_client.metrics import MetricWrapperBase

    names = ("PROMETHEUS_MULTIPROCESS_DIR", "PROMETHEUS_MULTIPROC_DIR")
    ours = [name for name in names if name not in os.environ or _is_feasts(os.environ[name])]
    folders = {os.environ.pop(name) for name in ours if name in os.environ}
    os.environ.update(dict.fromkeys(ours, os.devnull))
    try:
        import feast
        from feast import metrics
    finally:
        for name in ours:
            del os.environ[name]
    if folders:
        # Somebody imported Feast before us.
        values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            prometheus_client.REGISTRY.unregister(metric)
    return cast(ModuleType, feast)


def _is_feasts(folder: str) -> bool:
    return Path(folder).name.startswith("feast_metrics_")


def _endpoint(storage: Storage) -> str | None:
    return None if storage.is_local else getattr(storage.fs, "endpoint_url", None)


def repo_config(
    storage: Storage,
    settings: FeatureSettings,
    *,
    online: Path | dict[str, Any] | bool = True,
    timeout: float | None = None,
    shared: bool = True,
) -> RepoConfig:
    """Feast's configuration.

    Args:
        online: False: without an online store. A path: another SQLite file than the usual one.
            A mapping: Feast's own configuration of an online store.
        timeout: see :func:`redis_connection`.
        shared: the registry below the root; else one in memory.
    """
    registry: dict[str, Any] = {"path": storage.url(REGISTRY), "cache_ttl_seconds": 0}
    if shared:
        registry["registry_store_type"] = "feature_repo.registry_store.StorageRegistryStore"
        if endpoint := _endpoint(storage):
            registry["s3_additional_kwargs"] = {"endpoint_url": endpoint}
    else:
        registry["registry_store_type"] = "feature_repo.registry_store.MemoryRegistryStore"
    online_store: dict[str, Any] | None
    if online is False:
        online_store = None
    elif isinstance(online, dict):
        online_store = online
    elif settings.online_store == "redis":
        # Feast drops a row whose event time equals the stored one, so a rebuilt snapshot of the same
        # as_of would never arrive; we write one row an entity, which needs no such comparison.
        connection = redis_connection(settings.redis_url.get_secret_value(), timeout=timeout)
        online_store = {"type": "redis", "connection_string": connection, "skip_dedup": True}
    else:
        path = online_path(storage) if online is True else online
        online_store = {"type": "sqlite", "path": str(path)}
    config: RepoConfig = import_feast().RepoConfig(
        project=settings.project,
        provider="local",
        registry=registry,
        offline_store={"type": "duckdb"},
        online_store=online_store,
        entity_key_serialization_version=3,
    )
    return config


def feast_store(config: RepoConfig) -> FeatureStore:
    """A store of a configuration."""
    store: FeatureStore = import_feast().FeatureStore(config=config)
    return store


def open_store(storage: Storage, settings: FeatureSettings) -> FeatureStore:
    """The shared store: its registry lies below the root and is what `feast` and its interface show."""
    return feast_store(repo_config(storage, settings))


def code_store(
    storage: Storage,
    settings: FeatureSettings,
    *,
    folder: str | None = None,
    online: Path | dict[str, Any] | bool = True,
    timeout: float | None = None,
) -> FeatureStore:
    """A store whose registry is made from the definitions in the code and lives in memory.

    Nothing is read from the shared registry and nothing is created in the online store.

    Args:
        folder: where the views' Parquet files lie, if not below the root.
        online: see :func:`repo_config`.
        timeout: see :func:`redis_connection`.
    """
    store = feast_store(repo_config(storage, settings, online=online, timeout=timeout, shared=False))
    registry, project = store.registry, settings.project
    registry.apply_project(import_feast().Project(name=project), commit=False)
    made = make_definitions(storage, settings, folder=folder)
    for entity in made.entities:
        registry.apply_entity(entity, project, commit=False)
    for source in (*made.sources, *made.pushes):
        registry.apply_data_source(source, project, commit=False)
    for view in made.views:
        registry.apply_feature_view(view, project, commit=False)
    registry.apply_feature_service(made.service, project, commit=False)
    registry.apply_feature_service(made.market_service, project, commit=False)
    registry.commit()
    return store


def make_definitions(
    storage: Storage, settings: FeatureSettings, *, folder: str | None = None
) -> Definitions:
    """Entities, sources, views and the service for a root."""
    import_feast()
    from feature_repo.definitions.market import definitions

    return definitions(
        folder or storage.url(FOLDER),
        ttl=settings.ttl,
        publication_lag=settings.publication_lag,
        endpoint=None if folder else _endpoint(storage),
    )


@contextmanager
def local_views(storage: Storage) -> Iterator[str]:
    """A local folder that holds the views' tables: the root's own, or a copy while the context lasts.

    Feast's DuckDB store reads `s3://` only with an extension that DuckDB downloads when it runs.

    Raises:
        FeatureStoreError: there are no features yet.
    """
    missing = [v.name for v in ALL_VIEWS if not storage.exists(view_path(v))]
    if missing:
        raise no_features(storage)
    if storage.is_local:
        yield str(storage.local(FOLDER))
        return
    with TemporaryDirectory(prefix="graildient-features-") as folder:
        for view in ALL_VIEWS:
            Path(folder, f"{view.name}.parquet").write_bytes(storage.read_bytes(view_path(view)))
        yield folder


def no_features(storage: Storage) -> FeatureStoreError:
    """What to say when nothing was built."""
    return FeatureStoreError(f"no features at {storage.url(FOLDER)}", hint="run: graildient features build")
