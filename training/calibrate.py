"""Conformal calibration of the 80 % range: by how much the outer quantiles are moved (CQR).

Each side has its own offset, because a market that drifts makes a model miss on one side. Newer
listings count more, because the next ones will be like them: the weights fall by half every
`HALF_LIFE` of the window. (Romano et al., Conformalized quantile regression, 2019; Barber et al.,
Conformal prediction beyond exchangeability, 2023.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from graildient.pricing.model import Calibration

Floats = npt.NDArray[np.float64]

LEVEL = 0.8
HALF_LIFE = 0.5
"""As a share of the window."""


def weighted_quantile(scores: Floats, weights: Floats, level: float) -> float:
    """The smallest score that holds `level` of the weight, the listing to come counted as one of the newest.

    The largest score where even all of them do not hold so much.
    """
    order = np.argsort(scores, kind="stable")
    held = np.cumsum(weights[order]) / (weights.sum() + weights.max())
    at = int(np.searchsorted(held, level - 1e-12))
    return float(scores[order[min(at, scores.size - 1)]])


def calibrate(y: Floats, low: Floats, high: Floats, share: float) -> Calibration:
    """Offsets from listings that the quantiles were not fitted on.

    Args:
        y, low, high: log1p of sold price and raw outer quantiles, oldest first.
        share: of the booster in the blend, carried along.

    Raises:
        ValueError: there is no listing.
    """
    if not y.size:
        raise ValueError("no listings to calibrate on")
    age = np.arange(y.size)[::-1] / y.size
    weights = np.exp2(-age / HALF_LIFE)
    side = (1 + LEVEL) / 2
    return Calibration(
        share=share,
        low=weighted_quantile(low - y, weights, side),
        high=weighted_quantile(y - high, weights, side),
        rows=int(y.size),
    )
