from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from price_cases import make_data, make_market, make_sales

from graildient.pricing.registry import Registry
from graildient.settings import TrainingSettings
from graildient.storage import Storage
from training.dataset import Dataset, make_dataset
from training.evaluate import Scored
from training.gate import (
    MIN_FRESH,
    Rival,
    compare,
    compare_slices,
    coverage_slack,
    judge,
    within_budget,
)
from training.policy import load_policy
from training.split import split
from training.train import Trained, train_model

SETTINGS = TrainingSettings()
POLICY = load_policy()


def with_policy(folder: Path, **limits: object) -> TrainingSettings:
    """Settings that name a policy with these limits."""
    path = folder / "policy.yaml"
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in limits.items()))
    return TrainingSettings(policy=str(path))


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
        (
            {"coverage_80": 0.71},
            "8.3 points of 80 %, the noise of 240 listings and 144 to calibrate",
        ),
        ({"coverage_80": 0.89}, "more than 8.3 points of 80 %"),
    ],
)
def test_a_bad_first_model_is_not_promoted(
    registry: Registry, trained_small: Trained, price_data: Dataset, changed: dict[str, float], said: str
) -> None:
    bad = dataclasses.replace(trained_small, holdout=trained_small.holdout | changed)
    verdict = judge(bad, registry, price_data, SETTINGS)
    assert verdict["promote"] is False
    assert any(said in reason for reason in verdict["reasons"])


@pytest.mark.parametrize("coverage", [0.72, 0.88])
def test_the_edge_of_the_noise_still_passes(
    registry: Registry, trained_small: Trained, price_data: Dataset, coverage: float
) -> None:
    edge = dataclasses.replace(trained_small, holdout=trained_small.holdout | {"coverage_80": coverage})
    assert judge(edge, registry, price_data, SETTINGS)["promote"] is True


def test_the_slack_is_two_points_or_chance(tmp_path: Path) -> None:
    assert coverage_slack(240, 144, POLICY) == pytest.approx(1.96 * math.sqrt(0.16 / 240 + 0.16 / 144))
    assert coverage_slack(100_000, 100_000, POLICY) == 0.02
    strict = load_policy(with_policy(tmp_path, coverage_noise=0).policy)
    assert coverage_slack(240, 144, strict) == 0.02


def test_two_points_hold_where_there_is_no_chance_to_speak_of(
    registry: Registry, trained_small: Trained, price_data: Dataset, tmp_path: Path
) -> None:
    strict = with_policy(tmp_path, coverage_noise=0)
    for coverage, passes in ((0.779, False), (0.781, True), (0.819, True), (0.821, False)):
        one = dataclasses.replace(trained_small, holdout=trained_small.holdout | {"coverage_80": coverage})
        assert judge(one, registry, price_data, strict)["promote"] is passes, coverage


def test_a_blocking_leak_keeps_a_model_out(
    registry: Registry, trained_small: Trained, price_data: Dataset
) -> None:
    leak = {"ids": {"shared": 3}, "gap": {"fitted": 0.3, "newer": 0.35, "n": 100}}
    verdict = judge(trained_small, registry, price_data, SETTINGS, leakage=leak)
    assert verdict["promote"] is False
    assert "3 listings of the holdout are also in the past" in verdict["reasons"][-1]
    assert [alarm["level"] for alarm in verdict["alarms"]] == ["blocking"]
    clean = leak | {"ids": {"shared": 0}}
    assert judge(trained_small, registry, price_data, SETTINGS, leakage=clean)["promote"] is True


@pytest.mark.parametrize(
    ("limit", "said"), [("artifact_mib_max", "MiB of 0.001"), ("latency_ms_max", "ms of 0.001")]
)
def test_a_model_beyond_the_budget_is_not_promoted(
    registry: Registry, trained_small: Trained, price_data: Dataset, tmp_path: Path, limit: str, said: str
) -> None:
    verdict = judge(trained_small, registry, price_data, with_policy(tmp_path, **{limit: 0.001}))
    assert verdict["promote"] is False
    assert said in verdict["reasons"][-1]
    assert 0 < verdict["measured"]["artifact_mib"] < 50
    assert 0 < verdict["measured"]["latency_ms"] < 100


def test_what_varies_is_said_of_a_breach_only() -> None:
    one, other = ({"artifact_mib": 1.0, "latency_ms": ms} for ms in (1.0, 2.0))
    assert within_budget(one, POLICY) == within_budget(other, POLICY)
    assert not within_budget({"artifact_mib": 1.0, "latency_ms": 101.0}, POLICY).passed


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
    assert figures["gain_p"] == pytest.approx(1 / 1001, abs=1e-6)
    strict = with_policy(tmp_path, gain_min=figures["gain"] + 0.01)
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
    better, figures = compare(mine, Rival(theirs, "x"), POLICY, 7)
    assert better.passed
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


def noisy(rows: int, *, better: float = 0.0, seed: int = 1) -> tuple[Scored, Rival]:
    """A candidate and a rival; `better`: by how much the candidate's log prices err less."""
    rng = np.random.default_rng(seed)
    ids, sold = np.arange(rows), np.full(rows, 100.0)
    ours = 101 * np.exp(rng.normal(0, 0.5 - better, rows)) - 1
    theirs = 101 * np.exp(rng.normal(0, 0.5, rows)) - 1
    return Scored(ids, sold, ours, ours, ours), Rival(Scored(ids, sold, theirs, theirs, theirs), "x")


def test_a_gain_within_the_noise_is_not_enough(tmp_path: Path) -> None:
    candidate, rival = noisy(240, better=0.03)
    check, figures = compare(candidate, rival, POLICY, 7)
    assert figures["gain_low"] < 0 < figures["gain"]
    assert not check.passed
    assert "no more than chance, p = 0." in check.said
    lax = load_policy(with_policy(tmp_path, gain_beyond_noise=False).policy)
    assert compare(candidate, rival, lax, 7)[0].passed
    check, _ = compare(*noisy(240, better=0.2), POLICY, 7)
    assert check.passed
    assert "other listings would say so too" in check.said
    check, _ = compare(*noisy(240, better=-0.2), POLICY, 7)
    assert "worse, and other listings" in check.said


def test_a_slice_that_gets_worse_blocks_unless_it_is_thin(tmp_path: Path) -> None:
    data = make_data(1200)
    cut = split(len(data), TrainingSettings(holdout_share=0.7))
    holdout = data.listings[cut.past :]
    ids = np.array([one.id for one in holdout])
    sold = np.array([one.sold_price for one in holdout])
    boots = np.array([one.category == "footwear" for one in holdout])
    assert 200 <= boots.sum() < 300
    rng = np.random.default_rng(3)
    theirs = sold * np.exp(rng.normal(0, 0.4, sold.size))
    # Better by far but for boots, so better in all.
    ours = np.where(boots, theirs * np.exp(rng.normal(0, 0.4, sold.size)), sold)
    candidate = Scored(ids, sold, ours, ours, ours)
    rival = Rival(Scored(ids, sold, theirs, theirs, theirs), "x")
    settings = TrainingSettings(holdout_share=0.7)
    assert compare(candidate, rival, POLICY, 7)[0].passed
    check, rows = compare_slices(candidate, rival, data, settings, POLICY)
    assert not check.passed
    assert "category footwear by 0." in check.said
    assert {row["by"] for row in rows} == {"price", "category", "designer", "condition"}
    thin = load_policy(with_policy(tmp_path, slice_rows=300).policy)
    check, rows = compare_slices(candidate, rival, data, settings, thin)
    assert check.passed
    footwear = next(row for row in rows if row["value"] == "footwear")
    assert footwear["judged"] is False
    assert footwear["gain"] < 0


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
