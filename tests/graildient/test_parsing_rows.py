"""Rows of files: the page strings of 2021, and flat rows under our own names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from graildient.errors import InvalidListing
from graildient.listing import Listing, SoldListing
from graildient.parsing import parse_hit, parse_row
from graildient.times import ESTIMATED_SALE_LAG, estimate_created_at
from tests.graildient.test_parsing import HIT_2020, HIT_2026, ROW_2021, changed, fields_of


@pytest.mark.parametrize(
    ("text", "size", "color", "condition"),
    [
        (" Size: ONE SIZE Condition: New", "one size", None, "new"),
        (" Size: US 9.5 / EU 42-43 Color: Off white", "9.5", "off white", None),
        (" Color: Black", None, "black", None),
        ("", None, None, None),
    ],
)
def test_size_color_and_condition_of_page_strings(
    text: str, size: str | None, color: str | None, condition: str | None
) -> None:
    listing = parse_row(changed(ROW_2021, size_color_cond=text))
    assert (listing.size, listing.color, listing.condition) == (size, color, condition)


@pytest.mark.parametrize(
    ("designer", "label", "size", "path"),
    [
        ("Supreme", "Supreme Supreme", "ONE SIZE", "accessories.supreme"),
        ("Vests x Fir", "Vests Vests", "US L / EU 52", "outerwear.vests"),
        ("Fir", "Fir Vests", "40R", "tailoring.vests"),
        ("Fir x Fir Denim", "Fir Denim Denim Jackets", "US L", "outerwear.denim_jackets"),
        ("Fir", "Larch Low-Top Sneakers", "US 9", "footwear.lowtop_sneakers"),
        ("Fir", "Fir Togas", "US L", None),
    ],
)
def test_the_label_behind_the_designer(designer: str, label: str, size: str, path: str | None) -> None:
    row = changed(ROW_2021, designer=designer, category=label, size_color_cond=f" Size: {size}")
    assert parse_row(row).category_path == path


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"sold_price": "(Sold Price)"}, {"sold_price"}),
        ({"sold_price": ""}, {"sold_price"}),
        ({"link": "https://www.grailed.com/"}, {"id", "created_at", "sold_at"}),
        ({"sub_title": ""}, {"title"}),
        ({"image_count": "many"}, {"photo_count"}),
        ({"size_color_cond": "x" * 600}, {"size"}),
    ],
)
def test_a_row_of_page_strings_that_breaks_the_contract(changes: dict[str, Any], fields: set[str]) -> None:
    with pytest.raises(InvalidListing) as refused:
        parse_row(changed(ROW_2021, **changes), sold=True)
    assert fields_of(refused) == fields


def test_a_row_can_be_asked_for_its_sale_or_without_it() -> None:
    assert type(parse_row(ROW_2021, sold=False)) is Listing
    assert type(parse_row(changed(ROW_2021, sold_price="rubbish"), sold=False)) is Listing
    assert type(parse_row(HIT_2026, sold=False)) is Listing
    assert type(parse_row({"title": "a"})) is Listing
    with pytest.raises(InvalidListing, match="sold_price: missing"):
        parse_row({"title": "a"}, sold=True)


def test_flat_rows_under_our_own_names_as_a_csv_file_has_them() -> None:
    row = {
        "id": "17000001",
        "title": "Tee",
        "designers": "Fir × Larch",
        "category": "tops",
        "subcategory": "short_sleeve_shirts",
        "size": 32.0,
        "hashtags": "#a #b",
        "photo_count": float("nan"),
        "description": "",
        "asking_price": "60.0",
        "created_at": "2020-09-17T22:23:36Z",
        "sold_at": "2020-10-08 18:59:13+00:00",
        "sold_price": "55.5",
        "time_is_estimated": "False",
        "shipping_included": "",
        "feedback": "ignored",
    }
    listing = parse_row(row)
    assert isinstance(listing, SoldListing)
    assert listing.designers == ("Fir", "Larch")
    assert listing.size == "32"
    assert listing.hashtags == ("a", "b")
    assert listing.photo_count is None
    assert listing.sold_price == 55.5
    assert not listing.time_is_estimated


@pytest.mark.parametrize("listing", [parse_hit(HIT_2026), parse_hit(HIT_2020), parse_row(ROW_2021)])
def test_our_own_fields_come_back_as_they_were(listing: SoldListing) -> None:
    assert parse_row(listing.model_dump()) == listing
    assert parse_row(listing.model_dump(mode="json"), sold=True) == listing


def test_missing_dates_of_a_sale_are_estimated_and_marked() -> None:
    created_at = estimate_created_at(17000001)
    undated = parse_row({"id": 17000001, "title": "a", "sold_price": 5, "sold_at": None, "sold_at_i": 0})
    assert isinstance(undated, SoldListing)
    assert (undated.created_at, undated.sold_at) == (created_at, created_at + ESTIMATED_SALE_LAG)
    created = parse_row({"id": 1, "title": "a", "sold_price": 5, "created_at": "2020-01-01"})
    assert isinstance(created, SoldListing)
    assert created.sold_at == datetime(2020, 1, 1, tzinfo=UTC) + ESTIMATED_SALE_LAG
    early = parse_row({"id": 17000001, "title": "a", "sold_price": 5, "sold_at": "2020-01-01"})
    assert isinstance(early, SoldListing)
    assert early.created_at == early.sold_at == datetime(2020, 1, 1, tzinfo=UTC)
    assert undated.time_is_estimated
    assert created.time_is_estimated
    assert early.time_is_estimated
