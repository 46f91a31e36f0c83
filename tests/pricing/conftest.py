"""A small trained model, shared by the tests of the room."""

from __future__ import annotations

from pathlib import Path

import pytest
from price_cases import make_data

from graildient.pricing.model import PriceModel
from graildient.settings import TrainingSettings
from training.train import train_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed artifact; copy it before changing it."""
    folder = tmp_path_factory.mktemp("trained")
    return train_model(make_data(500), {"depth": 4}, 40, TrainingSettings(), folder).folder


@pytest.fixture(scope="session")
def model(model_folder: Path) -> PriceModel:
    return PriceModel.load(model_folder)
