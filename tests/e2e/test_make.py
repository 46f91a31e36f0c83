"""`make demo` itself, as the README names it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]


@pytest.mark.slow
def test_make_demo_ends_with_a_price(tmp_path: Path) -> None:
    if not (TOP / ".venv" / ".ready").exists() or shutil.which("make") is None:
        pytest.skip("not run by make: its environment is not set up")
    room = tmp_path / "graildient"
    shutil.copytree(
        TOP, room, ignore=shutil.ignore_patterns(".venv", ".git", ".graildient", "*cache*", "*.egg-info")
    )
    (room / ".venv").symlink_to(
        TOP / ".venv"
    )  # the environment is there; setting it up is the stranger's test
    env = {k: v for k, v in os.environ.items() if not k.startswith(("GRAILDIENT_", "MAKE", "PROMETHEUS_"))}
    done = subprocess.run(
        ["make", "demo", "N=500", "ARGS=--set trials=2 --set max_iterations=40"],
        cwd=room,
        env=env | {"PYTHONPATH": str(room)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "REST" in done.stdout
    assert "gRPC" in done.stdout
