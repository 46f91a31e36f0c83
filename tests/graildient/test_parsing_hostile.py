"""Whatever a payload holds, parsing raises nothing but its own error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from graildient.errors import InvalidListing
from graildient.listing import Listing, SoldListing
from graildient.parsing import parse_hit, parse_listing, parse_page, parse_row
from tests.graildient.test_parsing import HIT_2020, HIT_2026, LISTING_2020, ROW_2021, page

NAMES = sorted(
    {*HIT_2026, *HIT_2020, *LISTING_2020, *ROW_2021, *SoldListing.model_fields, "data", "name", "value"}
)
ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**300, 10**310)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["2020-01-01T00:00:00Z", "$40", "tops.polos", "Size: L", "is_new", "a × b", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=10,
)
BASES = st.sampled_from([HIT_2026, HIT_2020, LISTING_2020, ROW_2021, {}])


def outcome(parse: Callable[[Any], Listing], payload: Any) -> Listing | InvalidListing:
    try:
        return parse(payload)
    except InvalidListing as error:
        return error


@settings(deadline=None)
@given(BASES, st.dictionaries(st.sampled_from(NAMES), ANY, max_size=4))
def test_no_payload_raises_anything_but_invalid_listing(
    base: dict[str, Any], changes: dict[str, Any]
) -> None:
    payload = {**base, **changes}
    for parse in (
        parse_hit,
        parse_listing,
        parse_row,
        lambda row: parse_row(row, sold=True),
        lambda listing: parse_page(page(listing)),
    ):
        found = outcome(parse, payload)
        assert isinstance(found, Listing) or found.details


@settings(deadline=None)
@given(ANY)
def test_no_json_at_all_raises_anything_but_invalid_listing(payload: Any) -> None:
    for parse in (parse_hit, parse_listing, parse_page, parse_row):
        found = outcome(parse, payload)
        assert isinstance(found, Listing) or found.details
