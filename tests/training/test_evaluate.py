from __future__ import annotations

import math

import numpy as np
import pytest
from price_cases import make_sales

from graildient.errors import NotEnoughData
from training.baselines import DesignerCategory, Median
from training.evaluate import Scored, errors, figures, range_figures


def test_error_figures_by_hand() -> None:
    found = errors(np.array([100.0, 50.0, 10.0]), np.array([110.0, 50.0, 20.0]))
    logs = [math.log(111 / 101), 0, math.log(21 / 11)]
    assert found == pytest.approx(
        {
            "rmsle": math.sqrt(sum(x * x for x in logs) / 3),
            "wape": 20 / 160,
            "mdape": 0.1,
            "within_20": 2 / 3,
            "bias": 20 / 160,
        }
    )


def test_range_figures_by_hand() -> None:
    sold = np.array([100.0, 50.0, 10.0, 5.0])
    price = np.array([100.0, 40.0, 20.0, 5.0])
    scored = Scored(np.arange(4), sold, price, price / 2, np.array([150.0, 60.0, 20.0, 5.0]))
    assert range_figures(scored) == pytest.approx({"coverage_80": 1.0, "width_80": (1 + 1 + 0.5 + 0.5) / 4})
    assert range_figures(Scored(np.arange(4), sold, price, price + 1, price + 2))["coverage_80"] == 0


def test_figures_stand_beside_the_baselines() -> None:
    sales = make_sales(100)
    sold = np.array([s.sold_price for s in sales])
    exact = Scored(np.arange(100), sold, sold, sold, sold)
    found = figures(exact, sales, Median.fit(sales), DesignerCategory.fit(sales))
    assert (found["rmsle"], found["coverage_80"], found["width_80"], found["n"]) == (0, 1, 0, 100)
    assert 0 < found["designer_category_rmsle"] < found["median_rmsle"]
    assert {f"median_{k}" for k in ("rmsle", "wape", "mdape", "within_20", "bias")} <= found.keys()


def test_nothing_to_evaluate_on() -> None:
    with pytest.raises(NotEnoughData):
        errors(np.empty(0), np.empty(0))
