"""What the groups of commands share."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graildient.console import err_console
from graildient.errors import GraildientError, InvalidSettings

if TYPE_CHECKING:
    from graildient.settings import FeatureSettings
    from graildient.storage import Storage

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a training setting; may be repeated."),
]


def example(*lines: str) -> str:
    """The epilog of a command's help."""
    return "\n\n".join(["[bold]Examples[/bold]", *(f"[dim]$[/dim] {line}" for line in lines)])


def open_stores() -> tuple[Storage, FeatureSettings]:
    """Root and feature settings of this process."""
    from graildient.settings import FeatureSettings, StorageSettings, load

    return load(StorageSettings).storage, load(FeatureSettings)


def date(text: str | None, name: str) -> datetime | None:
    """An ISO date or time; UTC unless it says otherwise. Raises InvalidSettings."""
    if text is None:
        return None
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidSettings(f"{name}: {text!r} is no date", hint="write it as 2026-03-01") from None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def seconds(text: str, name: str) -> int:
    """`90s`, `30m`, `6h` or `1d` as seconds. Raises InvalidSettings."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    found = re.fullmatch(r"\s*(\d{1,7})\s*([smhd])\s*", text)
    if not found or int(found[1]) == 0:
        raise InvalidSettings(f"{name}: {text!r} is no length of time", hint="write it as 30m, 6h or 1d")
    return int(found[1]) * units[found[2]]


def overrides(items: list[str] | None) -> dict[str, str]:
    """KEY=VALUE words as a mapping. Raises InvalidSettings."""
    pairs = {}
    for item in items or []:
        key, sign, value = item.partition("=")
        if not sign or not key:
            raise InvalidSettings(f"--set {item}: expected KEY=VALUE", hint="for example --set trials=16")
        pairs[key.strip()] = value.strip()
    return pairs


def print_json(value: Any) -> None:
    """An answer for a pipe."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def show_error(error: GraildientError) -> None:
    """A clean message, its details and its cure; never a stack trace."""
    console = err_console()
    console.print(f"[bold red]error[/bold red] {error.code}: ", end="", highlight=False)
    console.print(error.message, highlight=False, markup=False, soft_wrap=True)
    for detail in error.details:
        if detail.reason not in error.message:
            console.print(f"  {detail.field}: {detail.reason}", highlight=False, markup=False)
    if error.hint:
        console.print(f"  → {error.hint}", highlight=False, markup=False, soft_wrap=True)
