"""One server, four ways to ask, one answer; the metrics and the pages."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving_support import FEATURES, INFER, NAME, PREDICT, Server, Workspace, message, samples

from feature_repo.online import OnlineMarket
from graildient.listing import Listing
from graildient.parsing import to_listing
from graildient.pricing.model import PriceModel
from graildient.pricing.registry import Registry
from serving.client import ask_grpc, ask_rest
from serving.kserve_sdk import pb
from serving.tensors import INPUTS, OUTPUTS, from_raw, to_raw


def columns(response: Any) -> dict[str, list[Any]]:
    """Outputs of a gRPC answer, raw or typed, as JSON would have them."""
    found = {}
    for i, output in enumerate(response.outputs):
        if response.raw_output_contents:
            values = from_raw(output.name, output.datatype, response.raw_output_contents[i])
        else:
            values = list(output.contents.fp64_contents) or list(output.contents.bytes_contents)
        found[output.name] = [v.decode() if isinstance(v, bytes) else v for v in values]
    return found


@pytest.fixture(scope="module")
def in_process(workspace: Workspace) -> Any:
    """What model and online store say in this process, as columns."""
    model = PriceModel.load(Registry(workspace.storage).fetch("champion"))
    market = OnlineMarket(workspace.storage, FEATURES, timeout_ms=5000)

    def answer(instances: list[dict[str, Any]]) -> dict[str, list[Any]]:
        listings = [to_listing(row) for row in instances]
        prices = model.predict(listings, market.lookup(listings).rows)
        return {
            "price": prices.price.tolist(),
            "low": prices.low.tolist(),
            "high": prices.high.tolist(),
            "quantiles": [q for row in zip(*prices.quantiles.values(), strict=True) for q in map(float, row)],
            "warnings": [list(w) for w in prices.warnings],
        }

    yield answer
    market.close()


@pytest.mark.parametrize("sample", samples("prices"), ids=lambda s: s["name"])
def test_every_protocol_gives_the_same_bits(
    server: Server, stub: Any, in_process: Any, sample: dict[str, Any]
) -> None:
    expected = in_process(sample["v1"]["instances"])

    v1 = server.ask(PREDICT, sample["v1"])
    assert v1.status == 200, v1.body
    rows = v1.json["predictions"]
    for name in ("price", "low", "high", "warnings"):
        assert [row[name] for row in rows] == expected[name], name
    assert [q for row in rows for q in row["quantiles"].values()] == expected["quantiles"]
    market = [row["market"] for row in rows]

    v2 = server.ask(INFER, sample["v2"])
    assert v2.status == 200, v2.body
    told = {o["name"]: o["data"] for o in v2.json["outputs"]}
    grpc_typed = columns(stub.ModelInfer(message(sample["v2"])))
    grpc_raw = columns(stub.ModelInfer(message(sample["v2"], raw=True)))
    for answer in (told, grpc_typed, grpc_raw):
        for name in ("price", "low", "high", "quantiles"):
            assert answer[name] == expected[name], name
        assert [json.loads(w) for w in answer["warnings"]] == expected["warnings"]
        assert answer["market"] == market

    parameters = v2.json["parameters"]
    response = stub.ModelInfer(message(sample["v2"]))
    assert {k: v.string_param for k, v in response.parameters.items()} == parameters
    assert {(row["model_version"], row["as_of"], row["currency"]) for row in rows} == {
        (parameters["model_version"], parameters["as_of"], parameters["currency"])
    }
    if "id" in sample["v2"]:
        assert v2.json["id"] == response.id == sample["v2"]["id"]


def test_the_market_is_told_by_listing(server: Server) -> None:
    known = {
        "title": "Jacket",
        "designers": ["Carhartt"],
        "category": "outerwear",
        "subcategory": "light_jackets",
    }
    fresh, partial, missing = server.v1(
        known, known | {"designers": ["Nobody Ever Heard Of"]}, {"title": "Thing"}
    )
    assert (fresh["market"], partial["market"], missing["market"]) == ("fresh", "partial", "missing")
    assert 0 < fresh["low"] <= fresh["price"] <= fresh["high"]
    assert partial["warnings"]  # an unknown designer is told, not refused
    assert server.v1(known | {"designers": ["Rick Owens"]})[0]["price"] > fresh["price"]


def test_explain_adds_reasons(server: Server, in_process: Any) -> None:
    sample = samples("prices")[0]["v1"]
    # A header that KServe's own explain would send back.
    answer = server.ask(
        f"/v1/models/{NAME}:explain", sample, {"Authorization": "Bearer x", "X-Request-Id": "q-1"}
    )
    assert answer.status == 200, answer.body
    (row,) = answer.json["predictions"]
    assert [row["price"]] == in_process(sample["instances"])["price"]
    assert {"field", "value", "effect_usd"} == set(row["reasons"][0])
    assert "Bearer" not in str(answer.headers)
    assert answer.headers["x-request-id"] == "q-1"


def test_requested_outputs_only(server: Server, stub: Any) -> None:
    body = samples("prices")[1]["v2"] | {"outputs": [{"name": "high"}, {"name": "price"}]}
    assert [o["name"] for o in server.ask(INFER, body).json["outputs"]] == ["high", "price"]
    assert [o.name for o in stub.ModelInfer(message(body)).outputs] == ["high", "price"]


def test_binary_tensors_over_rest(server: Server) -> None:
    head = json.dumps(
        {
            "inputs": [
                {"name": "title", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 12}}
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    answer = server.ask(
        INFER,
        head + to_raw([b"Trousers"]),
        {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))},
    )
    assert answer.status == 200, answer.body
    length = int(answer.headers["inference-header-content-length"])
    outputs = json.loads(answer.body[:length])["outputs"]
    price = from_raw(
        "price", "FP64", answer.body[length : length + outputs[0]["parameters"]["binary_data_size"]]
    )
    assert price == [server.v1({"title": "Trousers"})[0]["price"]]


def test_kserves_own_clients(server: Server) -> None:
    from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

    def asked() -> InferRequest:
        tensor = InferInput(name="title", shape=[1], datatype="BYTES", data=["Trousers"])
        return InferRequest(model_name=NAME, infer_inputs=[tensor], request_id="k")

    async def both() -> list[float]:
        rest = InferenceRESTClient(RESTConfig(protocol="v2"))
        rpc = InferenceGRPCClient(url=server.grpc)
        try:
            assert await rest.is_server_ready(server.url)
            assert await rpc.is_model_ready(NAME)
            answers = [await rest.infer(server.url, asked(), model_name=NAME), await rpc.infer(asked())]
        finally:
            await rest.close()
            await rpc.close()
        return [float(answer.outputs[0].data[0]) for answer in answers]

    expected = server.v1({"title": "Trousers"})[0]["price"]
    assert asyncio.run(both()) == [expected, expected]


def test_our_own_clients(server: Server) -> None:
    listing = samples("prices")[0]["v1"]["instances"][0]
    rest, rpc = ask_rest(server.url, listing), ask_grpc(server.grpc, listing)
    assert rest == rpc == server.v1(listing)[0]


def test_metadata_describes_every_input_and_output(server: Server, stub: Any) -> None:
    told = server.ask(f"/v2/models/{NAME}").json
    assert [i["name"] for i in told["inputs"]] == list(Listing.model_fields)
    assert told["inputs"] == [spec.to_json() for spec in INPUTS]
    assert told["outputs"] == [spec.to_json() for spec in OUTPUTS]
    assert told["versions"] == [server.model_version]
    answer = stub.ModelMetadata(pb.ModelMetadataRequest(name=NAME))
    for ours, theirs in ((told["inputs"], answer.inputs), (told["outputs"], answer.outputs)):
        assert ours == [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in theirs]
    assert list(answer.versions) == told["versions"]


def test_health_and_the_rest_of_the_protocols(server: Server, stub: Any) -> None:
    version = f"/v2/models/{NAME}/versions/{server.model_version}"
    for path, expected in {
        "/": {"status": "alive"},
        "/v1/models": {"models": [NAME]},
        f"/v1/models/{NAME}": {"name": NAME, "ready": True},
        "/v2/health/live": {"live": True},
        "/v2/health/ready": {"ready": True},
        "/v2/models": {"models": [NAME]},
        f"/v2/models/{NAME}/ready": {"name": NAME, "ready": True},
        f"{version}/ready": {"name": NAME, "ready": True},
        version: server.ask(f"/v2/models/{NAME}").json,
    }.items():
        answer = server.ask(path)
        assert (answer.status, answer.json) == (200, expected), path
    assert server.ask("/v2").json["name"] == "graildient"
    assert server.ask(f"{version}/infer", samples("prices")[1]["v2"]).status == 200
    assert server.ask(f"/v2/repository/models/{NAME}/load", b"").json == {"name": NAME, "load": True}
    assert server.ask(f"/v2/repository/models/{NAME}/unload", b"").status == 403
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name=NAME, version=server.model_version)).ready
    assert stub.ServerMetadata(pb.ServerMetadataRequest()).name == "graildient"
    assert stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=NAME)).isLoaded
    with pytest.raises(grpc.RpcError) as caught:
        stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=NAME))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


# What is shown -------------------------------------------------------------------------------


def test_metrics(server: Server, workspace: Workspace) -> None:
    listing = {"title": "Jacket", "designers": ["Carhartt"], "category": "outerwear"}
    server.ask(PREDICT, b"{")
    before = {
        (p, o): server.metric("graildient_requests_total", protocol=p, outcome=o)
        for p, o in (("rest_v1", "ok"), ("rest_v1", "invalid"), ("grpc_v2", "ok"))
    }
    rows = server.metric("graildient_rows_total", protocol="rest_v1")
    server.v1(listing, listing)
    server.ask(PREDICT, b"{")
    ask_grpc(server.grpc, listing)
    for (protocol, outcome), value in before.items():
        assert server.metric("graildient_requests_total", protocol=protocol, outcome=outcome) == value + 1
    assert server.metric("graildient_rows_total", protocol="rest_v1") == rows + 2
    assert server.metric("graildient_model_info", name=NAME, version=server.model_version) == 1
    assert server.metric("graildient_requests_in_flight") == 0
    with OnlineMarket(workspace.storage, FEATURES, timeout_ms=5000) as market:
        found = market.lookup([to_listing(listing)])
    assert found.newest is not None
    age = (found.as_of - found.newest).total_seconds()
    assert server.metric("graildient_feature_freshness_seconds") == age
    assert server.metric("graildient_lookups_total", outcome="ok") > 0
    assert server.metric("graildient_fallbacks_total", cause="down") == 0
    assert server.metric("graildient_model_reload_failures_total") == 0
    assert server.metric("graildient_predicted_price_usd_count") > 2
    text = server.ask("/metrics").body.decode()
    ours = [f for f in text_string_to_metric_families(text) if f.name.startswith("graildient_")]
    assert len(ours) > 15
    assert all(f.documentation for f in ours)
    assert sum(len(f.samples) for f in ours) < 300


def test_pages(server: Server, tmp_path: Path) -> None:
    for path in ("/", "/docs"):
        page = server.ask(path, headers={"Accept": "text/html"})
        assert page.headers["content-type"].startswith("text/html")
        text = page.body.decode()
        assert NAME in text
        # Nothing is fetched from elsewhere.
        assert "<script" not in text
        assert "src=" not in text
        assert "https://" not in text
    described = server.ask("/openapi.json").json
    assert {PREDICT.replace(NAME, "{model_name}"), INFER.replace(NAME, "{model_name}")} <= set(
        described["paths"]
    )
    example = described["paths"]["/v2/models/{model_name}/infer"]["post"]["requestBody"]["content"]
    assert server.ask(INFER, example["application/json"]["example"]).status == 200
    example = described["paths"]["/v1/models/{model_name}:predict"]["post"]["requestBody"]["content"]
    assert server.ask(PREDICT, example["application/json"]["example"]).status == 200
