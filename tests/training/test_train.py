from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from price_cases import NO_MARKET, make_data, make_market, make_sales

from graildient.errors import NotEnoughData
from graildient.listing import Listing
from graildient.pricing.model import PriceModel
from graildient.settings import TrainingSettings
from training.dataset import Dataset, make_dataset
from training.train import HOLDOUT, Trained, load_scored, train_model

SETTINGS = TrainingSettings()


def content(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "manifest.json"
    }


def test_the_holdout_is_priced_by_a_model_that_has_not_seen_it(
    trained_small: Trained, price_data: Dataset
) -> None:
    held = trained_small.holdout
    assert held["n"] == 240
    assert trained_small.scored.ids.tolist() == [x.id for x in price_data.listings[960:]]
    assert held["rmsle"] < held["designer_category_rmsle"] < held["median_rmsle"]
    assert held["coverage_80"] == pytest.approx(0.8, abs=0.1)


def test_the_holdouts_prices_move_nothing_that_it_is_judged_by(
    trained_small: Trained, price_data: Dataset, tmp_path: Path
) -> None:
    dear = [x.model_copy(update={"sold_price": x.sold_price * 20}) for x in price_data.listings[960:]]
    other = Dataset([*price_data.listings[:960], *dear], price_data.market, "cd" * 32, price_data.as_of)
    again = train_model(other, {"depth": 4}, 40, SETTINGS, tmp_path)
    np.testing.assert_array_equal(again.scored.price, trained_small.scored.price)
    np.testing.assert_array_equal(again.scored.low, trained_small.scored.low)
    assert again.holdout["rmsle"] > trained_small.holdout["rmsle"]


def test_the_served_model_is_fitted_on_every_listing(trained_small: Trained, price_data: Dataset) -> None:
    model = PriceModel.load(trained_small.folder)
    assert model.trained_ids.tolist() == sorted(x.id for x in price_data.listings)
    assert model.calibration.rows == 240
    manifest = model.manifest
    assert manifest.rows == 1200
    assert manifest.params == {"depth": 4, "iterations": 40}
    assert manifest.metrics["holdout"]["rmsle"] == trained_small.holdout["rmsle"]
    assert manifest.metrics["holdout"]["fitted_on"] == 960
    assert manifest.training_set_sha256 == price_data.sha256
    assert "ray_address" not in manifest.settings
    assert manifest.version == trained_small.version


def test_twins_have_the_same_files_and_version(
    trained_small: Trained, price_data: Dataset, tmp_path: Path
) -> None:
    # What a killed run left behind changes nothing.
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "left.cbm").write_bytes(b"half")
    again = train_model(price_data, {"depth": 4}, 40, SETTINGS, tmp_path)
    assert content(again.folder) == content(trained_small.folder)
    assert again.version == trained_small.version
    assert (tmp_path / HOLDOUT).read_bytes() == (trained_small.folder.parent / HOLDOUT).read_bytes()


def test_other_parameters_make_another_version(
    trained_small: Trained, price_data: Dataset, tmp_path: Path
) -> None:
    other = train_model(price_data, {"depth": 3}, 40, SETTINGS, tmp_path)
    assert other.version != trained_small.version
    assert other.version.startswith("20210201-")


def test_the_holdouts_prices_are_kept(trained_small: Trained) -> None:
    copy = load_scored(trained_small.folder.parent / HOLDOUT)
    for name in ("ids", "sold", "price", "low", "high"):
        np.testing.assert_array_equal(getattr(copy, name), getattr(trained_small.scored, name))


def test_progress_is_reported(price_data: Dataset, tmp_path: Path) -> None:
    told: list[tuple[float, float | None]] = []

    def report(stage: str, *, done: float, total: float | None = None, note: str = "") -> None:
        assert stage == "train"
        told.append((done, total))

    train_model(price_data.part(0, 300), {"depth": 2}, 5, SETTINGS, tmp_path, report)
    assert told == [(float(i), 4) for i in range(5)]


def test_too_few_listings(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughData, match="150 listings"):
        train_model(make_data(150), {}, 5, SETTINGS, tmp_path)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    "fixed",
    [
        {"sold_price": 75.0},
        {"designers": ("Nike",)},
        {"photo_count": None, "size": None, "color": None, "condition": None, "description": None},
        {"category": None, "subcategory": None, "department": None, "designers": ()},
        {"title": "🔥"},
        {"title": "x" * 300, "description": "日本製 " * 4000},
    ],
    ids=["constant price", "one designer", "null columns", "no places", "no words", "long texts"],
)
def test_a_poor_training_set_still_makes_a_model(fixed: dict[str, Any], tmp_path: Path) -> None:
    data = make_data(240, **fixed)
    model = PriceModel.load(train_model(data, {"depth": 3}, 10, SETTINGS, tmp_path).folder)
    prices = model.predict([Listing(title="coat"), *data.listings[:3]], [NO_MARKET, *data.market[:3]])
    assert np.isfinite(prices.price).all()
    assert ((prices.low <= prices.price) & (prices.price <= prices.high)).all()
    if "sold_price" in fixed:
        np.testing.assert_allclose(prices.price, 75.0, rtol=0.01)


def test_a_market_that_knows_nothing_still_makes_a_model(tmp_path: Path) -> None:
    sales = make_sales(240)
    data = make_dataset(sales, [NO_MARKET] * 240, "ab" * 32, make_data(1).as_of)
    model = PriceModel.load(train_model(data, {"depth": 3}, 10, SETTINGS, tmp_path).folder)
    assert np.isfinite(model.predict(sales[:5], make_market(sales[:5])).price).all()
