from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graildient.errors import NotEnoughData
from graildient.settings import TrainingSettings
from training.split import forward_folds, split


@given(rows=st.integers(200, 10_000), holdout=st.floats(0.05, 0.5), validation=st.floats(0.05, 0.5))
def test_parts_follow_each_other(rows: int, holdout: float, validation: float) -> None:
    cut = split(rows, TrainingSettings(holdout_share=holdout, validation_share=validation))
    assert 0 < cut.valid < cut.past < cut.end == rows
    assert rows - cut.past == pytest.approx(rows * holdout, abs=1)
    assert cut.past - cut.valid == pytest.approx(cut.past * validation, abs=1)


def test_too_few_listings_are_refused() -> None:
    with pytest.raises(NotEnoughData, match="199 listings"):
        split(199, TrainingSettings())
    with pytest.raises(NotEnoughData, match="empty"):
        split(10, TrainingSettings(min_rows=10, holdout_share=0.89, validation_share=0.89))


def test_folds_walk_forward_to_the_end() -> None:
    assert forward_folds(1000) == [(600, 700), (700, 800), (800, 900), (900, 1000)]
    assert forward_folds(1003)[-1][1] == 1003
