"""KServe's REST server with our limits, our error shape and an address to bind to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Concatenate, ParamSpec

import orjson
import uvicorn
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from graildient import __version__
from graildient.errors import GraildientError
from graildient.settings import ServingSettings
from serving import codecs, metrics, pages
from serving.errors import (
    InvalidRequest,
    MethodNotAllowed,
    NoSuchRoute,
    NotOffered,
    RequestTooLarge,
    UnsupportedMediaType,
    to_body,
    understood,
)
from serving.kserve_sdk import RESTServer, metrics_handler
from serving.model import PriceServer, V2Call, request_id

P = ParamSpec("P")
Handler = Callable[Concatenate["RestFrontEnd", Request, P], Coroutine[Any, Any, Response]]

BIG_BODY = 100_000
"""From here on JSON is decoded in a thread."""
DRAIN_BYTES = 64 * 1024 * 1024
DRAIN_SECONDS = 5.0
BINARY_HEADER = "inference-header-content-length"


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON as every route answers it."""
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def error_response(error: Exception) -> Response:
    """Any exception in the one error shape."""
    known = understood(error)
    headers = {"allow": "GET, POST"} if isinstance(known, MethodNotAllowed) else None
    if isinstance(known, RequestTooLarge):
        headers = {"connection": "close"}
    return json_response(to_body(known), known.http_status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        if error.status_code == 404:
            error = NoSuchRoute(f"nothing at {request.url.path[:200]}", hint="the routes are listed at /docs")
        elif error.status_code == 405:
            error = MethodNotAllowed(f"{request.method[:20]} is not for {request.url.path[:200]}")
        elif error.status_code < 500:
            error = InvalidRequest(str(error.detail))
    return error_response(error)


class _Server(uvicorn.Server):
    """Leaves signals to :mod:`serving.server`, which stops REST and gRPC together."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class RestFrontEnd(RESTServer):
    """REST V1 and V2, `/metrics`, a landing page and a description of the routes."""

    def __init__(
        self,
        data_plane: Any,
        repository: Any,
        settings: ServingSettings,
        model: PriceServer,
        listener: socket.socket,
    ) -> None:
        port = listener.getsockname()[1]
        super().__init__("unused", data_plane, repository, port, grace_period=round(settings.drain_seconds))
        self.settings = settings
        self.model = model
        self.listener = listener
        self.app = self.create_application()
        self.config = uvicorn.Config(
            self.app,
            host=settings.host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_keep_alive=65,
            timeout_graceful_shutdown=round(settings.drain_seconds),
        )
        self._server = _Server(self.config)

    async def start(self) -> None:
        """Serve until :meth:`stop`."""
        await self._server.serve(sockets=[self.listener])

    @property
    def started(self) -> bool:
        return bool(self._server.started)

    def stop(self, *, now: bool = False) -> None:
        """Take no more connections, finish requests under way (or not: `now`), end :meth:`start`."""
        self._server.should_exit = True
        self._server.force_exit = self._server.force_exit or now

    def create_application(self) -> FastAPI:
        """The routes; the paths are those of KServe's own server."""
        app = FastAPI(
            title="graildient",
            version=__version__,
            description=pages.DESCRIPTION,
            docs_url=None,
            redoc_url=None,
            openapi_url="/openapi.json",
            redirect_slashes=False,
        )
        for kind in (HTTPException, GraildientError, Exception):
            app.add_exception_handler(kind, _http_error)
        get = {"methods": ["GET"], "response_model": None}
        post = {"methods": ["POST"], "response_model": None}
        named, versioned = "/v2/models/{model_name}", "/v2/models/{model_name}/versions/{model_version}"
        routes: list[tuple[str, Any, dict[str, Any]]] = [
            ("/", self.landing, get | {"include_in_schema": False}),
            ("/docs", self.docs, get | {"include_in_schema": False}),
            ("/metrics", metrics_handler, get | {"tags": ["server"], "summary": "Prometheus metrics"}),
            ("/v1/models", self.v1_models, get | {"tags": ["V1"]}),
            ("/v1/models/{model_name}", self.v1_ready, get | {"tags": ["V1"]}),
            ("/v1/models/{model_name}:predict", self.v1_predict, post | {"tags": ["V1"]} | pages.V1_BODY),
            ("/v1/models/{model_name}:explain", self.v1_explain, post | {"tags": ["V1"]} | pages.V1_BODY),
            ("/v2", self.v2_server, get | {"tags": ["V2"]}),
            ("/v2/health/live", self.v2_live, get | {"tags": ["V2"]}),
            ("/v2/health/ready", self.v2_ready, get | {"tags": ["V2"]}),
            ("/v2/models", self.v2_models, get | {"tags": ["V2"]}),
            (named, self.v2_model, get | {"tags": ["V2"]}),
            (f"{named}/ready", self.v2_model_ready, get | {"tags": ["V2"]}),
            (f"{named}/infer", self.v2_infer, post | {"tags": ["V2"]} | pages.V2_BODY),
            (versioned, self.v2_model, get | {"include_in_schema": False}),
            (f"{versioned}/ready", self.v2_model_ready, get | {"include_in_schema": False}),
            (f"{versioned}/infer", self.v2_infer, post | {"include_in_schema": False}),
            ("/v2/repository/models/{model_name}/load", self.v2_load, post | {"tags": ["V2"]}),
            ("/v2/repository/models/{model_name}/unload", self.v2_unload, post | {"tags": ["V2"]}),
        ]
        for path, endpoint, options in routes:
            app.add_api_route(path, endpoint, **options)
        return app

    # Pages -----------------------------------------------------------------------------------

    async def landing(self, request: Request) -> Response:
        # KServe answers probes at "/" with this JSON; only browsers ask for HTML.
        if "text/html" not in request.headers.get("accept", ""):
            return json_response({"status": "alive"})
        return HTMLResponse(
            pages.landing(self.model.name, self.model.plane.champion.served.version, _host(request))
        )

    async def docs(self, request: Request) -> Response:
        return HTMLResponse(pages.docs(self.app.openapi(), self.model.name, _host(request)))

    # V1 --------------------------------------------------------------------------------------

    async def v1_models(self) -> Response:
        """Names of the served models."""
        return json_response({"models": [self.model.name]})

    async def v1_ready(self, model_name: str) -> Response:
        """Whether the model is ready."""
        if model_name.endswith((":predict", ":explain")):
            raise MethodNotAllowed(f"GET is not for /v1/models/{model_name[:200]}", hint="POST it")
        self._check(model_name)
        self.model.check_ready()
        return json_response({"name": model_name, "ready": True})

    async def v1_predict(self, request: Request, model_name: str) -> Response:
        """Price listings."""
        return await self._v1(request, model_name, self.dataplane.infer)

    async def v1_explain(self, request: Request, model_name: str) -> Response:
        """Price listings and give the reasons of each price."""
        return await self._v1(request, model_name, self.dataplane.explain)

    async def _v1(self, request: Request, model_name: str, call: Callable[..., Any]) -> Response:
        try:
            with metrics.request("rest_v1"):
                self._check(model_name)
                body = await self._body(request, ("application/json",))
                payload = await self._decoded(body, lambda: codecs.parse_json(body))
                # A copy: KServe's explain gives the request's headers back as the answer's.
                identity = request_id(dict(request.headers))
                answer, _ = await call(model_name, payload, {"x-request-id": identity} if identity else {})
                return json_response(answer, headers={"x-request-id": identity} if identity else None)
        except Exception as error:
            return error_response(error)

    # V2 --------------------------------------------------------------------------------------

    async def v2_server(self) -> Response:
        """Name, version and extensions of the server."""
        return json_response(
            {"name": "graildient", "version": __version__, "extensions": ["binary_tensor_data"]}
        )

    async def v2_live(self) -> Response:
        """Whether the server is up."""
        return json_response({"live": True})

    async def v2_ready(self) -> Response:
        """Whether the server answers prices."""
        self.model.check_ready()
        return json_response({"ready": True})

    async def v2_models(self) -> Response:
        """Names of the served models."""
        return json_response({"models": [self.model.name]})

    async def v2_model(self, model_name: str, model_version: str = "") -> Response:
        """Every input and output of the model."""
        return json_response(self.model.metadata(model_name, model_version))

    async def v2_model_ready(self, model_name: str, model_version: str = "") -> Response:
        """Whether the model is ready."""
        self._check(model_name, model_version)
        self.model.check_ready()
        return json_response({"name": model_name, "ready": True})

    async def v2_infer(self, request: Request, model_name: str, model_version: str = "") -> Response:
        """Price listings given as tensors."""
        try:
            with metrics.request("rest_v2"):
                self._check(model_name, model_version)
                length = _header_length(request)
                types = (
                    ("application/json",)
                    if length is None
                    else ("application/octet-stream", "application/json")
                )
                body = await self._body(request, types)
                decoded = await self._decoded(body, lambda: codecs.v2_request(body, length))
                headers = dict(request.headers)
                answers, _ = await self.dataplane.infer(model_name, V2Call(decoded, "rest_v2"), headers)
                content, size = codecs.v2_response(answers, decoded, model_name)
                if size is None:
                    return Response(content, media_type="application/json")
                return Response(
                    content, headers={BINARY_HEADER: str(size)}, media_type="application/octet-stream"
                )
        except Exception as error:
            return error_response(error)

    async def v2_load(self, model_name: str) -> Response:
        """Look at the registry now, not at the next interval, and serve the new champion if there is one."""
        self._check(model_name)
        await self.model.plane.run(True, self.model.plane.champion.refresh)
        return json_response({"name": model_name, "load": True})

    async def v2_unload(self, model_name: str) -> Response:
        """Not offered: a server without its model is no server."""
        self._check(model_name)
        raise NotOffered(
            "this server serves one model and does not unload it", hint="stop the server instead"
        )

    # Requests --------------------------------------------------------------------------------

    def _check(self, model_name: str, model_version: str = "") -> None:
        self.model.check(model_name, model_version)

    async def _decoded(self, body: bytes, decode: Callable[[], Any]) -> Any:
        return await self.model.plane.run(len(body) > BIG_BODY, decode)

    async def _body(self, request: Request, types: tuple[str, ...]) -> bytes:
        declared = request.headers.get("content-type", types[0]).partition(";")[0].strip().lower()
        if declared not in types:
            raise UnsupportedMediaType(
                f"Content-Type is {declared[:100]!r}", hint=f"send it as Content-Type: {types[0]}"
            )
        if request.headers.get("content-encoding", "identity") != "identity":
            raise UnsupportedMediaType("compressed bodies are not taken")
        limit = self.settings.max_body_bytes
        too_large = RequestTooLarge(
            f"the body is larger than {limit} bytes", hint="send it in several requests"
        )
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit + DRAIN_BYTES:
            raise too_large
        body = bytearray()
        stream = request.stream()
        async for chunk in stream:
            body += chunk
            if len(body) > limit:
                # Most clients read no answer before they have sent everything: take the rest, within reason.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(_drain(stream), DRAIN_SECONDS)
                raise too_large
        return bytes(body)


def _host(request: Request) -> str:
    return request.headers.get("host", "")


async def _drain(stream: Any) -> None:
    left = DRAIN_BYTES
    async for chunk in stream:
        left -= len(chunk)
        if left < 0:
            return


def _header_length(request: Request) -> int | None:
    given = request.headers.get(BINARY_HEADER)
    if given is None:
        return None
    if not given.isdecimal() or len(given) > 12:
        raise InvalidRequest("Inference-Header-Content-Length must be a whole number")
    return int(given)
