"""The chart's values: each explained beside it and in the schema; what is wrong is refused by its path."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_support import CHART, PROFILES, find, load, run, template, tool

VALUES = (CHART / "values.yaml").read_text(encoding="utf-8")
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
# Maps whose keys are the user's own, or Kubernetes' (requests and limits): explained as a whole.
OPEN = {
    "commonLabels",
    "global",
    "env",
    "annotations",
    "labels",
    "resources",
    "extraEnv",
    "nodeSelector",
    "tolerations",
}


def undocumented(text: str) -> Iterator[str]:
    """Keys without a `# --` comment right above them."""
    inside = re.compile(rf"^( *)({'|'.join(OPEN)}):\s*(#.*)?$")
    skip: int | None = None
    comment = False
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped:
            continue
        indent = len(line) - len(line.lstrip())
        if skip is not None and indent > skip:
            continue
        skip = None
        if stripped.lstrip("- ").startswith("# -- "):
            comment = True
        elif not stripped.startswith("#"):
            if not comment:
                yield stripped
            comment = False
            if inside.match(line):
                skip = indent


def test_every_value_is_explained_beside_it() -> None:
    assert list(undocumented(VALUES)) == []


def test_an_unexplained_value_is_found() -> None:
    assert list(
        undocumented(VALUES.replace("  # -- When the kubelet pulls: Always, IfNotPresent or Never.\n", ""))
    ) == ["pullPolicy: IfNotPresent"]


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        found: dict[str, Any] = SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[1]]
        return found
    return schema


def unknown(values: object, schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Paths of values that the schema does not list."""
    schema = resolve(schema)
    if isinstance(values, dict) and "properties" in schema:
        for key, value in values.items():
            if key in schema["properties"]:
                yield from unknown(value, schema["properties"][key], f"{path}/{key}")
            else:
                yield f"{path}/{key}"
    elif isinstance(values, list) and "items" in schema:
        for i, value in enumerate(values):
            yield from unknown(value, schema["items"], f"{path}/{i}")


def test_values_and_schema_name_the_same_keys() -> None:
    values = yaml.safe_load(VALUES)
    assert list(unknown(values, SCHEMA)) == []

    def only_in_schema(schema: dict[str, Any], values: object, path: str = "") -> Iterator[str]:
        schema = resolve(schema)
        if path.rsplit("/", 1)[-1] in OPEN:
            return
        for key, below in schema.get("properties", {}).items():
            if not isinstance(values, dict) or key not in values:
                yield f"{path}/{key}"
            else:
                yield from only_in_schema(below, values[key], f"{path}/{key}")
        if isinstance(values, list) and values and "items" in schema:
            yield from only_in_schema(schema["items"], values[0], f"{path}/0")

    assert list(only_in_schema(SCHEMA, values)) == []


def test_every_object_of_the_schema_is_closed() -> None:
    def open_objects(schema: Any, path: str = "") -> Iterator[str]:
        if isinstance(schema, list):
            for item in schema:
                yield from open_objects(item, path)
        elif isinstance(schema, dict):
            if (
                schema.get("type") == "object"
                and "properties" in schema
                and schema.get("additionalProperties") is not False
            ):
                yield path
            for key, below in schema.items():
                yield from open_objects(below, f"{path}/{key}")

    assert list(open_objects(SCHEMA)) == []


def test_every_value_is_used_by_a_template() -> None:
    """A value that no template reads would be a promise that nobody keeps."""
    templates = "".join(p.read_text(encoding="utf-8") for p in sorted((CHART / "templates").rglob("*.*")))
    for key in yaml.safe_load(VALUES):
        if key == "global":
            continue
        assert re.search(rf"[vV]alues\.{key}\b", templates), key


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_say_only_what_differs(name: str) -> None:
    """A profile that repeats a default hides what it is about, and keeps an old default when that changes."""

    def repeats(profile: object, default: object, path: str = "") -> Iterator[str]:
        if isinstance(profile, dict) and isinstance(default, dict):
            for key, value in profile.items():
                if path.rsplit("/", 1)[-1] not in OPEN and key not in OPEN:
                    yield from repeats(value, default.get(key, object()), f"{path}/{key}")
        elif profile == default:
            yield path

    profile = yaml.safe_load((CHART / "ci" / PROFILES[name].files[0]).read_text(encoding="utf-8"))
    assert list(repeats(profile, yaml.safe_load(VALUES))) == []


WRONG = {
    "unknown key": ("servin:\n  replicas: 2\n", "", "servin"),
    "unknown key inside": ("serving: {replica: 2}\n", "serving", "replica"),
    "unknown setting": ("config: {serving: {modelNam: a}}\n", "config/serving", "modelNam"),
    "wrong type": ("serving: {replicas: two}\n", "serving/replicas", "integer"),
    "wrong type deep": ("serving: {kserve: {enabled: 'yes'}}\n", "serving/kserve/enabled", "boolean"),
    "out of bounds": ("serving: {autoscaling: {targetCPUUtilization: 900}}\n", "targetCPUUtilization", "100"),
    "no cron": ("features: {schedule: daily}\n", "features/schedule", "pattern"),
    "wrong root": ("storage: {root: /data}\n", "storage/root", "pattern"),
    "wrong choice": ("redis: {mode: cluster}\n", "redis/mode", "embedded"),
    "external Redis without a Secret": ("redis: {mode: external}\n", "redis/external/existingSecret", "1"),
    "wrong quantity": ("tmpSize: 4 GB\n", "tmpSize", "pattern"),
    "tag as digest": ("images: {server: {digest: latest}}\n", "images/server/digest", "pattern"),
    "our label": ("commonLabels: {app.kubernetes.io/name: a}\n", "commonLabels", "app.kubernetes.io/name"),
    "no scraper": ("scrapers: []\n", "scrapers", "1"),
}


@pytest.mark.parametrize("helm", ["helm", "helm3"])
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_refused_by_its_path(case: str, helm: str, tmp_path: Path) -> None:
    values, path, says = WRONG[case]
    file = tmp_path / "values.yaml"
    file.write_text(values, encoding="utf-8")
    done = run(tool(helm), "template", "graildient", str(CHART), "-f", str(file))
    assert done.returncode != 0
    # Helm 4 writes /a/b, Helm 3 a.b.
    message = done.stderr.replace("~1", "/")
    assert path in message.replace(".", "/") or path in message, message
    assert says in message or "match" in message, message


SCRAPER = """
scrapers:
  - name: sold
    schedule: "0 0 * * *"
    suspend: false
    activeDeadlineSeconds: 600
    resources: {{}}
    env: {{{env}}}
"""


@pytest.mark.parametrize(
    ("env", "fine"),
    [
        ("GRAILDIENT_SCRAPER_HIT_CAP: 500", True),
        ("GRAILDIENT_SCRAPER_SEARCH_KEY: secret", False),
        ("GRAILDIENT_SCRAPER_SELLER_SALT: secret", False),
        ("GRAILDIENT_ROOT: /elsewhere", False),
    ],
)
def test_scrapers_take_their_own_settings_and_no_secrets(env: str, fine: bool, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(SCRAPER.format(env=env), encoding="utf-8")
    done = run(tool("helm"), "template", "graildient", str(CHART), "-f", str(file))
    assert (done.returncode == 0) is fine, done.stderr
    if fine:
        container = find(load(done.stdout), "CronJob", "-scrape-sold")["spec"]["jobTemplate"]["spec"][
            "template"
        ]["spec"]
        assert container["containers"][0]["env"] == [{"name": "GRAILDIENT_SCRAPER_HIT_CAP", "value": "500"}]
    else:
        assert env.split(":")[0] in done.stderr


def test_no_secret_in_what_is_rendered() -> None:
    for name in PROFILES:
        text = template(tool("helm"), name)
        assert "kind: Secret" not in text
        assert not re.search(r"://[^/\s\"]*:[^/\s\"]*@", text), "an address with a password"
