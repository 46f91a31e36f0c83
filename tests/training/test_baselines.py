from __future__ import annotations

import numpy as np
import pytest
from price_cases import make_sales

from graildient.listing import Listing
from training.baselines import SHRINKAGE, DesignerCategory, Median

SALES = make_sales(400)


def test_median() -> None:
    median = Median.fit(SALES)
    assert median.price == np.median([s.sold_price for s in SALES])
    assert median.predict(SALES[:3]).tolist() == [median.price] * 3


def test_designer_category_knows_what_sells_for_more() -> None:
    model = DesignerCategory.fit(SALES)
    place = {"title": "x", "category": "outerwear", "subcategory": "light_jackets"}
    rick, uniqlo = (Listing(**place, designers=(d,)) for d in ("Rick Owens", "Uniqlo"))
    high, low = model.predict([rick, uniqlo])
    assert high > 3 * low


def test_groups_are_shrunk_to_their_parents() -> None:
    one = SALES[0].model_copy(update={"designers": ("Nobody",), "sold_price": 5000.0})
    model = DesignerCategory.fit([*SALES, one])
    stranger = one.model_copy(update={"designers": ("Stranger",)})
    parent, own = np.log1p(model.predict([stranger, one]))
    assert own == pytest.approx((np.log1p(5000) + SHRINKAGE * parent) / (1 + SHRINKAGE))


def test_unknown_category_gets_the_mean_of_all() -> None:
    model = DesignerCategory.fit(SALES)
    mean = float(np.expm1(np.log1p([s.sold_price for s in SALES]).mean()))
    assert model.predict([Listing(title="x")])[0] == pytest.approx(mean)


def test_co_designers_share() -> None:
    model = DesignerCategory.fit(SALES)
    place = {"title": "x", "category": "footwear", "subcategory": "boots"}
    a, b, both = (Listing(**place, designers=d) for d in (("Prada",), ("Nike",), ("Nike", "Prada")))
    x, y, z = np.log1p(model.predict([a, b, both]))
    assert z == pytest.approx((x + y) / 2)
