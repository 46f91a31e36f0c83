from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from graildient.errors import InvalidListing
from graildient.listing import Listing, SoldListing
from graildient.parsing import parse_hit, parse_listing, parse_page, parse_row, seller_hash
from graildient.times import ESTIMATED_SALE_LAG, estimate_created_at

# In the shapes of the source, with made-up content.
HIT_2026: dict[str, Any] = {
    "id": 94000001,
    "objectID": "94000001",
    "title": "Pine cone tee",
    "designer_names": "Fir × Larch",
    "designers": [{"id": 2, "name": "Larch"}, {"id": 1, "name": "Fir"}],
    "price": 50,
    "sold_price": 40,
    "sold_price_includes_shipping": False,
    "sold_shipping_price": 15,
    "price_drops": [60, 55],
    "created_at": "2026-03-20T04:45:19.069Z",
    "sold_at": "2026-03-25T01:58:16.538Z",
    "size": "m",
    "category": "tops",
    "category_path": "tops.short_sleeve_shirts",
    "category_size": "tops.m",
    "condition": "is_used",
    "color": "grey",
    "department": "menswear",
    "location": "Canada",
    "traits": [{"name": "color", "value": "grey"}, {"name": "country_of_origin", "value": "CN"}],
    "photo_count": 7,
    "seller_id": 12,
    "seller_username": "pinecone",
    "shipping": {"us": {"amount": 15, "enabled": True}},
}
HIT_2020: dict[str, Any] = {
    "id": 17000001,
    "objectID": "17000001",
    "title": "Track pants",
    "description": "Two stripes.",
    "designer_names": "Fir × Larch",
    "designers": [{"id": 1, "name": "Fir"}, {"id": 2, "name": "Larch"}],
    "category": "bottoms",
    "category_path": "bottoms.sweatpants_joggers",
    "color": None,
    "condition": "is_not_specified",
    "created_at": "2020-09-17T22:23:36.365Z",
    "created_at_i": 1600381416,
    "hashtags": ["Retro", "retro", "mesh"],
    "location": "Asia",
    "price": 90,
    "price_i": 90,
    "size": "26",
    "sold": True,
    "sold_at": "2020-10-08T18:59:13.901Z",
    "sold_at_i": 1602183553,
    "sold_price": 89,
    "traits": [{"name": "unvalidated_color", "value": "Other"}],
    "user": {"id": 9, "username": "pinecone"},
}
LISTING_2020: dict[str, Any] = {
    "id": 15000001,
    "title": "Light jacket",
    "true_created_at": "2020-06-10T10:00:00.000Z",
    "created_at": "2020-07-01T10:00:00.000Z",
    "sold": False,
    "sold_at": None,
    "sold_price": 0,
    "price": 117,
    "description": "L",
    "size": "l",
    "pretty_size": "US L / EU 52-54 / 3",
    "category": "outerwear",
    "subcategory": "Light Jackets",
    "category_path": "outerwear.light_jackets",
    "photos": [{"id": 1}, {"id": 2}],
    "designer": {"id": 2, "name": "Larch", "slug": "larch"},
    "designer_names": "Fir × Larch",
    "designers": [{"id": 2, "name": "Larch"}, {"id": 1, "name": "Fir"}],
    "seller": {"id": 9, "username": "pinecone", "location": "Asia"},
    "condition": "is_used",
    "traits": [{"name": "color", "value": "yellow"}],
    "hashtags": [],
}
ROW_2021: dict[str, Any] = {
    "link": "https://www.grailed.com/listings/15000001-fir-x-larch-light-jacket",
    "sold_price": "$1,250 (Sold Price)",
    "designer": "Fir x Larch",
    "category": "Fir Light Jackets",
    "sub_title": "Light jacket",
    "description": "L",
    "image_count": "3",
    "size_color_cond": " Size: US L / EU 52-54 / 3 Color: Navy Condition: Gently used",
    "feedback_count": "84 Feedback",
    "seller": "seller-0123456789ab",
}


def changed(payload: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(payload), **changes}


def fields_of(refused: pytest.ExceptionInfo[InvalidListing]) -> set[str]:
    return {detail.field for detail in refused.value.details}


def test_a_sold_hit_of_today() -> None:
    assert parse_hit(HIT_2026, salt="s") == SoldListing(
        id=94000001,
        title="Pine cone tee",
        designers=("Fir", "Larch"),
        department="menswear",
        category="tops",
        subcategory="short_sleeve_shirts",
        size="m",
        color="gray",
        condition="used",
        photo_count=7,
        asking_price=50.0,
        location="Canada",
        seller_hash=seller_hash("pinecone", "s"),
        created_at=datetime(2026, 3, 20, 4, 45, 19, 69000, tzinfo=UTC),
        sold_price=40.0,
        sold_at=datetime(2026, 3, 25, 1, 58, 16, 538000, tzinfo=UTC),
        shipping_price=15.0,
        shipping_included=False,
    )


def test_a_sold_hit_of_2020() -> None:
    listing = parse_hit(HIT_2020)
    assert isinstance(listing, SoldListing)
    assert listing.condition is None
    assert listing.color == "other"
    assert listing.hashtags == ("retro", "mesh")
    assert listing.department == "menswear"
    assert listing.photo_count is None
    assert listing.sold_price == 89.0
    assert listing.shipping_included is None


def test_epoch_seconds_stand_in_for_missing_dates() -> None:
    listing = parse_hit(changed(HIT_2020, created_at=None, sold_at=None))
    assert isinstance(listing, SoldListing)
    assert listing.sold_at == datetime(2020, 10, 8, 18, 59, 13, tzinfo=UTC)
    assert listing.created_at == datetime(2020, 9, 17, 22, 23, 36, tzinfo=UTC)


def test_an_unsold_hit_is_a_listing() -> None:
    listing = parse_hit(changed(HIT_2020, sold=False, sold_at=None, sold_at_i=0, sold_price=0))
    assert type(listing) is Listing
    assert listing.asking_price == 90.0


def test_the_marker_of_estimated_times_is_kept() -> None:
    assert parse_hit(changed(HIT_2026, time_is_estimated=True)).time_is_estimated
    assert not parse_hit(HIT_2026).time_is_estimated


def test_shipping_is_taken_off_a_price_that_holds_it() -> None:
    included = parse_hit(changed(HIT_2026, sold_price_includes_shipping=True))
    assert isinstance(included, SoldListing)
    assert (included.sold_price, included.shipping_price, included.shipping_included) == (25.0, 15.0, True)
    unknown = parse_hit(changed(HIT_2026, sold_price_includes_shipping=True, sold_shipping_price=None))
    assert isinstance(unknown, SoldListing)
    assert (unknown.sold_price, unknown.shipping_price) == (40.0, None)
    # What has been taken off once, in a file under our own names, is not taken off again.
    again = parse_row(included.model_dump(mode="json"))
    assert again == included


def test_a_new_subcategory_does_not_lose_the_listing_and_a_new_category_is_refused() -> None:
    listing = parse_hit(changed(HIT_2026, category_path="tops.togas"))
    assert listing.category_path == "tops"
    with pytest.raises(InvalidListing) as refused:
        parse_hit(changed(HIT_2026, category="gadgets", category_path="gadgets.phones"))
    assert fields_of(refused) == {"category"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sold_price": "sold"}, "sold_price"),
        ({"sold_price": None}, "sold_price"),
        ({"sold_price": 0}, "sold_price"),
        ({"sold_price": True}, "sold_price"),
        ({"sold_price": 10, "sold_price_includes_shipping": True}, "sold_price"),
        ({"sold_at": "soon"}, "sold_at"),
        ({"sold_at": "2026-03-01T00:00:00Z"}, "sold_at"),
        ({"created_at": None}, "created_at"),
        ({"title": None}, "title"),
        ({"title": ""}, "title"),
        ({"id": None, "objectID": None}, "id"),
        ({"condition": "mint"}, "condition"),
        ({"photo_count": -1}, "photo_count"),
        ({"size": 10**400}, "size"),
        ({"size": True}, "size"),
    ],
)
def test_a_hit_that_breaks_the_contract_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidListing) as refused:
        parse_hit(changed(HIT_2026, **changes))
    assert fields_of(refused) == {field}


def test_a_listing_body_with_and_without_its_envelope() -> None:
    listing = parse_listing({"data": LISTING_2020})
    assert listing == parse_listing(LISTING_2020)
    assert listing.created_at == datetime(2020, 6, 10, 10, tzinfo=UTC)
    assert listing.photo_count == 2
    assert listing.location == "Asia"
    # In the seller's order, which the list of designers is not in.
    assert listing.designers == ("Fir", "Larch")
    assert listing.category_path == "outerwear.light_jackets"
    assert listing.size == "l"


def test_a_label_stands_in_for_a_missing_path() -> None:
    listing = parse_listing(changed(LISTING_2020, category_path=None, size=None))
    assert listing.category_path == "outerwear.light_jackets"
    assert listing.size == "l"


CAMEL = {
    "true_created_at": "trueCreatedAt",
    "created_at": "createdAt",
    "sold_at": "soldAt",
    "sold_price": "soldPrice",
    "pretty_size": "prettySize",
    "category_path": "categoryPath",
    "designer_names": "designerNames",
}


def page(listing: Any, attributes: str = 'id="__NEXT_DATA__" type="application/json"') -> str:
    data = json.dumps({"props": {"pageProps": {"listing": listing}}, "page": "/listings/[id]"})
    return f"<html><script>var a = 1 > 0;</script><script {attributes}>{data}</script></html>"


@pytest.mark.parametrize(
    "attributes", ['id="__NEXT_DATA__" type="application/json"', "type='application/json' id='__NEXT_DATA__'"]
)
def test_a_page_says_what_the_endpoint_says(attributes: str) -> None:
    listing = {CAMEL.get(name, name): value for name, value in LISTING_2020.items()}
    assert parse_page(page(listing, attributes)) == parse_listing(LISTING_2020)


@pytest.mark.parametrize(
    "html",
    [
        "",
        "<html>__NEXT_DATA__</html>",
        '<script id="__NEXT_DATA__">{"props": {}',
        '<script id="__NEXT_DATA__">{"props": </script>',
        '<script id="__NEXT_DATA__">' + "[" * 100_000 + "</script>",
        '<script id="__NEXT_DATA__">[]</script>',
        '<script id="__NEXT_DATA__">{"props": {"pageProps": []}}</script>',
        page(None),
        page({"title": "a", "soldAt": "2020-01-01T00:00:00Z"}),
    ],
)
def test_a_page_without_a_listing(html: str) -> None:
    with pytest.raises(InvalidListing):
        parse_page(html)


def test_a_row_of_page_strings() -> None:
    listing = parse_row(ROW_2021, salt="s")
    created_at = estimate_created_at(15000001)
    assert listing == SoldListing(
        id=15000001,
        title="Light jacket",
        description="L",
        designers=("Fir", "Larch"),
        department="menswear",
        category="outerwear",
        subcategory="light_jackets",
        size="l",
        color="navy",
        condition="gently_used",
        photo_count=3,
        seller_hash=seller_hash("seller-0123456789ab", "s"),
        created_at=created_at,
        time_is_estimated=True,
        sold_price=1250.0,
        sold_at=created_at + ESTIMATED_SALE_LAG,
    )


def test_sellers_are_hashed_with_a_salt_even_when_they_look_hashed() -> None:
    assert seller_hash("pinecone", "a") != seller_hash("pinecone", "b")
    assert seller_hash("seller-0123456789ab", "a") not in ("seller-0123456789ab", "0123456789ab")
    assert seller_hash(9, "a") == seller_hash("9", "a")
    assert seller_hash(None) is None
    assert seller_hash("") is None
    assert seller_hash({"id": 1}) is None
    assert seller_hash("broken \ud800") != seller_hash("broken ")
    assert "pinecone" not in parse_hit(HIT_2026).model_dump_json()


def test_one_seller_has_one_hash_on_every_path() -> None:
    hashes = {
        parse_hit(HIT_2026).seller_hash,
        parse_hit(HIT_2020).seller_hash,
        parse_listing(LISTING_2020).seller_hash,
    }
    assert len(hashes) == 1


def test_the_default_salt_is_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    from graildient import parsing

    parsing._default_salt.cache_clear()
    monkeypatch.setenv("GRAILDIENT_SCRAPER_SELLER_SALT", "of this deployment")
    try:
        assert seller_hash("pinecone") == seller_hash("pinecone", "of this deployment")
    finally:
        parsing._default_salt.cache_clear()


@pytest.mark.real
def test_every_complete_hit_of_2020_is_understood(shared_data: Path) -> None:
    results = json.loads((shared_data / "payload_search_response_2020.json").read_bytes())["results"]
    hits = [hit for result in results for hit in result["hits"] if "title" in hit]
    listings = [parse_hit(hit) for hit in hits]
    assert len(listings) == 80
    assert sum(isinstance(listing, SoldListing) for listing in listings) == 40
    assert all(listing.subcategory for listing in listings)


@pytest.mark.real
def test_the_real_body_of_the_listing_endpoint(shared_data: Path) -> None:
    listing = parse_listing(json.loads((shared_data / "payload_listing_2020.json").read_bytes()))
    assert listing.id == 15582671
    assert listing.created_at == datetime(2020, 7, 11, 17, 48, 45, 196000, tzinfo=UTC)
    assert (listing.category_path, listing.size, listing.photo_count) == ("outerwear.light_jackets", "l", 7)
    assert listing.designers == ("Kappa", "Vintage")
