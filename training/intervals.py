"""Bootstrap intervals: how far a figure would move had other listings of the same kind been held out.

Listings are drawn with replacement, `DRAWS` times, all from one seed; the interval is between the 2.5 %
and the 97.5 % quantile of the figure over the draws (Efron, Bootstrap methods, 1979). A drawn listing
counts as often as it was drawn, so a figure that is a ratio of sums is one matrix product for all draws.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from training.evaluate import Scored, squared_log_errors

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

DRAWS = 1_000
FEWEST_DRAWS = 200
LEVELS = (0.025, 0.975)
_CELLS = 2_000_000
"""Counts held at once; 16 MB."""
_BUDGET = 50_000_000
"""Counts drawn in all: with very many listings the intervals are narrow, and fewer draws do."""
_DIGITS = 6
"""Beyond them sums depend on the order in which a machine adds."""


def counts(rows: int, seed: int, draws: int = DRAWS) -> Iterator[Floats]:
    """How often each row is drawn: blocks of shape (some draws, rows), `draws` in all."""
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // rows)
    for start in range(0, draws, step):
        block = min(step, draws - start)
        drawn = rng.integers(0, rows, (block, rows)) + np.arange(block)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=block * rows).reshape(block, rows).astype(np.float64)


def _draws(rows: int) -> int:
    return min(DRAWS, max(FEWEST_DRAWS, _BUDGET // rows))


def intervals(scored: Scored, seed: int) -> dict[str, Interval]:
    """The 95 % interval of each figure of :func:`training.evaluate.errors` and of the range.

    Raises:
        ValueError: there is no listing.
    """
    if not scored.sold.size:
        raise ValueError("no listings to draw from")
    off = scored.price - scored.sold
    relative = np.abs(off) / scored.sold
    order = np.argsort(relative, kind="stable")
    columns = np.column_stack(
        [
            squared_log_errors(scored.sold, scored.price),
            np.abs(off),
            off,
            scored.sold,
            relative <= 0.2,
            (scored.low <= scored.sold) & (scored.sold <= scored.high),
            (scored.high - scored.low) / scored.price,
        ]
    )
    rows = scored.sold.size
    sums, medians = [], []
    for block in counts(rows, seed, _draws(rows)):
        sums.append(block @ columns)
        medians.append(_medians(block[:, order], relative[order]))
    squared, absolute, signed, sold, near, inside, width = np.concatenate(sums).T
    found = {
        "rmsle": np.sqrt(squared / rows),
        "wape": absolute / sold,
        "mdape": np.concatenate(medians),
        "within_20": near / rows,
        "bias": signed / sold,
        "coverage_80": inside / rows,
        "width_80": width / rows,
    }
    return {name: _interval(values) for name, values in found.items()}


def _medians(block: Floats, values: Floats) -> Floats:
    """The median of each draw; `values` rise. Of an even number, the mean of the middle two."""
    held = np.cumsum(block, axis=1)
    rows = block.shape[1]
    low, high = (rows + 1) // 2, rows // 2 + 1
    # Rows ending below the rank are before it; held rises, so counting them finds the place.
    first = (held < low).sum(axis=1)
    second = (held < high).sum(axis=1)
    return np.asarray((values[first] + values[second]) / 2, dtype=np.float64)


def _interval(values: Floats) -> Interval:
    low, high = np.quantile(values, LEVELS)
    return round(float(low), _DIGITS), round(float(high), _DIGITS)


def paired_gain(ours: Floats, theirs: Floats, seed: int) -> tuple[float, float, float]:
    """By how much RMSLE falls from `theirs` to `ours`: its 95 % interval, and a p-value.

    Args:
        ours, theirs: squared errors of log1p of the price of the same listings. Both errors of a
            listing are drawn together, so what makes a listing hard for both drops out.

    Returns:
        Lower end, upper end, and the share of draws without a gain: the one-sided p-value of "the
        champion is as good". At least 1 / (draws + 1), since no number of draws shows that it is 0.
    """
    columns = np.column_stack([ours, theirs])
    rows = ours.size
    means = np.concatenate([block @ columns for block in counts(rows, seed, _draws(rows))]) / rows
    gains = np.sqrt(means[:, 1]) - np.sqrt(means[:, 0])
    p = (float((gains <= 0).sum()) + 1) / (gains.size + 1)
    return (*_interval(gains), round(p, _DIGITS))
