from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from graildient import normalise
from graildient.listing import Listing


def repr_start(text: str) -> str:
    return repr(text[:4])


TEXT = st.text(max_size=60) | st.text("us eit_/-5x×XL grey#,.$01", max_size=40)


@pytest.mark.parametrize(
    ("written", "dollars"),
    [
        ("$1,250 (Sold Price)", 1250.0),
        ("$194 (Sold Price)", 194.0),
        ("1,250.00", 1250.0),
        ("1250", 1250.0),
        (" $ 12.5 ", 12.5),
        ("US$40", 40.0),
        ("40 USD", 40.0),
        ("-3", -3.0),
        (1250, 1250.0),
        (12.5, 12.5),
        ("", None),
        ("(Sold Price)", None),
        ("1,2", None),
        ("€40", None),
        ("twelve", None),
        ("9" * 400, None),
        (10**400, None),
        (True, None),
        (None, None),
        ([1], None),
    ],
)
def test_price(written: Any, dollars: float | None) -> None:
    assert normalise.price(written) == dollars


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("US L / EU 52-54 / 3", "l"),
        ("US 32 / EU 48", "32"),
        ("US 9.5 / EU 42-43", "9.5"),
        ("US XXS / EU 40", "xxs"),
        ("US 31", "31"),
        ("ONE SIZE", "one size"),
        ("one_size", "one size"),
        ("universal_os", "one size"),
        ("universal_s", "s"),
        ("us_7-5", "7.5"),
        ("it_38-5", "it 38.5"),
        ("EU 42 / US 8", "8"),
        ("40R", "40r"),
        ("XXL", "xxl"),
        ("2XL", "xxl"),
        ("X-Large", "xl"),
        ("US universal_os", "one size"),
        ("  ", None),
    ],
)
def test_size(written: str, size: str | None) -> None:
    assert normalise.size(written) == size


@pytest.mark.parametrize(
    ("written", "designers"),
    [
        ("Kappa × Vintage", ("Kappa", "Vintage")),
        ("Kappa×Vintage", ("Kappa", "Vintage")),
        ("Cloak x Alexandre Plokhov", ("Cloak", "Alexandre Plokhov")),
        ("X-Large", ("X-Large",)),
        ("Xander Zhou", ("Xander Zhou",)),
        ("Revenge X Storm", ("Revenge X Storm",)),
        ("Nike × nike × NIKE  ACG", ("Nike", "NIKE ACG")),
        (["B", "A", "b"], ("B", "A")),
        ([{"id": 160, "name": "Vintage"}, {"name": "Kappa × Vintage"}], ("Vintage", "Kappa")),
        ({"name": "Vintage"}, ("Vintage",)),
        ("", ()),
        ([], ()),
        (None, ()),
    ],
)
def test_designers(written: Any, designers: tuple[str, ...]) -> None:
    assert normalise.designers(written) == designers


@pytest.mark.parametrize("written", [3, [3], [{"id": 1}], [None], {"id": 1}])
def test_designers_that_are_no_names(written: Any) -> None:
    with pytest.raises(TypeError):
        normalise.designers(written)


@pytest.mark.parametrize(
    ("written", "condition"),
    [
        ("is_gently_used", "gently_used"),
        ("Gently Used", "gently_used"),
        ("Gently used", "gently_used"),
        ("New", "new"),
        ("New/Never Worn", "new"),
        ("is_worn", "worn"),
        ("Very Worn", "worn"),
        ("Used", "used"),
        ("is_not_specified", None),
        ("", None),
        ("mint", "mint"),
    ],
)
def test_condition(written: str, condition: str | None) -> None:
    assert normalise.condition(written) == condition


@pytest.mark.parametrize(
    ("written", "color"),
    [
        ("Grey", "gray"),
        ("Heather  Grey", "heather gray"),
        ("Greyhound", "greyhound"),
        ("Multicolor", "multi"),
        ("Navy", "navy"),
        (" ", None),
    ],
)
def test_color(written: str, color: str | None) -> None:
    assert normalise.color(written) == color


@pytest.mark.parametrize(
    ("written", "tags"),
    [
        ("#tag #two", ("tag", "two")),
        ("#Tag, #two #TAG", ("tag", "two")),
        (["#Tag", "two", "tag", "#"], ("tag", "two")),
        ([{"name": "Rick Owens"}], ("rick owens",)),
        ("", ()),
        (None, ()),
    ],
)
def test_hashtags(written: Any, tags: tuple[str, ...]) -> None:
    assert normalise.hashtags(written) == tags


@pytest.mark.parametrize(
    ("written", "department"),
    [("Menswear", "menswear"), ("men", "menswear"), ("Women's", "womenswear"), ("", None), ("kids", "kids")],
)
def test_department(written: str, department: str | None) -> None:
    assert normalise.department(written) == department


@pytest.mark.parametrize(
    ("given_", "path"),
    [
        (("tops.short_sleeve_shirts", None, None), ("tops", "short_sleeve_shirts")),
        (("tops.polos", "polos", None), ("tops", "polos")),
        (("tops", "Shirts (Button Ups)", None), ("tops", "button_ups")),
        (("Tops", None, None), ("tops", None)),
        (("Short Sleeve T-Shirts", None, None), ("tops", "short_sleeve_shirts")),
        ((None, "Light Jackets", None), ("outerwear", "light_jackets")),
        ((None, "Boots", "womenswear"), ("womens_footwear", "boots")),
        (("tops", "Hoodies", "womenswear"), ("womens_tops", "hoodies")),
        (("tops", "jerseys", "womenswear"), ("tops", "jerseys")),
        (("tops", "gadgets", None), ("tops", "gadgets")),
        (("hats.wide", None, None), ("hats", "wide")),
        (("trousers", None, None), ("trousers", None)),
        ((None, "gadgets", None), (None, "gadgets")),
        ((" ", "", None), (None, None)),
    ],
)
def test_category(
    given_: tuple[str | None, str | None, str | None], path: tuple[str | None, str | None]
) -> None:
    assert normalise.category(*given_) == path


@pytest.mark.parametrize(
    ("written", "number"),
    [("12", 12), (" -3 ", -3), (3.0, 3), (7, 7), ("", None), ("1e3", "1e3"), ("٣", "٣"), (2.5, 2.5)],
)
def test_integer(written: Any, number: Any) -> None:
    assert normalise.integer(written) == number


def test_integer_of_text_too_long_to_read() -> None:
    assert normalise.integer("9" * 5000) == "9" * 5000
    assert math.isnan(normalise.integer(math.nan))


def test_fields_are_copied_and_none_is_dropped() -> None:
    data = {"title": "a", "color": "Grey", "nobody": 1, "size": 32, "designers": 3, "description": " "}
    before = dict(data)
    assert normalise.listing_fields(data) == {**before, "color": "gray", "description": None}
    assert data == before


def test_a_known_category_brings_its_department() -> None:
    assert normalise.listing_fields({"category": "womens_dresses"})["department"] == "womenswear"
    assert "department" not in normalise.listing_fields({"category": "gadgets"})
    assert normalise.listing_fields({"category": "tops", "department": "kids"})["department"] == "kids"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=6,
)
FIELDS = st.dictionaries(st.sampled_from(sorted(Listing.model_fields)) | TEXT, JSON, max_size=8)


@settings(deadline=None)
@given(FIELDS)
def test_normalising_twice_changes_nothing(data: dict[str, Any]) -> None:
    once = normalise.listing_fields(data)
    assert set(data) <= set(once)
    # repr, because not-a-number is not equal to itself.
    assert repr(normalise.listing_fields(once)) == repr(once)


@settings(deadline=None)
@given(FIELDS)
def test_what_the_contract_takes_it_takes_again_unchanged(data: dict[str, Any]) -> None:
    try:
        listing = Listing.model_validate(data | {"title": "a"})
    except ValidationError:
        return
    assert Listing.model_validate(listing.model_dump()) == listing
    assert Listing.model_validate_json(listing.model_dump_json()) == listing


@pytest.mark.parametrize(
    "field", ["size", "color", "condition", "designers", "hashtags", "asking_price", "category", "id"]
)
@pytest.mark.parametrize(
    "text", [" " * 2_000_000, "$" + " " * 2_000_000, "a x " * 500_000, "1," * 1_000_000], ids=repr_start
)
def test_absurdly_long_text_costs_no_time(field: str, text: str) -> None:
    started = time.process_time()
    with pytest.raises(ValidationError):
        Listing.model_validate({"title": "a", field: f"z{text}z"})
    assert time.process_time() - started < 1
