"""Running `graildient up` in tests, killing it, and reading what it left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from graildient.lake import Lake
from graildient.local.supervisor import MARK, end_leftovers
from graildient.pricing.registry import Registry
from graildient.storage import Storage

SMALL = ("--count", "600", "--set", "trials=4", "--set", "max_iterations=60")
"""A stack that is small enough to be killed three times in one test run."""


@dataclass
class Stack:
    """One folder in which `graildient up` runs."""

    home: Path
    name: str = "synthetic-600-7"

    @property
    def root(self) -> Path:
        return self.home / ".graildient" / self.name

    @property
    def storage(self) -> Storage:
        return Storage(str(self.root))

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        """`graildient up` in a session of its own, its output in `up.log`."""
        full = {k: v for k, v in os.environ.items() if not k.startswith(("GRAILDIENT_", "PROMETHEUS_"))} | env
        # A job in the background of a script ignores Ctrl-C, and so would everything below it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with open(self.home / "up.log", "w") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "graildient", "up", *words],
                cwd=self.home,
                env=full,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )

    def run(self, *words: str, **env: str) -> int:
        """Run to the end; the exit code."""
        return self.start(*words, **env).wait(timeout=400)

    @property
    def log(self) -> str:
        return (self.home / "up.log").read_text()

    @property
    def report(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.root / "up-report.json").read_text())
        return loaded

    def command(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Another command of ours, in the same folder."""
        full = {k: v for k, v in os.environ.items() if not k.startswith(("GRAILDIENT_", "PROMETHEUS_"))}
        return subprocess.run(
            [sys.executable, "-m", "graildient", *words],
            cwd=self.home,
            env=full,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def events(self) -> list[dict[str, Any]]:
        """Progress so far."""
        try:
            lines = (self.root / "progress.jsonl").read_text().splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def processes(self) -> list[int]:
        """Whatever of this workspace is still alive."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.root) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
        return found

    def kill_when(self, process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
        """SIGKILL to `up` and to all below it, at once, as when a machine loses power."""
        deadline = time.monotonic() + 200
        while not condition():
            assert process.poll() is None, f"it ended before it could be killed:\n{self.log}"
            assert time.monotonic() < deadline, f"the moment to kill never came:\n{self.log}"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        end_leftovers(str(self.root))

    # ---- what a run leaves ----------------------------------------------------------------

    def lake_rows(self) -> list[dict[str, Any]]:
        """All rows up to the time of scraping."""
        rows: list[dict[str, Any]] = Lake(self.storage).read().to_pylist()
        return [{k: v for k, v in row.items() if k != "scraped_at"} for row in rows]

    def features(self) -> dict[str, Any]:
        """Content of the feature tables, from their manifest."""
        manifest = json.loads((self.root / "features" / "manifest.json").read_text())
        return {k: manifest[k] for k in ("as_of", "rows", "sha256")}

    def models(self) -> dict[str, dict[str, str]]:
        """Registered versions with the hashes of their files."""
        registry = Registry(self.storage)
        return {v: registry.manifest(v).files for v in registry.versions()}
