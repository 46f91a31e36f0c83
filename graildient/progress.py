"""Progress that a person, a log file and a supervising process can all follow.

A stage calls ``report("scrape", done=400, total=5000, note="12 ranges")``. When the
environment names a file in ``GRAILDIENT_PROGRESS_FILE``, each event is appended to it as
one JSON line (this is how ``graildient up`` shows what its child processes do, however
deep they are nested); else nothing happens, and callers that own a terminal draw bars
with :func:`bar`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

ENV = "GRAILDIENT_PROGRESS_FILE"


class Reporter(Protocol):
    """What long work takes to tell how far it is."""

    def __call__(self, stage: str, *, done: float, total: float | None = None, note: str = "") -> None: ...


def report(stage: str, *, done: float, total: float | None = None, note: str = "") -> None:
    """Append one event to the progress file, if one is named. Never raises: progress is no reason to fail."""
    path = os.environ.get(ENV)
    if not path:
        return
    event = {"at": time.time(), "stage": stage, "done": done, "total": total, "note": note}
    try:
        # One write of one short line: appends of this size are atomic on a local file system.
        with open(path, "a", encoding="utf-8") as out:
            out.write(json.dumps(event) + "\n")
    except OSError:
        pass


@contextmanager
def bar(title: str) -> Iterator[Callable[..., None]]:
    """A progress bar on a terminal that also forwards to :func:`report`.

    Yields a :class:`Reporter`. Without a terminal it prints nothing by itself.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from graildient.console import err_console

    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(
        *columns, console=err_console(), transient=True, disable=not err_console().is_terminal
    ) as view:
        task = view.add_task(title, total=None, note="")

        def show(stage: str, *, done: float, total: float | None = None, note: str = "") -> None:
            view.update(task, description=stage or title, completed=done, total=total, note=note)
            report(stage, done=done, total=total, note=note)

        yield show
