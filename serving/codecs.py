"""Requests and answers on the wire: V1 JSON, V2 JSON with or without binary tensors, V2 protobuf.

REST and gRPC decode into the same :class:`TensorRequest` and encode the same :class:`Answers`, so that
a price is the same to the last bit on every protocol.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from serving.errors import InvalidRequest, shorten
from serving.tensors import (
    DATATYPES,
    OUTPUT_NAMES,
    Tensor,
    TensorRequest,
    checked_shape,
    from_raw,
    refused,
    to_raw,
)

if TYPE_CHECKING:
    from serving.dataplane import Answers

MAX_ID = 128
CURRENCY = "USD"

_REQUEST_KEYS = {"id", "model_name", "model_version", "parameters", "inputs", "outputs"}
_INPUT_KEYS = {"name", "shape", "datatype", "parameters", "data"}
_OUTPUT_KEYS = {"name", "parameters"}
_CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def parse_json(body: bytes | memoryview) -> Any:
    """JSON as RFC 8259 has it: no NaN, no Infinity, UTF-8, bounded nesting.

    Raises:
        InvalidRequest: it is something else.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is no JSON: {error}") from None


# V1 ------------------------------------------------------------------------------------------


def v1_rows(body: Any) -> list[dict[str, Any]]:
    """The listings of `{"instances": [{…}, …]}`.

    Raises:
        InvalidRequest: the body has another form.
    """
    if not isinstance(body, dict):
        raise InvalidRequest('the body must be an object: {"instances": [{"title": "…"}]}')
    unknown = sorted(set(body) - {"instances"})
    if unknown:
        raise refused(unknown[0], "unknown field; the body holds `instances` only")
    instances = body.get("instances")
    if not isinstance(instances, list):
        raise refused("instances", "must be a list of listings")
    for i, row in enumerate(instances):
        if not isinstance(row, dict):
            raise refused(f"instances[{i}]", "must be an object with the fields of a listing")
    return instances


def v1_answer(answers: Answers) -> dict[str, Any]:
    """`{"predictions": [{price, low, high, quantiles, …}, …]}`, one a listing, in their order."""
    levels = [str(level) for level in answers.quantiles]
    columns = zip(*(q.tolist() for q in answers.quantiles.values()), strict=True)
    as_of = answers.as_of_text
    predictions: list[dict[str, Any]] = [
        {
            "price": price,
            "low": low,
            "high": high,
            "quantiles": dict(zip(levels, quantiles, strict=True)),
            "currency": CURRENCY,
            "model_version": answers.version,
            "as_of": as_of,
            "market": market,
            "warnings": list(warnings),
        }
        for price, low, high, quantiles, market, warnings in zip(
            answers.price.tolist(),
            answers.low.tolist(),
            answers.high.tolist(),
            columns,
            answers.market,
            answers.warnings,
            strict=True,
        )
    ]
    if answers.reasons is not None:
        for prediction, reasons in zip(predictions, answers.reasons, strict=True):
            prediction["reasons"] = [
                {"field": r.field, "value": r.value, "effect_usd": float(r.effect_usd)} for r in reasons
            ]
    return {"predictions": predictions}


# V2, JSON ------------------------------------------------------------------------------------


def v2_request(body: bytes, json_length: int | None = None) -> TensorRequest:
    """Decode a V2 request; `json_length` is the length of its JSON when binary tensors follow it.

    Raises:
        InvalidRequest: the body has another form.
    """
    view = memoryview(body)
    if json_length is not None and not 0 <= json_length <= len(body):
        raise InvalidRequest(
            f"Inference-Header-Content-Length is {json_length}, the body has {len(body)} bytes"
        )
    request = parse_json(view if json_length is None else view[:json_length])
    tail = view[len(body) if json_length is None else json_length :]
    _known(request, _REQUEST_KEYS, "", "the body")
    inputs = request.get("inputs")
    if not isinstance(inputs, list):
        raise refused("inputs", "must be a list of tensors")
    identity = request.get("id", "")
    if not isinstance(identity, str) or len(identity) > MAX_ID:
        raise refused("id", f"must be a string of at most {MAX_ID} characters")
    tensors, at = [], 0
    for i, item in enumerate(inputs):
        tensor, used = _json_tensor(item, i, tail[at:])
        tensors.append(tensor)
        at += used
    if at != len(tail):
        raise InvalidRequest(f"{len(tail) - at} bytes of binary data belong to no input")
    binary = _parameters(request, "parameters").get("binary_data_output", False) is True
    outputs = _json_outputs(request.get("outputs"), binary)
    return TensorRequest(identity, tuple(tensors), outputs, binary)


def _known(item: Any, keys: set[str], prefix: str, what: str) -> None:
    if not isinstance(item, dict):
        raise refused(prefix.rstrip(".") or "body", f"{what} must be an object")
    unknown = sorted(set(item) - keys)
    if unknown:
        raise refused(prefix + unknown[0], f"unknown field; one of {', '.join(sorted(keys))}")


def _parameters(item: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = item.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise refused(where, "must be an object")
    return parameters


def _json_tensor(item: Any, i: int, tail: memoryview) -> tuple[Tensor, int]:
    _known(item, _INPUT_KEYS, f"inputs[{i}].", "a tensor")
    name, datatype, shape = item.get("name"), item.get("datatype"), item.get("shape")
    if not isinstance(name, str) or not name:
        raise refused(f"inputs[{i}].name", "must be a string")
    name = shorten(name, 100)
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise refused(f"inputs.{name}", f"datatype must be one of {', '.join(DATATYPES)}")
    if not isinstance(shape, list):
        raise refused(f"inputs.{name}", "shape must be a list of whole numbers from 0")
    sizes = checked_shape(name, shape)
    used = 0
    size = _parameters(item, f"inputs.{name}.parameters").get("binary_data_size")
    if size is None:
        data = item.get("data")
        if not isinstance(data, list):
            raise refused(f"inputs.{name}", "data must be a list")
        values = _flat(data, name) if len(sizes) > 1 else data
    else:
        if "data" in item:
            raise refused(f"inputs.{name}", "has both data and binary_data_size")
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(tail):
            raise refused(f"inputs.{name}", f"binary_data_size must be a whole number up to {len(tail)}")
        values, used = from_raw(name, datatype, tail[:size]), size
    return Tensor(name, datatype, sizes, values), used


def _flat(data: list[Any], name: str) -> list[Any]:
    if not any(isinstance(v, list) for v in data):
        return data
    for i, row in enumerate(data):
        if not isinstance(row, list) or len(row) != 1:
            raise refused(f"inputs.{name}[{i}]", "must be a list of one element, as the shape says")
    return [row[0] for row in data]


def _json_outputs(outputs: Any, binary: bool) -> tuple[tuple[str, bool], ...]:
    if outputs is None:
        return ()
    if not isinstance(outputs, list):
        raise refused("outputs", "must be a list")
    wanted = []
    for i, item in enumerate(outputs):
        _known(item, _OUTPUT_KEYS, f"outputs[{i}].", "an output")
        name = item.get("name")
        as_binary = _parameters(item, f"outputs[{i}].parameters").get("binary_data", binary) is True
        wanted.append((name if isinstance(name, str) else "", as_binary))
    return _checked_outputs(wanted)


def _checked_outputs(wanted: Sequence[tuple[str, bool]]) -> tuple[tuple[str, bool], ...]:
    for i, (name, _) in enumerate(wanted):
        if name not in OUTPUT_NAMES:
            raise refused(f"outputs[{i}].name", f"unknown output; one of {', '.join(OUTPUT_NAMES)}")
    return tuple(dict(wanted).items())


def _columns(answers: Answers) -> dict[str, np.ndarray | list[bytes]]:
    """Outputs in the order of the table: FP64 arrays, or BYTES."""
    levels = list(answers.quantiles.values())
    rows = len(answers.price)
    return {
        "price": answers.price,
        "low": answers.low,
        "high": answers.high,
        "quantiles": np.column_stack(levels) if levels else np.empty((rows, 0)),
        "market": [m.encode() for m in answers.market],
        "warnings": [orjson.dumps(list(w)) for w in answers.warnings],
    }


def _shape(values: np.ndarray | list[bytes]) -> list[int]:
    return list(values.shape) if isinstance(values, np.ndarray) else [len(values)]


def response_parameters(answers: Answers) -> dict[str, str]:
    """What holds for the whole batch."""
    return {
        "model_version": answers.version,
        "as_of": answers.as_of_text,
        "currency": CURRENCY,
        "quantile_levels": ",".join(str(level) for level in answers.quantiles),
    }


def v2_response(answers: Answers, request: TensorRequest, name: str) -> tuple[bytes, int | None]:
    """The body of a V2 answer, and the length of its JSON when binary data follow, else None."""
    columns = _columns(answers)
    wanted = request.outputs or tuple((output, request.binary) for output in OUTPUT_NAMES)
    outputs, tails = [], []
    for output, binary in wanted:
        values = columns[output]
        numeric = isinstance(values, np.ndarray)
        item: dict[str, Any] = {
            "name": output,
            "datatype": "FP64" if numeric else "BYTES",
            "shape": _shape(values),
        }
        if binary:
            raw = to_raw(values)
            item["parameters"] = {"binary_data_size": len(raw)}
            tails.append(raw)
        elif isinstance(values, np.ndarray):
            item["data"] = values.ravel().tolist()
        else:
            item["data"] = [v.decode() for v in values]
        outputs.append(item)
    head = orjson.dumps(
        {
            "model_name": name,
            "model_version": answers.version,
            "id": answers.request_id,
            "parameters": response_parameters(answers),
            "outputs": outputs,
        }
    )
    return (head + b"".join(tails), len(head)) if tails else (head, None)


# V2, protobuf --------------------------------------------------------------------------------


def proto_request(message: Any) -> TensorRequest:
    """Decode an `inference.ModelInferRequest`.

    Raises:
        InvalidRequest: inputs contradict each other or the protocol.
    """
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise InvalidRequest(f"{len(message.inputs)} inputs, but {len(raw)} raw_input_contents")
    if len(message.id) > MAX_ID:
        raise refused("id", f"must be a string of at most {MAX_ID} characters")
    tensors = []
    for i, item in enumerate(message.inputs):
        name = shorten(item.name, 100)
        if item.datatype not in DATATYPES:
            raise refused(f"inputs.{name}", f"datatype must be one of {', '.join(DATATYPES)}")
        if raw:
            if item.HasField("contents"):
                raise refused(f"inputs.{name}", "has both contents and raw_input_contents")
            values: Sequence[Any] = from_raw(name, item.datatype, raw[i])
        else:
            values = _proto_values(item, name)
        tensors.append(Tensor(name, item.datatype, checked_shape(name, item.shape), values))
    binary = bool(raw)
    outputs = _checked_outputs([(o.name, binary) for o in message.outputs])
    return TensorRequest(message.id, tuple(tensors), outputs, binary)


def _proto_values(item: Any, name: str) -> Sequence[Any]:
    field = _CONTENTS.get(item.datatype)
    if field is None:
        raise refused(f"inputs.{name}", f"{item.datatype} goes into raw_input_contents only")
    other = [f.name for f, _ in item.contents.ListFields() if f.name != field]
    if other:
        raise refused(f"inputs.{name}", f"datatype {item.datatype} goes into {field}, not into {other[0]}")
    return list(getattr(item.contents, field))


def stock_request(payload: Any) -> TensorRequest:
    """Decode KServe's own `InferRequest`, which it builds from REST and from gRPC.

    Raises:
        InvalidRequest: a tensor's data do not fit its shape or datatype.
    """
    tensors = []
    for item in payload.inputs:
        name = shorten(str(item.name), 100)
        sizes = checked_shape(name, item.shape)
        try:
            values = item.as_numpy().ravel().tolist()
        except (ValueError, TypeError, OverflowError, struct.error) as error:
            raise refused(f"inputs.{name}", f"data do not fit the shape or datatype: {error}") from None
        tensors.append(Tensor(name, item.datatype, sizes, values))
    wanted = [(output.name, False) for output in payload.request_outputs or ()]
    return TensorRequest(payload.id or "", tuple(tensors), _checked_outputs(wanted))


def proto_response(answers: Answers, request: TensorRequest, name: str) -> Any:
    """An `inference.ModelInferResponse`: raw contents when the request had raw contents, else typed ones."""
    from serving.kserve_sdk import pb

    columns = _columns(answers)
    response = pb.ModelInferResponse(model_name=name, model_version=answers.version, id=answers.request_id)
    for key, value in response_parameters(answers).items():
        response.parameters[key].string_param = value
    for output, _ in request.outputs or tuple((o, False) for o in OUTPUT_NAMES):
        values = columns[output]
        tensor = response.outputs.add(name=output, shape=_shape(values))
        if isinstance(values, np.ndarray):
            tensor.datatype = "FP64"
            if not request.binary:
                tensor.contents.fp64_contents.extend(values.ravel().tolist())
        else:
            tensor.datatype = "BYTES"
            if not request.binary:
                tensor.contents.bytes_contents.extend(values)
        if request.binary:
            response.raw_output_contents.append(to_raw(values))
    return response
