"""One live display of all stages on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text


@dataclass
class Part:
    """A step inside a stage that tells of itself under a name of its own."""

    name: str
    first: float
    last: float
    done: float = 0.0
    total: float | None = None
    note: str = ""


@dataclass
class Stage:
    """What is shown of one stage."""

    name: str
    title: str
    state: str = "waiting"  # waiting, running, done, reused, failed
    started: float = 0.0
    seconds: float = 0.0
    done: float = 0.0
    total: float | None = None
    note: str = ""
    parts: dict[str, Part] = field(default_factory=dict)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started if self.state == "running" else self.seconds


SIGNS = {"waiting": ("·", "dim"), "done": ("✔", "green"), "reused": ("↺", "cyan"), "failed": ("✘", "red")}


class Display:
    """Follows stages and the progress events of their processes."""

    def __init__(self, stages: list[Stage], console: Console, progress_file: Path, heading: str) -> None:
        self.stages = {s.name: s for s in stages}
        self.console = console
        self.heading = heading
        self._progress_file = progress_file
        self._read = 0
        self._current: Stage | None = None
        self._live: Live | None = None
        self._spinner = Spinner("dots")
        progress_file.parent.mkdir(parents=True, exist_ok=True)
        progress_file.write_text("")

    @contextmanager
    def show(self) -> Iterator[None]:
        """Draw while the body runs."""
        self.console.print(self.heading, highlight=False, soft_wrap=True)
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=self._table, console=self.console, refresh_per_second=8) as self._live:
            try:
                yield
            finally:
                self._live.update(self._table())
                self._live = None

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Time one stage; it is shown as failed when the body raises."""
        stage = self.stages[name]
        stage.state, stage.started = "running", time.monotonic()
        self._current = stage
        try:
            yield stage
        except BaseException:
            self._end(stage, "failed")
            raise
        self._end(stage, "reused" if stage.state == "reused" else "done")

    def _end(self, stage: Stage, state: str) -> None:
        self.poll()
        stage.seconds, stage.state, self._current = time.monotonic() - stage.started, state, None
        if not self.console.is_terminal:
            sign, _ = SIGNS[state]
            line = f"  {sign} {stage.title:<44} {stage.seconds:6.1f} s  {stage.note}"
            self.console.print(line, highlight=False, soft_wrap=True)
            for part in stage.parts.values():
                line = f"      {part.name:<42} {part.last - part.first:6.1f} s  {part.note}"
                self.console.print(line, highlight=False, soft_wrap=True)

    def notice(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False)

    def poll(self) -> None:
        """Read new progress events; they belong to the stage that runs now."""
        try:
            with open(self._progress_file, encoding="utf-8") as source:
                source.seek(self._read)
                chunk = source.read()
        except OSError:
            return
        complete = chunk[: chunk.rfind("\n") + 1]
        self._read += len(complete.encode())
        if self._current is None:
            return
        for line in complete.splitlines():
            try:
                self._follow(self._current, json.loads(line))
            except (ValueError, KeyError, TypeError):
                continue

    @staticmethod
    def _follow(stage: Stage, event: dict[str, Any]) -> None:
        name, at = str(event["stage"]), float(event["at"])
        if name != stage.name:
            # A step ends when the next one speaks, so that the steps' times add up to the stage's.
            for part in list(stage.parts.values())[-1:]:
                part.last = at
            part = stage.parts.setdefault(name, Part(name, at, at))
            part.last, part.done, part.total, part.note = (
                at,
                event["done"],
                event["total"],
                str(event["note"]),
            )
        stage.done, stage.total, stage.note = event["done"], event["total"], str(event["note"])

    def _table(self) -> Table:
        self.poll()
        table = Table.grid(padding=(0, 2))
        for stage in self.stages.values():
            if stage.state == "running":
                sign: Spinner | Text = self._spinner
            else:
                text, style = SIGNS[stage.state]
                sign = Text(text, style=style)
            progress: ProgressBar | Text = Text("")
            if stage.state == "running" and stage.total:
                progress = ProgressBar(total=stage.total, completed=stage.done, width=24)
            clock = "" if stage.state == "waiting" else f"{stage.elapsed:6.1f} s"
            style = "dim" if stage.state == "waiting" else "bold" if stage.state == "running" else ""
            note = Text("" if stage.parts and stage.state == "running" else stage.note, style="dim")
            table.add_row(sign, Text(stage.title, style=style), progress, Text(clock), note)
            for part in stage.parts.values():
                self._part_row(table, stage, part)
        return table

    @staticmethod
    def _part_row(table: Table, stage: Stage, part: Part) -> None:
        newest = stage.state == "running" and part is list(stage.parts.values())[-1]
        progress: ProgressBar | Text = Text("")
        if newest and part.total:
            progress = ProgressBar(total=part.total, completed=part.done, width=24)
        seconds = (time.time() if newest else part.last) - part.first
        name = Text(f"  {part.name}", style="" if newest else "dim")
        table.add_row(
            "", name, progress, Text(f"{seconds:6.1f} s", style="dim"), Text(part.note, style="dim")
        )
