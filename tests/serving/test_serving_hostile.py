"""Hostile bodies: whatever is sent, the answer is an answer or a refusal in the one shape, never a 5xx."""

from __future__ import annotations

import contextlib
import http.client
import json
import string
import urllib.parse
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_support import NAME, Server

from serving.kserve_sdk import pb
from serving.tensors import DATATYPES, INPUTS, OUTPUT_NAMES

FIELDS = [spec.name for spec in INPUTS]
ONE_BY_ONE = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(["tops", "used", "menswear", "2021-01-01", "\x00", "𝔘", "9" * 40, "1e400", " × ", "#"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
names = st.sampled_from(FIELDS) | st.text(string.printable, max_size=12)
listings = st.dictionaries(names, values, max_size=8).map(lambda d: {"title": "x"} | d)
v1_like = st.fixed_dictionaries({"instances": st.lists(listings | values, max_size=4) | values})
tensors = st.fixed_dictionaries(
    {
        "name": names,
        "shape": st.lists(st.integers(-2, 4), max_size=3) | values,
        "datatype": st.sampled_from(DATATYPES) | values,
        "data": st.lists(scalars, max_size=4) | values,
    },
    optional={"parameters": values, "extra": values},
)
v2_like = st.fixed_dictionaries(
    {"inputs": st.lists(tensors | values, max_size=4) | values},
    optional={
        "id": values,
        "parameters": values,
        "outputs": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from(OUTPUT_NAMES) | values}), max_size=3
        )
        | values,
    },
)


def encoded(value: Any) -> bytes:
    # NaN, Infinity and lone surrogates as careless clients send them.
    return json.dumps(value, ensure_ascii=True).encode()


@st.composite
def mangled(draw: st.DrawFn, good: st.SearchStrategy[bytes]) -> bytes:
    """A body that was cut, repeated or overwritten somewhere."""
    body = bytearray(draw(good))
    at = draw(st.integers(0, len(body)))
    body[at : at + draw(st.integers(0, 6))] = draw(st.binary(max_size=6))
    return bytes(body)


bodies = (
    st.binary(max_size=200)
    | v1_like.map(encoded)
    | v2_like.map(encoded)
    | values.map(encoded)
    | mangled(v1_like.map(encoded))
    | mangled(v2_like.map(encoded))
    | st.integers(1, 5000).map(lambda n: b"[" * n)
    | st.integers(1, 5000).map(lambda n: b'{"instances":' * n)
)


def check(status: int, body: bytes) -> None:
    assert status == 200 or 400 <= status < 500, (status, body)
    told = json.loads(body)
    if status != 200:
        assert isinstance(told["error"], str)
        assert {"error", "code", "details"} <= set(told)
        assert len(body) < 100_000


@given(body=bodies, path=st.sampled_from([":predict", ":explain"]))
@ONE_BY_ONE
def test_v1(server: Server, body: bytes, path: str) -> None:
    answer = server.ask(f"/v1/models/{NAME}{path}", body)
    check(answer.status, answer.body)


@given(body=bodies, header=st.none() | st.integers(-1, 300).map(str) | st.text("0123456789abc", max_size=14))
@ONE_BY_ONE
def test_v2(server: Server, body: bytes, header: str | None) -> None:
    headers = {} if header is None else {"Inference-Header-Content-Length": header}
    answer = server.ask(f"/v2/models/{NAME}/infer", body, headers)
    if answer.status != 200 or "inference-header-content-length" not in answer.headers:
        check(answer.status, answer.body)


contents = st.fixed_dictionaries(
    {},
    optional={
        "bytes_contents": st.lists(st.binary(max_size=20), max_size=3),
        "int64_contents": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
        "fp64_contents": st.lists(st.floats(), max_size=3),
        "bool_contents": st.lists(st.booleans(), max_size=3),
    },
)
messages = st.builds(
    lambda inputs, raw, outputs: pb.ModelInferRequest(
        model_name=NAME, inputs=inputs, raw_input_contents=raw, outputs=outputs
    ).SerializeToString(),
    st.lists(
        st.fixed_dictionaries(
            {
                "name": st.sampled_from(FIELDS),
                "shape": st.lists(st.integers(-1, 3), max_size=2),
                "datatype": st.sampled_from((*DATATYPES, "x")),
                "contents": contents,
            }
        ),
        max_size=4,
    ),
    st.lists(st.binary(max_size=24), max_size=3),
    st.lists(st.fixed_dictionaries({"name": st.sampled_from(OUTPUT_NAMES)}), max_size=2),
)


@pytest.fixture(scope="module")
def call(server: Server) -> Any:
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")


@given(body=messages | mangled(messages) | st.binary(max_size=60))
@ONE_BY_ONE
def test_grpc(call: Any, body: bytes) -> None:
    try:
        pb.ModelInferResponse.FromString(call(body, timeout=30))
    except grpc.RpcError as error:
        if error.code() not in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND):
            raise


@given(
    path=st.text(st.characters(codec="utf-8"), max_size=30).map(urllib.parse.quote) | st.just("%ff%00%c3("),
    prefix=st.sampled_from(
        ["/", "/v1/models/", "/v2/models/", f"/v2/models/{NAME}/versions/", "/v2/repository/models/"]
    ),
    suffix=st.sampled_from(["", ":predict", "/infer", "/ready", "/load"]),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]),
    kind=st.sampled_from(["application/json", "application/json;", ";", "", "a/b", "\xff\xfe", "x" * 5000]),
)
@ONE_BY_ONE
def test_paths_methods_and_headers(
    server: Server, path: str, prefix: str, suffix: str, method: str, kind: str
) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=30)) as client:
        client.putrequest(method, prefix + path + suffix)
        client.putheader("Content-Type", kind.encode("latin-1"))
        client.putheader("Content-Length", "2")
        client.endheaders(b"{}")
        answer = client.getresponse()
        check(answer.status, answer.read())


def test_no_trace_was_logged(server: Server) -> None:
    """Runs last in this file: what the bodies above made the server log."""
    assert server.process.poll() is None
    assert "Traceback" not in server.log.read_text()
    assert server.metric("graildient_requests_total", protocol="rest_v1", outcome="failed") == 0
    assert server.metric("graildient_requests_total", protocol="rest_v2", outcome="failed") == 0
    assert server.metric("graildient_requests_total", protocol="grpc_v2", outcome="failed") == 0
