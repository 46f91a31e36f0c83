"""Every pod: Pod Security `restricted`, and our own rules."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from chart_checks import house_rules, restricted
from chart_support import VARIANTS, Object, Pod, pods, render

EXPECTED = {
    "default": {"serving", "redis", "scraper", "features", "pipeline", "test"},
    "laptop": {"serving", "redis", "scraper", "features", "pipeline", "test", "marketplace"},
    "production": {"serving", "scraper", "features", "pipeline", "test"},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_walk_sees_every_pod(name: str) -> None:
    assert {p.labels["app.kubernetes.io/component"] for p in pods(render(name))} == EXPECTED[name]


@pytest.mark.parametrize("name", VARIANTS)
def test_restricted(name: str) -> None:
    assert {p.owner: list(restricted(p.spec)) for p in pods(render(name)) if list(restricted(p.spec))} == {}


@pytest.mark.parametrize("name", VARIANTS)
def test_house_rules(name: str) -> None:
    assert {p.owner: list(house_rules(p.spec)) for p in pods(render(name)) if list(house_rules(p.spec))} == {}


def serving() -> Object:
    return copy.deepcopy(next(p for p in pods(render("default")) if p.owner.endswith("-serving"))).spec


def _container(pod: Object) -> Object:
    container: Object = pod["containers"][0]
    return container


BREAKS: dict[str, Callable[[Object], object]] = {
    "hostNetwork": lambda pod: pod.update(hostNetwork=True),
    "sysctls": lambda pod: pod["securityContext"].update(
        sysctls=[{"name": "kernel.shm_rmid_forced", "value": "0"}]
    ),
    "hostPath": lambda pod: pod["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
    "runAsNonRoot": lambda pod: pod["securityContext"].pop("runAsNonRoot"),
    "root": lambda pod: _container(pod)["securityContext"].update(runAsUser=0),
    "seccomp": lambda pod: pod["securityContext"]["seccompProfile"].update(type="Unconfined"),
    "escalation": lambda pod: _container(pod)["securityContext"].pop("allowPrivilegeEscalation"),
    "privileged": lambda pod: _container(pod)["securityContext"].update(privileged=True),
    "dropped": lambda pod: _container(pod)["securityContext"]["capabilities"].update(drop=["NET_RAW"]),
    "added": lambda pod: _container(pod)["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]),
    "procMount": lambda pod: _container(pod)["securityContext"].update(procMount="Unmasked"),
    "host port": lambda pod: _container(pod)["ports"][0].update(hostPort=80),
}


@pytest.mark.parametrize("says", BREAKS)
def test_restricted_sees(says: str) -> None:
    pod = serving()
    assert list(restricted(pod)) == []
    BREAKS[says](pod)
    (problem,) = restricted(pod)
    assert says in problem


RULES: dict[str, Callable[[Object], object]] = {
    "token": lambda pod: pod.pop("automountServiceAccountToken"),
    "root file system": lambda pod: _container(pod)["securityContext"].pop("readOnlyRootFilesystem"),
    "limit of memory": lambda pod: _container(pod)["resources"]["limits"].pop("memory"),
    "no version": lambda pod: _container(pod).update(image="registry.example:5000/server"),
    "no command": lambda pod: _container(pod).pop("command"),
    "no volume": lambda pod: pod["volumes"].pop(1),
    "nothing writable": lambda pod: _container(pod)["volumeMounts"].pop(0),
}


@pytest.mark.parametrize("says", RULES)
def test_house_rules_see(says: str) -> None:
    pod = serving()
    assert list(house_rules(pod)) == []
    RULES[says](pod)
    (problem,) = house_rules(pod)
    assert says in problem


def _pod(name: str, component: str) -> Pod:
    return next(p for p in pods(render(name)) if p.labels["app.kubernetes.io/component"] == component)


def test_probes_of_the_server() -> None:
    for name in ("default", "production", "kserve-runtime"):
        container = _pod(name, "serving").spec["containers"][0]
        ports = {p["name"]: p["containerPort"] for p in container["ports"]}
        assert ports == {"http": 8080, "grpc": 8081}
        paths = {p: container[p]["httpGet"] for p in ("startupProbe", "readinessProbe", "livenessProbe")}
        assert paths["readinessProbe"] == {"path": "/v2/health/ready", "port": "http"}
        assert paths["livenessProbe"] == paths["startupProbe"] == {"path": "/v2/health/live", "port": "http"}


def test_secrets_come_by_name_only() -> None:
    """Each secret reaches those who need it, from a Secret, and nobody else."""
    wanted = {
        "serving": {"GRAILDIENT_FEATURES_REDIS_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
        "scraper": {
            "GRAILDIENT_FEATURES_REDIS_URL",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "GRAILDIENT_SCRAPER_SEARCH_KEY",
            "GRAILDIENT_SCRAPER_SELLER_SALT",
        },
        "test": set(),
    }
    for component, names in wanted.items():
        for container in _pod("production", component).containers:
            found = {e["name"] for e in container.get("env", ()) if "secretKeyRef" in e.get("valueFrom", {})}
            assert found == names, component


def test_data_is_on_the_volume_or_in_the_bucket() -> None:
    for component in ("serving", "scraper", "features", "pipeline"):
        claims = [v for v in _pod("default", component).spec["volumes"] if "persistentVolumeClaim" in v]
        assert [c["persistentVolumeClaim"]["claimName"] for c in claims] == ["graildient-data"]
        assert not [v for v in _pod("production", component).spec["volumes"] if "persistentVolumeClaim" in v]
    claims = [v for v in _pod("off", "serving").spec["volumes"] if "persistentVolumeClaim" in v]
    assert [c["persistentVolumeClaim"]["claimName"] for c in claims] == ["lake"]
    assert not [o for o in render("off") if o["kind"] == "PersistentVolumeClaim"]


def test_only_those_who_need_redis_reach_it() -> None:
    (policy,) = [o for o in render("default") if o["kind"] == "NetworkPolicy"]
    allowed = [s["podSelector"]["matchLabels"] for s in policy["spec"]["ingress"][0]["from"]]
    reach = {
        p.labels["app.kubernetes.io/component"]
        for p in pods(render("laptop"))
        if any(a.items() <= p.labels.items() for a in allowed)
    }
    assert reach == {"features", "pipeline", "serving"}
