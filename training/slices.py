"""Figures by slice: who gets worse prices than the figure of all suggests.

Slices are by price band, category, frequency of the designer in the training rows, and condition.

Bands are of the *predicted* price. By the sold price alone every model looks bad at both ends: listings
are then chosen by their outcome, those that sold for unusually much are priced too low by any honest
estimate and those that sold for unusually little too high (regression towards the mean), and even
a range that holds 80 % of everything cannot hold 80 % of the luckiest. Bands of the sold price are shown
beside it, as `sold price`, and never judged.

A slice of fewer than `MIN_ROWS` listings is shown, with its intervals, and never judged: of 200
listings the coverage alone is uncertain by five or six points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graildient.listing import Listing
from graildient.pricing.market import designer_key
from training.evaluate import Scored, errors, range_figures
from training.intervals import intervals

MIN_ROWS = 200
BANDS = (25.0, 50.0, 100.0, 200.0, 400.0)
"""US dollars at which one price band ends and the next begins."""
FREQUENCIES = (1, 10, 50, 200)
"""Training rows of a designer at which one frequency ends and the next begins."""
NOT_STATED = "not stated"
SOLD = "sold price"
"""Told, never judged."""

Slice = dict[str, Any]
"""`by`, `value`, `n`, `judged`; the figures; `intervals`: figure to [low, high]."""


def designer_counts(names: Iterable[Sequence[str]]) -> Counter[str]:
    """How many training rows each designer has, by market key; a row's co-designers count each."""
    return Counter(key for row in names for key in {designer_key(name) for name in row})


def labels(scored: Scored, listings: Sequence[Listing], known: Mapping[str, int]) -> dict[str, list[str]]:
    """What each listing is, by dimension; one label a listing, in the order of the listings.

    Args:
        known: designer to training rows, of :func:`designer_counts`.

    Raises:
        ValueError: the arguments differ in length.
    """
    if len(listings) != scored.sold.size:
        raise ValueError(f"{len(listings)} listings and {scored.sold.size} prices")
    often = [max((known.get(designer_key(d), 0) for d in one.designers), default=-1) for one in listings]
    return {
        "price": [_band(price) for price in scored.price],
        SOLD: [_band(price) for price in scored.sold],
        "category": [one.category or NOT_STATED for one in listings],
        "designer": [_frequency(count) for count in often],
        "condition": [one.condition or NOT_STATED for one in listings],
    }


def _band(price: float) -> str:
    at = int(np.searchsorted(BANDS, price, side="right"))
    if at == 0:
        return f"under ${BANDS[0]:g}"
    return f"${BANDS[-1]:g} and more" if at == len(BANDS) else f"${BANDS[at - 1]:g} to ${BANDS[at]:g}"


def _frequency(count: int) -> str:
    if count < 0:
        return NOT_STATED
    at = int(np.searchsorted(FREQUENCIES, count, side="right"))
    if at == 0:
        return "new designer"
    if at == len(FREQUENCIES):
        return f"in {FREQUENCIES[-1]} rows and more"
    return f"in {FREQUENCIES[at - 1]} to {FREQUENCIES[at] - 1} rows"


_BAND_ORDER = [_band(price) for price in (0.0, *BANDS)]
_FREQUENCY_ORDER = [_frequency(count) for count in (0, *FREQUENCIES)]
_CONDITION_ORDER = ["new", "gently_used", "used", "worn"]
_ORDER = {
    "price": _BAND_ORDER,
    SOLD: _BAND_ORDER,
    "designer": _FREQUENCY_ORDER,
    "condition": _CONDITION_ORDER,
}


def rows_of(found: Mapping[str, Sequence[str]]) -> list[tuple[str, str, npt.NDArray[np.bool_]]]:
    """Dimension, label and mask of every slice: bands by price, categories by size, the rest by rank."""
    made = []
    for by, values in found.items():
        column, size = np.array(values), Counter(values)
        order = _ORDER.get(by, [])
        rank = {value: i for i, value in enumerate(order)}
        names = sorted(
            size,
            key=lambda v: (v == NOT_STATED, rank.get(v, len(rank)), -size[v] if not rank else 0, v),
        )
        made += [(by, name, column == name) for name in names]
    return made


def slices(
    scored: Scored, listings: Sequence[Listing], known: Mapping[str, int], seed: int, min_rows: int = MIN_ROWS
) -> list[Slice]:
    """Figures and intervals of each slice.

    Raises:
        ValueError: the arguments differ in length.
    """
    made = []
    for by, value, mask in rows_of(labels(scored, listings, known)):
        part = scored.part(mask)
        made.append(
            {
                "by": by,
                "value": value,
                "n": int(mask.sum()),
                "judged": by != SOLD and int(mask.sum()) >= min_rows,
                **errors(part.sold, part.price),
                **range_figures(part),
                "intervals": {name: list(pair) for name, pair in intervals(part, seed).items()},
            }
        )
    return made
