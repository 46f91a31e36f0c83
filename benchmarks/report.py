"""Figures as rows: printed as a table and written to `benchmarks/results/NAME.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
REAL = Path(__file__).parents[2] / "shared" / "data" / "grailed_sold_2021.csv.gz"
"""Real listings, where a benchmark can have them."""


@dataclass(frozen=True)
class Figure:
    """One measured figure beside what it is held against.

    `goal` says how the ratio (or the figure) must lie, e.g. `<= 1`; `holds` whether it does.
    """

    figure: str
    unit: str
    ours: float
    against: str
    theirs: float
    ratio: float
    goal: str
    holds: bool


def at_most(figure: str, unit: str, ours: float, limit: float, against: str = "the budget") -> Figure:
    """A figure that must not pass a limit."""
    return Figure(
        figure, unit, round(ours, 4), against, limit, round(ours / limit, 4), "ratio <= 1", ours <= limit
    )


def told(figure: str, unit: str, ours: float, whole: float, against: str) -> Figure:
    """A figure without a goal of its own: told as a share of a whole."""
    return Figure(
        figure, unit, round(ours, 4), against, round(whole, 4), round(ours / whole, 4), "told", True
    )


def _plain(number: float) -> str:
    return f"{number:,.2f}" if abs(number) >= 10 else f"{number:.4f}"


def publish(name: str, figures: list[Figure], title: str) -> int:
    """Print the table, write the JSON; returns 0 when every goal holds, else 1."""
    table = Table(title=title, title_justify="left")
    for column in ("figure", "ours", "unit", "against", "theirs", "ratio", "goal", ""):
        table.add_column(column, justify="right" if column in ("ours", "theirs", "ratio") else "left")
    for f in figures:
        sign = "" if f.goal == "told" else "✔" if f.holds else "✘"
        table.add_row(
            f.figure, _plain(f.ours), f.unit, f.against, _plain(f.theirs), f"{f.ratio:.3f}", f.goal, sign
        )
    Console(width=140).print(table)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps([asdict(f) for f in figures], indent=1) + "\n")
    return 0 if all(f.holds for f in figures) else 1
