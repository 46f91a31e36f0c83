from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from price_cases import make_sales

from graildient.errors import ModelNotFound, NotEnoughData, StorageError
from graildient.lake import Lake, row_from_listing
from graildient.listing import SoldListing
from graildient.pricing.registry import Registry
from graildient.settings import FeatureSettings, TrainingSettings
from graildient.storage import Storage
from training.dataset import load_dataset
from training.evaluate_file import evaluate_file
from training.train import train_model

FEATURES = FeatureSettings(clock="history")
PAST = make_sales(400)
NEWER = make_sales(80, seed=5, first_id=9_000)


def write(path: Path, sales: Sequence[SoldListing], *extra: dict[str, Any]) -> Path:
    rows = [row_from_listing(sale) for sale in sales]
    path.write_text("".join(json.dumps(row, default=str) + "\n" for row in [*rows, *extra]))
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """A lake, its features and a champion."""
    from feature_repo.build import build_features
    from feature_repo.training_set import build_training_set

    home = tmp_path_factory.mktemp("evaluate_file")
    storage = Storage(str(home / "root"))
    Lake(storage).append(PAST)
    build_features(storage, FEATURES)
    made = build_training_set(storage, FEATURES, "runs/t/training_set.parquet")
    settings = TrainingSettings()
    trained = train_model(load_dataset(storage, made), {"depth": 3}, 20, settings, home / "out")
    registry = Registry(storage)
    registry.set_alias("champion", registry.register(trained.folder), reason="test")
    return storage


def test_figures_of_newer_listings(world: Storage, tmp_path: Path) -> None:
    found = evaluate_file(write(tmp_path / "newer.jsonl", NEWER), world, FEATURES)
    assert (found["n"], found["left_out"], found["rejected"]) == (80, 0, {})
    assert found["rmsle"] < found["median_rmsle"]
    assert 0.5 < found["coverage_80"] <= 1
    needed = (
        "rmsle median_rmsle wape median_wape mdape within_20 bias coverage_80 width_80 model_version as_of"
    )
    assert set(needed.split()) <= found.keys()
    low, high = found["intervals"]["rmsle"]
    assert low < found["rmsle"] < high
    by_designer = {part["value"]: part["n"] for part in found["slices"] if part["by"] == "designer"}
    assert sum(by_designer.values()) == 80
    assert "new designer" not in by_designer, "all are in the training rows of the lake"
    json.dumps(found)


def test_the_median_is_that_of_the_training_listings(world: Storage, tmp_path: Path) -> None:
    found = evaluate_file(write(tmp_path / "newer.jsonl", NEWER), world, FEATURES)
    median = np.median([s.sold_price for s in PAST])
    sold = np.array([s.sold_price for s in NEWER])
    assert found["median_wape"] == pytest.approx(np.abs(median - sold).sum() / sold.sum())


def test_listings_of_the_training_are_left_out_and_bad_rows_counted(world: Storage, tmp_path: Path) -> None:
    bad = row_from_listing(NEWER[0]) | {"id": 5, "sold_price": None}
    path = write(tmp_path / "mixed.jsonl", [*PAST[:30], *NEWER, NEWER[0]], bad, {"id": 6})
    found = evaluate_file(path, world, FEATURES)
    assert (found["n"], found["left_out"], found["repeated"]) == (80, 30, 1)
    assert sum(found["rejected"].values()) == 2
    assert any(cause.startswith("sold_price: ") for cause in found["rejected"])
    alone = evaluate_file(write(tmp_path / "newer.jsonl", NEWER), world, FEATURES)
    assert found["rmsle"] == alone["rmsle"]


def test_the_files_prices_never_become_features(world: Storage, tmp_path: Path) -> None:
    """Whatever the file's other listings sold for, one listing's error stays."""
    first = NEWER[0]
    dear = [s.model_copy(update={"sold_price": 900_000.0}) for s in NEWER[1:]]
    alone = evaluate_file(write(tmp_path / "one.jsonl", [first]), world, FEATURES)
    both = evaluate_file(write(tmp_path / "all.jsonl", [first, *dear]), world, FEATURES)
    plain = evaluate_file(write(tmp_path / "plain.jsonl", NEWER), world, FEATURES)

    def squares(found: dict[str, Any]) -> float:
        return float(found["rmsle"]) ** 2 * int(found["n"])

    def bias(found: dict[str, Any], sales: Sequence[SoldListing]) -> float:
        sold = sum(s.sold_price for s in sales)
        return float(found["bias"]) * sold + sold

    assert bias(both, [first, *dear]) == pytest.approx(bias(plain, NEWER), rel=1e-6), (
        "the prices are the same"
    )
    assert squares(alone) < squares(both)


def test_only_known_listings_leave_nothing_to_evaluate(world: Storage, tmp_path: Path) -> None:
    path = write(tmp_path / "known.jsonl", PAST[:25], {"id": 3})
    with pytest.raises(NotEnoughData, match="25 were left out") as caught:
        evaluate_file(path, world, FEATURES)
    assert "1 of 26 rows were refused" in caught.value.message
    assert "graildient evaluate" in caught.value.hint


@pytest.mark.parametrize("price", [0, -5, 1e9, "free"])
def test_a_price_that_is_none_is_refused_and_counted(world: Storage, tmp_path: Path, price: object) -> None:
    bad = row_from_listing(NEWER[0]) | {"id": 5, "sold_price": price}
    found = evaluate_file(write(tmp_path / "odd.jsonl", NEWER, bad), world, FEATURES)
    assert found["n"] == 80
    ((cause, count),) = found["rejected"].items()
    assert cause.startswith("sold_price: ")
    assert count == 1


def test_an_empty_file_and_one_of_bad_rows_only(world: Storage, tmp_path: Path) -> None:
    for rows in ([], [{"id": 3}]):
        with pytest.raises(NotEnoughData, match="is left to evaluate on"):
            evaluate_file(write(tmp_path / "none.jsonl", [], *rows), world, FEATURES)


def test_one_listing_one_designer_and_one_price_only(world: Storage, tmp_path: Path) -> None:
    same = make_sales(30, seed=9, first_id=50_000, designers=("Nike",), sold_price=1_000_000.0)
    for sales in (same, same[:1]):
        found = evaluate_file(write(tmp_path / "same.jsonl", sales), world, FEATURES)
        assert found["n"] == len(sales)
        assert found["coverage_80"] == 0
        assert [part["n"] for part in found["slices"] if part["by"] == "designer"] == [len(sales)]
        assert not any(part["judged"] for part in found["slices"])
        json.dumps(found, allow_nan=False)


def test_no_such_file_or_model(world: Storage, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        evaluate_file(tmp_path / "none.jsonl", world, FEATURES)
    with pytest.raises(ModelNotFound):
        evaluate_file(write(tmp_path / "newer.jsonl", NEWER), world, FEATURES, ref="challenger")
