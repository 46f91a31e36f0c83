"""How the listings themselves change from month to month: prices, categories, designers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from graildient.listing import SoldListing
from graildient.pricing.market import keys_of

MONTHS = 24
"""Newest months that are told."""
FEWEST = 20
"""Listings below which a month says nothing."""


def by_month(listings: Sequence[SoldListing]) -> list[dict[str, Any]]:
    """Listings, price level and mix of the newest months, oldest first.

    `month`, `n`, `median`, `p25` and `p75` (US dollars), `categories` (name to share) and
    `new_designers` (share of listings none of whose designers any earlier listing had).

    Args:
        listings: sorted by time of creation.
    """
    seen: set[str] = set()
    months: dict[str, list[tuple[SoldListing, bool]]] = {}
    for one in listings:
        designers = set(keys_of(one).designers)
        months.setdefault(f"{one.created_at:%Y-%m}", []).append((one, not designers & seen))
        seen |= designers
    found = []
    for month, rows in sorted(months.items()):
        if len(rows) < FEWEST:
            continue
        quartiles = np.percentile([one.sold_price for one, _ in rows], [25, 50, 75])
        mix = Counter(one.category or "not stated" for one, _ in rows)
        found.append(
            {
                "month": month,
                "n": len(rows),
                "p25": float(quartiles[0]),
                "median": float(quartiles[1]),
                "p75": float(quartiles[2]),
                "categories": {name: round(n / len(rows), 6) for name, n in sorted(mix.items())},
                "new_designers": round(sum(new for _, new in rows) / len(rows), 6),
            }
        )
    return found[-MONTHS:]
