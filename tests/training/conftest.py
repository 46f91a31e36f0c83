"""The made-up sales of the pricing tests, and a small trained model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "pricing"))

if TYPE_CHECKING:
    from training.dataset import Dataset
    from training.train import Trained


@pytest.fixture(scope="session")
def price_data() -> Dataset:
    """1,200 made-up sales."""
    from price_cases import make_data

    return make_data(1200)


@pytest.fixture(scope="session")
def trained_small(price_data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A model of them."""
    from graildient.settings import TrainingSettings
    from training.train import train_model

    folder = tmp_path_factory.mktemp("trained_small")
    return train_model(price_data, {"depth": 4}, 40, TrainingSettings(), folder)
