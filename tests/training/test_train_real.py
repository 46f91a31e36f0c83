"""The recipe on real listings: does it still reach what it was chosen for?"""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.build import build_features
from feature_repo.training_set import build_training_set
from graildient.lake import Lake
from graildient.listing import SoldListing
from graildient.listing_files import read_listings
from graildient.settings import FeatureSettings, TrainingSettings
from graildient.storage import Storage
from training.dataset import load_dataset
from training.fit import ITERATIONS
from training.train import train_model

NEWEST = 4_000


@pytest.mark.real
@pytest.mark.slow
def test_newer_listings_are_priced_far_better_than_by_the_median(
    shared_data: Path, storage: Storage, tmp_path: Path
) -> None:
    reads = read_listings(shared_data / "grailed_sold_2021.csv.gz", sold=True)
    sales = [read.listing for read in reads if isinstance(read.listing, SoldListing)]
    Lake(storage).append(sorted(sales, key=lambda sale: sale.id)[-NEWEST:])
    settings = FeatureSettings(clock="history")
    build_features(storage, settings)
    data = load_dataset(storage, build_training_set(storage, settings, "runs/real/set.parquet"))
    held = train_model(data, {}, ITERATIONS, TrainingSettings(), tmp_path).holdout
    assert held["rmsle"] / held["median_rmsle"] < 0.57
    assert held["wape"] < 0.65 * held["median_wape"]
    assert 0.72 <= held["coverage_80"] <= 0.88
