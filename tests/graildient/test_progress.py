from __future__ import annotations

import json
from pathlib import Path

import pytest

from graildient import progress


def test_events_are_lines_of_the_named_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "progress"
    monkeypatch.setenv(progress.ENV, str(file))
    progress.report("scrape", done=1, total=2, note="a\nb")
    with progress.bar("features") as show:
        show("features", done=3)
    events = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [(e["stage"], e["done"], e["total"], e["note"]) for e in events] == [
        ("scrape", 1, 2, "a\nb"),
        ("features", 3, None, ""),
    ]
    assert events[0]["at"] <= events[1]["at"]


def test_without_a_file_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(progress.ENV, raising=False)
    progress.report("scrape", done=1)
    assert capsys.readouterr() == ("", "")


def test_a_file_that_cannot_be_written_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(progress.ENV, str(tmp_path / "nothing" / "progress"))
    progress.report("scrape", done=1)
    assert list(tmp_path.iterdir()) == []
