"""`graildient up`, end to end: from nothing to a price, again, interrupted, broken."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import SMALL, Stack

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One finished `graildient up --demo` on an empty folder."""
    stack = Stack(tmp_path_factory.mktemp("demo"))
    code = stack.run("--demo", *SMALL)
    assert code == 0, stack.log
    yield stack
    assert stack.processes() == []


@pytest.fixture
def running(stack: Stack) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `up` and ends it, also when the test fails half-way."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        started.append(stack.start(*words))
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.wait(60)


def test_it_answers_a_price_over_rest_and_grpc(stack: Stack) -> None:
    rest, grpc = stack.report["rest"], stack.report["grpc"]
    assert 1 <= rest["low"] <= rest["price"] <= rest["high"]
    assert (rest["price"], rest["low"], rest["high"]) == (grpc["price"], grpc["low"], grpc["high"])
    assert rest["model_version"] == stack.report["model"] == next(iter(stack.models()))
    assert f"${rest['price']:,.2f}" in stack.log
    for address in stack.report["addresses"].values():
        assert address in stack.log


def test_every_stage_really_ran(stack: Stack) -> None:
    assert set(stack.report["stages"]) == {"marketplace", "scrape", "features", "pipeline", "serve", "ask"}
    assert stack.report["reused"] == []
    assert len(stack.lake_rows()) > 400
    assert all(n > 0 for n in stack.features()["rows"].values())
    compiled = list(stack.root.glob("runs/*/pipeline.yaml"))
    assert compiled, "the compiled pipeline is kept with its run"
    assert len(stack.models()) == 1


def test_no_process_is_left(stack: Stack) -> None:
    assert stack.processes() == []


def test_the_model_beats_the_median(stack: Stack) -> None:
    result = stack.command("evaluate", "--slices", "--json", "figures.json")
    assert result.returncode == 0, result.stderr
    assert "new designer" in result.stdout
    figures = json.loads((stack.home / "figures.json").read_text())
    assert sum(part["n"] for part in figures["slices"] if part["by"] == "category") == figures["n"]
    assert figures["rmsle"] < figures["median_rmsle"]
    assert figures["n"] > 50


def test_the_other_commands_work_on_the_same_workspace(stack: Stack) -> None:
    listed = stack.command("models", "list")
    assert stack.report["model"] in listed.stdout
    assert "champion" in listed.stdout
    assert stack.command("models", "verify").returncode == 0
    report = Path(stack.command("models", "show", "--report").stdout.strip())
    assert stack.report["model"] in report.read_text()
    price = stack.command("predict", "--title", "Denim jacket", "--condition", "used", "--output-json")
    assert price.returncode == 0, price.stderr
    assert json.loads(price.stdout)["reasons"]
    (stack.home / "new.csv").write_text(
        "title,designers,category,condition\nBoots,Vintage,footwear,used\n,,,\nHat,Vintage,hats on mars,new\n"
    )
    scored = stack.command("score", "new.csv")
    assert scored.returncode == 0, scored.stderr
    lines = (stack.home / "new.prices.csv").read_text().splitlines()
    assert len(lines) == 4, "bad rows keep their place"
    assert "2 refused" in scored.stderr


def test_a_second_up_reuses_everything_tells_taken_ports_and_stops_on_ctrl_c(
    stack: Stack, running: Callable[..., subprocess.Popen[str]]
) -> None:
    before = stack.models(), stack.lake_rows()
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = running(*SMALL, "--http-port", str(port))
        deadline = time.monotonic() + 120
        while "Ctrl-C" not in stack.log:
            assert process.poll() is None, stack.log
            assert time.monotonic() < deadline, stack.log
            time.sleep(0.1)
    assert stack.report["reused"] == ["scrape", "features", "pipeline"]
    assert f"port {port} is taken" in stack.log
    with urllib.request.urlopen(stack.report["addresses"]["rest"] + "/metrics", timeout=10) as response:
        assert "graildient_" in response.read().decode()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0, stack.log
    assert stack.processes() == []
    assert (stack.models(), stack.lake_rows()) == before


def test_every_so_often_it_begins_again_also_after_a_round_that_failed(
    stack: Stack, running: Callable[..., subprocess.Popen[str]]
) -> None:
    broken = stack.root / "lake" / "sold" / "sold_date=2020-01-01" / "part-0000000000000000.parquet"
    broken.parent.mkdir()
    broken.write_bytes(b"no parquet")
    process = running(*SMALL, "--every", "1s")
    deadline = time.monotonic() + 240
    try:
        for words in ("Ctrl-C", "round 1 failed: ", "round 2 done: "):
            while words not in stack.log:
                assert process.poll() is None, stack.log
                assert time.monotonic() < deadline, stack.log
                time.sleep(0.1)
            if words.startswith("round 1"):
                shutil.rmtree(broken.parent)
    finally:
        shutil.rmtree(broken.parent, ignore_errors=True)
    assert f"round 2 done: {stack.report['model']} goes on" in stack.log, "nothing new has sold"
    with urllib.request.urlopen(stack.report["addresses"]["rest"] + "/metrics", timeout=10) as response:
        assert "graildient_" in response.read().decode()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0, stack.log
    assert stack.processes() == []


def test_a_stage_that_fails_ends_everything_with_a_clean_message(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    code = stack.run("--demo", "--count", "600", "--set", "trials=none")
    assert code == 1
    assert "trials" in stack.log
    assert "Traceback" not in stack.log
    assert "✔ Scrape" in stack.log
    assert "✘ Pipeline" in stack.log
    assert stack.processes() == []
