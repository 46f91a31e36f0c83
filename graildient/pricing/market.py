"""What the market knows about a listing: keys, stored features, and their reduction to one row.

The feature repository computes and stores one row per key and day; training and serving look
rows up and reduce them here, so that both see the same numbers. Prices are in log1p of US dollars.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graildient.listing import Listing

UNKNOWN = "unknown"

Values = Mapping[str, float | None]
"""One row of a view, or a reduced row: feature name to value, None where missing or expired."""


@dataclass(frozen=True)
class View:
    """A feature view as both halves know it.

    `several`: a listing may have several keys (co-designers), whose rows are reduced to
    `<prefix>_<feature>_max` and `_mean`; else they become `<prefix>_<feature>`.
    """

    name: str
    join_key: str
    prefix: str
    features: Mapping[str, str]
    several: bool = False


CATEGORY = View(
    "category_market",
    "category_path",
    "category",
    {
        "sales_count": "sales known so far",
        "sales_count_365d": "of them in the 365 days before",
        "mean_log_price": "mean log1p price, shrunk towards all categories'",
        "median_log_price": "median log1p price",
        "p25_log_price": "lower quartile of log1p price",
        "p75_log_price": "upper quartile of log1p price",
        "mean_log_price_365d": "mean log1p price of the 365 days before, shrunk towards `mean_log_price`",
        "days_to_sale": "median days from listing to sale",
    },
)
DESIGNER = View(
    "designer_market",
    "designer",
    "designer",
    {
        "sales_count": "sales known so far",
        "sales_count_365d": "of them in the 365 days before",
        "residual": "mean of log1p price minus its category's mean at the time, shrunk towards 0",
        "residual_365d": "the same over the 365 days before, shrunk towards `residual`",
        "spread": "standard deviation of that residual",
    },
    several=True,
)
DESIGNER_CATEGORY = View(
    "designer_category_market",
    "designer_category",
    "designer_category",
    {
        "sales_count": "sales known so far",
        "residual": "as the designer's residual, within one category path, shrunk towards it",
    },
    several=True,
)
VIEWS = (CATEGORY, DESIGNER, DESIGNER_CATEGORY)


@dataclass(frozen=True)
class Keys:
    """Join keys of one listing; `designer_categories` is parallel to `designers`."""

    category_path: str
    designers: tuple[str, ...]
    designer_categories: tuple[str, ...]

    def of(self, view: View) -> tuple[str, ...]:
        if view is CATEGORY:
            return (self.category_path,)
        return self.designers if view is DESIGNER else self.designer_categories


def designer_key(name: str) -> str:
    """Case and spacing do not make a designer: "VINTAGE " and "Vintage" share a key."""
    return " ".join(name.casefold().split())


def keys_of(listing: Listing) -> Keys:
    """The keys under which the market knows a listing; `unknown` stands for what is missing."""
    path = listing.category_path or UNKNOWN
    designers = tuple(dict.fromkeys(designer_key(d) for d in listing.designers)) or (UNKNOWN,)
    return Keys(path, designers, tuple(f"{d}|{path}" for d in designers))


def _present(rows: Sequence[Values], name: str) -> list[float]:
    values = (row.get(name) for row in rows)
    return [float(v) for v in values if v is not None and not math.isnan(v)]


def reduce_rows(found: Mapping[str, Sequence[Values]]) -> dict[str, float | None]:
    """Rows of each view (by view name, one row a key) to the market row of one listing.

    Missing rows and values are left out of the reduction; a feature without any value is None.
    """
    reduced: dict[str, float | None] = {}
    for view in VIEWS:
        rows = found.get(view.name, ())
        for name in view.features:
            values = _present(rows, name)
            if view.several:
                # Sorted, so that the order in which co-designers are named cannot move the last bit.
                reduced[f"{view.prefix}_{name}_max"] = max(values) if values else None
                reduced[f"{view.prefix}_{name}_mean"] = (
                    math.fsum(sorted(values)) / len(values) if values else None
                )
            else:
                reduced[f"{view.prefix}_{name}"] = values[0] if values else None
    return reduced


MARKET_FEATURES: tuple[str, ...] = tuple(reduce_rows({}))
"""Names of a market row, in the order in which the model takes them."""
