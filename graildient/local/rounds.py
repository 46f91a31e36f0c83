"""`graildient up --every 6h`: scrape, features and pipeline again and again, while the server serves.

A new champion reaches the server by the alias that it looks at. A round that fails is told, and the
next one comes at its time; what ended badly is done again, what ended well is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console

from graildient.errors import GraildientError
from graildient.local.display import Display, Stage
from graildient.pricing.registry import Registry
from graildient.storage import Storage

Work = Callable[[str, list[str]], None]
"""Runs a command of ours to its end as a stage of that name; raises GraildientError when it fails."""

TITLES: Mapping[str, str] = {
    "scrape": "Scrape what has sold since",
    "features": "Features: aggregates, online store",
    "pipeline": "Pipeline: search, train, gate, register",
}


class Rounds:
    """The repetition of the stages that bring what is new.

    Args:
        seconds: from the start of one round to that of the next; one that takes longer delays the next.
        commands: stage to its command, in order.
        work: runs one.
        watch: raises when the server or the source has died, which ends everything.
    """

    def __init__(
        self,
        seconds: float,
        commands: Mapping[str, list[str]],
        work: Work,
        watch: Callable[[], None],
        root: Path,
        console: Console,
    ) -> None:
        self.seconds = seconds
        self.commands = commands
        self.done = self.failed = 0
        self._work = work
        self._watch = watch
        self._root = root
        self._console = console

    def run(self) -> None:
        """Until interrupted. Raises what `watch` raises."""
        due = time.monotonic() + self.seconds
        while True:
            if time.monotonic() < due:
                time.sleep(min(0.5, self.seconds))
                self._watch()
                continue
            due = time.monotonic() + self.seconds
            self.round()

    def round(self) -> None:
        """One round. A stage that fails ends it; that is told, not raised."""
        number, before = self.done + self.failed + 1, self._champion()
        heading = f"round {number}, {time.strftime('%Y-%m-%d %H:%M:%S')}"
        stages = [Stage(name, TITLES[name]) for name in self.commands]
        display = Display(stages, self._console, self._root / "progress.jsonl", heading)
        try:
            with display.show():
                for name, command in self.commands.items():
                    with display.stage(name):
                        self._work(name, command)
        except GraildientError as error:
            self._watch()  # without a server there is nothing to go on for
            self.failed += 1
            self._tell(f"round {number} failed: {error.message}")
            if error.hint:
                self._tell(f"  → {error.hint}")
            return
        self.done += 1
        now = self._champion()
        self._tell(f"round {number} done: " + (f"{before} → {now}" if now != before else f"{now} goes on"))

    def _champion(self) -> str:
        return Registry(Storage(str(self._root))).alias("champion") or "no champion"

    def _tell(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
