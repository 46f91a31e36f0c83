"""Which code decides a model: a digest of the sources that turn listings into prices.

Two models with the same code version, training set, settings and seed are the same model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from graildient import __version__

SOURCES = (
    "graildient/listing.py",
    "graildient/normalise.py",
    "graildient/taxonomy.py",
    "graildient/parsing.py",
    "graildient/page_strings.py",
    "graildient/times.py",
    "graildient/listing_files.py",
    "graildient/lake.py",
    "graildient/pricing/**/*.py",
    "feature_repo/**/*.py",
    "feature_repo/**/*.yaml",
    "training/**/*.py",
    "training/**/*.yaml",
)
"""Patterns below the folder in which the packages lie side by side (the repository, or site-packages)."""


@cache
def code_version() -> str:
    """`0.1.0+<ten hexadecimal digits>`: the release and the digest of :data:`SOURCES`."""
    return f"{__version__}+{digest(Path(__file__).resolve().parent.parent)[:10]}"


def digest(root: Path) -> str:
    """SHA-256 over paths and contents of the sources below `root`."""
    total = hashlib.sha256()
    for path in sorted(set(_sources(root))):
        total.update(path.relative_to(root).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _sources(root: Path) -> Iterator[Path]:
    for pattern in SOURCES:
        yield from root.glob(pattern)
