"""The market within a deadline: a store that is down or slow costs the features, never the price."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from feature_repo.online import Lookup
from graildient.errors import OnlineStoreUnavailable
from graildient.listing import Listing
from graildient.pricing.market import MARKET_FEATURES
from serving import metrics
from serving.lookup import THREADS, MarketLookup, state_of

AS_OF = datetime(2021, 3, 1, tzinfo=UTC)
LISTINGS = [Listing(title="a"), Listing(title="b")]


class Store:
    """Stands for OnlineMarket; answers, fails or hangs as it is told."""

    def __init__(self) -> None:
        self.fails: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.calls = 0

    def lookup(self, listings: Sequence[Listing]) -> Lookup:
        self.calls += 1
        if self.fails:
            raise self.fails
        assert self.gate.wait(20)
        return Lookup([dict.fromkeys(MARKET_FEATURES, 1.0) for _ in listings], AS_OF, AS_OF, 0, 0)

    def close(self) -> None:
        pass


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.gate.set()


def opened(store: Any, timeout_ms: float = 1000) -> MarketLookup:
    return MarketLookup(lambda: store, timeout_ms)


def test_a_lookup_that_works(store: Store) -> None:
    seen = asyncio.run(opened(store).seen(LISTINGS))
    assert seen.state == ["fresh", "fresh"]
    assert seen.as_of == AS_OF
    assert seen.rows[0]["category_sales_count"] == 1.0


@pytest.mark.parametrize(
    "error", [OnlineStoreUnavailable("down"), RuntimeError("a bug in the store's client")]
)
def test_a_store_that_is_down_costs_the_features_only(store: Store, error: Exception) -> None:
    before = metrics.FALLBACKS.labels("down")._value.get()
    market = opened(store)
    store.fails = error
    seen = asyncio.run(market.seen(LISTINGS))
    assert seen.state == ["unavailable", "unavailable"]
    assert set(seen.rows[1].values()) == {None}
    assert seen.as_of is None
    assert metrics.FALLBACKS.labels("down")._value.get() == before + 1
    store.fails = None
    assert asyncio.run(market.seen(LISTINGS)).state == ["fresh", "fresh"]


def test_a_store_that_cannot_be_opened_is_tried_again_later(store: Store) -> None:
    tries = 0

    def open_market() -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OnlineStoreUnavailable("nothing was built yet")
        return store

    market = MarketLookup(open_market, 1000)
    assert market.seen_now(LISTINGS).state == ["unavailable", "unavailable"]
    assert market.seen_now(LISTINGS).state == ["unavailable", "unavailable"]
    assert tries == 1
    market._retry_at = 0.0
    assert market.seen_now(LISTINGS).state == ["fresh", "fresh"]


def test_a_slow_store_is_not_waited_for_beyond_the_deadline(store: Store) -> None:
    store.gate.clear()
    before = metrics.FALLBACKS.labels("slow")._value.get()

    async def ask() -> float:
        start = time.monotonic()
        assert (await market.seen(LISTINGS)).state == ["unavailable", "unavailable"]
        return time.monotonic() - start

    async def all_of_it() -> None:
        for _ in range(THREADS):
            assert 0.08 <= await ask() < 2
        # Every thread hangs by now: the next one does not wait at all, and asks nothing.
        assert await ask() < 0.08
        assert store.calls == THREADS
        store.gate.set()
        for _ in range(100):
            await asyncio.sleep(0.02)
            if (await market.seen(LISTINGS)).state == ["fresh", "fresh"]:
                return
        pytest.fail("the store was not used again after it had recovered")

    market = opened(store, timeout_ms=100)
    asyncio.run(all_of_it())
    assert metrics.FALLBACKS.labels("slow")._value.get() >= before + THREADS + 1


def test_the_event_loop_goes_on_during_a_lookup(store: Store) -> None:
    store.gate.clear()

    async def both() -> None:
        work = asyncio.create_task(market.seen(LISTINGS))
        await asyncio.sleep(0.05)
        assert not work.done()
        store.gate.set()
        assert (await work).state == ["fresh", "fresh"]

    market = opened(store)
    asyncio.run(both())


def test_states() -> None:
    nothing = dict.fromkeys(MARKET_FEATURES)
    assert state_of(nothing) == "missing"
    assert state_of(nothing | {"category_median_log_price": 3.0}) == "partial"
    some = {
        "category_sales_count": 3.0,
        "designer_residual_max": 0.1,
        "designer_category_sales_count_max": 2.0,
    }
    assert state_of(nothing | some) == "fresh"
