"""Chance that is the same every time."""

from __future__ import annotations

from random import Random


def seeded(*key: object) -> Random:
    """Random numbers that depend on nothing but the key."""
    return Random(" ".join(map(str, key)))  # noqa: S311
