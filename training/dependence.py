"""What a model looks at: importance of fields, and how the price answers to one field alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graildient import taxonomy
from graildient.listing import Listing
from graildient.pricing.market import Values
from graildient.pricing.model import PriceModel

Lookup = Callable[[Sequence[Listing]], Sequence[Values]]
"""The market of each listing as of its creation."""

EXPLAINED = 400
"""Listings whose reasons make the importance; one takes some milliseconds."""
ASKED = 200
"""Listings that are priced again for each value of a field."""
PHOTOS = (0, 1, 2, 3, 4, 6, 8, 12)
LENGTHS = (0, 5, 10, 20, 40, 80)
"""Words to which descriptions are cut; a shorter one stays as it is."""
CATEGORIES = 8


def sample(rows: int, size: int, seed: int) -> list[int]:
    """Row numbers, rising; all where there are no more."""
    return sorted(np.random.default_rng(seed).permutation(rows)[:size].tolist())


def importance(
    model: PriceModel, listings: Sequence[Listing], market: Sequence[Values], seed: int
) -> list[dict[str, Any]]:
    """The mean absolute effect of each field in US dollars, largest first, over a sample."""
    rows = sample(len(listings), EXPLAINED, seed)
    told = model.explain([listings[i] for i in rows], [market[i] for i in rows])
    sums: dict[str, float] = {}
    for reasons in told:
        for reason in reasons:
            sums[reason.field] = sums.get(reason.field, 0.0) + abs(reason.effect_usd)
    ranked = sorted(sums.items(), key=lambda item: (-item[1], item[0]))
    return [{"field": field, "effect_usd": round(total / len(rows), 4)} for field, total in ranked]


def partial_dependence(
    model: PriceModel, listings: Sequence[Listing], market: Sequence[Values], lookup: Lookup, seed: int
) -> dict[str, list[dict[str, Any]]]:
    """The typical price had every listing of a sample this value of one field (Friedman, 2001).

    Of each value the geometric mean of the prices, in US dollars. Another category is another market,
    so that is looked up again; the other fields here have none. The fields are told one by one: whether
    such a listing exists (a belt of size 43) is not asked.

    Returns:
        Field to pairs of `value` and `price`, in an order fit for a plot; `condition`, `photo_count`,
        `description` (in words) and `category`.
    """
    rows = sample(len(listings), ASKED, seed)
    chosen, theirs = [listings[i] for i in rows], [market[i] for i in rows]

    def typical(changed: Sequence[Listing], known: Sequence[Values]) -> float:
        return round(float(np.exp(np.log(model.predict(changed, known).price).mean())), 4)

    def line(values: Sequence[Any], change: Callable[[Listing, Any], dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {"value": v, "price": typical([o.model_copy(update=change(o, v)) for o in chosen], theirs)}
            for v in values
        ]

    paths = Counter(path for one in listings if (path := one.category_path))
    common = sorted(paths, key=lambda path: (-paths[path], path))[:CATEGORIES]
    moved = [_moved(one, path) for path in common for one in chosen]
    markets = lookup(moved) if moved else []
    size = len(chosen)
    by_category = [
        {"value": path, "price": typical(moved[i * size :][:size], markets[i * size :][:size])}
        for i, path in enumerate(common)
    ]
    return {
        "condition": line(taxonomy.CONDITIONS, lambda _, v: {"condition": v}),
        "photo_count": line(PHOTOS, lambda _, v: {"photo_count": v}),
        "description": line(LENGTHS, lambda one, v: {"description": _cut(one, v)}),
        "category": sorted(by_category, key=lambda c: -c["price"]),
    }


def _moved(listing: Listing, path: str) -> Listing:
    category, _, below = path.partition(".")
    return listing.model_copy(update={"category": category, "subcategory": below or None})


def _cut(listing: Listing, words: int) -> str | None:
    return " ".join((listing.description or "").split()[:words]) or None
