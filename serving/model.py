"""The `kserve.Model` around the data plane: what KServe's servers call, whichever protocol it came by."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from graildient.errors import ModelNotFound
from serving import codecs
from serving.dataplane import Answers, PricePlane
from serving.errors import NotReady
from serving.kserve_sdk import InferRequest, InferResponse, Model
from serving.metrics import Protocol
from serving.tensors import INPUTS, OUTPUTS, TensorRequest, to_rows

_PLAIN_ID = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class V2Call:
    """A decoded V2 request and the protocol that it came by."""

    request: TensorRequest
    protocol: Protocol


def _v1_name(row: int, field: str) -> str:
    return f"instances[{row}].{field}" if field else f"instances[{row}]"


def _v2_name(row: int, field: str) -> str:
    return f"inputs.{field}[{row}]" if field else f"row {row}"


class PriceServer(Model):
    """Prices listings.

    `predict` takes what the REST and gRPC front ends decode, and also KServe's own `InferRequest`, so that
    the model runs under a stock `kserve.ModelServer` as well.
    """

    def __init__(self, name: str, plane: PricePlane) -> None:
        super().__init__(name)
        self.plane = plane
        self.draining = False

    def load(self) -> bool:
        """Load, verify and warm the champion, unless it is; ready from then on."""
        if not self.plane.champion.loaded:
            self.plane.champion.load()
        self.ready = True
        return True

    def start(self) -> None:
        """KServe calls this when it registers a model; ready means loaded, which :meth:`load` decides."""

    def validate(self, payload: Any) -> Any:
        """Left to the codecs, whose errors name the field."""
        return payload

    def check(self, name: str, version: str = "") -> None:
        """Whether this is the model (and, where one is named, the version) that is served.

        Raises:
            ModelNotFound: it is not.
        """
        if name != self.name:
            raise ModelNotFound(f"no model {name[:100]!r}; this server has {self.name!r}")
        if version and version != self.plane.champion.served.version:
            served = self.plane.champion.served.version
            raise ModelNotFound(f"version {version[:100]!r} of {self.name!r} is not served; {served!r} is")

    def check_ready(self) -> None:
        """What readiness probes ask. A draining server still answers what it has accepted.

        Raises:
            NotReady: the server is starting or stopping.
        """
        if self.draining or not self.ready:
            raise NotReady("the server is stopping" if self.draining else "the server is starting")

    def metadata(self, name: str, version: str = "") -> dict[str, Any]:
        """V2 model metadata.

        Raises:
            ModelNotFound: another model or version is served.
        """
        self.check(name, version)
        return {
            "name": self.name,
            "versions": [self.plane.champion.served.version],
            "platform": "graildient_catboost",
            "inputs": self.get_input_types(),
            "outputs": self.get_output_types(),
        }

    def get_input_types(self) -> list[dict[str, Any]]:
        """One tensor a field of a listing."""
        return [spec.to_json() for spec in INPUTS]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Price, range, quantiles, what the market knew, and warnings."""
        return [spec.to_json() for spec in OUTPUTS]

    async def predict(
        self, payload: dict[str, Any] | V2Call | InferRequest, headers: dict[str, str] | None = None
    ) -> dict[str, Any] | Answers | InferResponse:
        """Price a batch: V1's dict gives V1's dict, a :class:`V2Call` gives :class:`Answers`."""
        if isinstance(payload, V2Call):
            return await self._tensors(payload, headers)
        if isinstance(payload, InferRequest):
            return await self._stock(payload)
        rows = codecs.v1_rows(payload)
        answers = await self.plane.price(rows, "rest_v1", _v1_name, request_id=request_id(headers))
        return codecs.v1_answer(answers)

    async def explain(self, payload: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
        """As V1 predict, with the reasons of each price."""
        rows = codecs.v1_rows(payload)
        answers = await self.plane.price(
            rows, "rest_v1", _v1_name, request_id=request_id(headers), explain=True
        )
        return codecs.v1_answer(answers)

    async def _tensors(self, call: V2Call, headers: dict[str, str] | None) -> Answers:
        identity = call.request.id or request_id(headers)
        return await self.plane.price(to_rows(call.request), call.protocol, _v2_name, request_id=identity)

    async def _stock(self, payload: InferRequest) -> InferResponse:
        # Not `payload.to_grpc()`: it changes the request's strings in place.
        protocol: Protocol = "grpc_v2" if payload.from_grpc else "rest_v2"
        request = codecs.stock_request(payload)
        answers = await self._tensors(V2Call(request, protocol), None)
        return InferResponse.from_grpc(codecs.proto_response(answers, request, self.name))


def request_id(headers: dict[str, str] | None) -> str:
    """The caller's `x-request-id`, if it is plain enough to be sent back; else empty."""
    given = (headers or {}).get("x-request-id", "")
    return given if _PLAIN_ID.fullmatch(given) else ""
