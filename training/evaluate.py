"""The error figures, defined once.

rmsle        root mean squared error of log1p of the price
wape         sum of absolute errors over sum of sold prices
mdape        median of absolute error over sold price
within_20    share of prices within 20 % of the sold price
bias         sum of errors (price less sold price) over sum of sold prices
coverage_80  share of sold prices inside the range
width_80     mean of (high - low) / price
n            listings
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graildient.errors import NotEnoughData
from graildient.listing import SoldListing
from graildient.pricing.market import Values
from graildient.pricing.model import PriceModel
from training.baselines import DesignerCategory, Median

Floats = npt.NDArray[np.float64]
Figures = dict[str, float]


@dataclass(frozen=True)
class Scored:
    """Listings with their sold prices and what a model said, in US dollars."""

    ids: npt.NDArray[np.int64]
    sold: Floats
    price: Floats
    low: Floats
    high: Floats

    def part(self, rows: npt.NDArray[np.bool_]) -> Scored:
        """The rows where the mask holds."""
        return Scored(self.ids[rows], self.sold[rows], self.price[rows], self.low[rows], self.high[rows])


def score(model: PriceModel, listings: Sequence[SoldListing], market: Sequence[Values]) -> Scored:
    """Let a model price listings whose sale is known."""
    prices = model.predict(listings, market)
    return Scored(
        np.array([listing.id for listing in listings], dtype=np.int64),
        np.array([listing.sold_price for listing in listings], dtype=np.float64),
        prices.price,
        prices.low,
        prices.high,
    )


def squared_log_errors(sold: Floats, price: Floats) -> Floats:
    """Squared error of log1p of the price, one a listing."""
    return np.asarray((np.log1p(price) - np.log1p(sold)) ** 2, dtype=np.float64)


def errors(sold: Floats, price: Floats) -> Figures:
    """Figures of a price.

    Raises:
        NotEnoughData: there is no listing.
    """
    if not sold.size:
        raise NotEnoughData("there are no listings to evaluate on")
    off = price - sold
    relative = np.abs(off) / sold
    return {
        "rmsle": float(np.sqrt(squared_log_errors(sold, price).mean())),
        "wape": float(np.abs(off).sum() / sold.sum()),
        "mdape": float(np.median(relative)),
        "within_20": float((relative <= 0.2).mean()),
        "bias": float(off.sum() / sold.sum()),
    }


def range_figures(scored: Scored) -> Figures:
    """Coverage and width of the range."""
    inside = (scored.low <= scored.sold) & (scored.sold <= scored.high)
    return {
        "coverage_80": float(inside.mean()),
        "width_80": float(((scored.high - scored.low) / scored.price).mean()),
    }


def prefixed(prefix: str, figures: Mapping[str, float]) -> Figures:
    return {f"{prefix}_{name}": value for name, value in figures.items()}


def figures(
    scored: Scored,
    listings: Sequence[SoldListing],
    median: Median,
    designer_category: DesignerCategory | None = None,
) -> Figures:
    """Every figure of a model beside those of the baselines (`median_…`, `designer_category_…`)."""
    found = errors(scored.sold, scored.price) | range_figures(scored) | {"n": len(listings)}
    found |= prefixed("median", errors(scored.sold, median.predict(listings)))
    if designer_category is not None:
        found |= prefixed("designer_category", errors(scored.sold, designer_category.predict(listings)))
    return found
