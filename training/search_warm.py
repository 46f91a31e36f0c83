"""Warm start: what was best in earlier searches of the same space is tried first.

Scores of two searches are not compared, because their listings differ: each search ranks its own
trials, and the searches take turns, the newest first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from graildient.errors import StorageError
from graildient.storage import Storage
from training.search_space import Space, defaults, describe

Params = dict[str, Any]


def earlier(storage: Storage, space: Space, count: int, *, but: str = "") -> list[Params]:
    """The best parameters of the finished searches below `runs/`, without the space's defaults.

    The same earlier runs give the same parameters. A run that cannot be read counts as none.

    Args:
        but: the id of the run that asks.
    """
    if count == 0:
        return []
    found = [
        list(_ranked(storage, folder, space))
        for folder in sorted({p.rsplit("/", 1)[0] for p in storage.glob("runs/*/search/result.json")})[::-1]
        if folder != f"runs/{but}/search"
    ]
    return choose(found, space, count)


def choose(searches: Sequence[Sequence[Params]], space: Space, count: int) -> list[Params]:
    """One of each search in turn, none twice. Each search gives its best first."""
    taken: list[Params] = [defaults(space)]
    for turn in zip_longest(*searches):
        taken += [p for n, p in enumerate(turn) if p is not None and p not in taken and p not in turn[:n]]
    return taken[1 : count + 1]


def _ranked(storage: Storage, folder: str, space: Space) -> Iterator[Params]:
    try:
        about = json.loads(storage.read_bytes(f"{folder}/search.json"))
        trials = [json.loads(line) for line in storage.read_bytes(f"{folder}/trials.jsonl").splitlines()]
        if about["space"] != describe(space):
            return
        ended = [t for t in trials if t["state"] == "complete" and t["score"] is not None]
        for trial in sorted(ended, key=lambda t: (t["score"], t["number"])):
            yield {name: trial["params"][name] for name in space}
    except (StorageError, ValueError, KeyError, TypeError):
        return
