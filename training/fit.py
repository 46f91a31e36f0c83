"""Fitting the price model: the linear part forward in time, then CatBoost on its estimates and the rest.

The price is a blend, in log1p of US dollars, of the linear part and a booster. The range is a second
booster's quantiles, widened by `training.calibrate`.

The search changes the booster's parameters only, so its rows are made once (:func:`prepare_split`)
and a trial is one :func:`train_booster`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from graildient.errors import NotEnoughData
from graildient.listing import Listing, SoldListing
from graildient.pricing import features
from graildient.pricing.market import Values
from graildient.pricing.model import LEVELS, Seen
from graildient.pricing.text import TextRidge
from training.text import Corpus, forward

if TYPE_CHECKING:
    from catboost import CatBoostRegressor

Floats = npt.NDArray[np.float64]

PARAMS: Mapping[str, Any] = {
    "learning_rate": 0.06,
    "depth": 6,
    "l2_leaf_reg": 3.0,
    "rsm": 0.8,
    # Pairs of categories cost as much again and add nothing on the real listings.
    "max_ctr_complexity": 1,
}
"""What holds where no search has chosen; CatBoost's names."""

ITERATIONS = 300

RANGE_PARAMS: Mapping[str, Any] = {
    "learning_rate": 0.06,
    "depth": 5,
    "l2_leaf_reg": 5.0,
    "rsm": 0.6,
    "max_ctr_complexity": 1,
}
RANGE_ITERATIONS = 150

_SAMPLING = frozenset({"subsample", "bagging_temperature", "bootstrap_type", "mvs_reg"})

MIN_ROWS = 20
"""Fewest listings that a booster is trained on."""


@dataclass(frozen=True)
class Prepared:
    """Rows for a booster. `x`: columns of `features.FEATURES`; `y`: log1p of the sold price in US dollars;
    `cat_features`: positions of the categorical columns."""

    x: pd.DataFrame
    y: Floats
    cat_features: list[int]

    def save(self, folder: Path) -> None:
        """Write `x.parquet`, `y.npy` and `columns.json`, for processes that take an address."""
        folder.mkdir(parents=True, exist_ok=True)
        self.x.to_parquet(folder / "x.parquet", index=False)
        np.save(folder / "y.npy", self.y, allow_pickle=False)
        (folder / "columns.json").write_text(json.dumps({"cat_features": self.cat_features}))

    @classmethod
    def load(cls, folder: Path) -> Prepared:
        """Read what :meth:`save` wrote."""
        columns = json.loads((folder / "columns.json").read_text())
        x = pd.read_parquet(folder / "x.parquet")
        for position in columns["cat_features"]:
            x[x.columns[position]] = x[x.columns[position]].astype(object)
        return cls(x, np.load(folder / "y.npy", allow_pickle=False), list(columns["cat_features"]))


@dataclass(frozen=True)
class Fitted:
    """The parts of a price model."""

    linear: TextRidge
    price: CatBoostRegressor
    spread: CatBoostRegressor
    seen: Seen
    trained_ids: npt.NDArray[np.int64]


def log_prices(listings: Sequence[SoldListing]) -> Floats:
    """log1p of the sold prices in US dollars."""
    return np.log1p(np.array([listing.sold_price for listing in listings], dtype=np.float64))


def prepare_split(
    listings: Sequence[SoldListing], market: Sequence[Values], cut: int
) -> tuple[Prepared, Prepared]:
    """Rows to train on (before `cut`) and to validate on (from `cut`), for a search.

    The estimates of the latter are those of a linear part fitted on all of the former, as in serving.
    """
    material = Material.of(listings, market)
    train = material.training_rows(cut)
    corpus, y = material.corpus, material.y
    estimates = corpus.predict(corpus.fit(y, cut), cut, len(listings))
    x = features.frame(listings[cut:], market[cut:], estimates.tolist())
    return train, Prepared(x, y[cut:], list(features.CATEGORICAL))


def _training_rows(
    listings: Sequence[Listing], market: Sequence[Values], y: Floats, estimates: Floats
) -> Prepared:
    known = np.flatnonzero(~np.isnan(estimates))
    if known.size < MIN_ROWS:
        raise NotEnoughData(
            f"{len(listings)} listings leave {known.size} rows to train on, at least {MIN_ROWS} are needed",
            hint="scrape more listings",
        )
    first = int(known[0])
    x = features.frame(listings[first:], market[first:], estimates[first:].tolist())
    return Prepared(x, y[first:], list(features.CATEGORICAL))


def train_booster(
    train: Prepared,
    valid: Prepared | None,
    params: Mapping[str, Any],
    iterations: int,
    seed: int,
    threads: int,
    callback: Any = None,
    *,
    loss: str = "RMSE",
) -> CatBoostRegressor:
    """One CatBoost on the rows.

    Same rows, parameters, seed and threads give a model that saves as the same bytes.

    Args:
        valid: measured at every iteration, as "validation" in the callback's `info.metrics`.
        callback: CatBoost's: an object with `after_iteration(info) -> bool`; False stops the training.
    """
    from catboost import CatBoostRegressor, Pool

    chosen = dict(params)
    if np.ptp(train.y) == 0:
        # One price only is no reason to fail, but there is nothing to sample by.
        chosen = {k: v for k, v in chosen.items() if k not in _SAMPLING} | {"bootstrap_type": "No"}
    elif "subsample" not in chosen:
        # Under CatBoost's default bootstrap, bagging_temperature would be taken and have no effect.
        chosen.setdefault("bootstrap_type", "Bayesian")
    model = CatBoostRegressor(
        **{
            "allow_writing_files": False,
            **chosen,
            "loss_function": loss,
            "iterations": iterations,
            "random_seed": seed,
            "thread_count": threads,
            "verbose": False,
            "use_best_model": False,
            "allow_const_label": True,
        }
    )
    pool = Pool(train.x, train.y, cat_features=train.cat_features)
    watched = None if valid is None else Pool(valid.x, valid.y, cat_features=valid.cat_features)
    model.fit(pool, eval_set=watched, callbacks=None if callback is None else [callback])
    # CatBoost stamps its files with an identity and a time: twins would differ.
    stamps = model.get_metadata()
    stamps["model_guid"] = ""
    stamps["train_finish_time"] = ""
    return model


@dataclass(frozen=True)
class Material:
    """Listings sorted by time of creation, read once for several fits on their beginnings."""

    listings: Sequence[SoldListing]
    market: Sequence[Values]
    y: Floats
    corpus: Corpus

    @classmethod
    def of(cls, listings: Sequence[SoldListing], market: Sequence[Values]) -> Material:
        return cls(listings, market, log_prices(listings), Corpus(listings, market))

    def training_rows(self, end: int) -> Prepared:
        """Rows for the boosters from the listings before `end`."""
        estimates = forward(self.corpus, self.y, end)
        return _training_rows(self.listings[:end], self.market[:end], self.y[:end], estimates)

    def linear(self, end: int) -> TextRidge:
        """The linear part of the listings before `end`."""
        return self.corpus.export(self.corpus.fit(self.y, end), end)


def train_range(rows: Prepared, seed: int, threads: int) -> CatBoostRegressor:
    """The booster of the quantiles `LEVELS`."""
    levels = ",".join(f"{level:g}" for level in LEVELS)
    loss = f"MultiQuantile:alpha={levels}"
    return train_booster(rows, None, RANGE_PARAMS, RANGE_ITERATIONS, seed, threads, loss=loss)


def fit_until(
    material: Material,
    end: int,
    params: Mapping[str, Any],
    iterations: int,
    seed: int,
    threads: int,
    callback: Any = None,
) -> Fitted:
    """Every part of a price model, fitted on the listings before `end` and on nothing else.

    Raises:
        NotEnoughData: too few listings.
    """
    rows = material.training_rows(end)
    price = train_booster(rows, None, {**PARAMS, **params}, iterations, seed, threads, callback)
    spread = train_range(rows, seed, threads)
    known = material.listings[:end]
    ids = np.unique(np.array([listing.id for listing in known], dtype=np.int64))
    return Fitted(material.linear(end), price, spread, Seen.of(known), ids)


def fit(
    listings: Sequence[SoldListing],
    market: Sequence[Values],
    params: Mapping[str, Any],
    iterations: int,
    seed: int,
    threads: int,
    callback: Any = None,
) -> Fitted:
    """:func:`fit_until` on all of the listings, which are sorted by time of creation."""
    material = Material.of(listings, market)
    return fit_until(material, len(listings), params, iterations, seed, threads, callback)
