from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from graildient import settings
from graildient.errors import InvalidSettings
from graildient.settings import FeatureSettings, ScraperSettings, ServingSettings, StorageSettings, load

ALL = [
    kind
    for kind in vars(settings).values()
    if isinstance(kind, type) and issubclass(kind, BaseSettings) and kind is not BaseSettings
]


@pytest.mark.parametrize("kind", ALL)
def test_every_class_has_defaults_a_prefix_of_its_own_and_is_frozen(kind: type[BaseSettings]) -> None:
    prefixes = [k.model_config.get("env_prefix", "") for k in ALL]
    prefix = kind.model_config.get("env_prefix", "")
    assert prefix.startswith("GRAILDIENT_")
    assert prefixes.count(prefix) == 1
    assert kind.model_config.get("frozen")
    assert load(kind) == load(kind)


def test_no_two_settings_share_a_variable() -> None:
    names = [f"{k.model_config.get('env_prefix')}{name}".upper() for k in ALL for name in k.model_fields]
    assert len(names) == len(set(names))


def test_the_environment_is_read_and_an_argument_goes_before_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRAILDIENT_ROOT", str(tmp_path))
    monkeypatch.setenv("GRAILDIENT_FEATURES_TTL_DAYS", "30")
    assert load(StorageSettings).storage.root == str(tmp_path)
    assert load(FeatureSettings).ttl == timedelta(days=30)
    assert load(FeatureSettings, ttl_days=3).ttl == timedelta(days=3)


def test_what_is_wrong_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAILDIENT_SERVING_HTTP_PORT", "99999")
    monkeypatch.setenv("GRAILDIENT_SERVING_MODEL_NAME", "Not a name")
    with pytest.raises(InvalidSettings) as refused:
        load(ServingSettings)
    assert {d.field for d in refused.value.details} == {
        "GRAILDIENT_SERVING_HTTP_PORT",
        "GRAILDIENT_SERVING_MODEL_NAME",
    }


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAILDIENT_SCRAPER_SEARCH_KEY", "open sesame")
    monkeypatch.setenv("GRAILDIENT_SCRAPER_SELLER_SALT", "open sesame")
    assert "sesame" not in repr(load(ScraperSettings))
    assert "sesame" not in load(ScraperSettings).model_dump_json()
