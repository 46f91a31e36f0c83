"""The stand-in as a process of its own."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest


def test_as_a_process_it_takes_a_free_port_and_ends_well(market: Callable[..., Any], tmp_path: Path) -> None:
    first = market("--synthetic", "20")
    taken = first.url.rsplit(":", 1)[1]
    second = market("--synthetic", "20", "--port", taken)
    health = httpx.get(f"{second.url}/healthz").json()
    assert (health["status"], health["sold"] + health["active"], health["synthetic"]) == ("ok", 20, True)
    assert second.url != first.url
    assert "taken" in (tmp_path / "market-1" / "market.log").read_text()
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(10) == 0
    assert not (tmp_path / "market-1" / "ready.json").exists()
    third = market("--synthetic", "20", rate_truncated=1, faults_in_a_row=1)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{third.url}/")
    assert httpx.get(f"{third.url}/").status_code == 200
