"""KServe's gRPC server with our limits, our errors and an address to bind to."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError
from grpc import StatusCode, aio

from graildient import __version__
from graildient.errors import GraildientError
from graildient.settings import ServingSettings
from serving import codecs, metrics
from serving.errors import ERROR_KEY, InvalidRequest, NotOffered, to_body, to_metadata, understood
from serving.kserve_sdk import GRPCServer, InferenceServicer, pb
from serving.model import PriceServer, V2Call
from serving.rest import BIG_BODY

Method = Callable[["Servicer", Any, Any], Coroutine[Any, Any, Any]]

_CODES = {
    400: StatusCode.INVALID_ARGUMENT,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    413: StatusCode.RESOURCE_EXHAUSTED,
    503: StatusCode.UNAVAILABLE,
}


def status_of(error: GraildientError) -> StatusCode:
    """The gRPC status that stands for an HTTP one."""
    return _CODES.get(error.http_status, StatusCode.INTERNAL)


def answered(method: Method) -> Method:
    """Turn any exception into a status, the message, and the error's JSON in the trailing metadata."""

    @functools.wraps(method)
    async def call(self: Servicer, request: Any, context: Any) -> Any:
        try:
            if request is None:
                raise InvalidRequest("the message is no protobuf of this call")
            return await method(self, request, context)
        except aio.AbortError:
            raise
        except Exception as error:
            known = understood(error)
            await context.abort(
                status_of(known),
                to_body(known)["error"],
                trailing_metadata=((ERROR_KEY, to_metadata(known)),),
            )

    return call


class Servicer(InferenceServicer):
    """The calls of `inference.GRPCInferenceService`."""

    def __init__(self, data_plane: Any, repository: Any, model: PriceServer) -> None:
        super().__init__(data_plane, repository)
        self.model = model

    @answered
    async def ServerLive(self, _request: Any, _context: Any) -> Any:
        return pb.ServerLiveResponse(live=True)

    @answered
    async def ServerReady(self, _request: Any, _context: Any) -> Any:
        self.model.check_ready()
        return pb.ServerReadyResponse(ready=True)

    @answered
    async def ModelReady(self, request: Any, _context: Any) -> Any:
        self.model.check(request.name, request.version)
        self.model.check_ready()
        return pb.ModelReadyResponse(ready=True)

    @answered
    async def ServerMetadata(self, _request: Any, _context: Any) -> Any:
        return pb.ServerMetadataResponse(
            name="graildient", version=__version__, extensions=["binary_tensor_data"]
        )

    @answered
    async def ModelMetadata(self, request: Any, _context: Any) -> Any:
        return pb.ModelMetadataResponse(**self.model.metadata(request.name, request.version))

    @answered
    async def ModelInfer(self, request: Any, context: Any) -> Any:
        with metrics.request("grpc_v2"):
            self.model.check(request.model_name, request.model_version)
            headers = {k: v for k, v in context.invocation_metadata() or () if k == "x-request-id"}
            plane = self.model.plane
            decoded = await plane.run(request.ByteSize() > BIG_BODY, lambda: codecs.proto_request(request))
            answers, _ = await self._data_plane.infer(self.model.name, V2Call(decoded, "grpc_v2"), headers)
            return codecs.proto_response(answers, decoded, self.model.name)

    @answered
    async def RepositoryModelLoad(self, request: Any, _context: Any) -> Any:
        self.model.check(request.model_name)
        await self.model.plane.run(True, self.model.plane.champion.refresh)
        return pb.RepositoryModelLoadResponse(model_name=self.model.name, isLoaded=True)

    @answered
    async def RepositoryModelUnload(self, request: Any, _context: Any) -> Any:
        self.model.check(request.model_name)
        raise NotOffered(
            "this server serves one model and does not unload it", hint="stop the server instead"
        )


_CALLS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
)


def _parser(message: Any) -> Callable[[bytes], Any]:
    """None for what is no such message: if it raised, gRPC would answer UNKNOWN and log a trace."""

    def parse(data: bytes) -> Any:
        try:
            return message.FromString(data)
        except DecodeError:
            return None

    return parse


def handlers(servicer: Servicer) -> grpc.GenericRpcHandler:
    """What KServe's generated `add_…_to_server` registers, with parsers of ours."""
    return grpc.method_handlers_generic_handler(
        "inference.GRPCInferenceService",
        {
            name: grpc.unary_unary_rpc_method_handler(
                getattr(servicer, name),
                request_deserializer=_parser(getattr(pb, f"{name}Request")),
                response_serializer=getattr(pb, f"{name}Response").SerializeToString,
            )
            for name in _CALLS
        },
    )


class RpcFrontEnd(GRPCServer):
    """gRPC V2 on one address."""

    def __init__(
        self, data_plane: Any, repository: Any, settings: ServingSettings, model: PriceServer
    ) -> None:
        super().__init__(
            settings.grpc_port, data_plane, repository, kwargs={}, grace_period=settings.drain_seconds
        )
        self._server = aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.max_body_bytes),
                ("grpc.max_send_message_length", -1),
                # Else a second server on the same port would silently take half of the calls.
                ("grpc.so_reuseport", 0),
            ]
        )
        self._server.add_generic_rpc_handlers((handlers(Servicer(data_plane, repository, model)),))

    def bind(self, address: str) -> int:
        """Listen on `host:port`; the port, which is a free one for port 0.

        Raises:
            RuntimeError: the address is taken.
        """
        return int(self._server.add_insecure_port(address))

    async def start(self, _max_workers: int = 0) -> None:
        """Answer from now on."""
        await self._server.start()

    async def stop(self, _sig: int | None = None, *, now: bool = False) -> None:
        """Take no more calls, finish those under way (or not: `now`)."""
        await self._server.stop(None if now else self._grace_period)
