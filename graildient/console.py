"""The two consoles of the command line: answers on stdout, everything else on stderr."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@cache
def out_console() -> Console:
    """Answers: what a pipe should get."""
    from rich.console import Console

    return Console()


@cache
def err_console() -> Console:
    """Progress, notices and errors."""
    from rich.console import Console

    return Console(stderr=True)
