"""The model under KServe's own data plane, as a stock `kserve.ModelServer` calls it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from serving_support import FEATURES, NAME, Server, Workspace, samples

from feature_repo.online import OnlineMarket
from graildient.pricing.registry import Registry
from graildient.settings import ServingSettings
from serving.champion import Champion
from serving.dataplane import PricePlane
from serving.errors import InvalidRequest
from serving.kserve_sdk import InferRequest, pb
from serving.lookup import MarketLookup
from serving.model import PriceServer


@pytest.fixture(scope="module")
def stock(workspace: Workspace) -> Iterator[Any]:
    """KServe's own data plane with our model in it."""
    from kserve import ModelRepository
    from kserve.protocol.dataplane import DataPlane

    storage = workspace.storage
    market = MarketLookup(lambda: OnlineMarket(storage, FEATURES, timeout_ms=5000), 5000)
    plane = PricePlane(Champion(Registry(storage), "champion", NAME), market, ServingSettings(), None)
    model = PriceServer(NAME, plane)
    assert not model.ready
    model.load()
    repository = ModelRepository()
    repository.update(model)
    yield DataPlane(repository)
    plane.close()


@pytest.mark.parametrize("sample", samples("prices")[:2], ids=lambda s: s["name"])
def test_stock_kserve_gives_the_same_prices(stock: Any, server: Server, sample: dict[str, Any]) -> None:
    async def ask() -> tuple[Any, Any, Any]:
        v1, _ = await stock.infer(NAME, json.loads(json.dumps(sample["v1"])))
        body, _ = stock.decode(
            json.dumps(sample["v2"]).encode(), {"inference-header-content-length": "999999"}, "v2", NAME
        )
        v2, _ = await stock.infer(NAME, body)
        rest, _ = stock.encode(NAME, v2, {}, {})
        request = pb.ModelInferRequest(model_name=NAME)
        request.inputs.add(name="title", shape=[1], datatype="BYTES").contents.bytes_contents.append(
            b"Trousers"
        )
        grpc, _ = await stock.infer(NAME, InferRequest.from_grpc(request))
        return v1, rest, grpc.to_grpc()

    v1, rest, grpc = asyncio.run(ask())
    expected = server.v1(*sample["v1"]["instances"])
    assert v1["predictions"] == expected
    told = {o["name"]: o["data"] for o in rest["outputs"]}
    assert told["price"] == [row["price"] for row in expected]
    assert told["market"] == [row["market"] for row in expected]
    assert grpc.outputs[0].contents.fp64_contents[0] == server.v1({"title": "Trousers"})[0]["price"]


@pytest.mark.parametrize(
    "tensor",
    [
        {"name": "title", "shape": [2], "datatype": "BYTES", "data": ["x"]},
        {"name": "photo_count", "shape": [1], "datatype": "INT64", "data": ["many"]},
    ],
)
def test_stock_kserve_refuses_what_does_not_fit(stock: Any, tensor: dict[str, Any]) -> None:
    body = json.dumps({"inputs": [tensor]}).encode()

    async def ask() -> None:
        decoded, _ = stock.decode(body, {"inference-header-content-length": str(len(body))}, "v2", NAME)
        await stock.infer(NAME, decoded)

    with pytest.raises(InvalidRequest, match=tensor["name"]):
        asyncio.run(ask())
