from __future__ import annotations

import numpy as np
import pytest

from training.calibrate import calibrate, weighted_quantile


def covered(y: np.ndarray, calibration: object) -> float:
    low, high = -calibration.low, calibration.high  # type: ignore[attr-defined]
    return float(((y >= low) & (y <= high)).mean())


def test_ranges_hold_80_per_cent_whatever_the_raw_quantiles() -> None:
    rng = np.random.default_rng(1)
    for spread in (0.1, 1.0, 5.0):
        y = rng.normal(size=40_000) * rng.choice([0.5, 2.0], 40_000)
        raw = np.full(20_000, spread)
        found = calibrate(y[:20_000], -raw, raw, 0.5)
        inside = (y[20_000:] >= -spread - found.low) & (y[20_000:] <= spread + found.high)
        assert inside.mean() == pytest.approx(0.8, abs=0.015)


def test_each_side_has_its_own_offset() -> None:
    y = np.random.default_rng(2).normal(loc=1.0, size=3000)
    zero = np.zeros(3000)
    found = calibrate(y, zero, zero, 0.5)
    assert found.low == pytest.approx(0.28, abs=0.1)
    assert found.high == pytest.approx(2.28, abs=0.1)
    assert (found.share, found.rows) == (0.5, 3000)


def test_newer_listings_count_more_under_drift() -> None:
    rng = np.random.default_rng(3)
    spread = np.linspace(0.5, 2.0, 4000)
    y = rng.normal(size=4000) * spread
    zero = np.zeros(3000)
    weighted = calibrate(y[:3000], zero, zero, 0.5)
    assert covered(y[3000:], weighted) > covered(
        y[3000:], calibrate(rng.permutation(y[:3000]), zero, zero, 0.5)
    )


def test_weighted_quantile() -> None:
    scores, even = np.array([3.0, 1.0, 2.0]), np.ones(3)
    assert weighted_quantile(scores, even, 0.25) == 1
    assert weighted_quantile(scores, even, 0.5) == 2
    assert weighted_quantile(scores, even, 0.75) == 3
    # Three listings cannot promise 90 %: the widest that is known is taken.
    assert weighted_quantile(scores, even, 0.9) == 3
    assert weighted_quantile(scores, np.array([9.0, 1.0, 1.0]), 0.4) == 3


def test_nothing_to_calibrate_on() -> None:
    none = np.empty(0)
    with pytest.raises(ValueError, match="no listings"):
        calibrate(none, none, none, 0.5)
