"""How a sweep cuts the sold index into pieces that can be read whole.

A query shows at most `cap` hits, so a sweep asks how many there are before it reads, and cuts
what is too much: a range of time into shorter ones, a single second by facet values, and what
even those cannot part by price and at last by listing id. Everything here is a pure function of counts;
the spider does the asking.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from urllib.parse import urlencode

TIME = "sold_at_i"
FACETS = ("category_path", "category_size", "condition", "location")
"""Facets that part a single second, in this order; each listing has at most one value of each."""
NUMBERS: tuple[tuple[str, int, int], ...] = (("price_i", 0, 2**20), ("id", 1, 2**36))
"""Numbers that part what facets cannot, with the bounds outside of which there is nothing."""
NUMBER_NAMES = tuple(name for name, _, _ in NUMBERS)
MAX_PIECES = 16
MAX_FACET_VALUES = 1000


@dataclass(frozen=True)
class Choice:
    """Listings that have one of these values of a facet; or, excluded, none of them."""

    attribute: str
    values: tuple[str, ...]
    excluded: bool = False


@dataclass(frozen=True)
class Slice:
    """A part of the sold index: sales of [start, end) in epoch seconds, narrowed further if need be."""

    start: int
    end: int
    choices: tuple[Choice, ...] = ()
    bounds: tuple[tuple[str, int, int], ...] = ()

    @property
    def is_one_second(self) -> bool:
        return self.end - self.start <= 1

    def params(self, *, hits: int, page: int = 0) -> str:
        """The `params` string that reads a page of this slice or, with `hits=0`, counts it and its facets."""
        numeric = [f"{TIME}>={self.start}", f"{TIME}<{self.end}"]
        for name, low, high in self.bounds:
            numeric += [f"{name}>={low}", f"{name}<{high}"]
        facets: list[str | list[str]] = []
        for choice in self.choices:
            if choice.excluded:
                facets += [f"{choice.attribute}:-{value}" for value in choice.values]
            else:
                facets.append([f"{choice.attribute}:{_escaped(value)}" for value in choice.values])
        asked = {"query": "", "page": page, "hitsPerPage": hits, "numericFilters": _json(numeric)}
        if facets:
            asked["facetFilters"] = _json(facets)
        if hits == 0:
            asked["facets"] = _json(FACETS if self.is_one_second else [TIME])
            asked["maxValuesPerFacet"] = MAX_FACET_VALUES if self.is_one_second else 1
        return urlencode(asked)

    def __str__(self) -> str:
        extra = [f"{'not ' if c.excluded else ''}{len(c.values)} of {c.attribute}" for c in self.choices]
        extra += [f"{name} {low} to {high}" for name, low, high in self.bounds]
        return f"{TIME} {self.start} to {self.end}" + "".join(f", {text}" for text in extra)


@dataclass(frozen=True)
class Counted:
    """How many hits a slice has, with what the answer said of its values."""

    slice: Slice
    hits: int
    facets: Mapping[str, Mapping[str, int]]
    stats: Mapping[str, Mapping[str, float]]


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _escaped(value: str) -> str:
    # A leading minus would exclude the value.
    return f"\\{value}" if value.startswith("-") else value


def ways(counted: Counted, cap: int) -> Iterator[list[Slice]]:
    """Ways to cut a slice that holds too much, best first; none when nothing parts it any further.

    The pieces of one way are together the whole slice if the source can filter by what they are cut
    by, which the sum of their counts tells.
    """
    part = counted.slice
    if not part.is_one_second:
        yield _by_time(counted, cap)
        return
    if not part.bounds:
        used = [FACETS.index(choice.attribute) for choice in part.choices]
        for attribute in FACETS[max(used, default=-1) + 1 :]:
            if pieces := _by_facet(counted, attribute, cap):
                yield pieces
    for number, (name, low, high) in enumerate(NUMBERS):
        if any(NUMBER_NAMES.index(bound[0]) > number for bound in part.bounds):
            continue
        for bound in part.bounds:
            if bound[0] == name:
                low, high = bound[1:]
        if high - low > 1:
            others = tuple(bound for bound in part.bounds if bound[0] != name)
            yield [
                replace(part, bounds=(*others, (name, first, last)))
                for first, last in _pieces(low, high, _wanted(counted.hits, cap))
            ]


def _pieces(start: int, end: int, count: int) -> list[tuple[int, int]]:
    """At most `count` ranges of about the same length that make up [start, end)."""
    count = max(1, min(count, end - start))
    edges = [start + (end - start) * n // count for n in range(count + 1)]
    return list(pairwise(edges))


def _wanted(hits: int, cap: int) -> int:
    # Sales are bunched, so that twice as many pieces as would do spare a second round for most.
    return min(MAX_PIECES, max(2, -(-2 * hits // cap)))


def _by_time(counted: Counted, cap: int) -> list[Slice]:
    part = counted.slice
    start, end = part.start, part.end
    stats = counted.stats.get(TIME, {})
    if "min" in stats and "max" in stats:
        # Most of a first sweep's range is empty. The ends outside are asked for too, in case the source errs.
        start = min(max(int(stats["min"]), start), end - 1)
        end = max(min(int(stats["max"]) + 1, end), start + 1)
    ranges = [(part.start, start), *_pieces(start, end, _wanted(counted.hits, cap)), (end, part.end)]
    ranges = [(low, high) for low, high in ranges if low < high]
    if len(ranges) == 1:
        ranges = _pieces(part.start, part.end, 2)
    return [replace(part, start=low, end=high) for low, high in ranges]


def _by_facet(counted: Counted, attribute: str, cap: int) -> list[Slice]:
    values = {v: n for v, n in counted.facets.get(attribute, {}).items() if n > 0}
    rest = counted.hits - sum(values.values())
    if not values or (len(values) == 1 and rest <= 0):
        return []
    groups: list[list[str]] = []
    room = 0
    for value, hits in sorted(values.items()):
        if not groups or hits >= room:
            groups.append([])
            room = cap
        groups[-1].append(value)
        room -= hits
    if len(groups) == 1 and rest <= 0:
        # Stale counts: what is over the cap cannot fit one group.
        return []
    part = counted.slice
    pieces = [replace(part, choices=(*part.choices, Choice(attribute, tuple(group)))) for group in groups]
    if rest > 0:
        pieces.append(
            replace(part, choices=(*part.choices, Choice(attribute, tuple(sorted(values)), excluded=True)))
        )
    return pieces


def merge(counted: Iterable[Counted], cap: int) -> list[Counted]:
    """Joins neighbours in time that stay below the cap together, and leaves out what is empty."""
    joined: list[Counted] = []
    for item in counted:
        if item.hits == 0:
            continue
        before = joined[-1] if joined else None
        if before and before.hits + item.hits < cap and _touch(before.slice, item.slice):
            both = replace(before.slice, end=item.slice.end)
            joined[-1] = Counted(both, before.hits + item.hits, {}, {})
        else:
            joined.append(item)
    return joined


def _touch(before: Slice, after: Slice) -> bool:
    # What lies between two ranges that are not empty was counted too, and is empty.
    return before.end <= after.start and before.choices == after.choices and before.bounds == after.bounds


def batches(counted: Sequence[Counted], hits: int, queries: int = MAX_PIECES) -> list[list[Counted]]:
    """Slices that one request may read together: no more hits than one page, no more than `queries`."""
    together: list[list[Counted]] = []
    room = 0
    for item in counted:
        if not together or item.hits > room or len(together[-1]) == queries:
            together.append([])
            room = hits
        together[-1].append(item)
        room -= item.hits
    return together
