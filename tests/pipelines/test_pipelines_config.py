"""The settings of a run: what travels into the steps, and `--set key=value`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from graildient.errors import InvalidSettings
from graildient.settings import FeatureSettings, StorageSettings, TrainingSettings
from graildient.storage import Storage
from pipelines.config import RunConfig, override
from pipelines.run import make_config


def config(root: str = "/data/here") -> RunConfig:
    return RunConfig(
        StorageSettings(root=root),
        FeatureSettings(clock="history", ttl_days=30, redis_url=SecretStr("redis://:hush@somewhere/0")),
        TrainingSettings(trials=3, forward_folds=2),
    )


def test_a_run_travels_as_json_without_its_secrets() -> None:
    text = config().to_json()
    assert "hush" not in text
    again = RunConfig.from_json(text)
    assert again.storage.root == "/data/here"
    assert (again.features.clock, again.features.ttl_days) == ("history", 30)
    assert again.training == config().training
    assert again.to_json() == text


def test_secrets_come_from_the_environment_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAILDIENT_FEATURES_REDIS_URL", "redis://:mine@here/0")
    assert "mine" in RunConfig.from_json(config().to_json()).features.redis_url.get_secret_value()


def test_what_the_json_leaves_out_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAILDIENT_TRAINING_TRIALS", "5")
    monkeypatch.setenv("GRAILDIENT_ROOT", "/data/there")
    assert RunConfig.from_json("").training.trials == 5
    assert RunConfig.from_json('{"training": {"trials": 6}}').training.trials == 6
    assert RunConfig.from_json("{}").storage.root == "/data/there"
    assert RunConfig.from_json(config().to_json(), root="s3://bucket/x").storage.root == "s3://bucket/x"


def test_no_path_holds_the_word_that_kfp_replaces() -> None:
    text = config("/opt/python3.11/data").to_json()
    assert "python3" not in text
    assert RunConfig.from_json(text).storage.root == "/opt/python3.11/data"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"training": 3}', "not a JSON object"),
        ('{"serving": {}}', "unknown group of settings: serving"),
        ('{"training": {"trails": 3}}', "no such setting: trails"),
        ('{"training": {"trials": 0}}', "trials: Input should be greater than or equal to 1"),
        ('{"features": {"clock": "stopped"}}', "clock: Input should be"),
    ],
)
def test_what_is_no_run_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidSettings, match=says):
        RunConfig.from_json(text)


def test_what_decides_the_result_and_what_does_not() -> None:
    plain = config().identity()
    elsewhere = RunConfig(
        StorageSettings(root="/other"),
        config().features.model_copy(update={"online_store": "redis"}),
        config().training.model_copy(update={"ray_address": "ray://head:10001"}),
    )
    assert elsewhere.identity() == plain
    for group, field, value in (("training", "seed", 8), ("features", "ttl_days", 31)):
        changed = json.loads(config().to_json())
        changed[group][field] = value
        assert RunConfig.from_json(json.dumps(changed)).identity() != plain


def test_overrides_become_training_settings() -> None:
    made = override(TrainingSettings(), {"trials": "4", "max_iterations": "100", "mode": "async"})
    assert (made.trials, made.max_iterations, made.mode) == (4, 100, "async")
    assert made.seed == TrainingSettings().seed


@pytest.mark.parametrize(
    ("value", "field", "says"),
    [
        ("4", "trails", "no such setting: trails"),
        ("none", "trials", "trials: Input should be a valid integer"),
        ("0", "trials", "trials: Input should be greater"),
        ("1.5", "holdout_share", "holdout_share: "),
        ("fast", "mode", "mode: Input should be 'batched' or 'async'"),
    ],
)
def test_a_wrong_override_is_named(value: str, field: str, says: str) -> None:
    with pytest.raises(InvalidSettings, match=says) as caught:
        override(TrainingSettings(), {field: value})
    assert caught.value.details[0].field == field
    if field == "trails":
        assert "trials" in caught.value.hint


def test_a_run_is_below_the_storage_that_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAILDIENT_ROOT", "/somewhere/else")
    made = make_config(Storage(str(tmp_path)), FeatureSettings(), TrainingSettings(), {"seed": "3"})
    assert made.root.root == str(tmp_path)
    assert made.training.seed == 3
