"""What a model has to beat: the median price, and the mean of a designer in a category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graildient.listing import Listing, SoldListing
from graildient.pricing.market import keys_of

Floats = npt.NDArray[np.float64]

SHRINKAGE = 5.0
"""Sales of its own that a group needs to count as much as what it is shrunk to."""


@dataclass(frozen=True)
class Median:
    """The median price of the listings it was fitted on, in US dollars, for every listing."""

    price: float

    @classmethod
    def fit(cls, listings: Sequence[SoldListing]) -> Median:
        return cls(float(np.median([listing.sold_price for listing in listings])))

    def predict(self, listings: Sequence[Listing]) -> Floats:
        return np.full(len(listings), self.price)


class DesignerCategory:
    """Mean log1p price of designer × category, shrunk to the category's, and that to the mean of all.

    A listing with several designers gets the mean of theirs.
    """

    def __init__(self, overall: float, category: dict[str, float], pair: dict[str, float]) -> None:
        self._overall = overall
        self._category = category
        self._pair = pair

    @classmethod
    def fit(cls, listings: Sequence[SoldListing]) -> DesignerCategory:
        logs = np.log1p([listing.sold_price for listing in listings])
        overall = float(logs.mean())
        by_category: dict[str, list[float]] = {}
        by_pair: dict[str, list[float]] = {}
        for listing, log in zip(listings, logs.tolist(), strict=True):
            keys = keys_of(listing)
            by_category.setdefault(keys.category_path, []).append(log)
            for name in keys.designer_categories:
                by_pair.setdefault(name, []).append(log)
        category = {key: _shrunk(values, overall) for key, values in by_category.items()}
        pair = {key: _shrunk(values, category[key.rsplit("|", 1)[1]]) for key, values in by_pair.items()}
        return cls(overall, category, pair)

    def predict(self, listings: Sequence[Listing]) -> Floats:
        """US dollars."""
        logs = []
        for listing in listings:
            keys = keys_of(listing)
            parent = self._category.get(keys.category_path, self._overall)
            found = [self._pair.get(pair, parent) for pair in keys.designer_categories]
            logs.append(sum(found) / len(found))
        return np.asarray(np.expm1(logs), dtype=np.float64)


def _shrunk(values: Sequence[float], parent: float) -> float:
    return (sum(values) + SHRINKAGE * parent) / (len(values) + SHRINKAGE)
