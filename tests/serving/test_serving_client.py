"""The clients: light to import, and clear about what went wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from serving_support import Server

from graildient.errors import InvalidListing, ModelNotFound
from serving.client import ask_grpc, ask_rest
from serving.errors import ServerUnreachable

ASK: list[tuple[str, Callable[..., dict[str, Any]]]] = [("url", ask_rest), ("grpc", ask_grpc)]


@pytest.mark.parametrize(("address", "ask"), ASK, ids=["rest", "grpc"])
def test_a_refused_listing_names_its_field(server: Server, address: str, ask: Callable[..., Any]) -> None:
    with pytest.raises(InvalidListing, match="condition") as caught:
        ask(getattr(server, address), {"title": "x", "condition": "mint"})
    assert "condition" in caught.value.details[0].field


@pytest.mark.parametrize(("address", "ask"), ASK, ids=["rest", "grpc"])
def test_another_model_is_not_found(server: Server, address: str, ask: Callable[..., Any]) -> None:
    with pytest.raises(ModelNotFound, match="another"):
        ask(getattr(server, address), {"title": "x"}, model="another")


def test_nobody_answers(free_port: int) -> None:
    with pytest.raises(ServerUnreachable, match=str(free_port)):
        ask_rest(f"http://127.0.0.1:{free_port}", {"title": "x"})
    with pytest.raises(ServerUnreachable, match=str(free_port)):
        ask_grpc(f"127.0.0.1:{free_port}", {"title": "x"}, timeout=5)
    with pytest.raises(ServerUnreachable, match="no address"):
        ask_rest("file:///etc/passwd", {"title": "x"})


def test_asking_imports_neither_kserve_nor_the_model(server: Server) -> None:
    program = (
        "import sys; from serving.client import ask_rest, ask_grpc; "
        f"a = ask_rest({server.url!r}, {{'title': 'x'}}); b = ask_grpc({server.grpc!r}, {{'title': 'x'}}); "
        "assert a == b, (a, b); "
        "bad = {'kserve', 'catboost', 'feast', 'pandas', 'numpy', 'fastapi'} & set(sys.modules); "
        "assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_sdk_does_not_read_our_command_line() -> None:
    program = (
        "import sys; before = list(sys.argv); from serving.kserve_sdk import ModelServer; "
        "assert sys.argv == before; assert ModelServer().http_port == 8080"
    )
    words = ["--http_port", "1234", "--model", "challenger"]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
