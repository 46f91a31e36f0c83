"""All that is measured of a model, and the page that shows it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from price_cases import make_data, make_market

from graildient.listing import Listing
from graildient.pricing.market import Values
from graildient.pricing.model import PriceModel
from graildient.settings import TrainingSettings
from training.assess import assess
from training.dataset import Dataset
from training.dependence import importance, partial_dependence
from training.drift import by_month
from training.evaluate import Scored, errors
from training.report import Content, render, table
from training.train import Trained, train_model

SETTINGS = TrainingSettings(forward_folds=4)


def quiet(stage: str, *, done: float, total: float | None = None, note: str = "") -> None:
    del stage, done, total, note


@pytest.fixture(scope="module")
def measured(trained_small: Trained, price_data: Dataset) -> dict[str, Any]:
    return assess(price_data, trained_small, {"depth": 4}, 40, SETTINGS, make_market, quiet)


def page(measured: dict[str, Any], scored: Scored, **more: Any) -> str:
    return render(Content("20210101-abc", measured, scored, **more))


class Reader(HTMLParser):
    """Every tag that is opened is closed, and nothing points out of the page."""

    VOID = frozenset({"meta", "br", "use", "path", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert tag not in {"script", "link", "iframe", "img", "object"}
        self.ids += [found["id"]] if found.get("id") else []  # type: ignore[list-item]
        for name, value in attrs:
            assert not name.startswith("on")
            assert "//" not in (value or ""), (tag, name, value)
            self.targets |= set(re.findall(r"url\(#([^)]+)\)", value or ""))
            if name.endswith("href"):
                self.targets.add((value or "").removeprefix("#"))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def check(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert reader.targets <= set(reader.ids)
    assert not re.search(r"https?:", text)
    return reader


def test_everything_is_there_and_is_json(measured: dict[str, Any], trained_small: Trained) -> None:
    assert json.loads(json.dumps(measured)) == measured
    assert measured["version"] == trained_small.version
    low, high = measured["intervals"]["rmsle"]
    assert low < measured["holdout"]["rmsle"] < high
    assert {part["by"] for part in measured["slices"]} == {
        "price", "sold price", "category", "designer", "condition",
    }  # fmt: skip


def test_folds_walk_forward_and_the_learning_curve_ends_in_the_candidate(
    measured: dict[str, Any], trained_small: Trained, price_data: Dataset
) -> None:
    folds, learning = measured["folds"], measured["learning"]
    assert [fold["fitted_on"] for fold in folds] == [720, 840, 960, 1080]
    assert [fold["n"] for fold in folds] == [120] * 4
    assert folds[2]["from"] == price_data.listings[960].created_at.isoformat()
    newest = trained_small.scored.part(np.arange(240) < 120)
    said = errors(newest.sold, newest.price)
    assert folds[2]["rmsle"] == said["rmsle"], "the fold that begins at the holdout is the candidate"
    # A model that knows a part of the newest window is no point of its learning curve.
    assert [point["fitted_on"] for point in learning] == [240, 480, 720, 840, 960]
    assert learning[-1]["rmsle"] == measured["holdout"]["rmsle"] < learning[0]["rmsle"]


def test_a_fold_is_what_the_same_past_gives_elsewhere(
    measured: dict[str, Any], price_data: Dataset, tmp_path: Path
) -> None:
    """Nothing of what comes after the fold gets in: trained without it, the figures are the same."""
    only = price_data.part(0, 840)
    alone = train_model(only, {"depth": 4}, 40, TrainingSettings(holdout_share=1 / 7), tmp_path)
    assert alone.holdout["n"] == 120
    assert measured["folds"][0]["rmsle"] == pytest.approx(alone.holdout["rmsle"], abs=1e-9)


def test_without_folds_nothing_is_fitted_and_all_else_is_the_same_again(
    measured: dict[str, Any], trained_small: Trained, price_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.forward.fit_candidate", None)
    none = TrainingSettings(forward_folds=0)
    found = assess(price_data, trained_small, {"depth": 4}, 40, none, make_market, quiet)
    assert (found["folds"], found["learning"]) == ([], [])
    nothing: dict[str, Any] = {"folds": [], "learning": []}
    assert json.dumps(found, sort_keys=True) == json.dumps(measured | nothing, sort_keys=True)
    check(page(found, trained_small.scored))


def test_what_the_process_depends_on_is_important(measured: dict[str, Any]) -> None:
    fields = [row["field"] for row in measured["importance"]]
    assert fields[0] == "designers"
    effects = [row["effect_usd"] for row in measured["importance"]]
    assert effects == sorted(effects, reverse=True)


def test_the_price_answers_to_one_field_alone(
    measured: dict[str, Any], trained_small: Trained, price_data: Dataset
) -> None:
    lines = measured["dependence"]
    condition = {point["value"]: point["price"] for point in lines["condition"]}
    assert condition["new"] > condition["gently_used"] > condition["worn"]
    category = {point["value"]: point["price"] for point in lines["category"]}
    assert category["outerwear.light_jackets"] > category["tops.short_sleeve_shirts"]
    assert len(category) == 4


def test_another_category_is_another_market(trained_small: Trained, price_data: Dataset) -> None:
    """By hand, with the real model."""
    model, part = PriceModel.load(trained_small.folder), price_data.part(0, 30)
    lookups: list[Sequence[Listing]] = []

    def lookup(listings: Sequence[Listing]) -> Sequence[Values]:
        lookups.append(listings)
        return make_market(listings)

    found = partial_dependence(model, part.listings, part.market, lookup, 7)["category"]
    assert len(found) == 4
    (asked,) = lookups
    assert len(asked) == 4 * 30
    prices = model.predict(asked, make_market(asked)).price
    for point in found:
        rows = [i for i, one in enumerate(asked) if one.category_path == point["value"]]
        assert [asked[i].title for i in rows] == [one.title for one in part.listings]
        assert point["price"] == pytest.approx(np.exp(np.log(prices[rows]).mean()), abs=1e-3)


def test_importance_is_the_mean_over_the_listings(trained_small: Trained, price_data: Dataset) -> None:
    model, part = PriceModel.load(trained_small.folder), price_data.part(0, 30)
    effects: dict[str, list[float]] = {}
    for reasons in model.explain(part.listings, part.market):
        for reason in reasons:
            effects.setdefault(reason.field, []).append(abs(reason.effect_usd))
    found = {row["field"]: row["effect_usd"] for row in importance(model, part.listings, part.market, 7)}
    assert found == pytest.approx({field: np.mean(values) for field, values in effects.items()}, abs=1e-3)


def test_drift_by_hand() -> None:
    months = by_month(make_data(1200).listings)
    assert len(months) == 12
    assert sum(month["n"] for month in months) == 1200
    assert months[0]["new_designers"] > 0 == months[-1]["new_designers"]
    for month in months:
        assert sum(month["categories"].values()) == pytest.approx(1, abs=1e-4)
        assert month["p25"] < month["median"] < month["p75"]


def test_the_page_stands_alone_and_is_the_same_again(
    measured: dict[str, Any], trained_small: Trained
) -> None:
    trials = [
        {"number": 0, "state": "complete", "score": 0.4, "rungs": {"10": 0.5, "20": 0.4}},
        {"number": 1, "state": "stopped", "score": 0.6, "rungs": {"10": 0.6}},
        {"number": 2, "state": "failed", "score": None, "rungs": {}},
    ]
    release = {
        "promoted": False,
        "verdict": {
            "policy": "default",
            "checks": [{"rule": "median", "passed": True, "said": "RMSLE <b>beats</b> & more"}],
            "reasons": ["RMSLE <b>beats</b> & more", "there is no champion yet"],
            "alarms": [{"name": "gap", "level": "blocking", "said": "it leaks"}],
            "slices": [
                {"by": "price", "value": "x", "n": 9, "judged": False, "gain": 0.1, "interval": [0.0, 0.2]}
            ],
        },
    }
    more = {"trials": trials, "release": release, "recipes": [{"recipe": "median <", "rmsle": 1.0}]}
    text = page(measured, trained_small.scored, **more)
    assert text == page(measured, trained_small.scored, **more)
    ids = check(text).ids
    assert len(ids) == len(set(ids))
    assert text.count("<svg") == 9
    assert "RMSLE &lt;b&gt;beats&lt;/b&gt; &amp; more" in text
    assert "median &lt;" in text
    assert text.count("there is no champion yet") == 1
    assert 'class="alarm blocking"' in text
    assert re.search(r">\$25 to \$50 +\(", text), "in a plot, a dollar begins no formula"


def test_numbers_stand_right() -> None:
    text = table(("a", "b"), [("x", 1.5), ("y", None), ("z", "12.5%")])
    assert text.count('class="n"') == 3
    assert "<td" in text


@pytest.mark.parametrize("change", [{"designers": ("Nike",)}, {"sold_price": 40.0}])
def test_one_designer_or_one_price_only(tmp_path: Path, change: dict[str, Any]) -> None:
    """The smallest and dullest data still end in a page."""
    data = make_data(200, **change)
    settings = TrainingSettings(forward_folds=1)
    trained = train_model(data, {"depth": 2}, 5, settings, tmp_path)
    found = assess(data, trained, {"depth": 2}, 5, settings, make_market, quiet)
    check(page(found, trained.scored))
