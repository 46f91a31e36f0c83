from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from price_cases import make_data

from graildient.errors import NotEnoughData
from graildient.pricing import features
from graildient.pricing.features import ESTIMATE
from training.fit import (
    PARAMS,
    Material,
    Prepared,
    log_prices,
    prepare_split,
    train_booster,
    train_range,
)
from training.text import Corpus, edges, forward

DATA = make_data(240)
Y = log_prices(DATA.listings)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus(DATA.listings, DATA.market)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_estimate_knows_older_prices_only(corpus: Corpus, data: st.DataObject) -> None:
    """Other prices from a block on leave its estimates and older ones alone, and move the later ones."""
    cuts = edges(240)
    block = data.draw(st.integers(0, len(cuts) - 2))
    start = cuts[block]
    changed = Y.copy()
    changed[start:] += data.draw(st.floats(0.5, 5))
    before, after = forward(corpus, Y), forward(corpus, changed)
    stop = cuts[block + 1]
    np.testing.assert_array_equal(before[:stop], after[:stop])
    if stop < 240:
        assert (before[stop:] != after[stop:]).all()


def test_an_estimate_knows_older_words_only() -> None:
    """Not even the vocabulary of a fit comes from newer listings."""
    cut = edges(240)[3]
    newer = make_data(240, seed=99, title="entirely other words").listings[cut:]
    other = [*DATA.listings[:cut], *newer]
    before = forward(Corpus(DATA.listings, DATA.market), Y)
    after = forward(Corpus(other, DATA.market), Y)
    np.testing.assert_allclose(before[:cut], after[:cut], rtol=0, atol=1e-12, equal_nan=True)


def test_the_oldest_have_no_estimate_and_are_not_trained_on(corpus: Corpus) -> None:
    estimates = forward(corpus, Y)
    first = edges(240)[0]
    assert 0 < first < 120
    assert np.isnan(estimates[:first]).all()
    assert not np.isnan(estimates[first:]).any()
    rows = Material.of(DATA.listings, DATA.market).training_rows(240)
    assert len(rows.x) == len(rows.y) == 240 - first
    np.testing.assert_array_equal(rows.y, Y[first:])
    np.testing.assert_array_equal(rows.x[ESTIMATE], estimates[first:])


def test_validation_rows_are_those_of_serving() -> None:
    """A frame of training and one made by the exported linear part price alike."""
    train, valid = prepare_split(DATA.listings, DATA.market, 200)
    linear = Material.of(DATA.listings, DATA.market).linear(200)
    newer, market = DATA.listings[200:], DATA.market[200:]
    served = features.frame(newer, market, linear.predict(newer, market).tolist())
    pd.testing.assert_frame_equal(valid.x, served, rtol=0, atol=1e-9)
    booster = train_booster(train, valid, {"depth": 3}, 20, 1, 1)
    as_lists = features.rows(newer, market, linear.predict(newer, market).tolist())
    np.testing.assert_array_equal(booster.predict(valid.x), booster.predict(as_lists))


def test_validation_knows_nothing_of_its_own_prices() -> None:
    dear = [x.model_copy(update={"sold_price": x.sold_price * 50}) for x in DATA.listings[200:]]
    one = prepare_split(DATA.listings, DATA.market, 200)
    other = prepare_split([*DATA.listings[:200], *dear], DATA.market, 200)
    pd.testing.assert_frame_equal(one[0].x, other[0].x)
    pd.testing.assert_frame_equal(one[1].x, other[1].x)
    assert (other[1].y > one[1].y).all()


def test_prepared_rows_come_back_from_a_folder(tmp_path: Path) -> None:
    rows = Material.of(DATA.listings, DATA.market).training_rows(240)
    rows.save(tmp_path / "rows")
    copy = Prepared.load(tmp_path / "rows")
    pd.testing.assert_frame_equal(copy.x, rows.x)
    np.testing.assert_array_equal(copy.y, rows.y)
    assert copy.cat_features == rows.cat_features == list(features.CATEGORICAL)
    a, b = (train_booster(r, None, {"depth": 3}, 5, 1, 1).predict(rows.x) for r in (rows, copy))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_training_gives_the_same_bytes(tmp_path: Path, threads: int) -> None:
    rows = Material.of(DATA.listings, DATA.market).training_rows(240)
    found = []
    for i in range(2):
        booster, spread = train_booster(rows, None, PARAMS, 15, 7, threads), train_range(rows, 7, threads)
        for j, model in enumerate((booster, spread)):
            model.save_model(str(tmp_path / f"{i}{j}.cbm"))
        found.append([hashlib.sha256((tmp_path / f"{i}{j}.cbm").read_bytes()).hexdigest() for j in (0, 1)])
    assert found[0] == found[1]
    train_booster(rows, None, PARAMS, 15, 8, threads).save_model(str(tmp_path / "other.cbm"))
    assert (tmp_path / "other.cbm").read_bytes() != (tmp_path / "00.cbm").read_bytes()


def test_a_callback_sees_the_validation_and_can_stop() -> None:
    train, valid = prepare_split(DATA.listings, DATA.market, 200)

    class Stop:
        scores: list[float] = []  # noqa: RUF012

        def after_iteration(self, info: Any) -> bool:
            self.scores.append(info.metrics["validation"]["RMSE"][-1])
            return info.iteration < 5

    booster = train_booster(train, valid, {"depth": 3}, 50, 1, 1, Stop())
    assert booster.tree_count_ == 5
    off = booster.predict(valid.x) - valid.y
    assert Stop.scores[-1] == pytest.approx(np.sqrt((off**2).mean()), abs=1e-6)


def test_too_few_listings_are_refused() -> None:
    few = make_data(12)
    with pytest.raises(NotEnoughData, match="12 listings"):
        Material.of(few.listings, few.market).training_rows(len(few.listings))
