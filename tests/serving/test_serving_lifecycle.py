"""Start, ports, reload, faults and the end of real servers."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from serving_support import NAME, Server, Start, Workspace, wait_until

from graildient.pricing.registry import Registry
from serving.client import ask_grpc, ask_rest
from serving.server import _listener

LISTING = {
    "title": "Jacket",
    "description": "a description that nobody keeps",
    "designers": ["Carhartt"],
    "category": "outerwear",
    "condition": "used",
}


@pytest.fixture
def own(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the workspace that the test may break."""
    return workspace.copy(tmp_path / "root")


def champion_file(own: Workspace, version: str) -> Path:
    folder = own.root / "registry" / "price" / "versions" / version
    return next(path for path in sorted(folder.rglob("*")) if path.suffix == ".cbm")


def test_reload_corruption_and_a_lost_online_store(own: Workspace, start_server: Start) -> None:
    first, second = own.versions
    registry = Registry(own.storage)
    server = start_server(own.root)
    assert server.model_version == first
    before = server.v1(LISTING)[0]
    assert (before["model_version"], before["market"]) == (first, "partial")

    # A corrupted new version: refused by name of file, counted, and the old one goes on.
    broken = champion_file(own, second)
    sound = broken.read_bytes()
    broken.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    registry.set_alias("champion", second, reason="test")
    wait_until(
        lambda: server.metric("graildient_model_reload_failures_total") >= 2, "no reload failure was counted"
    )
    assert server.v1(LISTING)[0] == before
    assert server.metric("graildient_model_info", version=first) == 1
    assert broken.name in server.log.read_text()

    # Mended: taken over without a restart, while requests go on.
    failures: list[Exception] = []
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            try:
                ask_rest(server.url, LISTING)
                ask_grpc(server.grpc, LISTING)
            except Exception as error:
                failures.append(error)

    thread = threading.Thread(target=keep_asking)
    thread.start()
    broken.write_bytes(sound)
    wait_until(
        lambda: server.v1(LISTING)[0]["model_version"] == second, "the new champion was not taken over"
    )
    stop.set()
    thread.join()
    assert not failures
    assert server.metric("graildient_model_reloads_total") == 1
    assert server.metric("graildient_model_info", version=second) == 1
    with pytest.raises(AssertionError, match="no sample"):
        server.metric("graildient_model_info", version=first)
    after = server.v1(LISTING)[0]
    assert after["price"] != before["price"]

    # The online store is gone: a price without the market, which the answer and a metric say.
    store = own.root / "features" / "online.db"
    store.rename(store.with_suffix(".away"))
    without = server.v1(LISTING)[0]
    assert without["market"] == "unavailable"
    assert without["price"] > 0
    # Without a market the answer rests on what the model has learned.
    model_as_of = registry.manifest(second).as_of
    assert datetime.fromisoformat(without["as_of"]) == model_as_of != datetime.fromisoformat(after["as_of"])
    assert server.metric("graildient_fallbacks_total", cause="down") >= 1
    assert ask_grpc(server.grpc, LISTING) == without
    store.with_suffix(".away").rename(store)
    wait_until(lambda: server.v1(LISTING)[0] == after, "the store was not used again")

    assert server.stop(signal.SIGINT) == 0
    assert "Traceback" not in server.log.read_text()


def test_taken_ports_requests_under_way_and_the_prediction_log(own: Workspace, start_server: Start) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as http_taken,
        socket.create_server(("127.0.0.1", 0)) as grpc_taken,
    ):
        wanted = [s.getsockname()[1] for s in (http_taken, grpc_taken)]
        server = start_server(own.root, http_port=str(wanted[0]), grpc_port=str(wanted[1]))
    told = server.log.read_text()
    assert f"port {wanted[0]} is taken: REST listens on {server.http_port} instead" in told
    assert f"port {wanted[1]} is taken: gRPC listens on {server.grpc_port} instead" in told
    # One line a taken port and one to say that it serves: nothing else is logged, also for refused requests.
    server.ask(f"/v1/models/{NAME}:predict", b"{")
    server.v1(LISTING | {"id": 77}, LISTING)
    assert server.log.read_text().count("\n") == 3

    # A request whose body is still on its way when the server is told to stop is answered.
    body = json.dumps({"instances": [LISTING]}).encode()
    client = http.client.HTTPConnection("127.0.0.1", server.http_port)
    client.putrequest("POST", f"/v1/models/{NAME}:predict")
    for key, value in (("Content-Type", "application/json"), ("Content-Length", str(len(body)))):
        client.putheader(key, value)
    client.endheaders(body[:10])
    time.sleep(0.3)
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: _refuses(server), "the server still takes connections")
    time.sleep(1)
    assert server.process.poll() is None
    client.send(body[10:])
    assert client.getresponse().status == 200
    client.close()
    begun = time.monotonic()
    assert server.process.wait(20) == 0
    assert time.monotonic() - begun < 5

    rows = _logged(own)
    assert [row["listing_id"] for row in rows] == [77, None, None]
    assert {row["model_version"] for row in rows} == {server.model_version}
    assert {(row["category"], tuple(row["designers"]), row["condition"]) for row in rows} == {
        ("outerwear", ("Carhartt",), "used")
    }
    assert "nobody keeps" not in str(rows)


def _refuses(server: Server) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.http_port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def _logged(own: Workspace) -> list[dict[str, Any]]:
    parts = sorted((own.root / "predictions").glob("date=*/*.parquet"))
    return [row for part in parts for row in pq.read_table(part, partitioning=None).to_pylist()]


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """Without the option a small answer takes 40 ms: the client's delayed acknowledgement."""
    with (
        _listener("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


Run = Callable[..., tuple[subprocess.Popen[str], Path]]


def test_a_corrupted_champion_is_refused_by_name_of_file(own: Workspace, run_server: Run) -> None:
    broken = champion_file(own, own.versions[0])
    broken.write_bytes(broken.read_bytes()[:-10])
    _ends_with(*run_server(own.root), broken.name)


def test_a_missing_champion_is_refused(own: Workspace, run_server: Run) -> None:
    _ends_with(*run_server(own.root, "--model", "challenger"), "challenger")


def test_an_address_of_another_machine_is_refused(own: Workspace, run_server: Run) -> None:
    _ends_with(*run_server(own.root, host="192.0.2.1"), "192.0.2.1")


def _ends_with(process: subprocess.Popen[str], log: Path, reason: str) -> None:
    assert process.wait(90) not in (0, None)
    told = log.read_text()
    assert reason in told
    assert "Traceback" not in told


def test_a_signal_during_the_start_ends_it_cleanly(own: Workspace, run_server: Run) -> None:
    process, log = run_server(own.root)
    # gRPC's library comes with KServe, and the handlers are set before that is imported.
    wait_until(lambda: "cygrpc" in _mapped(process.pid) or process.poll() is not None, "it did not begin", 60)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert "Traceback" not in log.read_text()


def _mapped(pid: int) -> str:
    """The shared libraries that a process has loaded so far."""
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return ""
