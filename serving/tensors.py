"""Tensors of the Open Inference Protocol (V2): the table of ours, and strict decoding of theirs.

Nothing here knows whether a tensor came as JSON, as binary data behind JSON, or over gRPC.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graildient.errors import Detail
from graildient.listing import Listing
from serving.errors import InvalidRequest, shorten

MAX_DIMENSIONS = 2


@dataclass(frozen=True)
class Spec:
    """One input or output: its name, the datatype that metadata names, and its shape (-1: rows)."""

    name: str
    datatype: str
    shape: tuple[int, ...] = (-1,)

    def to_json(self) -> dict[str, Any]:
        """As V2 model metadata has it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


_NUMBERS = {"id": "INT64", "photo_count": "INT64", "asking_price": "FP64", "time_is_estimated": "BOOL"}
INPUTS: tuple[Spec, ...] = tuple(Spec(name, _NUMBERS.get(name, "BYTES")) for name in Listing.model_fields)
"""One tensor a field of the listing contract; text is BYTES in UTF-8, several designers are "A × B"."""

OUTPUTS: tuple[Spec, ...] = (
    Spec("price", "FP64"),
    Spec("low", "FP64"),
    Spec("high", "FP64"),
    Spec("quantiles", "FP64", (-1, -1)),
    Spec("market", "BYTES"),
    Spec("warnings", "BYTES"),
)
"""`quantiles` has one column a level of the response parameter `quantile_levels`; a row of `warnings` is
a JSON list of strings; `market` is one of fresh, partial, missing, unavailable."""

_INPUT = {spec.name: spec for spec in INPUTS}
OUTPUT_NAMES = tuple(spec.name for spec in OUTPUTS)

_DTYPES = {
    "BOOL": "?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
DATATYPES = (*_DTYPES, "BYTES")
_FLOATS = ("FP16", "FP32", "FP64")
_TAKES = {
    "BYTES": ("BYTES",),
    "BOOL": ("BOOL",),
    "INT64": tuple(d for d in _DTYPES if d not in ("BOOL", "FP16")),
    "FP64": tuple(d for d in _DTYPES if d != "BOOL"),
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A decoded input: `values` is flat, row-major, with as many elements as `shape` says."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Sequence[Any]


@dataclass(frozen=True, slots=True)
class TensorRequest:
    """A V2 inference request, whichever way it came.

    `outputs`: requested names, each with whether its data should be binary; empty means all.
    """

    id: str
    tensors: tuple[Tensor, ...]
    outputs: tuple[tuple[str, bool], ...] = ()
    binary: bool = False


def refused(field: str, reason: str) -> InvalidRequest:
    """One field of the request is wrong."""
    field = shorten(field, 200)
    return InvalidRequest(f"{field}: {reason}", details=[Detail(field, reason)])


def checked_shape(name: str, shape: Iterable[Any]) -> tuple[int, ...]:
    """A shape as a tuple of non-negative ints of at most two dimensions."""
    sizes = tuple(shape)
    if any(isinstance(s, bool) or not isinstance(s, int) or s < 0 for s in sizes):
        raise refused(f"inputs.{name}", "shape must be a list of whole numbers from 0")
    if not 1 <= len(sizes) <= MAX_DIMENSIONS or (len(sizes) == MAX_DIMENSIONS and sizes[1] != 1):
        raise refused(f"inputs.{name}", "shape must be [n] or [n, 1], one element a listing")
    return sizes


def from_raw(name: str, datatype: str, data: bytes | memoryview) -> list[Any]:
    """Elements of the binary form: little-endian numbers, or BYTES with a 4-byte length before each."""
    data = bytes(data)
    if datatype != "BYTES":
        dtype = np.dtype(_DTYPES[datatype])
        if len(data) % dtype.itemsize:
            raise refused(f"inputs.{name}", f"{len(data)} bytes of data are no whole number of {datatype}")
        return list(np.frombuffer(data, dtype=dtype).tolist())
    values, at = [], 0
    while at < len(data):
        if at + 4 > len(data):
            raise refused(f"inputs.{name}", "binary data ends within a length")
        (size,) = struct.unpack_from("<I", data, at)
        at += 4
        if at + size > len(data):
            raise refused(f"inputs.{name}", "binary data ends within an element")
        values.append(data[at : at + size])
        at += size
    return values


def to_raw(values: np.ndarray | Sequence[bytes]) -> bytes:
    """The binary form of an output."""
    if isinstance(values, np.ndarray):
        return values.astype("<f8", copy=False).tobytes()
    return b"".join(part for value in values for part in (struct.pack("<I", len(value)), value))


def to_rows(request: TensorRequest) -> list[dict[str, Any]]:
    """One dict of present fields a listing; empty strings, nulls and NaN are missing.

    Raises:
        InvalidRequest: an unknown, repeated or ill-typed input, or inputs of different lengths.
    """
    if not request.tensors:
        raise refused("inputs", "no input tensor; `title` at least is needed")
    rows: list[dict[str, Any]] | None = None
    seen: set[str] = set()
    for tensor in request.tensors:
        spec = _INPUT.get(tensor.name)
        if spec is None:
            raise refused(f"inputs.{tensor.name}", f"unknown input; one of {', '.join(_INPUT)}")
        if tensor.name in seen:
            raise refused(f"inputs.{tensor.name}", "given twice")
        seen.add(tensor.name)
        if tensor.datatype not in _TAKES[spec.datatype]:
            takes = ", ".join(_TAKES[spec.datatype])
            raise refused(
                f"inputs.{tensor.name}", f"datatype {shorten(tensor.datatype, 20)} is not one of {takes}"
            )
        count = math.prod(tensor.shape)
        if len(tensor.values) != count:
            raise refused(
                f"inputs.{tensor.name}",
                f"shape {list(tensor.shape)} takes {count} elements, {len(tensor.values)} given",
            )
        if rows is None:
            rows = [{} for _ in range(count)]
        elif count != len(rows):
            raise refused(
                f"inputs.{tensor.name}", f"{count} rows, but {request.tensors[0].name} has {len(rows)}"
            )
        _fill(rows, tensor, spec)
    return rows or []


def _fill(rows: list[dict[str, Any]], tensor: Tensor, spec: Spec) -> None:
    convert = {"BYTES": _text, "BOOL": _bool, "INT64": _whole, "FP64": _number}[spec.datatype]
    for i, (row, value) in enumerate(zip(rows, tensor.values, strict=True)):
        if value is None:
            continue
        try:
            converted = convert(value, tensor.datatype)
        except ValueError as error:
            raise refused(f"inputs.{tensor.name}[{i}]", str(error)) from None
        if converted is not None:
            row[tensor.name] = converted


def _text(value: Any, _datatype: str) -> str | None:
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError("is not UTF-8") from None
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value or None


def _bool(value: Any, _datatype: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _whole(value: Any, datatype: str) -> int | None:
    number = _number(value, datatype)
    if number is None or isinstance(number, int):
        return number
    if not number.is_integer():
        raise ValueError("must be a whole number")
    return int(number)


def _number(value: Any, datatype: str) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    if isinstance(value, int):
        return value
    if math.isnan(value):
        return None
    if math.isinf(value):
        raise ValueError("must be finite")
    if datatype not in _FLOATS and not value.is_integer():
        raise ValueError(f"is no {datatype}")
    return value
