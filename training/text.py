"""Fitting the linear part of the price model with scikit-learn, forward in time.

The boosters learn what the linear part leaves over, so they must see its estimates as they
are for listings it does not know. :func:`forward` gives each row the estimate of a fit on
strictly older rows. The oldest share has nothing older to be estimated from: it gets NaN,
and the boosters are not trained on it (the linear part is).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from graildient.listing import Listing
from graildient.pricing.features import FIELDS
from graildient.pricing.market import Values
from graildient.pricing.text import BLOCKS, NUMBER_FIELDS, TextRidge, numbers, tokens

Floats = npt.NDArray[np.float64]

MAX_TERMS = {"title": 16_000, "description": 24_000, "cross": 14_000, "attributes": 6_000}
"""Terms kept of each block: those in most listings."""
MIN_LISTINGS = {"title": 2, "description": 2, "cross": 2, "attributes": 1}
"""Listings in which a term must occur. A designer sold once is worth knowing, a word is not."""
ATTRIBUTE_WEIGHT = 1.0
NUMBER_WEIGHT = 0.3
ALPHA = 3.5
RECENCY = 1.0
"""The oldest listing counts exp(-RECENCY) times the newest."""
FIRST_SHARE = 0.25
BLOCK_COUNT = 6

_PREFIX_FIELD = {"designer": "designers", "path": "category", "hashtag": "hashtags"}


def edges(n: int) -> list[int]:
    """Row numbers at which the forward blocks begin and end: the first is the oldest row with an estimate."""
    first = max(1, round(n * FIRST_SHARE))
    return sorted({round(first + (n - first) * i / BLOCK_COUNT) for i in range(BLOCK_COUNT + 1)})


@dataclass(frozen=True)
class LinearFit:
    """One ridge and the columns it stands on, by block."""

    columns: dict[str, npt.NDArray[np.intp]]
    idf: dict[str, Floats]
    center: Floats
    scale: Floats
    weights: Floats
    intercept: float


class Corpus:
    """Terms and numbers of listings, read and counted once for any number of fits on their beginnings."""

    def __init__(self, listings: Sequence[Listing], market: Sequence[Values]) -> None:
        from sklearn.feature_extraction.text import CountVectorizer

        read = [tokens(listing) for listing in listings]
        self.counts: dict[str, Any] = {}
        self.terms: dict[str, list[str]] = {}
        for block, terms_of in BLOCKS.items():
            found = [list(terms_of(one)) for one in read]
            if not any(found):
                found = [["\0nothing"] for _ in read]
            counter = CountVectorizer(analyzer=_same, dtype=np.float64, binary=block == "attributes")
            counts = counter.fit_transform(found).tocsr()
            # No part of the rows has a term in more listings than the whole has it in.
            kept = np.flatnonzero(_listings_with(counts, counts.shape[0]) >= MIN_LISTINGS[block])
            names = counter.get_feature_names_out()
            self.counts[block] = counts[:, kept]
            self.terms[block] = [str(names[column]) for column in kept]
        self.numbers = np.array(
            [numbers(listing, row) for listing, row in zip(listings, market, strict=True)], dtype=np.float64
        )
        self.rows = len(read)

    def fit(self, y: Floats, end: int, *, alpha: float = ALPHA) -> LinearFit:
        """A ridge on the rows before `end`; `y` is log1p of the price of all rows."""
        from sklearn.linear_model import Ridge
        from threadpoolctl import threadpool_limits

        columns, idf = {}, {}
        for block, counts in self.counts.items():
            known = _listings_with(counts, end)
            order = np.lexsort((np.arange(known.size), -known))[: MAX_TERMS[block]]
            columns[block] = np.sort(order[known[order] >= MIN_LISTINGS[block]])
            idf[block] = np.log((1 + end) / (1 + known[columns[block]])) + 1.0
        center, scale = _moments(self.numbers[:end])
        linear = LinearFit(columns, idf, center, scale, np.empty(0), 0.0)
        age = (np.arange(end) - end) / end
        ridge = Ridge(alpha=alpha, solver="sparse_cg", tol=1e-3, max_iter=1000)
        # Several threads of BLAS add in an order that depends on how many cores the machine has.
        with threadpool_limits(1, user_api="blas"):
            ridge.fit(self.matrix(linear, 0, end), y[:end], sample_weight=np.exp(RECENCY * age))
        return LinearFit(
            columns, idf, center, scale, np.asarray(ridge.coef_, dtype=np.float64), float(ridge.intercept_)
        )

    def matrix(self, fit: LinearFit, start: int, end: int) -> Any:
        """Rows `start` to `end` as the ridge sees them (sparse)."""
        import scipy.sparse as sp
        from sklearn.preprocessing import normalize

        parts = []
        for block, counts in self.counts.items():
            part = counts[start:end][:, fit.columns[block]]
            if block == "attributes":
                parts.append(part * ATTRIBUTE_WEIGHT)
                continue
            part.data = np.log(part.data) + 1.0
            parts.append(normalize(part @ sp.diags(fit.idf[block]), norm="l2", copy=False))
        scaled = np.nan_to_num((self.numbers[start:end] - fit.center) / fit.scale) * NUMBER_WEIGHT
        return sp.hstack([*parts, sp.csr_matrix(scaled)]).tocsr()

    def predict(self, fit: LinearFit, start: int, end: int) -> Floats:
        """log1p prices of the rows `start` to `end`."""
        return np.asarray(self.matrix(fit, start, end) @ fit.weights + fit.intercept, dtype=np.float64)

    def export(self, fit: LinearFit, end: int) -> TextRidge:
        """The fit as serving applies it; mean contributions are those of the rows before `end`."""
        means = np.zeros(len(FIELDS))
        average = np.asarray(self.matrix(fit, 0, end).mean(axis=0)).ravel() * fit.weights
        terms: dict[str, dict[str, tuple[float, float]]] = {}
        at = 0
        for block in self.counts:
            size = fit.columns[block].size
            names = [self.terms[block][column] for column in fit.columns[block]]
            weights, share = fit.weights[at : at + size], average[at : at + size]
            at += size
            if block == "attributes":
                weights = weights * ATTRIBUTE_WEIGHT
                idf = np.ones(size)
                for name, value in zip(names, share, strict=True):
                    prefix = name.split("=", 1)[0]
                    means[FIELDS.index(_PREFIX_FIELD.get(prefix, prefix))] += value
            else:
                idf = fit.idf[block]
                means[FIELDS.index("title" if block == "cross" else block)] += share.sum()
            terms[block] = dict(zip(names, zip(idf.tolist(), weights.tolist(), strict=True), strict=True))
        np.add.at(means, np.array(NUMBER_FIELDS), average[at:])
        return TextRidge(terms, fit.intercept, fit.center, fit.scale, fit.weights[at:] * NUMBER_WEIGHT, means)


def forward(corpus: Corpus, y: Floats, end: int | None = None) -> Floats:
    """The estimate of each row by a fit on strictly older rows; NaN for the oldest `FIRST_SHARE`."""
    rows = corpus.rows if end is None else end
    estimates = np.full(rows, np.nan)
    cuts = edges(rows)
    for start, stop in pairwise(cuts):
        estimates[start:stop] = corpus.predict(corpus.fit(y, start), start, stop)
    return estimates


def _listings_with(counts: Any, end: int) -> npt.NDArray[np.intp]:
    """In how many of the rows before `end` each term occurs."""
    return np.bincount(counts.indices[: counts.indptr[end]], minlength=counts.shape[1])


def _same(found: list[str]) -> list[str]:
    return found


def _moments(values: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation by column, missing values left out; 0 and 1 where there are none."""
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=0), 1)
    center = np.where(known, values, 0.0).sum(axis=0) / count
    scale = np.sqrt((np.where(known, values - center, 0.0) ** 2).sum(axis=0) / count)
    return center, np.where(scale > 1e-9, scale, 1.0)
