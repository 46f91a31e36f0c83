from __future__ import annotations

import pytest
from price_cases import make_market, make_sales

from graildient import taxonomy
from graildient.listing import Listing
from graildient.pricing.model import PriceModel, Reason
from graildient.pricing.words import money, sentence, sentences, typical

JACKET = "outerwear.light_jackets"


@pytest.mark.parametrize(
    ("field", "value", "effect", "said"),
    [
        ("designers", "Rick Owens", 84.2, "Rick Owens: +$84 over a typical light jacket"),
        ("designers", None, -3.0, "no designer: −$3.00 against a typical light jacket"),
        ("category", JACKET, -12.0, "Light Jackets: −$12 against a typical listing"),
        ("condition", "gently_used", 2.5, "Gently Used: +$2.50 over a typical light jacket"),
        ("condition", None, 2.5, "condition not stated: +$2.50 over a typical light jacket"),
        ("title", "whatever it says", 1.0, "the words of the title: +$1.00 over a typical light jacket"),
        ("description", None, -4.0, "no description: −$4.00 against a typical light jacket"),
        ("photo_count", 5.0, 1234.0, "5 photos: +$1,234 over a typical light jacket"),
        ("photo_count", 1.0, 2.0, "1 photo: +$2.00 over a typical light jacket"),
        ("photo_count", None, 2.0, "number of photos not stated: +$2.00 over a typical light jacket"),
        ("hashtags", "archive, 2003", 1.0, "#archive, #2003: +$1.00 over a typical light jacket"),
        ("size", "l", 1.0, "size l: +$1.00 over a typical light jacket"),
        ("color", None, 0.0, "colour not stated: as a typical light jacket"),
        ("color", "black", -0.001, "black: as a typical light jacket"),
        ("designers", "日本 🔥", 1.0, "日本 🔥: +$1.00 over a typical light jacket"),
    ],
)
def test_a_reason_in_words(field: str, value: str | float | None, effect: float, said: str) -> None:
    assert sentence(Reason(field, value, effect), JACKET) == said


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (None, "a typical listing"),
        ("nowhere.at_all", "a typical listing"),
        ("tops.button_ups", "a typical shirt"),
        ("tops.short_sleeve_shirts", "a typical short sleeve t-shirt"),
        ("tops.sweatshirts_hoodies", "typical sweatshirts & hoodies"),
        ("womens_dresses.mini", "a typical mini dress"),
        ("footwear.boots", "typical boots"),
        ("outerwear", "typical outerwear"),
        ("bottoms.denim", "typical denim"),
        ("accessories.misc", "typical accessories"),
    ],
)
def test_what_a_price_is_told_against(path: str | None, said: str) -> None:
    assert typical(path) == said


def test_every_category_has_words() -> None:
    for category, below in taxonomy.CATEGORIES.items():
        for path in (category, *(f"{category}.{slug}" for slug in below)):
            said = typical(path)
            assert said.startswith(("a typical ", "typical ")), path
            assert "_" not in said
            assert "(" not in said


def test_money_is_rounded_as_it_is_said() -> None:
    assert [money(v) for v in (9.994, 9.996, -9.996, 0.004)] == ["+$9.99", "+$10", "−$10", "+$0.00"]


def test_a_long_value_is_cut() -> None:
    said = sentence(Reason("designers", " × ".join(["Rick Owens"] * 20), 1.0), None)
    assert said.index(":") == 60
    assert "…:" in said


def test_the_reasons_of_a_model_read(model: PriceModel) -> None:
    sales = make_sales(1)
    reasons = model.explain(sales, make_market(sales))[0]
    said = sentences(reasons)
    assert len(said) == len(reasons)
    assert any(line.startswith(sales[0].designers[0]) for line in said)
    bare = sentences(model.explain([Listing(title="Thing")], [{}])[0])
    assert all("a typical listing" in line for line in bare)
