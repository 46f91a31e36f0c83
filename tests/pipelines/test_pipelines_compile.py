"""The compiled pipeline: the same bytes each time, and what a backend and its cluster rely on."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from graildient.errors import StorageError
from graildient.settings import PipelineSettings
from pipelines.cluster import SECRET_KEYS, ClusterSettings
from pipelines.compile import compile_pipeline
from pipelines.pipeline import SIZES, STEPS


def compiled(tmp_path: Path, **settings: Any) -> list[dict[str, Any]]:
    path = tmp_path / "pipeline.yaml"
    compile_pipeline(path, ClusterSettings(**settings))
    return list(yaml.safe_load_all(path.read_text()))


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    compile_pipeline(tmp_path / "a" / "one.yaml")
    compile_pipeline(tmp_path / "two.yml", PipelineSettings())
    assert (tmp_path / "a" / "one.yaml").read_bytes() == (tmp_path / "two.yml").read_bytes()
    assert not list(tmp_path.rglob("*.part"))


def test_it_is_a_pipeline_that_kfp_understands(tmp_path: Path) -> None:
    compile_pipeline(tmp_path / "pipeline.yaml")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kfp import components

        loaded = components.load_component_from_file(str(tmp_path / "pipeline.yaml"))
    assert loaded.name == "graildient"
    inputs = loaded.pipeline_spec.root.input_definitions.parameters
    assert sorted(inputs) == ["cache", "root", "settings"]
    assert all(parameter.is_optional for parameter in inputs.values())


def test_four_steps_in_a_row_without_conditions(tmp_path: Path) -> None:
    spec = compiled(tmp_path)[0]
    tasks = spec["root"]["dag"]["tasks"]
    assert sorted(tasks) == sorted(STEPS)
    for before, after in itertools.pairwise(STEPS):
        assert tasks[after]["dependentTasks"] == [before]
    for task in tasks.values():
        assert "triggerPolicy" not in task, "dsl.If is silently wrong in the local runner"
        assert not task["cachingOptions"].get("enableCache"), "the steps' own cache looks at contents"
        assert task["retryPolicy"]["maxRetryCount"] == 1


def test_components_bring_nothing_along_but_our_image(tmp_path: Path) -> None:
    spec = compiled(tmp_path, image="registry.example/trainer@sha256:0123")[0]
    executors = spec["deploymentSpec"]["executors"]
    assert len(executors) == len(STEPS) == len(SIZES)
    for name, executor in executors.items():
        container = executor["container"]
        assert container["image"] == "registry.example/trainer@sha256:0123"
        assert not any("pip install" in word for word in container["command"])
        source = container["command"][-1]
        step = name.removeprefix("exec-").replace("-", "_")
        assert f'enter("{step}"' in source
        resources = container["resources"]
        assert resources["resourceMemoryLimit"] == SIZES[step][3]
        assert resources["resourceCpuRequest"] == SIZES[step][0]


def test_pages_and_numbers_are_shown(tmp_path: Path) -> None:
    kinds = {
        name.removeprefix("comp-"): {
            key: artifact["artifactType"]["schemaTitle"]
            for key, artifact in component["outputDefinitions"]["artifacts"].items()
        }
        for name, component in compiled(tmp_path)[0]["components"].items()
    }
    assert kinds["training-set"] == {"metrics": "system.Metrics", "summary": "system.Markdown"}
    assert kinds["search"] == {"metrics": "system.Metrics", "summary": "system.Markdown"}
    assert kinds["train"] == {"metrics": "system.Metrics", "report": "system.HTML"}
    assert kinds["release"] == {"metrics": "system.Metrics", "report": "system.HTML"}


def test_credentials_are_named_and_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("GRAILDIENT_FEATURES_REDIS_URL", "redis://:very-secret@host/0")
    spec, platform = compiled(tmp_path, secret="graildient-s3", region="eu-central-1", volume_claim="lake")
    assert "very-secret" not in yaml.safe_dump([spec, platform])
    for executor in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        secret = executor["secretAsEnv"][0]
        assert (secret["secretName"], secret["optional"]) == ("graildient-s3", True)
        assert {pair["envVar"] for pair in secret["keyToEnv"]} == set(SECRET_KEYS)
        assert executor["pvcMount"][0]["mountPath"] == "/data"
    for executor in spec["deploymentSpec"]["executors"].values():
        assert {"name": "AWS_DEFAULT_REGION", "value": "eu-central-1"} in executor["container"]["env"]
    assert len(compiled(tmp_path, secret="")) == 1


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        compile_pipeline(tmp_path / "file" / "pipeline.yaml")
