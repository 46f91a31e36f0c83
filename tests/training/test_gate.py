from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from price_cases import make_data, make_market, make_sales

from graildient.pricing.registry import Registry
from graildient.settings import TrainingSettings
from graildient.storage import Storage
from training.dataset import Dataset, make_dataset
from training.evaluate import Scored
from training.gate import MIN_FRESH, Rival, compare, judge, paired_interval
from training.train import Trained, train_model

SETTINGS = TrainingSettings()


@pytest.fixture
def registry(storage: Storage) -> Registry:
    return Registry(storage)


def worse(trained: Trained, factor: float) -> Trained:
    """The same model, had it priced the holdout worse."""
    scored = dataclasses.replace(trained.scored, price=trained.scored.price * factor)
    return dataclasses.replace(trained, scored=scored, version="20210201-worse0")


def crown(registry: Registry, trained: Trained) -> None:
    registry.set_alias("champion", registry.register(trained.folder), reason="test")


def test_the_first_model_is_promoted(registry: Registry, trained_small: Trained, price_data: Dataset) -> None:
    verdict = judge(trained_small, registry, price_data, SETTINGS)
    assert verdict["promote"] is True
    assert verdict["champion"] is None
    assert verdict["reasons"][-1] == "there is no champion yet"
    assert verdict["figures"]["rmsle"] == trained_small.holdout["rmsle"]
    assert registry.alias("champion") is None, "judging promotes nothing"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rmsle": 1.0, "median_rmsle": 1.0}, "does not beat the median's"),
        ({"coverage_80": 0.64}, "more than 15% of 80 %"),
        ({"coverage_80": 0.96}, "more than 15% of 80 %"),
    ],
)
def test_a_bad_first_model_is_not_promoted(
    registry: Registry, trained_small: Trained, price_data: Dataset, changed: dict[str, float], said: str
) -> None:
    bad = dataclasses.replace(trained_small, holdout=trained_small.holdout | changed)
    verdict = judge(bad, registry, price_data, SETTINGS)
    assert verdict["promote"] is False
    assert any(said in reason for reason in verdict["reasons"])


@pytest.mark.parametrize("coverage", [0.65, 0.95])
def test_the_edge_of_the_slack_still_passes(
    registry: Registry, trained_small: Trained, price_data: Dataset, coverage: float
) -> None:
    edge = dataclasses.replace(trained_small, holdout=trained_small.holdout | {"coverage_80": coverage})
    assert judge(edge, registry, price_data, SETTINGS)["promote"] is True


def test_the_champion_itself_stays(registry: Registry, trained_small: Trained, price_data: Dataset) -> None:
    crown(registry, trained_small)
    verdict = judge(trained_small, registry, price_data, SETTINGS)
    assert verdict["promote"] is False
    assert verdict["reasons"] == [f"{trained_small.version} is already champion"]


def test_on_old_listings_the_recipes_are_compared(
    registry: Registry, trained_small: Trained, price_data: Dataset
) -> None:
    """The champion knows every price of the holdout; asked itself, it would win by memory."""
    crown(registry, trained_small)
    same = dataclasses.replace(trained_small, version="20210201-other1")
    verdict = judge(same, registry, price_data, SETTINGS)
    assert verdict["figures"]["gain"] == 0.0, "the same recipe on the same past gives the same prices"
    assert verdict["promote"] is False
    assert "recipe" in verdict["reasons"][-1]

    verdict = judge(worse(trained_small, 1.3), registry, price_data, SETTINGS)
    assert verdict["promote"] is False
    assert verdict["figures"]["gain_high"] < 0
    assert verdict["figures"]["compared"] == 240


def test_a_better_recipe_is_promoted_unless_more_is_asked_for(
    registry: Registry, trained_small: Trained, price_data: Dataset, tmp_path: Path
) -> None:
    poor = train_model(price_data, {"depth": 1, "learning_rate": 0.001}, 1, SETTINGS, tmp_path)
    crown(registry, poor)
    verdict = judge(trained_small, registry, price_data, SETTINGS)
    assert verdict["promote"] is True
    figures = verdict["figures"]
    assert 0 < figures["gain_low"] <= figures["gain"] <= figures["gain_high"]
    strict = TrainingSettings(gate_min_gain=figures["gain"] + 0.01)
    assert judge(trained_small, registry, price_data, strict)["promote"] is False


def test_listings_that_are_new_to_the_champion_are_put_to_it(
    registry: Registry, price_data: Dataset, tmp_path: Path
) -> None:
    crown(registry, train_model(price_data.part(0, 900), {"depth": 3}, 20, SETTINGS, tmp_path / "old"))
    candidate = train_model(price_data, {"depth": 3}, 20, SETTINGS, tmp_path / "new")
    verdict = judge(candidate, registry, price_data, SETTINGS)
    assert "that it does not know" in verdict["reasons"][-1]
    assert verdict["figures"]["compared"] == 240
    # Of the 240 held out only 199 are new to this one: too few.
    crown(
        registry,
        train_model(price_data.part(0, 1200 - MIN_FRESH + 1), {"depth": 3}, 20, SETTINGS, tmp_path / "mid"),
    )
    assert "recipe" in judge(candidate, registry, price_data, SETTINGS)["reasons"][-1]


def test_only_the_rows_that_both_may_be_asked_about_are_compared() -> None:
    ids = np.arange(10)
    sold = np.full(10, 100.0)
    mine = Scored(ids, sold, np.where(ids < 5, 1.0, 100.0), sold, sold)
    theirs = Scored(ids[5:], sold[5:], np.full(5, 150.0), sold[5:], sold[5:])
    better, figures, _ = compare(mine, Rival(theirs, "x"), SETTINGS)
    assert better
    assert figures["candidate_rmsle"] == 0
    assert figures["compared"] == 5


def test_a_champion_that_cannot_be_loaded_is_told(
    registry: Registry, trained_small: Trained, price_data: Dataset, tmp_path: Path
) -> None:
    old = train_model(make_data(300), {"depth": 2}, 5, SETTINGS, tmp_path)
    crown(registry, old)
    broken = registry.storage.local(f"registry/price/versions/{old.version}/price.cbm")
    broken.chmod(0o644)
    broken.write_bytes(b"x")
    verdict = judge(trained_small, registry, price_data, SETTINGS)
    assert verdict["promote"] is True
    assert "cannot be loaded" in verdict["reasons"][-1]
    assert "price.cbm" in verdict["reasons"][-1]


def test_the_interval_is_paired_and_repeatable() -> None:
    rng = np.random.default_rng(1)
    theirs = rng.chisquare(1, 500)
    ours = theirs * 0.9
    low, high = paired_interval(ours, theirs, 7)
    assert (low, high) == paired_interval(ours, theirs, 7)
    # Unpaired, a tenth less would be lost in the noise of 500 listings.
    assert 0 < low < high


def test_the_market_of_the_dataset_is_what_the_champion_sees(
    registry: Registry, trained_small: Trained, price_data: Dataset, tmp_path: Path
) -> None:
    crown(registry, trained_small)
    sales = make_sales(400, seed=11, first_id=70_000)
    later = make_dataset(sales, make_market(sales, seed=11), "ef" * 32, price_data.as_of)
    candidate = train_model(later, {"depth": 1}, 2, TrainingSettings(holdout_share=0.6), tmp_path)
    verdict = judge(candidate, registry, later, TrainingSettings(holdout_share=0.6))
    assert verdict["figures"]["compared"] == 240
    assert verdict["promote"] is False, "1,200 listings teach more than 160"
