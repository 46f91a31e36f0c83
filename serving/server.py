"""`serve()`: load, verify and warm the model, open the ports, say so, and end cleanly.

The ports open once the model answers, so a port that accepts is a server that is ready. Ctrl-C and
SIGTERM let the requests under way finish and end with exit code 0; a second signal does not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from graildient.errors import InvalidSettings
from graildient.settings import FeatureSettings, ServingSettings, StorageSettings

log = logging.getLogger("graildient.serving")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(
    storage: StorageSettings,
    features: FeatureSettings,
    serving: ServingSettings,
    ready_file: Path | None = None,
) -> None:
    """Serve prices until SIGINT or SIGTERM.

    `ready_file` gets `{"http_port", "grpc_port", "pid", "model_version"}` once prices are answered.

    Raises:
        ModelNotFound: the registry has no such alias or version.
        ArtifactCorrupted: a file of the model does not match its manifest.
        InvalidSettings: the host or a port cannot be listened on.
    """
    quiet_logs()
    with _ended_by_signals(), contextlib.ExitStack() as stack:
        # The metrics first: Feast sets PROMETHEUS_MULTIPROC_DIR, which would move them into files.
        from serving import metrics  # noqa: F401, I001
        from graildient.pricing.registry import Registry
        from serving.champion import Champion
        from serving.dataplane import PricePlane
        from serving.lookup import MarketLookup, opener
        from serving.prediction_log import PredictionLog

        _listen(serving.host, 0, "the server").close()
        if ready_file is not None:
            ready_file.parent.mkdir(parents=True, exist_ok=True)
            ready_file.unlink(missing_ok=True)

        root = storage.storage
        market = MarketLookup(opener(root, features, serving.lookup_timeout_ms), serving.lookup_timeout_ms)
        registry = Registry(root, scratch=storage.scratch)
        champion = Champion(registry, serving.model, serving.model_name, lambda served: plane.warm(served))
        predictions = PredictionLog(root) if serving.prediction_log else None
        plane = PricePlane(champion, market, serving, predictions)
        stack.callback(plane.close)
        champion.load()
        # Late, because it takes seconds to import: what is wrong with the model has been said by now.
        from serving.model import PriceServer

        model = PriceServer(serving.model_name, plane)
        model.load()
        stack.callback(champion.close)
        champion.watch(serving.reload_seconds)

        def ready(http_port: int, grpc_port: int) -> None:
            host = _shown(serving.host)
            say(f"model {champion.served.version}: REST http://{host}:{http_port}, gRPC {host}:{grpc_port}")
            if ready_file is not None:
                _write_ready(ready_file, http_port, grpc_port, champion.served.version)

        asyncio.run(_run(serving, model, ready))


def say(text: str) -> None:
    """One line for whoever started the server."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def quiet_logs() -> None:
    """Warnings and errors only, one line each, on stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(handler)
    for name in ("kserve", "kserve.trace", "uvicorn", "uvicorn.access", "uvicorn.error", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


async def _run(settings: ServingSettings, model: Any, ready: Callable[[int, int], None]) -> None:
    from serving.kserve_sdk import ModelServer
    from serving.rest import RestFrontEnd
    from serving.rpc import RpcFrontEnd

    stop = _Stop()
    kserve = ModelServer(
        settings.http_port,
        settings.grpc_port,
        enable_latency_logging=False,
        grace_period=round(settings.drain_seconds),
    )
    kserve.register_model(model)
    shared = (kserve.dataplane, kserve.model_repository_extension, settings, model)
    rpc = RpcFrontEnd(*shared)
    grpc_port = _bind_grpc(rpc, settings)
    rest = RestFrontEnd(*shared, _listen(settings.host, settings.http_port, "REST"))
    await rpc.start()
    running = asyncio.create_task(rest.start())
    while not rest.started and not running.done():
        await asyncio.sleep(0.005)
    if not running.done():
        ready(rest.listener.getsockname()[1], grpc_port)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    model.draining = True
    rest.stop()
    ending: asyncio.Future[Any] = asyncio.gather(running, rpc.stop())
    hurry: asyncio.Future[Any] = asyncio.create_task(stop.wait_again())
    await asyncio.wait({ending, hurry}, return_when=asyncio.FIRST_COMPLETED)
    if not ending.done():
        rest.stop(now=True)
        await rpc.stop(now=True)
    await ending
    for task in (stopping, hurry):
        task.cancel()


class _Stop:
    """The first signal stops, the second one does not wait."""

    def __init__(self) -> None:
        self._count = asyncio.Semaphore(0)
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._count.release)

    async def wait(self) -> None:
        await self._count.acquire()

    wait_again = wait


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Before the event loop runs, a signal ends the process as cleanly as afterwards."""

    def end(_number: int, _frame: object) -> None:
        raise SystemExit(0)

    before = {number: signal.signal(number, end) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write_ready(path: Path, http_port: int, grpc_port: int, version: str) -> None:
    content = {"http_port": http_port, "grpc_port": grpc_port, "pid": os.getpid(), "model_version": version}
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(content), encoding="utf-8")
    os.replace(part, path)


def _shown(host: str) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compares
    return f"[{host}]" if ":" in host else host


def _listen(host: str, port: int, what: str) -> socket.socket:
    """A listening socket on the port, or on a free one if it is taken, which is told."""
    try:
        return _listener(host, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or port == 0:
            raise InvalidSettings(
                f"{what} cannot listen on {host}:{port}: {error.strerror or error}",
                hint="set GRAILDIENT_SERVING_HOST and the ports",
            ) from None
    free = _listener(host, 0)
    say(f"port {port} is taken: {what} listens on {free.getsockname()[1]} instead")
    return free


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=2048)
    # Inherited by every connection. asyncio sets it only on sockets whose protocol is told; without it
    # an answer's second packet waits 40 ms for the client's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _bind_grpc(rpc: Any, settings: ServingSettings) -> int:
    # gRPC logs noise when it cannot bind, so the port is tried with a plain socket first.
    with _listen(settings.host, settings.grpc_port, "gRPC") as probe:
        port = probe.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        return int(rpc.bind(f"{host}:{port}"))
    except RuntimeError:
        return int(rpc.bind(f"{host}:0"))
