"""Wire forms, without a server: what decodes to what, what is refused, and what comes back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest

from graildient.listing import Listing
from serving import codecs
from serving.dataplane import Answers
from serving.errors import ERROR_KEY, InvalidRequest, to_body, to_metadata
from serving.kserve_sdk import pb
from serving.tensors import INPUTS, OUTPUTS, Tensor, TensorRequest, from_raw, to_raw, to_rows


def tensor(name: str, values: list[Any], datatype: str = "BYTES") -> dict[str, Any]:
    return {"name": name, "shape": [len(values)], "datatype": datatype, "data": values}


def request(*tensors: dict[str, Any], **more: Any) -> bytes:
    return orjson.dumps({"inputs": list(tensors), **more})


ANSWERS = Answers(
    request_id="r",
    version="v1",
    as_of=datetime(2021, 3, 1, tzinfo=UTC),
    price=np.array([0.1 + 0.2, 1e-300]),
    low=np.array([0.1, 2.0]),
    high=np.array([1 / 3, 3.0]),
    quantiles={0.1: np.array([0.1, 2.0]), 0.9: np.array([1 / 3, 3.0])},
    market=["fresh", "missing"],
    warnings=[("“odd” designer",), ()],
)


def test_every_field_of_a_listing_is_an_input() -> None:
    assert [spec.name for spec in INPUTS] == list(Listing.model_fields)


def test_empty_strings_nulls_and_nan_are_missing() -> None:
    body = request(tensor("title", ["a", "b", "c"]), tensor("size", ["", None, "l"]))
    assert to_rows(codecs.v2_request(body)) == [{"title": "a"}, {"title": "b"}, {"title": "c", "size": "l"}]
    nan = TensorRequest("", (Tensor("photo_count", "FP64", (2,), [float("nan"), 3.0]),))
    assert to_rows(nan) == [{}, {"photo_count": 3}]


@pytest.mark.parametrize("datatype", ["INT8", "INT64", "UINT16", "FP32", "FP64"])
def test_a_count_may_come_as_any_number(datatype: str) -> None:
    body = request(tensor("photo_count", [4], datatype))
    (row,) = to_rows(codecs.v2_request(body))
    assert row == {"photo_count": 4}
    assert type(row["photo_count"]) is int


@pytest.mark.parametrize(
    ("values", "datatype", "reason"),
    [
        ([True], "INT64", "must be a number"),
        (["4"], "INT64", "must be a number"),
        ([4.5], "INT64", "is no INT64"),
        ([4.5], "FP64", "whole number"),
        ([[4]], "FP64", "must be a number"),
    ],
)
def test_what_is_no_count_is_refused(values: list[Any], datatype: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as caught:
        to_rows(codecs.v2_request(request(tensor("photo_count", values, datatype))))
    assert caught.value.details[0].field == "inputs.photo_count[0]"


def test_bytes_that_are_no_utf8_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="UTF-8"):
        to_rows(TensorRequest("", (Tensor("title", "BYTES", (1,), [b"\xff\xfe"]),)))


def test_binary_tensors_follow_the_json() -> None:
    title = to_raw(["Ramones ½".encode(), b""])
    count = np.array([3, 5], "<i4").tobytes()
    head = orjson.dumps(
        {
            "inputs": [
                {
                    "name": "title",
                    "shape": [2],
                    "datatype": "BYTES",
                    "parameters": {"binary_data_size": len(title)},
                },
                tensor("size", ["l", "m"]),
                {
                    "name": "photo_count",
                    "shape": [2],
                    "datatype": "INT32",
                    "parameters": {"binary_data_size": len(count)},
                },
            ],
            "outputs": [{"name": "price", "parameters": {"binary_data": True}}, {"name": "market"}],
        }
    )
    decoded = codecs.v2_request(head + title + count, len(head))
    assert to_rows(decoded) == [
        {"title": "Ramones ½", "size": "l", "photo_count": 3},
        {"size": "m", "photo_count": 5},
    ]
    content, length = codecs.v2_response(ANSWERS, decoded, "graildient")
    told = json.loads(content[:length])
    assert [o["name"] for o in told["outputs"]] == ["price", "market"]
    assert told["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert np.frombuffer(content[length:], "<f8").tolist() == ANSWERS.price.tolist()
    assert told["outputs"][1]["data"] == ["fresh", "missing"]


@pytest.mark.parametrize(
    ("size", "length", "tail"),
    [
        (5, 0, b""),
        (-1, 0, b""),
        (True, 0, b""),
        ("4", 0, b""),
        (4, 0, b"\x09\0\0\0"),
        (2, 0, b"ab"),
        (0, 0, b"ab"),
    ],
)
def test_binary_tensors_that_do_not_add_up_are_refused(size: Any, length: int, tail: bytes) -> None:
    head = orjson.dumps(
        {
            "inputs": [
                {"name": "title", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": size}}
            ]
        }
    )
    with pytest.raises(InvalidRequest):
        codecs.v2_request(head + tail, len(head) + length)


def test_a_header_length_beyond_the_body_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="Content-Length"):
        codecs.v2_request(b"{}", 3)


def test_numbers_of_a_wrong_length_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="no whole number of FP64"):
        from_raw("x", "FP64", b"1234567")


@pytest.mark.parametrize("raw", [False, True])
def test_protobuf_gives_the_bits_that_json_gives(raw: bool) -> None:
    wanted = TensorRequest("", (), binary=raw)
    response = pb.ModelInferResponse.FromString(
        codecs.proto_response(ANSWERS, wanted, "m").SerializeToString()
    )
    content, _ = codecs.v2_response(ANSWERS, TensorRequest("", ()), "m")
    told = json.loads(content)
    for i, output in enumerate(told["outputs"]):
        tensor = response.outputs[i]
        assert (tensor.name, tensor.datatype, list(tensor.shape)) == (
            output["name"],
            output["datatype"],
            output["shape"],
        )
        if raw:
            values = from_raw(tensor.name, tensor.datatype, response.raw_output_contents[i])
        else:
            contents = tensor.contents
            values = list(contents.fp64_contents) or list(contents.bytes_contents)
        assert [v.decode() if isinstance(v, bytes) else v for v in values] == output["data"]
    assert {k: v.string_param for k, v in response.parameters.items()} == told["parameters"]
    assert told["parameters"]["quantile_levels"] == "0.1,0.9"
    assert [o["name"] for o in told["outputs"]] == [spec.name for spec in OUTPUTS]


def test_v1_and_v2_say_the_same() -> None:
    first, second = codecs.v1_answer(ANSWERS)["predictions"]
    content, _ = codecs.v2_response(ANSWERS, TensorRequest("", ()), "m")
    outputs = {o["name"]: o["data"] for o in json.loads(content)["outputs"]}
    assert [first["price"], second["price"]] == outputs["price"]
    assert [*first["quantiles"].values(), *second["quantiles"].values()] == outputs["quantiles"]
    assert [first["warnings"], second["warnings"]] == [json.loads(w) for w in outputs["warnings"]]
    assert first["as_of"] == "2021-03-01T00:00:00Z"


@pytest.mark.parametrize(
    "message",
    [
        pb.ModelInferRequest(
            inputs=[{"name": "title", "shape": [1], "datatype": "BYTES"}], raw_input_contents=[b"", b""]
        ),
        pb.ModelInferRequest(
            inputs=[
                {"name": "title", "shape": [1], "datatype": "BYTES", "contents": {"bytes_contents": [b"x"]}}
            ],
            raw_input_contents=[b"\1\0\0\0x"],
        ),
        pb.ModelInferRequest(
            inputs=[{"name": "title", "shape": [1], "datatype": "BYTES", "contents": {"int_contents": [1]}}]
        ),
        pb.ModelInferRequest(inputs=[{"name": "photo_count", "shape": [1], "datatype": "FP16"}]),
        pb.ModelInferRequest(
            inputs=[{"name": "title", "shape": [1], "datatype": "BYTES"}], raw_input_contents=[b"\5\0\0\0x"]
        ),
    ],
    ids=["more raw contents than inputs", "both kinds", "the wrong kind", "FP16 not raw", "cut off"],
)
def test_contradictory_messages_are_refused(message: Any) -> None:
    with pytest.raises(InvalidRequest):
        codecs.proto_request(message)


def test_an_error_fits_into_grpc_metadata_whatever_was_sent() -> None:
    from graildient.errors import Detail

    error = InvalidRequest("é" * 10_000, details=[Detail("ü" * 1_000, "\0" * 1_000)] * 1_000)
    told = to_metadata(error)
    assert told.isascii()
    assert len(told) <= 4096
    assert json.loads(told)["code"] == "invalid_request"
    assert len(to_body(error)["details"]) == 100
    assert ERROR_KEY.lower() == ERROR_KEY  # gRPC refuses keys in upper case
