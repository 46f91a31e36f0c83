from __future__ import annotations

import pytest
from price_cases import AS_OF, make_market, make_sales

from graildient.errors import NotEnoughData
from training.dataset import make_dataset


def test_rows_are_sorted_by_time_and_keep_their_market() -> None:
    sales = make_sales(30)
    market = [
        row | {"category_sales_count": float(s.id)} for s, row in zip(sales, make_market(sales), strict=True)
    ]
    data = make_dataset(sales[::-1], market[::-1], "ab" * 32, AS_OF)
    assert [x.id for x in data.listings] == [x.id for x in sales]
    assert [row["category_sales_count"] for row in data.market] == [float(x.id) for x in sales]
    assert [x.id for x in data.part(3, 5).listings] == [sales[3].id, sales[4].id]


def test_an_id_that_occurs_twice_is_refused() -> None:
    sales = make_sales(5)
    twice = [*sales, sales[2].model_copy(update={"sold_price": 1.0})]
    with pytest.raises(NotEnoughData, match="1002"):
        make_dataset(twice, make_market(twice), "ab" * 32, AS_OF)


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(NotEnoughData, match="empty"):
        make_dataset([], [], "ab" * 32, AS_OF)


def test_rows_and_market_must_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        make_dataset(make_sales(2), make_market(make_sales(1)), "ab" * 32, AS_OF)
