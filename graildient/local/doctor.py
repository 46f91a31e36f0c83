"""What is missing on this machine, and the command that mends it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from graildient.local.ports import is_free


@dataclass(frozen=True)
class Check:
    """One thing that a part of the system needs."""

    name: str
    why: str
    fine: Callable[[], bool]
    cure: str
    needed: bool = True


def _package(name: str) -> Callable[[], bool]:
    return lambda: importlib.util.find_spec(name) is not None


def _program(*names: str) -> Callable[[], bool]:
    cache = Path(os.environ.get("GRAILDIENT_CACHE", Path.home() / ".cache" / "graildient")) / "bin"
    return lambda: any(shutil.which(n) or (cache / n).exists() for n in names)


def _writable() -> bool:
    return os.access(Path.cwd(), os.W_OK)


CHECKS = (
    Check(
        "Python 3.11", "the locked packages", lambda: sys.version_info[:2] == (3, 11), "install Python 3.11"
    ),
    Check("scrapy", "scraping", _package("scrapy"), "pip install 'graildient[scraper]'"),
    Check("feast", "features", _package("feast"), "pip install 'graildient[features]'"),
    Check("catboost", "training and serving", _package("catboost"), "pip install 'graildient[trainer]'"),
    Check("ray", "the search", _package("ray"), "pip install 'graildient[trainer]'"),
    Check("kfp", "the pipeline", _package("kfp"), "pip install 'graildient[trainer]'"),
    Check("kserve", "the model server", _package("kserve"), "pip install 'graildient[server]'"),
    Check(
        "starlette",
        "the stand-in marketplace",
        _package("starlette"),
        "pip install 'graildient[marketplace]'",
    ),
    Check(
        "4 GiB of free memory",
        "the whole stack at once",
        lambda: psutil.virtual_memory().available > 4 * 2**30,
        "close something, or set a smaller search: --set batch=1",
    ),
    Check(
        "2 GiB of free disk",
        "lake and runs",
        lambda: shutil.disk_usage(Path.cwd()).free > 2 * 2**30,
        "free some",
    ),
    Check("this folder is writable", "the workspace .graildient", _writable, "change to a folder of yours"),
    Check("port 8080", "REST", lambda: is_free(8080), "none needed: another port is taken", False),
    Check("port 8081", "gRPC", lambda: is_free(8081), "none needed: another port is taken", False),
    Check(
        "redis-server",
        "the Redis online store",
        _program("redis-server"),
        "apt-get install redis-server",
        False,
    ),
    Check(
        "prometheus",
        "dashboards on this machine",
        _program("prometheus"),
        "apt-get install prometheus",
        False,
    ),
    Check("helm", "make chart-test", _program("helm"), "make tools", False),
    Check("versitygw", "tests against a real S3 server", _program("versitygw"), "make tools", False),
    Check(
        "kubectl", "looking into a cluster", _program("kubectl"), "see the cluster's own documentation", False
    ),
)


def examine(console: Console) -> int:
    """Print every check; returns 1 when something needed is missing, else 0."""
    table = Table()
    for column in ("", "what", "for", "the cure"):
        table.add_column(column)
    missing = 0
    for check in CHECKS:
        fine = check.fine()
        missing += check.needed and not fine
        sign = "[green]✔[/green]" if fine else "[red]✘[/red]" if check.needed else "[yellow]–[/yellow]"
        table.add_row(sign, check.name, check.why, "" if fine else check.cure.replace("[", r"\["))
    console.print(table)
    console.print("– is optional." if not missing else f"{missing} needed part(s) missing.", highlight=False)
    return 1 if missing else 0
