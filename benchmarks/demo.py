"""`make bench-demo`: the time of each stage of `graildient up --demo`, from an empty workspace.

    python -m benchmarks.demo [--listings FILE] [--repeat N]

Synthetic listings always; the real ones too when FILE (or ../shared/data) is there. Medians over the
repeats. The budgets are those of two idle cores; a busy machine can only look worse.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.report import REAL, Figure, at_most, publish, told

HERE = Path(__file__).parents[1]


def run_once(*words: str) -> dict[str, Any]:
    """One `graildient up --demo` in an empty folder; returns its report."""
    room = Path(tempfile.mkdtemp(prefix="bench-demo-"))
    try:
        env = {k: v for k, v in os.environ.items() if not k.startswith("GRAILDIENT_")}
        subprocess.run(
            [sys.executable, "-m", "graildient", "up", "--demo", *words],
            cwd=room,
            env=env | {"PYTHONPATH": str(HERE)},
            check=True,
            stdout=sys.stderr,
        )
        report: dict[str, Any] = json.loads(next(room.glob(".graildient/*/up-report.json")).read_text())
        return report
    finally:
        shutil.rmtree(room, ignore_errors=True)


def figures(label: str, reports: list[dict[str, Any]], budget: float, front: float | None) -> list[Figure]:
    """Rows of one kind of run: the budgets, then each stage as a share of the whole."""
    medians = {s: statistics.median(r["stages"][s] for r in reports) for s in reports[0]["stages"]}
    steps = {s: statistics.median(r["steps"].get(s, 0.0) for r in reports) for s in reports[0]["steps"]}
    whole = statistics.median(sum(r["stages"].values()) for r in reports)
    rows = [at_most(f"{label}: whole demo", "s", whole, budget)]
    if front is not None:
        some = statistics.median(
            sum(r["stages"][s] for s in ("scrape", "features", "serve")) for r in reports
        )
        rows.append(at_most(f"{label}: scrape, features and serve", "s", some, front))
    memory = statistics.median(r["peak_rss_mib"] for r in reports)
    rows.append(at_most(f"{label}: peak resident memory, summed", "MiB", memory, 4096))
    rows += [told(f"{label}: {name}", "s", seconds, whole, "whole demo") for name, seconds in medians.items()]
    rows += [told(f"{label}:   {name}", "s", seconds, whole, "whole demo") for name, seconds in steps.items()]
    return rows


def main() -> int:
    """Run and publish."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--listings", type=Path, default=REAL)
    parser.add_argument("--repeat", type=int, default=3, help="runs with synthetic listings")
    parser.add_argument("--repeat-real", type=int, default=1, help="runs with the real ones")
    options = parser.parse_args()
    rows = figures("5,000 synthetic", [run_once() for _ in range(options.repeat)], 150, 45)
    if options.listings.exists():
        real = [run_once("--listings", str(options.listings.resolve())) for _ in range(options.repeat_real)]
        rows += figures("11,980 real", real, 480, None)
    else:
        print(f"skipped the real listings: no file at {options.listings}", file=sys.stderr)
    return publish(
        "demo", rows, f"graildient up --demo, medians of {options.repeat} (real: {options.repeat_real})"
    )


if __name__ == "__main__":
    sys.exit(main())
