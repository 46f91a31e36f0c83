from __future__ import annotations

import numpy as np
import pytest

from training.evaluate import Scored, errors, range_figures
from training.intervals import DRAWS, counts, intervals, paired_gain


def made(rows: int, seed: int = 1) -> Scored:
    rng = np.random.default_rng(seed)
    sold = np.exp(rng.normal(4, 1, rows))
    price = sold * np.exp(rng.normal(0, 0.5, rows))
    return Scored(np.arange(rows), sold, price, price * 0.5, price * 2)


@pytest.mark.parametrize("rows", [40, 41])
def test_each_draw_is_the_figure_of_the_drawn_listings(rows: int) -> None:
    """The shortcut (counts, one product) against plainly drawing listings and measuring them."""
    scored = made(rows)
    every = np.concatenate(list(counts(rows, 7)))
    assert every.shape == (DRAWS, rows)
    assert (every.sum(axis=1) == rows).all()
    plain: dict[str, list[float]] = {}
    for draw in every:
        part = scored.part(np.repeat(np.arange(rows), draw.astype(int)))  # type: ignore[arg-type]
        for name, value in (errors(part.sold, part.price) | range_figures(part)).items():
            plain.setdefault(name, []).append(value)
    found = intervals(scored, 7)
    assert found.keys() == plain.keys()
    for name, values in plain.items():
        assert found[name] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=2e-6), name


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """RMSLE of log-normal errors of 0.5 (price and sale are far above a dollar); 100 holdouts of 300."""
    held = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        sold = np.full(300, 1000.0)
        price = 1001 * np.exp(rng.normal(0, 0.5, 300)) - 1
        low, high = intervals(Scored(np.arange(300), sold, price, price, price), 7)["rmsle"]
        held += low <= 0.5 <= high
    assert 88 <= held <= 99


def test_one_listing_and_none() -> None:
    low, high = intervals(made(1), 7)["rmsle"]
    assert low == high
    with pytest.raises(ValueError, match="no listings"):
        intervals(made(0), 7)


def test_blocks_do_not_change_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(counts(50, 7)))
    monkeypatch.setattr("training.intervals._CELLS", 1_000)
    blocks = list(counts(50, 7))
    assert len(blocks) == 50
    assert (np.concatenate(blocks) == whole).all()


def test_the_gain_is_paired_and_repeatable() -> None:
    rng = np.random.default_rng(1)
    theirs = rng.chisquare(1, 500)
    ours = theirs * 0.9
    low, high, p = paired_gain(ours, theirs, 7)
    assert (low, high, p) == paired_gain(ours, theirs, 7)
    # Unpaired, a tenth less would be lost in the noise of 500 listings.
    assert 0 < low < high
    assert p == pytest.approx(1 / (DRAWS + 1), abs=1e-6)
    assert paired_gain(theirs, theirs, 7) == (0, 0, 1)


def test_the_p_value_of_equals_is_spread_evenly() -> None:
    """Two models that are as good: a p-value under 0.1 in about a tenth of the cases."""
    small = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        small += paired_gain(rng.chisquare(1, 200), rng.chisquare(1, 200), 7)[2] < 0.1
    assert 8 <= small <= 35
