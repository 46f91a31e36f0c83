"""Every refusal, over every protocol, in one shape that names the field."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from serving_support import INFER, MAX_BATCH, MAX_BODY, NAME, PREDICT, Server, message, samples

from serving.errors import ERROR_KEY
from serving.kserve_sdk import pb


def refused(answer: Any, status: int, field: str | None = None) -> dict[str, Any]:
    """Check the one error shape; with a field, that it is named first."""
    assert answer.status == status, answer.body
    body: dict[str, Any] = answer.json
    assert {"error", "code", "details"} <= set(body) <= {"error", "code", "details", "hint"}
    assert isinstance(body["error"], str)
    assert body["error"]
    assert "Traceback" not in str(body)
    assert all(set(d) == {"field", "reason"} for d in body["details"])
    if field:
        assert body["details"][0]["field"] == field
    return body


def v1_body(case: dict[str, Any]) -> bytes:
    if "raw" in case:
        return str(case["raw"]).encode()
    if "repeat" in case:
        field, length = case["repeat"]
        return json.dumps({"instances": [{"title": "x"} | {field: "a" * length}]}).encode()
    if "rows" in case:
        return json.dumps({"instances": [{"title": "x"}] * case["rows"]}).encode()
    return json.dumps(case["body"]).encode()


def v2_body(case: dict[str, Any]) -> dict[str, Any]:
    if "rows" in case:
        tensor = {"name": "title", "shape": [case["rows"]], "datatype": "BYTES", "data": ["x"] * case["rows"]}
        return {"inputs": [tensor]}
    body: dict[str, Any] = case["body"]
    return body


@pytest.mark.parametrize("case", samples("refused_v1"), ids=lambda c: c["case"])
@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_refused_over_v1(server: Server, case: dict[str, Any], verb: str) -> None:
    refused(server.ask(f"/v1/models/{NAME}:{verb}", v1_body(case)), case["status"], case["field"])


@pytest.mark.parametrize("case", samples("refused_v2"), ids=lambda c: c["case"])
def test_refused_over_v2(server: Server, stub: Any, case: dict[str, Any]) -> None:
    over_rest = refused(server.ask(INFER, v2_body(case)), case["status"], case["field"])
    if "datatype" in case["case"]:
        return  # gRPC's contents are typed: it says this in other words, which the next test checks
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(message(v2_body(case)))
    codes = {400: grpc.StatusCode.INVALID_ARGUMENT, 413: grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert caught.value.code() is codes[case["status"]]
    assert caught.value.details() == over_rest["error"]
    assert json.loads(dict(caught.value.trailing_metadata())[ERROR_KEY]) == over_rest


def test_refused_over_grpc(server: Server, stub: Any) -> None:
    ill_typed = pb.ModelInferRequest(model_name=NAME)
    ill_typed.inputs.add(name="title", shape=[1], datatype="BYTES").contents.int_contents.append(1)
    no_utf8 = pb.ModelInferRequest(model_name=NAME)
    no_utf8.inputs.add(name="title", shape=[1], datatype="BYTES").contents.bytes_contents.append(b"\xff")
    for asked, code in (
        (ill_typed, grpc.StatusCode.INVALID_ARGUMENT),
        (no_utf8, grpc.StatusCode.INVALID_ARGUMENT),
        (pb.ModelInferRequest(model_name="another"), grpc.StatusCode.NOT_FOUND),
        (pb.ModelInferRequest(model_name=NAME, model_version="v0"), grpc.StatusCode.NOT_FOUND),
        (
            pb.ModelInferRequest(model_name=NAME, raw_input_contents=[b"x" * (MAX_BODY + 1)]),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        ),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(asked)
        assert caught.value.code() is code
    with grpc.insecure_channel(server.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(b"\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "Traceback" not in server.log.read_text()


def test_paths_methods_and_media_types(server: Server) -> None:
    good = b'{"instances": [{"title": "x"}]}'
    assert refused(server.ask("/nothing/here"), 404)["code"] == "not_found"
    assert refused(server.ask("/v1/models/another:predict", good), 404)["code"] == "model_not_found"
    assert refused(server.ask("/v2/models/another"), 404)["code"] == "model_not_found"
    assert (
        refused(server.ask(f"/v2/models/{NAME}/versions/v0/infer", b"{}"), 404)["code"] == "model_not_found"
    )
    assert refused(server.ask(PREDICT), 405)["code"] == "method_not_allowed"
    assert refused(server.ask("/v2/models", b"{}"), 405)["code"] == "method_not_allowed"
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/cloudevents+json"):
        refused(server.ask(PREDICT, good, {"Content-Type": kind}), 415)
    refused(server.ask(PREDICT, good, {"Content-Encoding": "gzip"}), 415)
    assert server.ask(PREDICT, good, {"Content-Type": "application/json; charset=utf-8"}).status == 200
    assert (
        refused(server.ask(PREDICT, b'{"instances": "' + b"x" * MAX_BODY + b'"}'), 413)["code"] == "too_large"
    )


def test_every_bad_row_of_a_batch_is_named(server: Server) -> None:
    rows = [{"title": "x"}, {"title": "x", "size": 5.5}, {"title": "x"}, {"condition": "mint"}]
    body = refused(server.ask(PREDICT, {"instances": rows}), 400, "instances[1].size")
    assert {d["field"] for d in body["details"]} == {
        "instances[1].size",
        "instances[3].title",
        "instances[3].condition",
    }


def test_the_largest_batch_that_is_taken(server: Server) -> None:
    assert len(server.v1(*[{"title": f"Tee {i}"} for i in range(MAX_BATCH)])) == MAX_BATCH
