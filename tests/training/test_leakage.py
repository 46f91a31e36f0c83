"""Leaks are put in, one at a time; clean data raise no alarm."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest
from price_cases import make_data, make_market, make_sales

from graildient.listing import SoldListing
from graildient.pricing import features
from graildient.pricing.model import PriceModel
from training.evaluate import Scored
from training.leakage import Alarm, alarms, alone, measure
from training.near_duplicates import ALIKE, find_copies
from training.policy import load_policy
from training.train import Trained

POLICY = load_policy()
CLEAN: dict[str, Any] = {
    "ids": {"shared": 0},
    "texts": {
        "compared": 500, "exact": 2, "near": 4, "share": 0.008, "same_seller": 0.5,
        "rmsle": 0.5, "rmsle_copies": 0.4, "rmsle_without": 0.501,
    },
    "sellers": {"without": 0, "seen": {"n": 200, "rmsle": 0.5}, "unseen": {"n": 300, "rmsle": 0.54}},
    "features": {
        "model_r2": 0.7,
        "alone": [
            {"name": "designer", "field": "designers", "r2": 0.49},
            {"name": "category", "field": "category", "r2": 0.2},
        ],
    },
    "gap": {"fitted": 0.36, "newer": 0.53, "n": 2000},
}  # fmt: skip


def told(rows: int, *, seed: int) -> list[SoldListing]:
    """Sales whose descriptions are all different."""
    chance = random.Random(seed)
    names = [f"w{i}" for i in range(3000)]
    return [
        one.model_copy(update={"description": " ".join(chance.sample(names, 25))})
        for one in make_sales(rows, seed=seed, first_id=seed * 10_000)
    ]


def changed(path: str, value: Any) -> dict[str, Any]:
    whole = copy.deepcopy(CLEAN)
    part: Any = whole
    *above, last = path.split(".")
    for key in above:
        part = part[int(key)] if isinstance(part, list) else part[key]
    part[last] = value
    return whole


def test_clean_data_are_silent() -> None:
    assert alarms(CLEAN, POLICY) == []
    nothing = CLEAN | {"texts": None, "sellers": None, "features": None}
    assert alarms(nothing, POLICY) == []


@pytest.mark.parametrize(
    ("path", "value", "name", "level"),
    [
        ("ids.shared", 1, "ids", "blocking"),
        ("texts.share", 0.05, "texts", "told"),
        ("texts.share", 0.2, "texts", "warning"),
        ("features.alone.0.r2", 0.95, "feature", "blocking"),
        ("features.alone.0.r2", 0.65, "feature", "warning"),
        ("gap.fitted", 0.2, "gap", "warning"),
        ("gap.fitted", 0.05, "gap", "blocking"),
        ("gap.fitted", 0.0, "gap", "blocking"),
        ("sellers.unseen.rmsle", 0.7, "sellers", "warning"),
    ],
)
def test_each_limit_raises_its_alarm(path: str, value: Any, name: str, level: str) -> None:
    found = alarms(changed(path, value), POLICY)
    assert [(alarm.name, alarm.level) for alarm in found] == [(name, level)]


def test_copies_block_only_where_they_flatter() -> None:
    many = changed("texts.share", 0.5)
    assert [alarm.level for alarm in alarms(many, POLICY)] == ["warning"]
    many["texts"]["rmsle_without"] = 0.6
    (found,) = alarms(many, POLICY)
    assert found.level == "blocking"
    assert "without them RMSLE is 0.6000 instead of 0.5000" in found.said


def test_few_sellers_say_nothing() -> None:
    few = changed("sellers.unseen", {"n": 49, "rmsle": 2.0})
    assert alarms(few, POLICY) == []


@pytest.fixture(scope="module")
def clean_run(trained_small: Trained) -> tuple[Any, Scored, PriceModel]:
    return make_data(1200), trained_small.scored, PriceModel.load(trained_small.folder)


def look(run: tuple[Any, Scored, PriceModel], **changes: Any) -> list[Alarm]:
    data, scored, model = run
    parts = {
        "past": told(960, seed=1),
        "past_market": data.market[:960],
        "holdout": data.listings[960:],
        "holdout_market": data.market[960:],
        "scored": scored,
        "model": model,
        "seed": 7,
    }
    # Every text its own, so that texts are as clean as the rest.
    parts["past"] = [
        a.model_copy(update={"description": b.description})
        for a, b in zip(data.listings[:960], told(960, seed=1), strict=True)
    ]
    parts["holdout"] = [
        a.model_copy(update={"description": b.description})
        for a, b in zip(data.listings[960:], told(240, seed=2), strict=True)
    ]
    parts |= {key: change(parts) for key, change in changes.items()}
    return alarms(measure(**parts), POLICY)


def test_a_clean_run_is_silent(clean_run: tuple[Any, Scored, PriceModel]) -> None:
    assert look(clean_run) == []


def test_listings_that_were_fitted_on_are_found(clean_run: tuple[Any, Scored, PriceModel]) -> None:
    found = look(clean_run, past=lambda p: [*p["past"][:-5], *p["holdout"][:5]])
    assert [a for a in found if a.name == "ids"] == [
        Alarm(
            "ids", "blocking", "5 listings of the holdout are also in the past that the model was fitted on"
        )
    ]


def test_relisted_texts_are_found(clean_run: tuple[Any, Scored, PriceModel]) -> None:
    def relist(parts: dict[str, Any]) -> list[SoldListing]:
        """A fifth of the holdout is in the past, with another id, other capitals, and one word changed."""
        old = [
            one.model_copy(
                update={
                    "id": 900_000 + i,
                    "title": one.title.upper(),
                    "description": f"{one.description.rsplit(' ', 1)[0]} resized",
                }
            )
            for i, one in enumerate(parts["holdout"][:50])
        ]
        return [*parts["past"][:-50], *old]

    (found,) = look(clean_run, past=relist)
    assert (found.name, found.level) == ("texts", "warning")
    assert found.said.startswith(
        "50 of the holdout's texts (20.8%) are also or nearly in the past, 0 of them"
    )


def test_a_feature_that_knows_the_price_is_found(clean_run: tuple[Any, Scored, PriceModel]) -> None:
    """A market that has each listing's own sale in it already."""

    def leak(side: str) -> Any:
        def of(parts: dict[str, Any]) -> list[Any]:
            rows = zip(parts[side], parts[f"{side}_market"], strict=True)
            return [m | {"category_mean_log_price": float(np.log1p(one.sold_price))} for one, m in rows]

        return of

    found = look(clean_run, past_market=leak("past"), holdout_market=leak("holdout"))
    alarm = next(a for a in found if a.name == "feature")
    assert alarm.level == "blocking"
    assert alarm.said.startswith("the feature category_mean_log_price alone explains")


def test_a_model_that_knows_its_listings_by_heart_is_found(
    clean_run: tuple[Any, Scored, PriceModel],
) -> None:
    _, scored, _ = clean_run
    far = Scored(scored.ids, scored.sold, scored.price * 4, scored.low, scored.high)
    (found,) = look(clean_run, scored=lambda _: far)
    assert (found.name, found.level) == ("gap", "blocking")


def test_sellers_on_both_sides_are_told_apart(clean_run: tuple[Any, Scored, PriceModel]) -> None:
    """Half of the holdout is by sellers of the past, and priced much better."""
    _, scored, _ = clean_run
    seen = np.arange(240) % 2 == 0
    price = np.where(seen, scored.sold, scored.price * 1.3)
    found = look(
        clean_run,
        past=lambda p: [one.model_copy(update={"seller_hash": "a"}) for one in p["past"]],
        holdout=lambda p: [
            one.model_copy(update={"seller_hash": "a" if seen[i] else f"b{i}"})
            for i, one in enumerate(p["holdout"])
        ],
        scored=lambda _: Scored(scored.ids, scored.sold, price, scored.low, scored.high),
    )
    assert [(a.name, a.level) for a in found] == [("sellers", "warning")]
    assert "RMSLE is 0.0000 on 120 listings of sellers that the past knows" in found[0].said


def test_what_one_feature_explains_by_hand() -> None:
    sales = make_sales(400, noise=0.0)
    market = make_market(sales)
    table = features.frame(sales, market)
    logs = np.log1p([one.sold_price for one in sales])
    found = {f["name"]: f["r2"] for f in alone(table, logs, table, logs)}
    assert features.ESTIMATE not in found
    assert found["designer"] > 0.5 > found["photo_count"]
    groups = table["condition"].to_numpy()
    means = {c: logs[groups == c] for c in set(groups)}
    said = np.array([(means[c].sum() + 5 * logs.mean()) / (means[c].size + 5) for c in groups])
    assert found["condition"] == pytest.approx(
        1 - ((logs - said) ** 2).sum() / ((logs - logs.mean()) ** 2).sum(), abs=1e-6
    )


def test_one_price_explains_nothing_and_does_not_fail(clean_run: tuple[Any, Scored, PriceModel]) -> None:
    _, scored, model = clean_run
    same = np.full(240, 40.0)
    sales = make_sales(1200, sold_price=40.0)
    market = make_market(sales)
    found = measure(
        sales[:960], market[:960], sales[960:], market[960:],
        Scored(scored.ids, same, same, same, same), model, 7,
    )  # fmt: skip
    assert found["features"] is None
    assert "feature" not in {alarm.name for alarm in alarms(found, POLICY)}


def test_near_copies_against_every_pair_compared() -> None:
    """MinHash finds what comparing everything with everything finds."""
    past, new = told(300, seed=1), told(60, seed=2)
    chance = random.Random(5)
    mixed = []
    for i, one in enumerate(new):
        words = past[i].description.split()  # type: ignore[union-attr]
        for at in chance.sample(range(25), i // 10):
            words[at] = f"other{at}"
        mixed.append(one.model_copy(update={"title": past[i].title, "description": " ".join(words)}))

    def shingles(one: SoldListing) -> set[tuple[str, ...]]:
        words = f"{one.title} {one.description}".casefold().split()
        return set(zip(words, words[1:], words[2:], strict=False))

    def alike(a: SoldListing, b: SoldListing) -> float:
        return len(shingles(a) & shingles(b)) / len(shingles(a) | shingles(b))

    best = np.array([max(alike(a, b) for b in past) for a in mixed])
    found = find_copies(past, mixed, 7)
    assert (found.near == (best >= ALIKE)).all()
    assert (found.exact == (best == 1)).all()
    assert 5 < found.exact.sum() < found.near.sum() < 60
    assert (found.like[found.near] == np.flatnonzero(found.near)).all()
    assert (found.like[~found.near] == -1).all()


def test_short_texts_are_not_compared() -> None:
    one = make_sales(1, title="Black t-shirt", description=None)
    assert find_copies(one, one, 7).compared == 0
    emoji = make_sales(1, title="🔥🔥🔥🔥🔥🔥", description="…")
    assert find_copies(emoji, emoji, 7).compared == 0
    japanese = make_sales(1, title="日本 製 の 古い 服 です", description=None)
    assert find_copies(japanese, japanese, 7).exact.all()
    assert not find_copies([], japanese, 7).near.any()
