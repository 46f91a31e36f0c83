"""What is sent to a Kubeflow Pipelines backend, seen by a server that records it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from graildient.errors import GraildientError, InvalidSettings
from graildient.settings import PipelineSettings
from pipelines import submit as module
from pipelines.config import RunConfig
from pipelines.pipeline import STEPS
from pipelines.schedule import schedule, schedules, unschedule
from pipelines.submit import submit

API = "/apis/v2beta1"


@dataclass
class Backend:
    """A backend that takes every run and says how it goes."""

    host: str = ""
    states: list[str] = field(default_factory=lambda: ["PENDING", "RUNNING", "SUCCEEDED"])
    posted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    status: int = 200

    def answer(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        route = path.removeprefix(API).split("?")[0]
        if method == "POST":
            self.posted.append((route, body))
        if route == "/healthz":
            return {"multi_user": False}
        if route == "/experiments":
            return {"experiment_id": "e1"} | body if method == "POST" else {}
        if route == "/runs":
            return body | {"run_id": "r1", "state": self.states[0]}
        if route == "/recurringruns" and method == "POST":
            name = f"j{len([r for r, _ in self.posted if r == route])}"
            self.jobs[name] = body | {"recurring_run_id": name, "status": "ENABLED"}
            return self.jobs[name]
        if route == "/recurringruns":
            # One a page, so that who reads the first page only is found out.
            names, at = list(self.jobs), int(parse_qs(urlsplit(path).query).get("page_token", ["0"])[0] or 0)
            more = {"next_page_token": str(at + 1)} if at + 1 < len(names) else {}
            return {"recurringRuns": [self.jobs[n] for n in names[at : at + 1]]} | more
        if route.startswith("/recurringruns/"):
            assert method == "DELETE"
            del self.jobs[route.rpartition("/")[2]]
            return {}
        assert route == "/runs/r1", route
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        tasks = [
            {"display_name": "train", "state": "FAILED"},
            {"display_name": "search", "state": "SUCCEEDED"},
        ]
        return {
            "run_id": "r1",
            "display_name": "graildient",
            "state": state,
            "run_details": {"task_details": tasks},
        }


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    known = Backend()

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            answer = json.dumps(known.answer(self.command, self.path, body)).encode()
            self.send_response(200 if "healthz" in self.path else known.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_DELETE = _do

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    known.host = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("GRAILDIENT_ROOT", "s3://bucket/graildient")
    monkeypatch.setenv("GRAILDIENT_FEATURES_REDIS_URL", "redis://:hush@redis/0")
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    yield known
    server.shutdown()
    server.server_close()


def settings(backend: Backend) -> PipelineSettings:
    return PipelineSettings(host=backend.host, image="trainer:1", experiment="prices")


def test_a_run_is_sent_whole_and_waited_for(backend: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    found = submit(settings(backend), wait=True, overrides={"trials": "3"})
    assert found == {
        "run_id": "r1",
        "url": f"{backend.host}/#/runs/details/r1",
        "experiment": "prices",
        "state": "SUCCEEDED",
    }
    routes = dict(backend.posted)
    assert routes["/experiments"]["display_name"] == "prices"
    run = routes["/runs"]
    assert run["experiment_id"] == "e1"
    spec = run["pipeline_spec"]["pipeline_spec"]
    assert sorted(spec["root"]["dag"]["tasks"]) == sorted(STEPS)
    assert spec["deploymentSpec"]["executors"]["exec-train"]["container"]["image"] == "trainer:1"
    assert "platforms" in run["pipeline_spec"]["platform_spec"], "the Secret's names go along"
    given = run["runtime_config"]["parameters"]
    assert given["root"] == "s3://bucket/graildient"
    assert RunConfig.from_json(given["settings"]).training.trials == 3
    assert "hush" not in json.dumps(run)
    assert capsys.readouterr() == ("", "")


def test_without_waiting_the_state_is_that_of_the_start(backend: Backend) -> None:
    assert submit(settings(backend))["state"] == "PENDING"


@pytest.mark.parametrize("state", ["FAILED", "CANCELED"])
def test_a_run_that_does_not_succeed_is_an_error(backend: Backend, state: str) -> None:
    backend.states = ["RUNNING", state]
    with pytest.raises(GraildientError, match=f"run r1 ended {state} in train$"):
        submit(settings(backend), wait=True)


def test_waiting_has_an_end(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    backend.states = ["RUNNING"]
    monkeypatch.setenv("GRAILDIENT_PIPELINE_TIMEOUT_SECONDS", "1")
    with pytest.raises(GraildientError, match="is RUNNING after 1 s; it goes on"):
        submit(settings(backend), wait=True)


def test_a_schedule(backend: Backend) -> None:
    assert schedule(settings(backend), cron="0 0 3 * * *", cache=False) == {
        "recurring_run_id": "j1",
        "schedule": "0 0 3 * * *",
        "status": "ENABLED",
        "experiment": "prices",
        "replaced": [],
    }
    job = dict(backend.posted)["/recurringruns"]
    assert job["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert (job["max_concurrency"], job["no_catchup"], job["mode"]) == (1, True, "ENABLE")
    given = job["runtime_config"]["parameters"]
    assert (given["root"], given["cache"]) == ("s3://bucket/graildient", False)


def test_a_new_schedule_takes_the_place_of_the_old_ones_and_leaves_those_of_others(backend: Backend) -> None:
    backend.jobs["other"] = {"recurring_run_id": "other", "display_name": "another pipeline"}
    for name in ("old", "older"):
        backend.jobs[name] = {"recurring_run_id": name, "display_name": "graildient"}
    made = schedule(settings(backend), every=21600)
    assert (made["schedule"], sorted(made["replaced"])) == ("every 21600 s", ["old", "older"])
    assert sorted(backend.jobs) == ["j1", "other"]
    assert [job["schedule"] for job in schedules(settings(backend))] == ["every 21600 s"]
    assert unschedule(settings(backend)) == ["j1"]
    assert schedules(settings(backend)) == []
    assert list(backend.jobs) == ["other"]


def test_a_schedule_that_is_none_is_refused_before_anything_is_sent(backend: Backend) -> None:
    for wrong, says in (
        ({}, "either --cron or --every"),
        ({"cron": "0 0 3 * * *", "every": "6h"}, "either --cron or --every"),
        ({"cron": "0 3 * * *"}, "has 5 fields"),
    ):
        with pytest.raises(InvalidSettings, match=says):
            schedule(settings(backend), **wrong)
    assert backend.posted == []


def test_a_backend_that_refuses(backend: Backend) -> None:
    backend.status = 403
    with pytest.raises(GraildientError, match=f"{backend.host} refused: 403 Forbidden"):
        submit(settings(backend))


def test_nobody_there(backend: Backend, free_port: int) -> None:
    with pytest.raises(
        GraildientError, match=f"no Kubeflow Pipelines at http://127.0.0.1:{free_port}"
    ) as caught:
        submit(PipelineSettings(host=f"http://127.0.0.1:{free_port}"))
    assert "port-forward" in caught.value.hint


def test_what_cannot_work_is_refused_before_anything_is_sent(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidSettings, match="no Kubeflow Pipelines host"):
        submit(PipelineSettings())
    with pytest.raises(InvalidSettings, match="trails"):
        submit(settings(backend), overrides={"trails": "3"})
    monkeypatch.setenv("GRAILDIENT_ROOT", ".graildient/local")
    with pytest.raises(InvalidSettings, match=r"no pod of the cluster can see the folder \.graildient/local"):
        submit(settings(backend))
    assert backend.posted == []
    monkeypatch.setenv("GRAILDIENT_PIPELINE_ROOT", "/data/graildient")
    submit(settings(backend))
    assert dict(backend.posted)["/runs"]["runtime_config"]["parameters"]["root"] == "/data/graildient"
