from __future__ import annotations

import numpy as np
import pytest
from price_cases import make_sales

from training.evaluate import Scored, errors, range_figures
from training.slices import MIN_ROWS, designer_counts, labels, rows_of, slices

SALES = make_sales(600)
SOLD = np.array([one.sold_price for one in SALES])
IDS = np.array([one.id for one in SALES])
SCORED = Scored(IDS, SOLD, SOLD * 1.1, SOLD * 0.9, SOLD * 1.2)
KNOWN = designer_counts(one.designers for one in SALES)


def test_every_listing_is_in_one_slice_of_each_dimension() -> None:
    found = slices(SCORED, SALES, KNOWN, 7)
    for by in ("price", "sold price", "category", "designer", "condition"):
        assert sum(part["n"] for part in found if part["by"] == by) == 600


def test_a_slice_has_the_figures_of_its_listings_and_their_intervals() -> None:
    boots = np.array([one.category == "footwear" for one in SALES])
    part = next(p for p in slices(SCORED, SALES, KNOWN, 7) if p["value"] == "footwear")
    mine = SCORED.part(boots)
    assert part["rmsle"] == errors(mine.sold, mine.price)["rmsle"]
    assert part["coverage_80"] == range_figures(mine)["coverage_80"] == 1.0
    assert set(part["intervals"]) == {
        "rmsle", "wape", "mdape", "within_20", "bias", "coverage_80", "width_80",
    }  # fmt: skip
    low, high = part["intervals"]["rmsle"]
    assert low <= part["rmsle"] <= high


def test_thin_slices_are_shown_and_not_judged() -> None:
    found = slices(SCORED, SALES, KNOWN, 7)
    assert {part["judged"] for part in found} == {True, False}
    assert all(part["judged"] == (part["n"] >= MIN_ROWS) for part in found if part["by"] != "sold price")
    everything = slices(SCORED, SALES, KNOWN, 7, min_rows=1)
    assert all(part["judged"] for part in everything if part["by"] != "sold price")
    assert not any(part["judged"] for part in everything if part["by"] == "sold price")


def test_bands_are_of_the_predicted_price() -> None:
    scored = Scored(IDS[:2], np.array([10.0, 500.0]), np.array([60.0, 60.0]), SOLD[:2], SOLD[:2])
    found = labels(scored, SALES[:2], KNOWN)
    assert found["price"] == ["$50 to $100"] * 2
    assert found["sold price"] == ["under $25", "$400 and more"]


@pytest.mark.parametrize(
    ("designers", "said"),
    [
        ((), "not stated"),
        (("Nobody",), "new designer"),
        (("RICK  owens",), "in 10 to 49 rows"),
        (("Nobody", "Rick Owens"), "in 10 to 49 rows"),
        (("Once",), "in 1 to 9 rows"),
        (("Often",), "in 200 rows and more"),
    ],
)
def test_frequency_is_that_of_the_best_known_designer(designers: tuple[str, ...], said: str) -> None:
    known = designer_counts([("Rick Owens",)] * 20 + [("Once", "once")] + [("Often",)] * 200)
    assert known["once"] == 1, "a row counts once"
    one = SALES[0].model_copy(update={"designers": designers})
    assert labels(SCORED.part(IDS[0] == IDS), [one], known)["designer"] == [said]


def test_the_order_is_by_rank_or_size_and_the_unknown_comes_last() -> None:
    order = [value for by, value, _ in rows_of(labels(SCORED, SALES, KNOWN)) if by == "condition"]
    assert order == ["new", "gently_used", "used", "worn", "not stated"]
    sizes = [p["n"] for p in slices(SCORED, SALES, KNOWN, 7) if p["by"] == "category"]
    assert sizes == sorted(sizes, reverse=True)


def test_one_designer_and_one_price_only() -> None:
    sales = make_sales(50, designers=("Nike",), sold_price=40.0)
    same = np.full(50, 40.0)
    scored = Scored(np.arange(50), same, same, same, same)
    found = slices(scored, sales, designer_counts(one.designers for one in sales), 7)
    assert [p["value"] for p in found if p["by"] == "designer"] == ["in 50 to 199 rows"]
    assert all(part["rmsle"] == 0 for part in found)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="599 listings and 600 prices"):
        labels(SCORED, SALES[1:], KNOWN)
