"""Cuts in time: what a model is fitted on is older than what it is judged on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from graildient.errors import NotEnoughData
from graildient.settings import TrainingSettings


@dataclass(frozen=True)
class Split:
    """Row numbers in a dataset sorted by time: the past is [0, past), the holdout [past, end).

    [valid, past) is the newest window of the past: the search validates on it, and ranges
    are calibrated on it.
    """

    valid: int
    past: int
    end: int


def split(rows: int, settings: TrainingSettings) -> Split:
    """Cut off the newest rows.

    Raises:
        NotEnoughData: fewer rows than `min_rows`, or a part would be too small to say anything.
    """
    if rows < settings.min_rows:
        raise NotEnoughData(
            f"{rows} listings are too few to train on, at least {settings.min_rows} are needed",
            hint="scrape more listings, or lower GRAILDIENT_TRAINING_MIN_ROWS",
        )
    past = rows - math.ceil(rows * settings.holdout_share)
    valid = past - math.ceil(past * settings.validation_share)
    if min(valid, past - valid, rows - past) < 1:
        raise NotEnoughData(
            f"{rows} listings leave a part empty: {valid} to train on, {past - valid} to validate on, "
            f"{rows - past} held out",
            hint="lower GRAILDIENT_TRAINING_HOLDOUT_SHARE or GRAILDIENT_TRAINING_VALIDATION_SHARE",
        )
    return Split(valid, past, rows)


def forward_folds(rows: int, *, start: float = 0.6, step: float = 0.1) -> list[tuple[int, int]]:
    """Walk forward: pairs (cut, end), to train on all before `cut` and to test on [cut, end)."""
    shares = [start + step * i for i in range(round((1 - start) / step))]
    return [(int(rows * a), min(rows, int(rows * (a + step) + 1e-9))) for a in shares]
