"""skaffold.yaml against skaffold's own schema, and what it names against the tree."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
import yaml
from chart_support import CHART, REPOSITORY, SKAFFOLD_SCHEMA, VARIANTS, find, load, render, run, tool

CONFIG: dict[str, Any] = yaml.safe_load((REPOSITORY / "skaffold.yaml").read_text(encoding="utf-8"))
BUILDS = {"": CONFIG["build"]} | {
    p["name"]: p["build"] for p in CONFIG["profiles"] if "artifacts" in p.get("build", {})
}
RELEASES = [
    r for c in (CONFIG, *CONFIG["profiles"]) for r in c.get("deploy", {}).get("helm", {}).get("releases", ())
]


def errors(config: dict[str, Any]) -> list[str]:
    if not SKAFFOLD_SCHEMA.is_file():
        pytest.skip("no schema of skaffold: ../shared/schemas is absent")
    schema = json.loads(SKAFFOLD_SCHEMA.read_text(encoding="utf-8"))
    return [e.message for e in jsonschema.Draft7Validator(schema).iter_errors(config)]


def test_schema() -> None:
    assert errors(CONFIG) == []


def test_the_schema_finds_a_misspelt_field() -> None:
    assert errors(CONFIG | {"portForwards": CONFIG["portForward"]})
    assert errors(CONFIG | {"deploy": {"helm": {"release": []}}})


@pytest.mark.parametrize("profile", BUILDS)
def test_every_image_of_the_chart_is_built(profile: str) -> None:
    text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
    artifacts = BUILDS[profile]["artifacts"]
    assert {a["image"] for a in artifacts} == {
        "graildient-scraper",
        "graildient-trainer",
        "graildient-server",
    }
    for artifact in artifacts:
        room = artifact["image"].removeprefix("graildient-")
        assert room in targets
        if "docker" in artifact:
            assert artifact["docker"]["target"] == room
        else:
            assert f"--target {room} " in artifact["custom"]["buildCommand"]


def test_synced_files_land_where_the_image_has_them() -> None:
    synced = [a for a in CONFIG["build"]["artifacts"] if "sync" in a]
    assert [a["image"] for a in synced] == ["graildient-server"]
    live = {
        m["mountPath"]
        for c in find(render("development"), "Deployment", "-serving")["spec"]["template"]["spec"][
            "containers"
        ]
        for m in c["volumeMounts"]
        if m["name"] == "code"
    }
    for rule in synced[0]["sync"]["manual"]:
        assert list(REPOSITORY.glob(rule["src"])), rule["src"]
        assert {rule["dest"]} == live
    assert "--target /app ." in (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")


def test_every_pod_that_stays_and_is_synced_can_be_written_to() -> None:
    for obj in render("development"):
        if obj["kind"] == "Deployment":
            pod = obj["spec"]["template"]["spec"]
            assert "graildient-server:" in pod["containers"][0]["image"]
            assert [v for v in pod["volumes"] if v["name"] == "code"], obj["metadata"]["name"]
            assert [c["name"] for c in pod["initContainers"]] == ["code"]
    for name in VARIANTS.keys() - {"development"}:
        text = json.dumps(render(name))
        assert '"mountPath": "/app"' not in text


@pytest.mark.parametrize("release", RELEASES, ids=lambda r: r["valuesFiles"][0].rsplit("/", 1)[1])
def test_releases_render(release: dict[str, Any]) -> None:
    assert (REPOSITORY / release["chartPath"]).resolve() == CHART
    sets = {f"{k}={str(v).lower()}" for k, v in release.get("setValues", {}).items()}
    for key, text in release["setValueTemplates"].items():
        artifact, kind = re.fullmatch(r"\{\{\.IMAGE_(REPO|TAG)_(\w+)\}\}", text).group(2, 1)  # type: ignore[union-attr]
        assert artifact == f"graildient_{key.split('.')[1]}"
        sets.add(f"{key}={'registry.example/' + artifact if kind == 'REPO' else 'abc123'}")
    files = [a for f in release["valuesFiles"] for a in ("-f", str(REPOSITORY / f))]
    options = [a for s in sorted(sets) for a in ("--set", s)]
    done = run(tool("helm"), "template", release["name"], str(CHART), *files, *options)
    assert done.returncode == 0, done.stderr
    assert 'image: "registry.example/graildient_server:abc123"' in done.stdout
    # What is forwarded is there.
    names = {(o["kind"].lower(), o["metadata"]["name"]) for o in load(done.stdout)}
    for forward in CONFIG["portForward"]:
        assert (forward["resourceType"], forward["resourceName"]) in names
        assert forward["namespace"] == release["namespace"]
