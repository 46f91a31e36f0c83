"""A real stand-in marketplace on loopback, and real scraping runs, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
RUN = Path(__file__).parent / "scrape_once.py"


def environment(**settings: object) -> dict[str, str]:
    """This process' environment without its graildient settings, and with others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GRAILDIENT_")}
    given = {f"GRAILDIENT_{name.upper()}": str(value) for name, value in settings.items()}
    return kept | given | {"PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "error::RuntimeWarning"}


@dataclass(frozen=True)
class Market:
    """A running stand-in."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def open_market(folder: Path, *arguments: str, **settings: object) -> Iterator[Market]:
    """A stand-in in a process of its own; `settings` are GRAILDIENT_MARKETPLACE_… ones."""
    folder.mkdir(parents=True, exist_ok=True)
    ready = folder / "ready.json"
    log = folder / "market.log"
    env = environment(**{f"marketplace_{name}": value for name, value in settings.items()})
    with open(log, "ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "scrapers.marketplace", *arguments, "--ready-file", str(ready)],
            stdout=out,
            stderr=out,
            env=env,
            cwd=folder,
        )
    try:
        until = time.monotonic() + 120
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"the stand-in did not come up:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield Market(json.loads(ready.read_text())["url"], process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Run:
    """A scraping run in a process of its own."""

    def __init__(
        self, url: str, root: Path, *, options: dict[str, Any] | None = None, **settings: object
    ) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.out = root / f"report-{time.monotonic_ns()}.json"
        self.log = root / "scrape.log"
        self.progress = root / "progress.jsonl"
        defaults: dict[str, object] = {"base_url": url, "requests_per_second": 500}
        env = environment(**{f"scraper_{name}": value for name, value in (defaults | settings).items()})
        env["GRAILDIENT_PROGRESS_FILE"] = str(self.progress)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(RUN), str(root), str(self.out), json.dumps(options or {})],
                stdout=log,
                stderr=log,
                env=env,
            )

    def report(self, timeout: float = 400) -> dict[str, Any]:
        """The report, once the run has ended; its exit code is that of the process."""
        code = self.process.wait(timeout)
        assert self.out.exists(), self.log.read_text()[-3000:]
        found: dict[str, Any] = json.loads(self.out.read_text())
        assert found.get("exit_code", code) == code
        return found


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Callable[..., Market]]:
    """Starts stand-ins that end with the test."""
    with ExitStack() as stack:
        count = iter(range(100))

        def start(*arguments: str, **settings: object) -> Market:
            folder = tmp_path / f"market-{next(count)}"
            return stack.enter_context(open_market(folder, *arguments, **settings))

        yield start


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """One small synthetic stand-in for tests that only read."""
    folder = tmp_path_factory.mktemp("shop")
    with open_market(folder, "--synthetic", "1200", "--seed", "3") as running:
        yield running


@pytest.fixture
def run() -> Iterator[Callable[..., Run]]:
    """Starts scraping runs that end with the test."""
    started: list[Run] = []

    def start(url: str, root: Path, **settings: Any) -> Run:
        started.append(Run(url, root, **settings))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
