"""The chart as real Helm renders it: lint, template, and every object against its schema."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from chart_checks import closed, crd_validator
from chart_support import (
    CHART,
    CRDS,
    VARIANTS,
    Object,
    find,
    kserve_pod,
    load,
    pods,
    render,
    run,
    template,
    title,
    tool,
)

HELMS = ["helm", "helm3"]
KUBERNETES = ["1.35.0", "1.36.0", "1.37.0"]
BUILT_IN = {"v1", "apps/v1", "batch/v1", "autoscaling/v2", "policy/v1", "networking.k8s.io/v1"}


@pytest.mark.parametrize("helm", HELMS)
@pytest.mark.parametrize("name", VARIANTS)
def test_lint(helm: str, name: str) -> None:
    done = run(tool(helm), "lint", "--strict", str(CHART), *VARIANTS[name].arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_helms_are_3_and_4() -> None:
    versions = [run(tool(helm), "version", "--template", "{{.Version}}").stdout for helm in HELMS]
    assert [v.lstrip("v")[0] for v in versions] == ["4", "3"]


@pytest.mark.parametrize("name", VARIANTS)
def test_both_helms_render_the_same(name: str) -> None:
    def by_title(helm: str) -> dict[str, Object]:
        return {title(o): o for o in load(template(tool(helm), name))}

    assert by_title("helm3") == by_title("helm")


@pytest.mark.parametrize("name", VARIANTS)
def test_no_object_twice_and_every_one_in_the_namespace(name: str) -> None:
    titles = [title(o) for o in render(name)]
    assert len(titles) == len(set(titles))
    assert {o["metadata"]["namespace"] for o in render(name)} == {"demo"}


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", VARIANTS)
def test_kubernetes_schemas(name: str, version: str) -> None:
    checked = 0
    for obj in render(name):
        if obj["apiVersion"] in BUILT_IN:
            kubernetes_validate.validate(obj, version, strict=True)
            checked += 1
    assert checked > 5


def test_kubernetes_schemas_find_an_unknown_field() -> None:
    broken = copy.deepcopy(find(render("default"), "Deployment", "-serving"))
    broken["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(broken, KUBERNETES[-1], strict=True)


@pytest.fixture(scope="module")
def offline_schemas(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The published schemas with addresses that lead to the file beside them instead of to the network."""
    folder = tmp_path_factory.mktemp("schemas")
    package = (
        Path(kubernetes_validate.__file__).parent
        / "kubernetes-json-schema"
        / f"v{KUBERNETES[-1]}-local-strict"
    )
    kinds = {
        (o["kind"], o["apiVersion"]) for name in VARIANTS for o in render(name) if o["apiVersion"] in BUILT_IN
    }
    for kind, version in kinds:
        group, _, number = version.rpartition("/")
        suffix = "-".join(filter(None, (group.split(".")[0], number)))
        (folder / f"{kind.lower()}-{suffix}.json").touch()
    (folder / "_definitions.json").touch()
    for target in folder.iterdir():
        text = (
            (package / target.name)
            .read_text(encoding="utf-8")
            .replace("/api/_definitions.json#", "_definitions.json#")
        )
        target.write_text(
            json.dumps({k: v for k, v in json.loads(text).items() if k != "$id"}), encoding="utf-8"
        )
    return f"{folder}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"


def kubeconform(text: str, schemas: str) -> dict[str, Any]:
    custom = {o["kind"] for o in load(text) if o["apiVersion"] not in BUILT_IN}
    skip = ["-skip", ",".join(sorted(custom))] if custom else []
    options = ["-strict", "-summary", "-output", "json", "-schema-location", schemas, *skip]
    answer: dict[str, Any] = json.loads(run(tool("kubeconform"), *options, input=text).stdout)
    return answer


def test_kubeconform(offline_schemas: str) -> None:
    """A second opinion over the same published schemas, by another program."""
    answer = kubeconform("\n---\n".join(template(tool("helm"), name) for name in VARIANTS), offline_schemas)
    assert answer["resources"] == []
    built_in = [o for name in VARIANTS for o in render(name) if o["apiVersion"] in BUILT_IN]
    assert answer["summary"]["valid"] == len(built_in) > 100


def test_kubeconform_finds_an_unknown_field(offline_schemas: str) -> None:
    text = template(tool("helm"), "default")
    broken = text.replace("readinessProbe:", "readynessProbe:")
    assert broken != text
    assert kubeconform(broken, offline_schemas)["summary"]["invalid"] == 2


def custom_errors(obj: Object) -> list[str]:
    if not CRDS.is_dir():
        pytest.skip("no CRDs: ../shared/crds is absent")
    group, _, version = obj["apiVersion"].partition("/")
    validator = crd_validator(CRDS, group, version, obj["kind"])
    assert validator is not None, f"no CRD of {obj['apiVersion']} {obj['kind']} in {CRDS}"
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in validator.iter_errors(obj)]


@pytest.mark.parametrize("name", VARIANTS)
def test_custom_resources_against_their_crds(name: str) -> None:
    custom = [o for o in render(name) if o["apiVersion"] not in BUILT_IN]
    assert {title(o): custom_errors(o) for o in custom if custom_errors(o)} == {}


def test_profiles_use_the_operators_that_they_name() -> None:
    def custom(name: str) -> set[str]:
        return {o["kind"] for o in render(name) if o["apiVersion"] not in BUILT_IN}

    for bare in ("default", "minimal", "laptop", "off"):
        assert custom(bare) == set()
    assert custom("production") == {"InferenceService", "ServingRuntime", "ServiceMonitor", "PrometheusRule"}


@pytest.mark.parametrize(
    ("kind", "path", "value", "says"),
    [
        ("InferenceService", ("spec", "predictor", "minReplica"), 1, "minReplica"),
        (
            "InferenceService",
            ("spec", "predictor", "containers", 0, "imagePullPolcy"),
            "Always",
            "imagePullPolcy",
        ),
        ("InferenceService", ("spec", "predictor", "scaleMetric"), "cups", "cups"),
        ("ServingRuntime", ("spec", "containers", 0, "volumeMount"), [], "volumeMount"),
        ("ServiceMonitor", ("spec", "endpoints", 0, "intervall"), "30s", "intervall"),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "for"), "soon", "soon"),
    ],
)
def test_a_misspelt_custom_resource_is_found(
    kind: str, path: tuple[str | int, ...], value: object, says: str
) -> None:
    broken = copy.deepcopy(find(render("production"), kind))
    node = broken
    for key in path[:-1]:
        node = node[key]  # type: ignore[index]
    node[path[-1]] = value  # type: ignore[index]
    assert any(says in error for error in custom_errors(broken))


def test_closing_leaves_open_what_a_crd_leaves_open() -> None:
    fields = {
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "type": {"type": "string"},
    }
    schema = {"type": "object", "properties": {"metadata": {"type": "object"}, "spec": {"type": "object"}}}
    schema["properties"]["spec"]["properties"] = fields  # type: ignore[index]
    done = closed(schema)
    assert done["additionalProperties"] is False
    assert done["properties"]["spec"]["additionalProperties"] is False
    assert done["properties"]["spec"]["properties"] == fields
    assert "additionalProperties" not in done["properties"]["metadata"]


@pytest.mark.parametrize("name", VARIANTS)
def test_selectors_are_a_strict_subset_of_the_labels(name: str) -> None:
    objects = render(name)
    for obj in objects:
        if obj["kind"] in ("Deployment", "StatefulSet"):
            wanted = obj["spec"]["selector"]["matchLabels"].items()
            assert wanted < obj["spec"]["template"]["metadata"]["labels"].items(), title(obj)
            # What changes from version to version must not be in a selector, which may never change.
            assert not {"helm.sh/chart", "app.kubernetes.io/version"} & dict(wanted).keys()


@pytest.mark.parametrize("name", VARIANTS)
def test_what_selects_pods_finds_those_of_one_component(name: str) -> None:
    objects = render(name)
    selectors = {}
    for obj in objects:
        spec = obj.get("spec", {})
        if obj["kind"] == "Service":
            selectors[title(obj)] = spec["selector"]
        elif obj["kind"] == "PodDisruptionBudget":
            selectors[title(obj)] = spec["selector"]["matchLabels"]
        elif obj["kind"] == "NetworkPolicy":
            selectors[title(obj)] = spec["podSelector"]["matchLabels"]
    assert selectors
    for who, selector in selectors.items():
        chosen = [p for p in pods(objects) if selector.items() <= p.labels.items()]
        assert len(chosen) == 1, f"{who} finds {[p.owner for p in chosen]}"


@pytest.mark.parametrize("name", VARIANTS)
def test_ports_of_services_are_ports_of_the_pods(name: str) -> None:
    objects = render(name)
    for service in (o for o in objects if o["kind"] == "Service"):
        (pod,) = [p for p in pods(objects) if service["spec"]["selector"].items() <= p.labels.items()]
        named = {port["name"] for c in pod.spec["containers"] for port in c.get("ports", ())}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named


def test_the_service_monitor_finds_our_service_once() -> None:
    """KServe's own Services carry the InferenceService's labels; nothing must be scraped through them too."""
    for name in ("production", "no-kserve"):
        objects = render(name)
        selector = find(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
        chosen = [
            o for o in objects if o["kind"] == "Service" and selector <= o["metadata"]["labels"].items()
        ]
        assert [title(o) for o in chosen] == ["Service/graildient"]
        for isvc in (o for o in objects if o["kind"] == "InferenceService"):
            assert not selector <= isvc["metadata"]["labels"].items()
        endpoint = find(objects, "ServiceMonitor")["spec"]["endpoints"][0]["port"]
        assert endpoint in {p["name"] for p in chosen[0]["spec"]["ports"]}


@pytest.mark.parametrize("name", VARIANTS)
def test_names_leave_room_for_what_controllers_add(name: str) -> None:
    for obj in render(name):
        length = len(obj["metadata"]["name"])
        if obj["kind"] == "CronJob":
            assert length <= 52
        elif obj["kind"] == "InferenceService":
            # The label `app: isvc.<name>-predictor` has to fit too.
            assert len("isvc.") + length + len("-predictor") <= 63
        else:
            assert length <= 63


def test_replicas_are_left_to_the_autoscaler() -> None:
    assert "replicas" not in find(render("default"), "Deployment", "-serving")["spec"]
    assert (
        find(render("default"), "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"]
        == "graildient-serving"
    )
    assert find(render("minimal"), "Deployment", "-serving")["spec"]["replicas"] == 1
    assert not [o for o in render("minimal") if o["kind"] == "HorizontalPodAutoscaler"]
    # KServe's own HPA, or none at all.
    scaled = find(render("production"), "InferenceService")
    assert scaled["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "hpa"
    fixed = find(render("kserve-fixed"), "InferenceService")
    assert fixed["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "none"
    assert fixed["spec"]["predictor"]["minReplicas"] == fixed["spec"]["predictor"]["maxReplicas"] == 3
    assert not [o for o in render("production") if o["kind"] == "HorizontalPodAutoscaler"]


@pytest.mark.parametrize(
    "name", [n for n in VARIANTS if any(o for o in ["production", "kserve"] if n.startswith(o))]
)
def test_kserve_gets_what_it_needs_in_standard_mode(name: str) -> None:
    objects = render(name)
    service = find(objects, "InferenceService")
    predictor = service["spec"]["predictor"]
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    # A model without an address is taken for one of several in a shared server and gets KServe's agent.
    assert "model" not in predictor or predictor["model"]["storageUri"]
    (container,) = kserve_pod(service, objects)[1]["containers"]
    assert container["name"] == "kserve-container"
    # KServe's Service leads to the first port; a protocol left out would be written again and again.
    assert [p["name"] for p in container["ports"]] == ["http", "grpc"]
    assert {p["protocol"] for p in container["ports"]} == {"TCP"}
    # For a missing limit KServe fills in one CPU, and refuses a request above it.
    for field in ("requests", "limits"):
        assert container["resources"][field].keys() == {"cpu", "memory"}
    # A ServingRuntime has no pod-level security context: the InferenceService has to bring it.
    assert predictor["securityContext"]["runAsNonRoot"] is True
    runtime = find(objects, "ServingRuntime")["spec"]
    assert runtime["containers"][0]["name"] == "kserve-container"
    formats = {(f["name"], f["version"]) for f in runtime["supportedModelFormats"]}
    if "model" in predictor:
        assert (
            predictor["model"]["modelFormat"]["name"],
            predictor["model"]["modelFormat"]["version"],
        ) in formats
        assert predictor["model"]["protocolVersion"] in runtime["protocolVersions"]


def test_changed_settings_start_the_server_again() -> None:
    def checksum(*sets: str) -> str:
        done = run(
            tool("helm"), "template", "graildient", str(CHART), *(a for s in sets for a in ("--set", s))
        )
        deployment = find(load(done.stdout), "Deployment", "-serving")
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"])

    assert checksum() == checksum()
    assert checksum() != checksum("config.serving.model=challenger")


def test_a_server_has_the_time_to_finish() -> None:
    options = ["--set", "serving.terminationGracePeriodSeconds=25"]
    done = run(tool("helm"), "template", "graildient", str(CHART), *options)
    assert done.returncode != 0
    assert "serving.terminationGracePeriodSeconds: 25 is not more than" in done.stderr


def test_notes_name_objects_that_exist() -> None:
    for name in ("default", "laptop", "production", "off"):
        command = [
            tool("helm"),
            "install",
            "graildient",
            str(CHART),
            "--namespace",
            "demo",
            "--dry-run=client",
        ]
        done = run(*command, *VARIANTS[name].arguments)
        assert done.returncode == 0, done.stderr
        notes = done.stdout.split("NOTES:", 1)[1]
        names = {o["metadata"]["name"] for o in render(name)}
        kinds = ("cronjob/", "service/", "inferenceservice/")
        words = [w.strip("()`:").split("=")[-1] for w in notes.split()]
        mentioned = {w.split("/", 1)[1] for w in words if w.startswith(kinds)}
        assert mentioned
        assert mentioned <= names, mentioned - names
