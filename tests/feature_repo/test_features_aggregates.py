"""The aggregates against a slow, plain recomputation, and against the future."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from feature_cases import PATHS, START, market, sale, table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo import aggregates
from feature_repo.aggregates import DAY, EPOCH, Aggregates, aggregate, next_midnight, refresh_days
from feature_repo.asof import entity_rows, native_join
from graildient.lake import row_to_listing
from graildient.listing import SoldListing
from graildient.pricing.market import (
    ALL_VIEWS,
    CATEGORY,
    CATEGORY_DEPARTMENT,
    CATEGORY_RECENT,
    DESIGNER,
    DESIGNER_CATEGORY,
    DESIGNER_RECENT,
    SELLER,
    UNKNOWN,
    keys_of,
)

LAG = timedelta(hours=24)
TTL = timedelta(days=365)


def made(
    sales: list[SoldListing], *, as_of: datetime | None = None, lag: timedelta = LAG, ttl: timedelta = TTL
) -> Aggregates:
    end = as_of or next_midnight(max(s.sold_at for s in sales) + lag)
    return aggregate(table(sales), as_of=end, publication_lag=lag, ttl=ttl)


class Plain:
    """The same numbers, straight from their definitions: floats, loops, no running totals."""

    def __init__(self, sales: list[SoldListing], lag: timedelta) -> None:
        self.sales = [
            {
                "keys": keys_of(s),
                "day": (s.sold_at + lag - EPOCH) // DAY + 1,
                "y": math.log1p(s.sold_price),
                "days": (s.sold_at - s.created_at) / DAY,
                "condition": s.condition,
            }
            for s in sales
        ]
        for s in self.sales:
            s["r"] = s["y"] - self.category_mean(s["keys"].category_path, s["day"] - 1)

    def of(self, day: int, path: str | None = None, since: int | None = None) -> list[float]:
        return [
            s["y"]
            for s in self.sales
            if s["day"] <= day
            and (path is None or s["keys"].category_path == path)
            and (since is None or s["day"] > since)
        ]

    def market_mean(self, day: int) -> float:
        ys = self.of(day)
        return (sum(ys) + 10 * math.log1p(100)) / (len(ys) + 10)

    def category_mean(self, path: str, day: int) -> float:
        ys = self.of(day, path)
        return (sum(ys) + 10 * self.market_mean(day)) / (len(ys) + 10)

    def category(self, path: str, day: int) -> dict[str, float | None]:
        ys, recent = sorted(self.of(day, path)), self.of(day, path, since=day - 365)
        pace = sorted(s["days"] for s in self.sales if s["day"] <= day and s["keys"].category_path == path)
        mean = self.category_mean(path, day)
        stated = [s["condition"] for s in self.category_sales(path, day) if s["condition"]]
        shares = {
            f"share_{c}": stated.count(c) / len(stated) if stated else None
            for c in ("new", "gently_used", "used", "worn")
        }
        return {
            "spread": statistics.stdev(ys) if len(ys) > 1 else None,
            **shares,
            "sales_count": len(ys),
            "sales_count_365d": len(recent),
            "mean_log_price": mean,
            "median_log_price": quantile(ys, 0.5),
            "p25_log_price": quantile(ys, 0.25),
            "p75_log_price": quantile(ys, 0.75),
            "mean_log_price_365d": (sum(recent) + 10 * mean) / (len(recent) + 10),
            "days_to_sale": quantile(pace, 0.5),
        }

    def category_sales(self, path: str, day: int) -> list[dict[str, Any]]:
        return [s for s in self.sales if s["day"] <= day and s["keys"].category_path == path]

    def category_recent(self, path: str, day: int) -> dict[str, float | None]:
        year = self.category(path, day)["mean_log_price_365d"]
        assert year is not None
        last = {days: self.of(day, path, since=day - days) for days in (7, 30, 90)}
        ninety = (sum(last[90]) + 10 * year) / (len(last[90]) + 10)
        return {
            **{f"sales_count_{days}d": len(ys) for days, ys in last.items()},
            "mean_log_price_30d": (sum(last[30]) + 10 * ninety) / (len(last[30]) + 10),
            "mean_log_price_90d": ninety,
            "trend_90d": ninety - year,
        }

    def designer_recent(self, designer: str, day: int) -> dict[str, float | None]:
        year = self.designer(designer, day)["residual_365d"]
        assert year is not None
        last = {days: self.residuals(designer, day, since=day - days) for days in (30, 90)}
        ninety = (sum(last[90]) + 5 * year) / (len(last[90]) + 5)
        return {
            **{f"sales_count_{days}d": len(rs) for days, rs in last.items()},
            "residual_30d": (sum(last[30]) + 5 * ninety) / (len(last[30]) + 5),
            "residual_90d": ninety,
            "trend_90d": ninety - year,
        }

    def category_department(self, key: str, day: int) -> dict[str, float | None]:
        own = [s for s in self.sales if s["day"] <= day and s["keys"].category_department == key]
        ys, year = sorted(s["y"] for s in own), [s["y"] for s in own if s["day"] > day - 365]
        mean = (sum(ys) + 10 * self.category_mean(key.rpartition("|")[0], day)) / (len(ys) + 10)
        return {
            "sales_count": len(ys),
            "sales_count_365d": len(year),
            "mean_log_price": mean,
            "mean_log_price_365d": (sum(year) + 10 * mean) / (len(year) + 10),
            "median_log_price": quantile(ys, 0.5),
            "p25_log_price": quantile(ys, 0.25),
            "p75_log_price": quantile(ys, 0.75),
            "days_to_sale": quantile(sorted(s["days"] for s in own), 0.5),
        }

    def seller(self, key: str, day: int) -> dict[str, float | None]:
        own = [s for s in self.sales if s["day"] <= day and s["keys"].seller == key]
        return {
            "sales_count": len(own),
            "sales_count_365d": sum(s["day"] > day - 365 for s in own),
            "residual": sum(s["r"] for s in own) / (len(own) + 5),
            "days_to_sale": quantile(sorted(s["days"] for s in own), 0.5),
        }

    def designer_prices(self, key: str, day: int, path: str | None = None) -> list[dict[str, Any]]:
        return [
            s
            for s in self.sales
            if s["day"] <= day
            and key in s["keys"].designers
            and (path is None or s["keys"].category_path == path)
        ]

    def residuals(
        self, designer: str, day: int, since: int | None = None, path: str | None = None
    ) -> list[float]:
        return [
            s["r"]
            for s in self.sales
            if designer in s["keys"].designers
            and s["day"] <= day
            and (since is None or s["day"] > since)
            and (path is None or s["keys"].category_path == path)
        ]

    def designer(self, designer: str, day: int) -> dict[str, float | None]:
        rs, recent = self.residuals(designer, day), self.residuals(designer, day, since=day - 365)
        residual, mean = sum(rs) / (len(rs) + 5), sum(rs) / len(rs)
        spread = math.sqrt(sum((r - mean) ** 2 for r in rs) / (len(rs) - 1)) if len(rs) > 1 else None
        own = self.designer_prices(designer, day)
        ys = sorted(s["y"] for s in own)
        return {
            "median_log_price": quantile(ys, 0.5),
            "p25_log_price": quantile(ys, 0.25),
            "p75_log_price": quantile(ys, 0.75),
            "days_to_sale": quantile(sorted(s["days"] for s in own), 0.5),
            "sales_count": len(rs),
            "sales_count_365d": len(recent),
            "residual": residual,
            "residual_365d": (sum(recent) + 5 * residual) / (len(recent) + 5),
            "spread": spread,
        }

    def designer_category(self, key: str, day: int) -> dict[str, float | None]:
        designer, _, path = key.rpartition("|")
        rs = self.residuals(designer, day, path=path)
        parent = self.designer(designer, day)["residual"]
        assert parent is not None
        return {
            "sales_count": len(rs),
            "residual": (sum(rs) + 5 * parent) / (len(rs) + 5),
            "median_log_price": quantile(
                sorted(s["y"] for s in self.designer_prices(designer, day, path)), 0.5
            ),
        }


WINDOWS = {
    DESIGNER_CATEGORY.name: (),
    CATEGORY_RECENT.name: (7, 30, 90, 365),
    DESIGNER_RECENT.name: (30, 90, 365),
}


def quantile(ordered: list[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low, high = math.floor(place), math.ceil(place)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@pytest.mark.parametrize("lag", [timedelta(0), timedelta(hours=24), timedelta(hours=60)])
def test_every_value_equals_its_definition(lag: timedelta) -> None:
    sales = market(110, seed=lag.days + 3)
    tables, plain = made(sales, lag=lag).tables, Plain(sales, lag)
    expected = (
        (CATEGORY, plain.category),
        (DESIGNER, plain.designer),
        (DESIGNER_CATEGORY, plain.designer_category),
        (CATEGORY_RECENT, plain.category_recent),
        (DESIGNER_RECENT, plain.designer_recent),
        (CATEGORY_DEPARTMENT, plain.category_department),
        (SELLER, plain.seller),
    )
    checked = 0
    for view, expect in expected:
        for row in tables[view.name].to_pylist():
            day = (row["event_at"] - EPOCH) // DAY
            wanted = expect(row[view.join_key], day)
            assert wanted.keys() == view.features.keys()
            for name, value in wanted.items():
                # Log prices are counted in millionths; a residual has been rounded twice.
                assert row[name] == (None if value is None else pytest.approx(value, abs=3e-6)), (row, name)
                checked += 1
    assert {view for view, _ in expected} == set(ALL_VIEWS)
    assert checked > 8000


def test_a_key_has_a_row_on_each_day_of_change_and_while_it_is_quiet() -> None:
    sales = market(60, seed=5)
    as_of = next_midnight(max(s.sold_at for s in sales) + LAG) + timedelta(days=700)
    tables = made(sales, as_of=as_of).tables
    end = (as_of - EPOCH) // DAY
    for view in ALL_VIEWS:
        rows: dict[str, list[int]] = {}
        for row in tables[view.name].to_pylist():
            assert row["event_at"] == row["known_at"]
            rows.setdefault(row[view.join_key], []).append((row["event_at"] - EPOCH) // DAY)
        entered: dict[str, set[int]] = {}
        for s in sales:
            for key in keys_of(s).of(view) if view is not SELLER or s.seller_hash else ():
                entered.setdefault(key, set()).add((s.sold_at + LAG - EPOCH) // DAY + 1)
        assert rows.keys() == entered.keys()
        for key, days in entered.items():
            change = days | {end}
            windows = WINDOWS.get(view.name, (365,))
            change |= {d + w for d in days for w in windows if d + w <= end}
            ordered = sorted(change)
            refreshed = {d for a, b in itertools.pairwise(ordered) for d in range(a + 90, b, 90)}
            assert rows[key] == sorted(change | refreshed)
            assert len(rows[key]) <= (1 + len(windows)) * len(days) + (end - ordered[0]) // 90 + 1
    assert max(b - a for days in rows.values() for a, b in itertools.pairwise(days)) == 90


def test_refresh_follows_a_short_time_to_live() -> None:
    assert [refresh_days(timedelta(days=d)) for d in (1, 2, 14, 365)] == [1, 1, 7, 90]
    quiet = made([sale(1, created=START)], as_of=START + timedelta(days=60), ttl=timedelta(days=14))
    days = quiet.tables["designer_market"]["event_at"].to_pylist()
    assert [b - a for a, b in itertools.pairwise(days)][:-1] == [timedelta(days=7)] * (len(days) - 2)


def test_a_sale_enters_at_the_first_midnight_after_it_was_knowable() -> None:
    created = datetime(2020, 1, 1, tzinfo=UTC)
    for sold, entered in (
        (datetime(2020, 1, 5, 23, 59, 59, tzinfo=UTC), datetime(2020, 1, 7, tzinfo=UTC)),
        (datetime(2020, 1, 5, tzinfo=UTC), datetime(2020, 1, 7, tzinfo=UTC)),
        (datetime(2020, 1, 6, 0, 0, 1, tzinfo=UTC), datetime(2020, 1, 8, tzinfo=UTC)),
    ):
        one = sale(1, created=created, days=(sold - created) / DAY)
        assert made([one]).tables["category_market"]["event_at"][0].as_py() == entered
        assert one.knowable_at(LAG) < entered <= one.knowable_at(LAG) + DAY


def test_what_is_not_yet_knowable_is_left_out_and_counted() -> None:
    sales = [sale(i, created=START, days=i) for i in range(1, 11)]
    part = made(sales, as_of=START + timedelta(days=7))
    assert (part.sales, part.later) == (5, 5)
    assert part.tables["category_market"]["sales_count"].to_pylist()[-1] == 5


def test_keys_are_those_of_the_one_rule() -> None:
    """Case folding of every script, repeated and empty designers, bars in names, missing paths."""
    names = [
        ["VINTAGE ", "vintage"],
        ["Straße"],
        ["STRASSE"],
        ["İstanbul"],
        ["a|b"],
        [],
        ["ΣΊΣΥΦΟΣ", "σίσυφος"],
        None,
    ]
    rows = [
        {
            "id": i,
            "designers": of,
            "category": PATHS[i % len(PATHS)][0],
            "subcategory": PATHS[i % len(PATHS)][1],
            "sold_price": 10.0 + i,
            "created_at": START,
            "sold_at": START,
            "seller_hash": "s",
        }
        for i, of in enumerate(names)
    ]
    raw = pa.Table.from_pylist(rows, schema=table([]).schema)
    tables = aggregate(raw, as_of=START + timedelta(days=3), publication_lag=LAG, ttl=TTL).tables
    counts: dict[str, dict[str, int]] = {view.name: {} for view in ALL_VIEWS}
    for row in rows:
        keys = keys_of(row_to_listing({"hashtags": [], "scraped_at": None, **row}))
        for view in ALL_VIEWS:
            for key in keys.of(view):
                counts[view.name][key] = counts[view.name].get(key, 0) + 1
    for view in ALL_VIEWS:
        count = "sales_count" if "sales_count" in view.features else "sales_count_90d"
        found = {row[view.join_key]: row[count] for row in tables[view.name].to_pylist()}
        assert found == counts[view.name]
    assert counts["designer_market"]["strasse"] == 2
    assert counts["designer_market"][UNKNOWN] == 2


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10**6), count=st.integers(2, 40), place=st.floats(0, 1))
def test_nothing_from_the_future(seed: int, count: int, place: float) -> None:
    """What a moment sees does not depend on any sale that was not knowable before it, nor on the order."""
    sales = market(count, seed=seed, days=700)
    moment = START + timedelta(days=900) * place
    past = [s for s in sales if s.knowable_at(LAG) < moment]
    later = [s.model_copy(update={"sold_price": 999_999.0}) for s in sales if s.knowable_at(LAG) >= moment]
    draw = random.Random(seed)
    shuffled = draw.sample([*past, *later], len(sales))
    asked = entity_rows(sales, [moment] * len(sales))
    end = START + timedelta(days=1200)
    whole = native_join(asked, made(sales, as_of=end).tables, TTL, ALL_VIEWS)
    assert whole == native_join(asked, made(shuffled, as_of=end).tables, TTL, ALL_VIEWS)
    if past:
        assert whole == native_join(asked, made(past, as_of=end).tables, TTL, ALL_VIEWS)
    else:
        assert all(column.null_count == len(column) for column in whole.columns)


def test_a_listing_never_sees_its_own_sale() -> None:
    sales = market(80, seed=8)
    asked = entity_rows(sales, [s.created_at for s in sales])
    before = native_join(asked, made(sales).tables, TTL, ALL_VIEWS)
    for chosen in range(0, 80, 9):
        priced = [s.model_copy(update={"sold_price": 5.0}) if i == chosen else s for i, s in enumerate(sales)]
        after = native_join(asked, made(priced).tables, TTL, ALL_VIEWS)
        of_listing = [row for row, i in enumerate(asked["position"].to_pylist()) if i == chosen]
        assert before.take(of_listing) == after.take(of_listing)
    assert any(before.column(i).null_count < len(before) for i in range(before.num_columns))


def test_order_and_threads_do_not_change_a_bit() -> None:
    sales = market(400, seed=2)
    first = made(sales).tables
    for seed in range(3):
        again = made(random.Random(seed).sample(sales, len(sales))).tables
        assert all(first[name].equals(again[name]) for name in first)


def test_as_of_must_be_a_midnight() -> None:
    with pytest.raises(ValueError, match="midnight"):
        made(market(3), as_of=START + timedelta(hours=1))


def test_the_code_fingerprint_covers_the_keys_and_the_sql(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    before = aggregates.code_fingerprint()
    other = tmp_path / "market.py"
    other.write_text("changed")
    monkeypatch.setattr(aggregates.market, "__file__", str(other))
    assert aggregates.code_fingerprint() != before
