"""Ask a running server for the price of one listing. Imports neither KServe nor the model.

    ask_rest("http://127.0.0.1:8080", {"title": "Geobasket", "designers": ["Rick Owens"]})["price"]
    ask_grpc("127.0.0.1:8081", {"title": "Geobasket", "designers": ["Rick Owens"]})["price"]

Both answer `{price, low, high, quantiles, currency, model_version, as_of, market, warnings}`, equal to the
last bit.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from graildient.errors import Detail, GraildientError, InvalidListing, ModelNotFound
from serving.errors import ERROR_KEY, Failed, InvalidRequest, NotReady, RequestTooLarge, ServerUnreachable

MODEL = "graildient"
TIMEOUT = 30.0

_NUMBERS = {"id": "int64_contents", "photo_count": "int64_contents", "asking_price": "fp64_contents"}
_DATATYPES = {"int64_contents": "INT64", "fp64_contents": "FP64"}


def ask_rest(
    url: str, listing: Mapping[str, Any], *, model: str = MODEL, timeout: float = TIMEOUT
) -> dict[str, Any]:
    """Price one listing over REST V1. `url` is the server's base address.

    Raises:
        InvalidListing: the server refused the listing; the details name its fields.
        ServerUnreachable: nothing answers there.
        GraildientError: the server answered with another error.
    """
    address = url.rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise ServerUnreachable(f"{url!r} is no address", hint="write it as http://127.0.0.1:8080")
    body = json.dumps({"instances": [dict(listing)]}).encode()
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked
        f"{address}/v1/models/{model}:predict", body, {"Content-Type": "application/json"}
    )
    try:
        with _opener(address).open(request, timeout=timeout) as response:
            answer = json.load(response)
        prediction: dict[str, Any] = answer["predictions"][0]
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error.read(), f"{address} answered {error.code}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(address, error) from None
    except (ValueError, KeyError, IndexError, TypeError):
        raise ServerUnreachable(
            f"{address} is no graildient server: its answer holds no prediction"
        ) from None
    return prediction


def ask_grpc(
    address: str, listing: Mapping[str, Any], *, model: str = MODEL, timeout: float = TIMEOUT
) -> dict[str, Any]:
    """Price one listing over gRPC V2. `address` is `host:port`.

    Raises:
        InvalidListing: the server refused the listing; the details name its fields.
        ServerUnreachable: nothing answers there.
        GraildientError: the server answered with another error.
    """
    import grpc  # type: ignore[import-untyped]

    pb = _messages()
    request = pb.ModelInferRequest(model_name=model)
    for name, value in listing.items():
        if value is not None:
            _add(request, name, value)
    target = address.removeprefix("grpc://")
    options = (("grpc.enable_http_proxy", 0),) if _is_here(target.rpartition(":")[0]) else ()
    with grpc.insecure_channel(target, options) as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        try:
            response = call(request, timeout=timeout)
        except grpc.RpcError as error:
            told = dict(error.trailing_metadata() or ()).get(ERROR_KEY)
            if told:
                raise _refusal(told, f"{address} answered {error.code().name}") from None
            raise _unreachable(address, error.details() or error.code().name) from None
    return _prediction(response)


def _is_here(host: str | None) -> bool:
    return host is not None and (host in ("localhost", "::1", "[::1]") or host.startswith("127."))


def _opener(address: str) -> urllib.request.OpenerDirector:
    """A proxy of the environment is for other machines, even where `no_proxy` does not say so."""
    here = _is_here(urllib.parse.urlsplit(address).hostname)
    return urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if here else []))


def _add(request: Any, name: str, value: Any) -> None:
    if name in ("designers", "hashtags") and not isinstance(value, str):
        value = (" × " if name == "designers" else " ").join(map(str, value))
    contents = _NUMBERS.get(name)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    tensor = request.inputs.add(name=name, shape=[1])
    if contents and number:
        tensor.datatype = _DATATYPES[contents]
        getattr(tensor.contents, contents).append(value)
    elif isinstance(value, bool):
        tensor.datatype = "BOOL"
        tensor.contents.bool_contents.append(value)
    else:
        tensor.datatype = "BYTES"
        tensor.contents.bytes_contents.append(str(value).encode())


def _prediction(response: Any) -> dict[str, Any]:
    outputs = {output.name: output.contents for output in response.outputs}
    parameters = {key: value.string_param for key, value in response.parameters.items()}
    levels = [level for level in parameters["quantile_levels"].split(",") if level]
    return {
        "price": outputs["price"].fp64_contents[0],
        "low": outputs["low"].fp64_contents[0],
        "high": outputs["high"].fp64_contents[0],
        "quantiles": dict(zip(levels, outputs["quantiles"].fp64_contents, strict=True)),
        "currency": parameters["currency"],
        "model_version": parameters["model_version"],
        "as_of": parameters["as_of"],
        "market": outputs["market"].bytes_contents[0].decode(),
        "warnings": json.loads(outputs["warnings"].bytes_contents[0]),
    }


@cache
def _messages() -> ModuleType:
    """KServe's generated messages, without importing KServe, which takes seconds and reads `sys.argv`."""
    name = "kserve.protocol.grpc.grpc_predict_v2_pb2"
    if "kserve" in sys.modules:
        return importlib.import_module(name)
    package = importlib.util.find_spec("kserve")
    if package is None or package.origin is None:
        raise Failed(
            "gRPC needs KServe's messages", hint="pip install 'graildient[server]', or ask over REST"
        )
    path = Path(package.origin).parent / "protocol" / "grpc" / "grpc_predict_v2_pb2.py"
    spec = importlib.util.spec_from_file_location("graildient_grpc_predict_v2_pb2", path)
    if spec is None or spec.loader is None:
        raise Failed(f"cannot load {path.name} of KServe")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _refusal(body: bytes | str, otherwise: str) -> GraildientError:
    """The server's error as the exception that it was there."""
    try:
        told = json.loads(body)
        details = [Detail(str(d["field"]), str(d["reason"])) for d in told["details"]]
        message, code, hint = str(told["error"]) or otherwise, told["code"], str(told.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        return ServerUnreachable(otherwise, hint="is it a graildient server?")
    kinds = (InvalidListing, InvalidRequest, ModelNotFound, NotReady, RequestTooLarge)
    kind = next((k for k in kinds if k.code == code), Failed)
    return kind(message, hint=hint, details=details)


def _unreachable(address: str, cause: object) -> ServerUnreachable:
    return ServerUnreachable(f"no server answers at {address}: {cause}", hint="start one: graildient serve")
