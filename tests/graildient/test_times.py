from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graildient.times import EARLIEST, ESTIMATED_SALE_LAG, estimate_created_at

DAY = timedelta(days=1)
IDS = st.integers(-10, 200_000_000) | st.integers(-(2**70), 2**70)


@settings(deadline=None)
@given(IDS, IDS)
def test_time_never_falls_as_ids_rise(a: int, b: int) -> None:
    low, high = sorted((a, b))
    assert estimate_created_at(low) <= estimate_created_at(high)


@settings(deadline=None)
@given(IDS)
def test_every_id_has_a_time_of_whole_seconds_in_utc(listing_id: int) -> None:
    moment = estimate_created_at(listing_id)
    assert EARLIEST <= moment < datetime(2100, 1, 1, tzinfo=UTC)
    assert moment.tzinfo is UTC
    assert moment.microsecond == 0


def test_dated_ids_are_met() -> None:
    assert estimate_created_at(15_582_671) == datetime(2020, 7, 11, 17, 48, 45, tzinfo=UTC)
    assert estimate_created_at(18_658_737) == datetime(2021, 1, 20, tzinfo=UTC)


def test_after_the_last_anchor_the_last_slope_goes_on() -> None:
    last = estimate_created_at(94_351_871)
    day = estimate_created_at(94_351_871 + 50_000) - last
    assert timedelta(hours=12) < day < timedelta(hours=72)
    assert abs(estimate_created_at(94_351_871 + 500_000) - last - 10 * day) < timedelta(minutes=1)


@pytest.mark.real
def test_estimates_agree_with_the_dated_sales_of_2026(shared_data: Path) -> None:
    lines = (shared_data / "grailed_sold_2026_sample.jsonl").read_text(encoding="utf-8").splitlines()
    hits = [json.loads(line) for line in lines]
    errors, lags = [], []
    for hit in hits:
        created = datetime.fromisoformat(hit["created_at"])
        errors.append((estimate_created_at(hit["id"]) - created) / DAY)
        lags.append((datetime.fromisoformat(hit["sold_at"]) - created) / DAY)
    # A bump moves a date later, so an estimate may be early by much, late by little.
    assert abs(median(errors)) < 3
    assert max(errors) < 21
    assert abs(median(lags) - ESTIMATED_SALE_LAG / DAY) < 1
