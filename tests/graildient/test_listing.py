from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from graildient.errors import InvalidListing
from graildient.listing import MAX_DESCRIPTION, MAX_ID, MAX_TITLE, Listing, SoldListing
from graildient.parsing import invalid, to_listing

CREATED = datetime(2020, 7, 11, 17, 48, 45, tzinfo=UTC)


def sold(**changes: Any) -> SoldListing:
    fields = {"id": 1, "title": "a", "sold_price": 40.0, "created_at": CREATED, "sold_at": CREATED}
    return SoldListing.model_validate(fields | changes)


def test_every_spelling_ends_in_one_listing() -> None:
    as_written = Listing.model_validate(
        {
            "id": "15582671",
            "title": "  Light jacket ",
            "designers": "Kappa × Vintage",
            "category": "Light Jackets",
            "size": "US L / EU 52-54 / 3",
            "color": "Grey",
            "condition": "Gently used",
            "hashtags": "#Kappa #kappa",
            "photo_count": 7.0,
            "asking_price": "$1,117",
            "created_at": "2020-07-11T19:48:45+02:00",
        }
    )
    in_our_spelling = Listing(
        id=15582671,
        title="Light jacket",
        designers=("Kappa", "Vintage"),
        department="menswear",
        category="outerwear",
        subcategory="light_jackets",
        size="l",
        color="gray",
        condition="gently_used",
        hashtags=("kappa",),
        photo_count=7,
        asking_price=1117.0,
        created_at=CREATED,
    )
    assert as_written == in_our_spelling
    assert as_written.category_path == "outerwear.light_jackets"


def test_a_title_is_enough() -> None:
    listing = Listing(title="a")
    assert listing.category_path is None
    assert listing.designers == ()
    assert Listing(title="a", category="tops").category_path == "tops"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", 0),
        ("id", True),
        ("id", MAX_ID + 1),
        ("id", "abc"),
        ("title", ""),
        ("title", "  "),
        ("title", 3),
        ("title", "a" * (MAX_TITLE + 1)),
        ("title", "\ud800"),
        ("description", "a" * (MAX_DESCRIPTION + 1)),
        ("description", ["a"]),
        ("designers", 3),
        ("designers", [3]),
        ("designers", [f"d{i}" for i in range(21)]),
        ("designers", ["d" * 101]),
        ("department", "kids"),
        ("category", "gadgets"),
        ("category", 3),
        ("subcategory", "gadgets"),
        ("size", 32),
        ("size", "a" * 41),
        ("color", 3),
        ("condition", "mint"),
        ("hashtags", {"a": 1}),
        ("hashtags", [f"t{i}" for i in range(101)]),
        ("photo_count", -1),
        ("photo_count", 201),
        ("photo_count", True),
        ("photo_count", 2.5),
        ("asking_price", -0.01),
        ("asking_price", float("nan")),
        ("asking_price", float("inf")),
        ("asking_price", 1_000_001),
        ("asking_price", 10**400),
        ("asking_price", True),
        ("asking_price", "twelve"),
        ("created_at", "yesterday"),
        ("created_at", "0001-01-01T00:00:00+14:00"),
        ("created_at", "9999-12-31T23:59:59-14:00"),
        ("created_at", -1),
        ("nobody", 1),
    ],
)
def test_what_breaks_the_contract_is_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidListing) as refused:
        to_listing({"title": "a"} | {field: value})
    assert {d.field.split(".")[0] for d in refused.value.details} == {field}
    assert all(d.reason for d in refused.value.details)


def test_a_subcategory_must_be_below_its_category() -> None:
    with pytest.raises(InvalidListing, match="subcategory: not below 'tops'"):
        to_listing({"title": "a", "category": "tops", "subcategory": "boots"})


def test_what_only_a_sale_tells_is_refused_in_a_request() -> None:
    with pytest.raises(InvalidListing, match="sold_price: unknown field"):
        to_listing({"title": "a", "sold_price": 40})


def test_several_errors_are_all_named_and_where_is_put_before() -> None:
    with pytest.raises(InvalidListing) as refused:
        to_listing({"size": 32, "photo_count": -1, "category": "tops", "x": 1}, where="instances[3]")
    assert {d.field for d in refused.value.details} == {
        f"instances[3].{name}" for name in ("title", "size", "photo_count", "x")
    }
    assert refused.value.message.endswith("and 1 more")
    assert refused.value.http_status == 400


def test_details_are_bounded_and_hold_no_values() -> None:
    try:
        Listing.model_validate({"title": "a"} | {f"x{i}": "secret" for i in range(1000)})
    except ValidationError as error:
        found = invalid(error)
    assert len(found.details) == 20
    assert "secret" not in str(found.to_json())


@pytest.mark.parametrize("data", [None, 3, "title", [], [("title", "a")]])
def test_a_request_that_is_no_object(data: Any) -> None:
    with pytest.raises(InvalidListing, match="is not an object"):
        to_listing(data)


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda v: st.lists(v) | st.dictionaries(st.sampled_from([*Listing.model_fields, "name", "x"]), v),
    )
)
def test_no_request_raises_anything_else(data: Any) -> None:
    try:
        listing = to_listing(data)
    except InvalidListing as error:
        named = [detail.field for detail in error.details]
    else:
        named = [listing.title]
    assert all(named)


def test_a_listing_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Listing(title="a").title = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", None),
        ("sold_price", 0),
        ("sold_price", -1),
        ("sold_price", None),
        ("sold_price", "sold"),
        ("sold_at", None),
        ("sold_at", CREATED - timedelta(seconds=1)),
        ("created_at", None),
        ("shipping_price", -1),
        ("shipping_included", "perhaps"),
    ],
)
def test_a_sale_that_breaks_the_contract_is_named(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        sold(**{field: value})
    assert {d.field for d in invalid(refused.value).details} == {field}


def test_times_are_utc_and_a_sale_is_knowable_after_its_lag() -> None:
    listing = sold(sold_at="2020-07-12T01:00:00", scraped_at="2020-07-12T03:00:00+02:00")
    assert listing.sold_at == datetime(2020, 7, 12, 1, tzinfo=UTC)
    assert listing.scraped_at == listing.sold_at
    assert listing.scraped_at.tzinfo is UTC
    assert listing.knowable_at(timedelta(hours=24)) == datetime(2020, 7, 13, 1, tzinfo=UTC)
