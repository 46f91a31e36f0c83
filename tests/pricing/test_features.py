from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from price_cases import NO_MARKET, make_market, make_sales

from graildient.listing import Listing
from graildient.pricing import features
from graildient.pricing.features import CATEGORICAL, ESTIMATE, FEATURES, NAMES, request_features
from graildient.pricing.market import MARKET_FEATURES

JACKET = Listing(
    title="RARE jacket 2003",
    description="Good.\nWorn twice",
    designers=("Rick  Owens", "Vintage"),
    category="outerwear",
    subcategory="light_jackets",
    condition="used",
    size="40r",
    color="black",
    hashtags=("archive",),
    photo_count=4,
)


def same(a: list[Any], b: list[Any]) -> bool:
    return all(x == y or (x != x and y != y) for x, y in zip(a, b, strict=True))


def test_every_feature_is_declared_once_with_known_sources() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert set(MARKET_FEATURES) <= set(NAMES)
    assert {name for f in FEATURES for name in f.source} <= set(Listing.model_fields)
    assert [FEATURES[i].kind for i in CATEGORICAL] == ["categorical"] * len(CATEGORICAL)
    assert all(f.meaning for f in FEATURES)


def test_no_feature_has_a_source_that_the_form_cannot_know() -> None:
    hidden = {"id", "asking_price", "location", "seller_hash", "created_at", "time_is_estimated"}
    assert not hidden & {name for f in FEATURES for name in f.source}


@given(price=st.floats(0, 1e6), id=st.integers(1, 10**9), seller=st.text(max_size=5))
def test_what_the_form_cannot_know_changes_nothing(price: float, id: int, seller: str) -> None:
    told = JACKET.model_copy(
        update={
            "id": id,
            "asking_price": price,
            "seller_hash": seller,
            "location": "Asia",
            "created_at": datetime(2021, 1, 1, tzinfo=UTC),
            "time_is_estimated": True,
        }
    )
    assert same(*(features.rows([one], [NO_MARKET])[0] for one in (told, JACKET)))


def test_request_features_of_a_listing() -> None:
    assert request_features(JACKET) == {
        "department": "menswear",
        "category": "outerwear",
        "category_path": "outerwear.light_jackets",
        "condition": "used",
        "color": "black",
        "size": "40r",
        "designer": "rick owens",
        "title_chars": 16.0,
        "title_words": 3.0,
        "title_upper_share": 0.25,
        "title_digits": 4.0,
        "description_chars": 16.0,
        "description_words": 3.0,
        "description_lines": 2.0,
        "hashtag_count": 1.0,
        "photo_count": 4.0,
        "designer_count": 2.0,
        "size_number": 40.0,
        "condition_rank": 2.0,
    }


def test_what_is_missing_is_a_category_of_its_own_or_no_number() -> None:
    found = request_features(Listing(title="x"))
    assert {found[n] for n in ("department", "category", "condition", "color", "size", "designer")} == {
        "missing"
    }
    assert [found[n] for n in ("photo_count", "size_number", "condition_rank")] == [None] * 3
    assert found["description_chars"] == found["description_lines"] == 0.0


@pytest.mark.parametrize(
    ("size", "number"),
    [("10.5", 10.5), ("40r", 40), ("it 44", 44), ("32", 32), ("xl", None), ("one size", None), (None, None),
     ("9" * 39, None)],
)  # fmt: skip
def test_size_number(size: str | None, number: float | None) -> None:
    found = features.size_number(size)
    assert math.isnan(found) if number is None else found == number


def test_frame_and_rows_hold_the_same_values() -> None:
    sales = make_sales(50)
    market = make_market(sales)
    estimates = np.linspace(3, 5, 50).tolist()
    rows = features.rows(sales, market, estimates)
    frame = features.frame(sales, market, estimates)
    assert tuple(frame.columns) == NAMES
    assert [frame.dtypes.iloc[i] for i in CATEGORICAL] == [np.dtype(object)] * len(CATEGORICAL)
    assert set(frame.drop(columns=[NAMES[i] for i in CATEGORICAL]).dtypes) == {np.dtype(float)}
    for i, row in enumerate(rows):
        assert same(frame.iloc[i].tolist(), row)
    assert frame[ESTIMATE].tolist() == estimates


def test_frame_of_nothing_has_every_column() -> None:
    frame = features.frame([], [])
    assert frame.shape == (0, len(NAMES))


def test_arguments_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        features.rows([JACKET], [])
    with pytest.raises(ValueError, match="zip"):
        features.frame([JACKET], [NO_MARKET], [1.0, 2.0])
