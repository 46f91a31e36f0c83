"""The display: stages, their steps and their progress, on a terminal and in a log."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from graildient import progress
from graildient.local.display import Display, Stage


def display(tmp_path: Path, terminal: bool) -> tuple[Display, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120)
    stages = [Stage("scrape", "Scrape"), Stage("pipeline", "Pipeline")]
    return Display(stages, console, tmp_path / "progress.jsonl", "up"), out


@pytest.mark.parametrize("terminal", [True, False])
def test_stages_steps_and_notes_are_shown(
    tmp_path: Path, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, out = display(tmp_path, terminal)
    monkeypatch.setenv(progress.ENV, str(tmp_path / "progress.jsonl"))
    with view.show():
        with view.stage("scrape"):
            progress.report("scrape", done=5, total=10, note="5 listings")
        with view.stage("pipeline"):
            progress.report("search", done=1, total=8, note="best 0.5")
            progress.report("train", done=1, total=1, note="fitted")
    text = out.getvalue()
    for piece in ("Scrape", "5 listings", "search", "best 0.5", "train", "fitted", "✔"):
        assert piece in text
    assert list(view.stages["pipeline"].parts) == ["search", "train"]
    assert view.stages["scrape"].state == "done"


def test_a_failed_stage_is_shown_as_failed(tmp_path: Path) -> None:
    view, out = display(tmp_path, False)
    with pytest.raises(RuntimeError), view.show(), view.stage("scrape"):
        raise RuntimeError
    assert "✘ Scrape" in out.getvalue()


def test_half_a_line_and_foreign_lines_do_no_harm(tmp_path: Path) -> None:
    view, _ = display(tmp_path, False)
    with view.stage("scrape") as stage, open(tmp_path / "progress.jsonl", "a") as out:
        out.write("not json\n{}\n")
        out.write('{"at": 1, "stage": "scrape", "done": 2, "total": null, "note": "b"}\n{"at": 1, "sta')
        out.flush()
        view.poll()
        assert (stage.done, stage.note) == (2, "b")
        out.write('ge": "scrape", "done": 3, "total": null, "note": "c"}\n')
        out.flush()
        view.poll()
        assert (stage.done, stage.note) == (3, "c")


def test_progress_never_fails_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(progress.ENV, "/nowhere/at/all")
    progress.report("scrape", done=1)
