"""A small real stack, made once a session: generated sales in a lake, features, a SQLite online store, a
trained champion; and servers started on it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from serving_support import (
    FEATURES,
    MAX_BATCH,
    MAX_BODY,
    Server,
    Start,
    Workspace,
    sales,
    start_process,
)

from feature_repo.build import build_features
from feature_repo.materialise import materialise
from feature_repo.training_set import build_training_set
from graildient.lake import Lake
from graildient.pricing import features
from graildient.pricing.artifact import seal
from graildient.pricing.model import Calibration, PriceModel
from graildient.pricing.registry import Registry
from graildient.storage import Storage
from training.dataset import load_dataset
from training.fit import fit


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two versions of a small model; the first is the champion."""
    root = tmp_path_factory.mktemp("workspace") / "root"
    storage = Storage(str(root))
    Lake(storage).append(sales(500))
    build_features(storage, FEATURES)
    materialise(storage, FEATURES)
    built = build_training_set(storage, FEATURES, "runs/test/training_set.parquet")
    data = load_dataset(storage, built)
    registry = Registry(storage)
    versions = []
    for iterations in (30, 45):
        fitted = fit(data.listings, data.market, {}, iterations, seed=7, threads=1)
        model = PriceModel(
            fitted.linear,
            fitted.price,
            fitted.spread,
            Calibration(share=0.5, low=0.05, high=0.05),
            fitted.seen,
            fitted.trained_ids,
        )
        folder = tmp_path_factory.mktemp("artifact")
        model.save(folder)
        seal(
            folder,
            code_version="0.1.0+0123456789",
            training_set_sha256=built.sha256,
            training_from=data.listings[0].created_at,
            training_until=data.listings[-1].created_at,
            # Not the market's: an answer without the market is told by it.
            as_of=data.listings[-1].created_at,
            rows=len(data),
            features=[feature.to_json() for feature in features.FEATURES],
            settings={},
            params={"iterations": iterations},
            metrics={},
        )
        versions.append(registry.register(folder))
    registry.set_alias("champion", versions[0], reason="test")
    return Workspace(root, versions)


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts `graildient serve` and waits until it is ready; everything is stopped at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(root: Path, **settings: str) -> Server:
        home = tmp_path_factory.mktemp("server")
        ready, log = home / "ready.json", home / "server.log"
        begun = time.monotonic()
        process = start_process(root, home, "--ready-file", str(ready), **settings)
        started.append(process)
        while not ready.exists():
            if process.poll() is not None or time.monotonic() - begun > 120:
                pytest.fail(f"the server did not come up:\n{log.read_text()[-3000:]}")
            time.sleep(0.05)
        told = json.loads(ready.read_text())
        assert told["pid"] == process.pid
        seconds = time.monotonic() - begun
        return Server(process, log, told["http_port"], told["grpc_port"], told["model_version"], seconds)

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture
def run_server(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], Path]]]:
    """Starts `graildient serve` without waiting; gives the process and its log."""
    started = []

    def run(root: Path, *words: str, **settings: str) -> tuple[subprocess.Popen[str], Path]:
        home = tmp_path / f"run-{len(started)}"
        home.mkdir()
        started.append(start_process(root, home, *words, **settings))
        return started[-1], home / "server.log"

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture(scope="session")
def server(workspace: Workspace, start_server: Start) -> Server:
    """A server that the tests share; none of them changes it."""
    return start_server(workspace.root, max_batch=str(MAX_BATCH), max_body_bytes=str(MAX_BODY))


@pytest.fixture(scope="session")
def stub(server: Server) -> Iterator[Any]:
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    with grpc.insecure_channel(server.grpc) as channel:
        yield GRPCInferenceServiceStub(channel)
