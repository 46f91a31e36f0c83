"""Checks of pods and of custom resources, as plain functions, so that the tests can also see them fail."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from chart_support import Object

# https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def restricted(pod: Object) -> Iterator[str]:
    """What Pod Security `restricted` would refuse in a pod's spec."""
    security = pod.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield f"{field} is on"
    if security.get("sysctls"):
        yield "sysctls are set"
    for volume in pod.get("volumes", ()):
        if kinds := set(volume) - {"name"} - VOLUMES:
            yield f"volume {volume['name']}: {', '.join(sorted(kinds))}"
    for container in [*pod.get("initContainers", ()), *pod["containers"]]:
        own = container.get("securityContext", {})
        where = container["name"]

        def effective(field: str, own: Object = own) -> Any:
            return own.get(field, security.get(field))

        if effective("runAsNonRoot") is not True:
            yield f"{where}: runAsNonRoot is not true"
        if effective("runAsUser") == 0:
            yield f"{where}: runs as root"
        if (effective("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{where}: no seccomp profile"
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{where}: privilege escalation is allowed"
        if own.get("privileged"):
            yield f"{where}: privileged"
        if "ALL" not in own.get("capabilities", {}).get("drop", ()):
            yield f"{where}: capabilities are not dropped"
        if set(own.get("capabilities", {}).get("add", ())) - {"NET_BIND_SERVICE"}:
            yield f"{where}: capabilities are added"
        if own.get("procMount", "Default") != "Default":
            yield f"{where}: procMount"
        if any(port.get("hostPort") for port in container.get("ports", ())):
            yield f"{where}: a host port"


def house_rules(pod: Object) -> Iterator[str]:
    """What we ask of a pod beyond `restricted`."""
    if pod.get("automountServiceAccountToken") is not False:
        yield "a service-account token is mounted"
    volumes = {v["name"] for v in pod.get("volumes", ())} | ({"redis"} if _is_redis(pod) else set())
    for container in [*pod.get("initContainers", ()), *pod["containers"]]:
        where = container["name"]
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{where}: the root file system is writable"
        resources = container.get("resources", {})
        if not {"cpu", "memory"} <= resources.get("requests", {}).keys() or "memory" not in resources.get(
            "limits", {}
        ):
            yield f"{where}: requests of cpu and memory and a limit of memory are wanted"
        image = container["image"]
        if image.endswith(":latest") or not ("@sha256:" in image or ":" in image.rsplit("/", 1)[-1]):
            yield f"{where}: the image {image} has no version"
        if not container.get("command"):
            yield f"{where}: no command"
        for mount in container.get("volumeMounts", ()):
            if mount["name"] not in volumes:
                yield f"{where}: no volume {mount['name']}"
        if "/tmp" not in {m["mountPath"] for m in container.get("volumeMounts", ())} and where != "code":
            yield f"{where}: nothing writable at /tmp"


def _is_redis(pod: Object) -> bool:
    return pod["containers"][0]["name"] == "redis"


class _Loader(yaml.CSafeLoader):
    """PyYAML takes the bare `=` in some CRDs' enumerations for a type that it has no constructor for."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: loader.construct_scalar(node))  # type: ignore[no-untyped-call]


@cache
def crd_validator(
    folder: Path, group: str, version: str, kind: str
) -> jsonschema.Draft202012Validator | None:
    """A validator of a custom resource that also finds unknown fields; None when no CRD of it is there."""
    for path in sorted(folder.glob(f"*/{group}_{kind.lower()}*.yaml")):
        for crd in yaml.load_all(path.read_text(encoding="utf-8"), Loader=_Loader):
            if not crd or crd["spec"]["group"] != group or crd["spec"]["names"]["kind"] != kind:
                continue
            for served in crd["spec"]["versions"]:
                if served["name"] == version:
                    return jsonschema.Draft202012Validator(closed(served["schema"]["openAPIV3Schema"]))
    return None


def closed(schema: Any) -> Any:
    """The schema with unknown fields refused wherever fields are listed, as strict validation does."""
    schema = copy.deepcopy(schema)
    _close(schema)
    # The API server knows metadata; a CRD says `type: object` only.
    schema["properties"]["metadata"].pop("additionalProperties", None)
    return schema


def _close(node: Any) -> None:
    if isinstance(node, list):
        for item in node:
            _close(item)
    if not isinstance(node, dict):
        return
    listed = isinstance(node.get("properties"), dict) and node.get("type") == "object"
    if listed and "additionalProperties" not in node and not node.get("x-kubernetes-preserve-unknown-fields"):
        node["additionalProperties"] = False
    for key, value in node.items():
        # Below `properties` the keys are names of fields, which may themselves be called `properties`.
        for child in value.values() if key == "properties" and isinstance(value, dict) else [value]:
            _close(child)
