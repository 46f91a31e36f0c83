"""What the chart's tests share: the programs, the rendered objects, and walks over them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "charts" / "graildient"
CRDS = REPOSITORY.parent / "shared" / "crds"
SKAFFOLD_SCHEMA = REPOSITORY.parent / "shared" / "schemas" / "skaffold-v4beta14.json"
TOOLS = Path(os.environ.get("GRAILDIENT_CACHE") or Path.home() / ".cache" / "graildient") / "bin"

Object = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """One way to install the chart: value files, and values on the command line."""

    files: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str]:
        files = [a for f in self.files for a in ("-f", str(CHART / "ci" / f))]
        return files + [a for s in self.sets for a in ("--set", s)]


PROFILES = {
    p.name.removesuffix("-values.yaml"): Variant((p.name,)) for p in sorted((CHART / "ci").glob("*.yaml"))
}
PRODUCTION = "production-values.yaml"
VARIANTS = {
    "default": Variant(),
    **PROFILES,
    "kserve-runtime": Variant((PRODUCTION,), ("serving.kserve.storageUri=s3://graildient/models",)),
    "kserve-fixed": Variant((PRODUCTION,), ("serving.autoscaling.enabled=false", "serving.replicas=3")),
    "kserve-volume": Variant(("laptop-values.yaml",), ("serving.kserve.enabled=true",)),
    "no-kserve": Variant((PRODUCTION,), ("serving.kserve.enabled=false", "pipeline.host=")),
    "kubeflow-volume": Variant((), ("pipeline.host=http://ml-pipeline.kubeflow:8888",)),
    "development": Variant(("laptop-values.yaml",), ("development.liveCode=true",)),
    "everything": Variant(
        (PRODUCTION,),
        (
            "images.prefix=registry.example/team/",
            "images.pullSecrets={pull}",
            f"images.server.digest=sha256:{'0' * 64}",
            "commonLabels.team=pricing",
            "nodeSelector.disk=ssd",
            "tolerations[0].key=batch",
            "tolerations[0].operator=Exists",
            "priorityClassName=batch",
            "extraEnv[0].name=HTTPS_PROXY",
            "extraEnv[0].value=http://proxy:3128",
            "serviceAccount.annotations.role=lake",
            "serving.service.annotations.a=b",
            "storage.s3.endpoint=https://s3.example",
            "scrapers[0].env.GRAILDIENT_SCRAPER_OVERLAP_HOURS=12",
            "marketplace.enabled=true",
        ),
    ),
    "off": Variant(
        (),
        (
            "features.enabled=false",
            "pipeline.enabled=false",
            "serviceAccount.create=false",
            "serving.podDisruptionBudget.enabled=false",
            "redis.embedded.persistence.enabled=false",
            "storage.volume.existingClaim=lake",
            "fullnameOverride=a-name-that-is-much-longer-than-any-object-may-have",
        ),
    ),
}


def tool(name: str) -> str:
    """Path of a program; skips the test when it is absent."""
    found = shutil.which(name, path=str(TOOLS)) or shutil.which(name)
    if found is None:
        pytest.skip(
            f"{name} is neither in {TOOLS} nor on the PATH: run `python tests/tools/chart_tools.py {name}`"
        )
    return found


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A program's answer; nothing of the caller's Helm configuration plays a part."""
    nowhere = str(Path(tempfile.gettempdir()) / "graildient-no-such-folder")
    env = {**os.environ, "HELM_CONFIG_HOME": nowhere, "HELM_CACHE_HOME": nowhere, "HELM_DATA_HOME": nowhere}
    env["KUBECONFIG"] = os.devnull
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=env, **options
    )


@cache
def template(helm: str, name: str) -> str:
    """The chart as this Helm renders it for a variant, as text."""
    done = run(helm, "template", "graildient", str(CHART), "--namespace", "demo", *VARIANTS[name].arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def load(text: str) -> list[Object]:
    return [o for o in yaml.load_all(text, Loader=yaml.CSafeLoader) if o]


@cache
def render(name: str) -> list[Object]:
    """All objects of a variant. They are shared: whoever changes one copies it first."""
    return load(template(tool("helm"), name))


def title(obj: Object) -> str:
    return f"{obj['kind']}/{obj['metadata']['name']}"


def find(objects: list[Object], kind: str, suffix: str = "") -> Object:
    """The one object of a kind whose name ends so."""
    found = [o for o in objects if o["kind"] == kind and o["metadata"]["name"].endswith(suffix)]
    assert len(found) == 1, [title(o) for o in objects]
    return found[0]


@dataclass(frozen=True)
class Pod:
    """A pod that an object leads to."""

    owner: str
    labels: dict[str, str]
    spec: Object
    ours: bool

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]


def pods(objects: list[Object]) -> Iterator[Pod]:
    """Every pod that these objects lead to, the one that KServe makes of an InferenceService included."""
    for obj in objects:
        kind, spec = obj["kind"], obj.get("spec", {})
        if kind == "Pod":
            labels, pod = obj["metadata"]["labels"], spec
        elif kind in ("Deployment", "StatefulSet", "Job"):
            labels, pod = spec["template"]["metadata"]["labels"], spec["template"]["spec"]
        elif kind == "CronJob":
            job = spec["jobTemplate"]["spec"]["template"]
            labels, pod = job["metadata"]["labels"], job["spec"]
        elif kind == "InferenceService":
            labels, pod = kserve_pod(obj, objects)
        else:
            continue
        yield Pod(title(obj), labels, pod, not obj["metadata"]["name"].endswith("-redis"))


def kserve_pod(service: Object, objects: list[Object]) -> tuple[dict[str, str], Object]:
    """Labels and pod of an InferenceService as KServe 0.20 puts them together in Standard mode."""
    predictor = service["spec"]["predictor"]
    name = f"{service['metadata']['name']}-predictor"
    labels = {**service["metadata"]["labels"], **predictor["labels"], "app": f"isvc.{name}"}
    if "model" not in predictor:
        return labels, predictor
    runtime = next(
        o["spec"]
        for o in objects
        if o["kind"] == "ServingRuntime" and o["metadata"]["name"] == predictor["model"]["runtime"]
    )
    given = {k: v for k, v in predictor["model"].items() if k == "resources"}
    container = {**runtime["containers"][0], **given}
    return labels, {**predictor, "containers": [container], "volumes": runtime["volumes"]}


def settings(objects: list[Object]) -> dict[str, str]:
    """The release's ConfigMap of settings."""
    found = [
        o
        for o in objects
        if o["kind"] == "ConfigMap" and o["metadata"]["labels"]["app.kubernetes.io/component"] == "settings"
    ]
    assert len(found) == 1
    return dict(found[0]["data"])
