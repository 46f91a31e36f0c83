"""The market of a listing, looked up in the online store within a deadline.

A store that is down or slow costs the looked-up features, never the price.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from graildient.errors import GraildientError
from graildient.listing import Listing
from graildient.pricing.market import MARKET_FEATURES, VIEWS, Values
from graildient.settings import FeatureSettings
from graildient.storage import Storage
from serving import metrics

if TYPE_CHECKING:
    from feature_repo.online import OnlineMarket

log = logging.getLogger("graildient.serving")

THREADS = 2
ROWS_PER_DEADLINE = 100
REOPEN_SECONDS = 1.0

NOTHING: Values = dict.fromkeys(MARKET_FEATURES)
"""The market row of a listing that nothing is known of."""

_COLUMNS = tuple(
    tuple(f"{view.prefix}_{name}" + ("_max" if view.several else "") for name in view.features)
    for view in VIEWS
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the market knows of a batch.

    `state` has one of fresh (every view knows the listing), partial, missing (none does) and
    unavailable (the store was not reached) a listing; `as_of` is None when it was not reached.
    """

    rows: Sequence[Values]
    state: list[str]
    as_of: datetime | None


def state_of(row: Values) -> str:
    """fresh, partial or missing, by how many views have a value for the listing."""
    known = sum(any(row.get(column) is not None for column in columns) for columns in _COLUMNS)
    return "fresh" if known == len(_COLUMNS) else "partial" if known else "missing"


def opener(storage: Storage, features: FeatureSettings, timeout_ms: float) -> Callable[[], OnlineMarket]:
    """Opens the online store. Feast, whose import takes seconds, is imported when it is first called."""

    def open_market() -> OnlineMarket:
        from feature_repo.online import OnlineMarket

        return OnlineMarket(storage, features, timeout_ms=timeout_ms)

    return open_market


class _Ticket:
    """One lookup; `abandoned` once nobody waits for it any more."""

    __slots__ = ("abandoned", "done")

    def __init__(self) -> None:
        self.abandoned = False
        self.done = False


class MarketLookup:
    """Looks batches up in threads of its own, and opens the store again after it was down."""

    def __init__(self, open_market: Callable[[], OnlineMarket], timeout_ms: float) -> None:
        self._open_market = open_market
        self._timeout = timeout_ms / 1000
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="lookup")
        self._lock = threading.Lock()
        self._market: OnlineMarket | None = None
        self._retry_at = 0.0
        self._stuck = 0
        self._down = False

    async def seen(self, listings: Sequence[Listing]) -> Seen:
        """Look a batch up; `lookup_timeout_ms` holds for every 100 listings of it."""
        if (
            self._stuck >= THREADS
        ):  # every thread hangs in a lookup that was given up: do not wait for a third
            return self._fallback(listings, "slow")
        ticket = _Ticket()
        work = asyncio.get_running_loop().run_in_executor(self._pool, self._ticketed, ticket, listings)
        try:
            deadline = self._timeout * (1 + (len(listings) - 1) // ROWS_PER_DEADLINE)
            return await asyncio.wait_for(work, deadline)
        except TimeoutError:
            with self._lock:
                if not ticket.done:
                    ticket.abandoned = True
                    self._stuck += 1
            return self._fallback(listings, "slow")

    def seen_now(self, listings: Sequence[Listing]) -> Seen:
        """Look a batch up in this thread, for as long as it takes."""
        start = time.perf_counter()
        try:
            market = self._opened()
            found = market.lookup(listings)
        except Exception as error:
            self._is_down(error)
            return self._fallback(listings, "down")
        metrics.LOOKUP_DURATION.observe(time.perf_counter() - start)
        metrics.LOOKUPS.labels("ok").inc()
        metrics.EXPIRED.inc(found.expired)
        if found.newest is not None:
            metrics.FRESHNESS.set((found.as_of - found.newest).total_seconds())
        if self._down:
            self._down = False
            log.warning("the online store answers again")
        return Seen(found.rows, [state_of(row) for row in found.rows], found.as_of)

    def close(self) -> None:
        """Stop the threads without waiting for a hanging store."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._market is not None and not self._stuck:
            self._market.close()

    def _ticketed(self, ticket: _Ticket, listings: Sequence[Listing]) -> Seen:
        try:
            return self.seen_now(listings)
        finally:
            with self._lock:
                ticket.done = True
                if ticket.abandoned:
                    self._stuck -= 1

    def _opened(self) -> OnlineMarket:
        with self._lock:
            if self._market is None:
                if time.monotonic() < self._retry_at:
                    raise _StillDown
                self._retry_at = time.monotonic() + REOPEN_SECONDS
                self._market = self._open_market()
            return self._market

    def _is_down(self, error: Exception) -> None:
        if not self._down and not isinstance(error, _StillDown):
            self._down = True
            foreseen = isinstance(error, GraildientError)
            log.warning(
                "prices go on without looked-up features: %s", error, exc_info=None if foreseen else error
            )

    @staticmethod
    def _fallback(listings: Sequence[Listing], cause: str) -> Seen:
        metrics.LOOKUPS.labels(cause).inc()
        metrics.FALLBACKS.labels(cause).inc()
        return Seen([NOTHING] * len(listings), ["unavailable"] * len(listings), None)


class _StillDown(Exception):
    """The store could not be opened a moment ago and is not tried again yet."""
