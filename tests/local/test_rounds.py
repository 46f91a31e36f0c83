"""Repeating what brings new data, while something serves."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from graildient.errors import GraildientError, StorageError
from graildient.local.rounds import Rounds
from graildient.pricing.registry import Registry
from graildient.storage import Storage

COMMANDS = {"scrape": ["scrape"], "features": ["features", "refresh"], "pipeline": ["pipeline", "run"]}


def rounds(
    root: Path,
    work: Callable[[str, list[str]], None],
    watch: Callable[[], None] = lambda: None,
    seconds: float = 0.01,
) -> tuple[Rounds, io.StringIO]:
    out = io.StringIO()
    return Rounds(seconds, COMMANDS, work, watch, root, Console(file=out, width=200)), out


def test_a_round_that_fails_is_told_and_the_next_one_still_comes(tmp_path: Path) -> None:
    done: list[str] = []

    def work(name: str, command: list[str]) -> None:
        assert command == COMMANDS[name]
        done.append(name)
        if done == ["scrape", "features"]:
            raise StorageError("the disk is full", hint="make room")
        if len(done) == 8:
            raise KeyboardInterrupt

    repeated, out = rounds(tmp_path, work)
    with pytest.raises(KeyboardInterrupt):
        repeated.run()
    assert done == ["scrape", "features", "scrape", "features", "pipeline", "scrape", "features", "pipeline"]
    assert (repeated.done, repeated.failed) == (1, 1)
    said = out.getvalue()
    assert "round 1 failed: the disk is full\n  → make room" in said
    assert "round 2 done: no champion goes on" in said
    assert "round 3, " in said


def test_a_new_champion_is_told(tmp_path: Path, make_artifact: Callable[..., Path]) -> None:
    registry = Registry(Storage(str(tmp_path / "root")))

    def work(name: str, _command: list[str]) -> None:
        if name == "pipeline":
            version = registry.register(make_artifact("20260101-aaaaaaaaaa"))
            registry.set_alias("champion", version, reason="better", expected=None)

    repeated, out = rounds(tmp_path / "root", work)
    repeated.round()
    assert "round 1 done: no champion → 20260101-aaaaaaaaaa" in out.getvalue()
    repeated.round()
    assert "round 2 done: 20260101-aaaaaaaaaa goes on" in out.getvalue()


def test_when_the_server_dies_there_is_no_next_round(tmp_path: Path) -> None:
    alive = iter([True, True, False])

    def watch() -> None:
        if not next(alive):
            raise GraildientError("serve ended")

    def work(_name: str, _command: list[str]) -> None:
        raise AssertionError("not yet")

    repeated, _ = rounds(tmp_path, work, watch, seconds=3600)
    with pytest.raises(GraildientError, match="serve ended"):
        repeated.run()

    def failing(_name: str, _command: list[str]) -> None:
        raise GraildientError("scrape failed")

    dead, _ = rounds(tmp_path, failing, watch_dead)
    with pytest.raises(GraildientError, match="serve ended"):
        dead.round()


def watch_dead() -> None:
    raise GraildientError("serve ended")
