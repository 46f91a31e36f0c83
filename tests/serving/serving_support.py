"""What the serving tests share: generated sales, a workspace, and `graildient serve` as a process."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graildient.listing import SoldListing
from graildient.settings import FeatureSettings
from graildient.storage import Storage
from serving.kserve_sdk import pb
from serving.tensors import to_raw

SAMPLES = Path(__file__).parent / "samples"
FEATURES = FeatureSettings(clock="history")
NAME = "graildient"
PREDICT = f"/v1/models/{NAME}:predict"
INFER = f"/v2/models/{NAME}/infer"
MAX_BATCH = 100
MAX_BODY = 300_000


def samples(name: str) -> list[dict[str, Any]]:
    """Protocol samples, as both protocols use them."""
    loaded: list[dict[str, Any]] = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def sales(count: int, seed: int = 7) -> list[SoldListing]:
    """Sales whose price depends on designer, category and condition."""
    chance = random.Random(seed)
    worth = {"Rick Owens": 300, "Carhartt": 90, "Vintage": 50, "Nike": 60, "Prada": 250, "Uniqlo": 20}
    kinds = {
        ("outerwear", "light_jackets"): 1.6,
        ("tops", "short_sleeve_shirts"): 0.6,
        ("footwear", "boots"): 1.3,
        ("bottoms", "denim"): 0.9,
    }
    states = {"new": 1.4, "gently_used": 1.0, "used": 0.8, "worn": 0.5}
    start = datetime(2020, 1, 1, tzinfo=UTC)
    made = []
    for i in range(count):
        designer, (category, subcategory), condition = (
            chance.choice(list(worth)),
            chance.choice(list(kinds)),
            chance.choice(list(states)),
        )
        created = start + timedelta(days=365 * i / count)
        price = (
            worth[designer] * kinds[category, subcategory] * states[condition] * chance.lognormvariate(0, 0.2)
        )
        made.append(
            SoldListing(
                id=1000 + i,
                title=f"{designer} {subcategory} {chance.choice(['archive', 'classic', 'rare'])}",
                designers=[designer] if chance.random() < 0.8 else [designer, "Vintage"],
                department="menswear",
                category=category,
                subcategory=subcategory,
                condition=condition,
                size=chance.choice(["s", "m", "l"]),
                color=chance.choice(["black", "brown", None]),
                photo_count=chance.randrange(1, 9),
                sold_price=round(price, 2),
                created_at=created,
                sold_at=created + timedelta(days=chance.randrange(1, 60)),
            )
        )
    return made


@dataclass
class Workspace:
    """A root with everything that a server needs, and the registered versions, the champion first."""

    root: Path
    versions: list[str] = field(default_factory=list)

    @property
    def storage(self) -> Storage:
        return Storage(str(self.root))

    def copy(self, target: Path) -> Workspace:
        shutil.copytree(self.root, target, ignore=shutil.ignore_patterns("predictions"))
        return Workspace(target, list(self.versions))


@dataclass
class Answer:
    """What came back over HTTP."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A running `graildient serve`."""

    process: subprocess.Popen[str]
    log: Path
    http_port: int
    grpc_port: int
    model_version: str
    seconds: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def ask(
        self, path: str, body: bytes | dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """GET, or POST when there is a body."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        sent = {"Content-Type": "application/json"} | (headers or {}) if data is not None else headers or {}
        request = urllib.request.Request(self.url + path, data, sent)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return Answer(response.status, response.read(), dict(response.headers))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read(), dict(error.headers))

    def v1(self, *listings: dict[str, Any]) -> list[dict[str, Any]]:
        answer = self.ask(f"/v1/models/{NAME}:predict", {"instances": list(listings)})
        assert answer.status == 200, answer.body
        predictions: list[dict[str, Any]] = answer.json["predictions"]
        return predictions

    def metric(self, name: str, /, **labels: str) -> float:
        """The value of a sample on `/metrics`."""
        from prometheus_client.parser import text_string_to_metric_families

        text = self.ask("/metrics").body.decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        raise AssertionError(f"no sample {name} {labels}")

    def stop(self, number: int = signal.SIGTERM, timeout: float = 20) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout)


def environment(root: Path, **settings: str) -> dict[str, str]:
    """The environment of a server process: ours only, nothing of whoever runs the tests."""
    # Feast, imported by other tests, sets PROMETHEUS_*: it would move a server's metrics into files.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("GRAILDIENT_", "PROMETHEUS_"))}
    env |= {
        "GRAILDIENT_ROOT": str(root),
        "GRAILDIENT_FEATURES_CLOCK": "history",
        "GRAILDIENT_SERVING_HOST": "127.0.0.1",
        "GRAILDIENT_SERVING_HTTP_PORT": "0",
        "GRAILDIENT_SERVING_GRPC_PORT": "0",
        "GRAILDIENT_SERVING_RELOAD_SECONDS": "0.2",
        # The deadline of the shared servers is not what is tested, and the machine may be busy.
        "GRAILDIENT_SERVING_LOOKUP_TIMEOUT_MS": "5000",
    }
    return env | {f"GRAILDIENT_SERVING_{key.upper()}": value for key, value in settings.items()}


def start_process(root: Path, home: Path, *words: str, **settings: str) -> subprocess.Popen[str]:
    """`graildient serve` in a session of its own; its output goes to `<home>/server.log`."""
    with open(home / "server.log", "w") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "graildient", "serve", *words],
            env=environment(root, **settings),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            text=True,
            start_new_session=True,
        )


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Poll; fail with `what` when it does not come true."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            pytest.fail(f"after {seconds} s: {what}")
        time.sleep(0.05)


Start = Callable[..., Server]


def message(body: dict[str, Any], *, raw: bool = False) -> Any:
    """A V2 JSON body as a gRPC message, null for null where gRPC can say it, else as an absent value."""
    made = pb.ModelInferRequest(model_name=NAME, id=body.get("id", ""))
    kinds = {
        "BYTES": "bytes_contents",
        "INT64": "int64_contents",
        "INT32": "int_contents",
        "FP64": "fp64_contents",
    }
    for tensor in body["inputs"]:
        values = [v[0] if isinstance(v, list) else v for v in tensor["data"]]
        item = made.inputs.add(name=tensor["name"], shape=tensor["shape"], datatype=tensor["datatype"])
        if tensor["datatype"] == "BYTES":
            values = [v.encode() for v in values]
        elif tensor["datatype"] == "FP64":
            values = [float("nan") if v is None else v for v in values]
        if raw:
            dtype = {"INT32": "<i4", "INT64": "<i8", "FP64": "<f8"}.get(tensor["datatype"])
            made.raw_input_contents.append(np.array(values, dtype).tobytes() if dtype else to_raw(values))
        else:
            getattr(item.contents, kinds[tensor["datatype"]]).extend(values)
    for output in body.get("outputs", ()):
        made.outputs.add(name=output["name"])
    return made
