"""What the pods start is what the command line, the settings and the images really have."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_support import CHART, REPOSITORY, VARIANTS, Object, Pod, find, pods, render, run, settings, tool
from chart_support import load as load_objects
from pydantic_settings import BaseSettings

import graildient.settings
from graildient.settings import PipelineSettings, load
from pipelines.cluster import ClusterSettings

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
# What a command imports, as dependency groups of pyproject.toml.
NEEDS = {
    ("scrape",): {"scraper"},
    ("marketplace",): {"marketplace"},
    ("features", "build"): {"features"},
    ("features", "materialize"): {"features"},
    ("pipeline", "run"): {"trainer"},
    ("pipeline", "submit"): {"trainer"},
    ("serve",): {"server"},
    ("predict",): {"server"},
}
# Set by the chart from other values, or secret, instead of standing below `config`.
DERIVED = {
    "GRAILDIENT_ROOT",
    "GRAILDIENT_S3_ENDPOINT",
    "GRAILDIENT_SCRATCH",
    "GRAILDIENT_FEATURES_ONLINE_STORE",
    "GRAILDIENT_FEATURES_REDIS_URL",
    "GRAILDIENT_PIPELINE_HOST",
    "GRAILDIENT_PIPELINE_IMAGE",
    "GRAILDIENT_PIPELINE_REGION",
    "GRAILDIENT_PIPELINE_ROOT",
    "GRAILDIENT_PIPELINE_TIMEOUT_SECONDS",
    "GRAILDIENT_PIPELINE_VOLUME_CLAIM",
    "GRAILDIENT_PIPELINE_VOLUME_PATH",
    "GRAILDIENT_SCRAPER_SEARCH_KEY",
    "GRAILDIENT_SCRAPER_SELLER_SALT",
    "GRAILDIENT_SERVING_HOST",
}

SETTINGS: list[type[BaseSettings]] = [
    kind
    for kind in vars(graildient.settings).values()
    if isinstance(kind, type)
    and issubclass(kind, BaseSettings)
    and kind not in (BaseSettings, PipelineSettings)
] + [ClusterSettings]
FIELDS = {
    (str(kind.model_config.get("env_prefix", "")) + name).upper(): kind
    for kind in SETTINGS
    for name in kind.model_fields
}


def ours(name: str) -> list[tuple[Pod, Object]]:
    """Containers of our images, with their pods."""
    found = [(p, c) for p in pods(render(name)) if p.ours for c in p.containers]
    return [(p, c) for p, c in found if c["name"] != "code"]


def parse(words: list[str]) -> tuple[str, ...]:
    """Give a command line to typer's own parser, without running it. Returns the path of the command."""
    import typer

    from graildient.cli import app

    command: Any = typer.main.get_command(app)
    path: list[str] = []
    rest = list(words)
    while hasattr(command, "commands"):
        context = command.make_context(path[-1] if path else "graildient", rest, allow_extra_args=True)
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert name is not None
        path.append(name)
    command.make_context(path[-1], rest)
    return tuple(path)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_container_starts_a_command_that_there_is(name: str) -> None:
    for pod, container in ours(name):
        program, *words = [*container["command"], *container.get("args", ())]
        assert program == "graildient", pod.owner
        assert parse(words) in NEEDS, pod.owner


@pytest.mark.parametrize(
    "words",
    [["serv"], ["scrape", "--sold"], ["features", "materialise"], ["marketplace", "--synthetic", "none"]],
)
def test_a_command_that_there_is_not_is_found(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"No such (command|option)|valid integer"):
        parse(words)


def test_the_commands_are_those_of_the_plan() -> None:
    def started(name: str) -> dict[str, list[list[str]]]:
        found: dict[str, list[list[str]]] = {}
        for pod, container in ours(name):
            found.setdefault(pod.labels["app.kubernetes.io/component"], []).append(container["command"][1:])
        return found

    laptop = started("laptop")
    assert laptop["scraper"] == [["scrape"]]
    assert laptop["features"] == [["features", "build"], ["features", "materialize"]]
    assert laptop["pipeline"] == [["pipeline", "run"]]
    assert laptop["serving"] == [["serve"]]
    assert laptop["marketplace"][0][0] == "marketplace"
    assert laptop["test"][0][0] == "predict"
    host = "http://ml-pipeline.kubeflow:8888"
    assert started("production")["pipeline"] == [["pipeline", "submit", "--host", host, "--wait"]]


def groups(name: str) -> set[str]:
    """Names of the packages that a dependency group asks for, those of the groups it contains included."""
    names: set[str] = set()
    for requirement in PROJECT["optional-dependencies"][name]:
        package, extras = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?.*", requirement).groups()  # type: ignore[union-attr]
        if package == "graildient":
            names |= set().union(*(groups(extra.strip()) for extra in extras.split(",")))
        else:
            names.add(package.lower())
    return names


def lock(room: str) -> set[str]:
    text = (REPOSITORY / "requirements" / f"{room}.txt").read_text(encoding="utf-8")
    return {m.lower() for m in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)}


@pytest.mark.parametrize("name", ["default", "laptop", "production"])
def test_each_image_holds_what_its_commands_import(name: str) -> None:
    for pod, container in ours(name):
        room = re.fullmatch(r"(?:.*/)?graildient-([a-z]+)[:@].*", container["image"]).group(1)  # type: ignore[union-attr]
        for group in NEEDS[parse(container["command"][1:])]:
            assert groups(group) <= lock(room), (
                f"{pod.owner}: {groups(group) - lock(room)} are not in {room}.txt"
            )


def test_each_image_is_a_target_of_the_dockerfile() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    images = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["images"]
    rooms = {k: v["repository"] for k, v in images.items() if isinstance(v, dict)}
    assert rooms == {room: f"graildient-{room}" for room in ("scraper", "trainer", "server")}
    assert rooms.keys() <= targets
    # One shared layer, each room's own lock above it, no root, the exec form (a shell swallows SIGTERM).
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)
    for room in rooms:
        (stage,) = [s for s in stages if s.startswith(f"shared AS {room}\n")]
        assert f"--require-hashes -r /opt/{room}.lock" in stage
        assert "\nUSER 65532:65532\n" in stage
        assert '\nENTRYPOINT ["graildient"]\n' in stage
        assert "org.opencontainers.image.title=" in stage


def test_the_dockerfile_installs_nothing_unlocked() -> None:
    installs = re.findall(r"pip install [^\n&]*", DOCKERFILE)
    assert len(installs) >= 5
    for line in installs:
        assert "--require-hashes" in line or ("--no-deps" in line and line.rstrip().endswith(" .")), line


def test_the_build_context_holds_what_the_dockerfile_copies() -> None:
    """.dockerignore lets in only what it names."""
    allowed = set(
        re.findall(r"^!(\S+)$", (REPOSITORY / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    )
    copied = {
        source.removeprefix("./")
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied == allowed
    packages = PROJECT_PACKAGES - copied
    assert not packages, f"packages that the image would miss: {packages}"


PROJECT_PACKAGES = {
    pattern.removesuffix("*")
    for pattern in tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "setuptools"
    ]["packages"]["find"]["include"]
}


def environment(name: str) -> dict[str, str]:
    """Settings of all containers of ours together, a stand-in for each secret."""
    env = {k: v for k, v in settings(render(name)).items() if k.startswith("GRAILDIENT_")}
    for _, container in ours(name):
        for item in container.get("env", ()):
            if item["name"].startswith("GRAILDIENT_"):
                env[item["name"]] = item.get("value", "redis://secret")
    return env


@pytest.mark.parametrize("name", VARIANTS)
def test_every_setting_is_one_of_the_code(name: str) -> None:
    assert environment(name).keys() - FIELDS.keys() == set()


@pytest.mark.parametrize("name", VARIANTS)
def test_the_code_accepts_every_setting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in FIELDS:
        monkeypatch.delenv(key, raising=False)
    for key, value in environment(name).items():
        monkeypatch.setenv(key, value)
    for kind in SETTINGS:
        given = load(kind)
        changed = given.model_fields_set
        prefix = str(kind.model_config.get("env_prefix", ""))
        assert {(prefix + f).upper() for f in changed} >= {k for k in environment(name) if FIELDS[k] is kind}


def test_every_setting_of_the_code_can_be_given() -> None:
    """A new setting needs its place below `config` (or in DERIVED, when the chart sets it by itself)."""
    values = {
        "_".join(["GRAILDIENT", room, re.sub(r"(?<=[a-z])([A-Z])", r"_\1", field)]).upper()
        for room, fields in _config().items()
        for field in fields
    }
    assert values | DERIVED == FIELDS.keys()
    assert not values & DERIVED


def _config() -> dict[str, dict[str, Any]]:
    config: dict[str, dict[str, Any]] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))[
        "config"
    ]
    return config


def test_large_numbers_are_written_out(tmp_path: Path) -> None:
    """Helm reads a file's numbers as floats, and left to itself prints large ones as 6.7108864e+07."""
    file = tmp_path / "values.yaml"
    file.write_text("config: {serving: {maxBodyBytes: 67108864, reloadSeconds: 0.5}}\n", encoding="utf-8")
    for helm in ("helm", "helm3"):
        done = run(tool(helm), "template", "graildient", str(CHART), "-f", str(file))
        env = settings(load_objects(done.stdout))
        assert env["GRAILDIENT_SERVING_MAX_BODY_BYTES"] == "67108864"
        assert env["GRAILDIENT_SERVING_RELOAD_SECONDS"] == "0.5"


def test_kubeflow_steps_use_the_same_data() -> None:
    bucket = settings(render("production"))
    assert bucket["GRAILDIENT_PIPELINE_REGION"] == bucket["AWS_DEFAULT_REGION"]
    assert "GRAILDIENT_PIPELINE_VOLUME_CLAIM" not in bucket
    volume = settings(render("kubeflow-volume"))
    claim = find(render("kubeflow-volume"), "PersistentVolumeClaim")["metadata"]["name"]
    assert volume["GRAILDIENT_PIPELINE_VOLUME_CLAIM"] == claim
    assert (
        volume["GRAILDIENT_PIPELINE_ROOT"]
        == volume["GRAILDIENT_PIPELINE_VOLUME_PATH"]
        == volume["GRAILDIENT_ROOT"]
    )
    job = find(render("production"), "CronJob", "-pipeline")["spec"]["jobTemplate"]["spec"]
    assert int(bucket["GRAILDIENT_PIPELINE_TIMEOUT_SECONDS"]) < job["activeDeadlineSeconds"]


def test_addresses_inside_the_release() -> None:
    objects = render("laptop")
    env = settings(objects)
    for key, suffix, port in (
        ("GRAILDIENT_FEATURES_REDIS_URL", "-redis", 6379),
        ("GRAILDIENT_SCRAPER_BASE_URL", "-marketplace", 8000),
    ):
        service = find(objects, "Service", suffix)
        assert f"//{service['metadata']['name']}:{port}" in env[key]
        assert [p["port"] for p in service["spec"]["ports"]] == [port]
    # A source that was named wins over the stand-in; without both, the code's own default is left alone.
    assert "GRAILDIENT_SCRAPER_BASE_URL" not in settings(render("default"))


def test_ports_are_those_that_the_server_is_told() -> None:
    env = settings(render("default"))
    ports = {p["name"]: str(p["containerPort"]) for p in ours_of("serving")["ports"]}
    assert ports == {"http": env["GRAILDIENT_SERVING_HTTP_PORT"], "grpc": env["GRAILDIENT_SERVING_GRPC_PORT"]}


def ours_of(component: str) -> Object:
    return next(c for p, c in ours("default") if p.labels["app.kubernetes.io/component"] == component)


def test_what_probes_and_prometheus_ask_for_is_served() -> None:
    routes = (REPOSITORY / "serving" / "rest.py").read_text(encoding="utf-8")
    container = ours_of("serving")
    paths = {container[p]["httpGet"]["path"] for p in ("startupProbe", "readinessProbe", "livenessProbe")}
    paths.add(find(render("production"), "ServiceMonitor")["spec"]["endpoints"][0]["path"])
    for path in paths:
        assert f'"{path}"' in routes, path
