"""Dashboards and alert rules: their expressions are valid and speak of metrics that the code really has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_support import CHART, find, render, run, tool
from prometheus_client.metrics import MetricWrapperBase

HERE = Path(__file__).resolve().parent
DASHBOARDS = sorted((CHART / "files" / "dashboards").glob("*.json"))
RULES = sorted((CHART / "files" / "rules").glob("*.yaml"))
# Given by Prometheus to what it scrapes through a ServiceMonitor.
TARGET_LABELS = {"namespace", "pod", "service", "job", "instance", "le"}


def declared() -> dict[str, set[str]]:
    """Names of the series that the code declares, with their labels."""
    import serving.metrics

    series: dict[str, set[str]] = {}
    for metric in vars(serving.metrics).values():
        if isinstance(metric, MetricWrapperBase):
            endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(
                metric._type, [""]
            )
            series |= {metric._name + ending: set(metric._labelnames) for ending in endings}
    assert "graildient_requests_total" in series
    return series


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def dashboard_expressions() -> Iterator[tuple[str, str]]:
    for path in DASHBOARDS:
        for panel in panels(json.loads(path.read_text(encoding="utf-8"))):
            for target in panel["targets"]:
                yield f"{path.name}: {panel['title']}", target["expr"]


def rule_expressions() -> Iterator[tuple[str, str]]:
    for path in RULES:
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                yield f"{path.name}: {rule['alert']}", rule["expr"]


def problems(expression: str) -> Iterator[str]:
    """Series and labels of an expression that the code does not declare."""
    known = declared()
    text = re.sub(r"\$\w+|\$\{\w+\}", "", expression)
    labels: set[str] = set()
    for name, matchers in re.findall(r"\b(graildient_\w+)(?:\{([^}]*)\})?", text):
        if name not in known:
            yield f"no metric {name}"
            continue
        labels |= known[name]
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
            if label not in known[name] | TARGET_LABELS:
                yield f"{name} has no label {label}"
    for by in re.findall(r"\b(?:by|without)\s*\(([^)]*)\)", text):
        for label in re.findall(r"\w+", by):
            if label not in labels | TARGET_LABELS:
                yield f"no label {label}"


@pytest.mark.parametrize(("where", "expression"), [*dashboard_expressions(), *rule_expressions()])
def test_expressions_speak_of_declared_metrics(where: str, expression: str) -> None:
    assert "graildient_" in expression
    assert list(problems(expression)) == [], where


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("rate(graildient_requests[5m])", "no metric graildient_requests"),
        ('graildient_requests_total{result="ok"}', "has no label result"),
        ("sum by (colour) (graildient_requests_total)", "no label colour"),
    ],
)
def test_an_undeclared_metric_is_found(expression: str, says: str) -> None:
    assert any(says in problem for problem in problems(expression))


def test_label_values_of_expressions_exist() -> None:
    from serving.metrics import OUTCOMES

    for where, expression in [*dashboard_expressions(), *rule_expressions()]:
        for values in re.findall(r'outcome=~?"([^"]*)"', expression):
            assert set(values.split("|")) <= set(OUTCOMES), where


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda p: p.name)
def test_dashboard(path: Path) -> None:
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    assert dashboard["uid"]
    assert dashboard["title"]
    found = list(panels(dashboard))
    assert len({p["id"] for p in found}) == len(found)
    cells = [
        (x, y)
        for p in found
        for x in range(p["gridPos"]["x"], p["gridPos"]["x"] + p["gridPos"]["w"])
        for y in range(p["gridPos"]["y"], p["gridPos"]["y"] + p["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)), "panels overlap"
    assert max(x for x, _ in cells) < 24
    for panel in found:
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        # Of any Prometheus: the data source is chosen in the dashboard.
        assert all(t["datasource"]["uid"] == "${datasource}" for t in panel["targets"]), panel["title"]
    variables = {v["name"] for v in dashboard["templating"]["list"]}
    used = {v for p in found for t in p["targets"] for v in re.findall(r"\$(\w+)", t["expr"])} - {
        "__rate_interval"
    }
    assert used <= variables


def test_dashboards_show_what_matters() -> None:
    expressions = " ".join(e for _, e in dashboard_expressions())
    for metric in (
        "requests",
        "request_duration",
        "fallbacks",
        "model_info",
        "predicted_price",
        "feature_freshness",
    ):
        assert f"graildient_{metric}" in expressions


def test_prometheus_parses_every_expression_of_the_dashboards(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{i}", "expr": e.replace("$__rate_interval", "5m").replace("$namespace", ".*")}
        for i, (_, e) in enumerate(dashboard_expressions())
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    done = run(tool("promtool"), "check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout
    rules[0]["expr"] += ")"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    assert run(tool("promtool"), "check", "rules", str(file)).returncode != 0


@pytest.mark.parametrize("path", RULES, ids=lambda p: p.name)
def test_prometheus_accepts_the_rules(path: Path) -> None:
    done = run(tool("promtool"), "check", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_fire_when_they_should_and_not_before() -> None:
    done = run(tool("promtool"), "test", "rules", str(HERE / "rules_test.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried_both_ways() -> None:
    tests = yaml.safe_load((HERE / "rules_test.yaml").read_text(encoding="utf-8"))["tests"]
    tried = [t for test in tests for t in test["alert_rule_test"]]
    fires = {t["alertname"] for t in tried if t["exp_alerts"]}
    quiet = {t["alertname"] for t in tried if not t["exp_alerts"]}
    alerts = {where.rsplit(" ", 1)[1] for where, _ in rule_expressions()}
    assert fires == quiet == alerts


def test_the_rules_that_are_installed_are_those_of_the_file() -> None:
    rule = find(render("production"), "PrometheusRule", "-serving")
    assert rule["spec"] == yaml.safe_load(RULES[0].read_text(encoding="utf-8"))


def test_the_dashboards_that_are_installed_are_those_of_the_files() -> None:
    config = find(render("production"), "ConfigMap", "-dashboards")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {k: json.loads(v) for k, v in config["data"].items()} == {
        p.name: json.loads(p.read_text(encoding="utf-8")) for p in DASHBOARDS
    }
