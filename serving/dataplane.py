"""The only way to a price: rows → listings → market → model → answers.

REST V1, REST V2, gRPC and the bulk command call it with plain rows; what differs between them is
decoded and encoded in :mod:`serving.codecs`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from graildient.errors import InvalidListing
from graildient.listing import Listing
from graildient.parsing import to_listing
from graildient.settings import ServingSettings
from serving import metrics
from serving.champion import Champion, Served
from serving.errors import InvalidRequest, RequestTooLarge, refuse_rows
from serving.lookup import MarketLookup, Seen
from serving.prediction_log import Entry, PredictionLog

if TYPE_CHECKING:
    from graildient.pricing.model import Reason

T = TypeVar("T")

INLINE_ROWS = 32
"""Up to here the work takes less time than handing it to a thread and back is worth."""
MAX_EXPLAIN = 1_000
MAX_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Answers:
    """Prices of a batch in US dollars, one element a listing.

    `as_of` is the moment of the market that they rest on: the lookup's, or without one the model's.
    """

    request_id: str
    version: str
    as_of: datetime
    price: np.ndarray
    low: np.ndarray
    high: np.ndarray
    quantiles: dict[float, np.ndarray]
    market: list[str]
    warnings: list[tuple[str, ...]]
    reasons: list[list[Reason]] | None = None

    @property
    def as_of_text(self) -> str:
        """ISO 8601 with Z."""
        return self.as_of.astimezone(UTC).isoformat().replace("+00:00", "Z")


def answer(
    served: Served, listings: Sequence[Listing], seen: Seen, request_id: str, explain: bool = False
) -> Answers:
    """Price listings whose market was looked up. Pure: the same inputs give the same answers."""
    prices = served.model.predict(listings, seen.rows)
    return Answers(
        request_id=request_id,
        version=served.version,
        as_of=seen.as_of or served.model.manifest.as_of,
        price=prices.price,
        low=prices.low,
        high=prices.high,
        quantiles=prices.quantiles,
        market=seen.state,
        warnings=prices.warnings,
        reasons=served.model.explain(listings, seen.rows) if explain else None,
    )


def parse(rows: Sequence[Mapping[str, Any]], name: Callable[[int, str], str]) -> list[Listing]:
    """Rows as listings.

    Raises:
        InvalidListing: names every field of the first hundred bad rows, as `name` spells them.
    """
    listings, problems = [], []
    for i, row in enumerate(rows):
        try:
            listings.append(to_listing(row))
        except InvalidListing as error:
            problems.append((i, error))
            if len(problems) >= MAX_PROBLEMS:
                break
    if problems:
        raise refuse_rows(problems, name)
    return listings


class PricePlane:
    """Shared by all protocols of a server."""

    def __init__(
        self, champion: Champion, market: MarketLookup, settings: ServingSettings, log: PredictionLog | None
    ) -> None:
        self.champion = champion
        self.market = market
        self.settings = settings
        self._log = log
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="price")

    async def price(
        self,
        rows: Sequence[Mapping[str, Any]],
        protocol: metrics.Protocol,
        name: Callable[[int, str], str],
        *,
        request_id: str = "",
        explain: bool = False,
    ) -> Answers:
        """Answer a batch.

        Raises:
            InvalidRequest: the batch is empty.
            RequestTooLarge: it has more rows than a request may carry.
            InvalidListing: rows break the contract.
        """
        limit = min(self.settings.max_batch, MAX_EXPLAIN) if explain else self.settings.max_batch
        if not rows:
            raise InvalidRequest("nothing to price: the batch is empty")
        if len(rows) > limit:
            raise RequestTooLarge(
                f"{len(rows)} listings in one request, at most {limit}", hint="send them in several requests"
            )
        big = len(rows) > INLINE_ROWS
        listings = await self.run(big, lambda: parse(rows, name))
        seen = await self.market.seen(listings)
        served = self.champion.served
        identity = request_id or secrets.token_hex(16)
        answers = await self.run(big or explain, lambda: answer(served, listings, seen, identity, explain))
        self._count(protocol, listings, answers)
        return answers

    async def run(self, off_loop: bool, work: Callable[[], T]) -> T:
        """Do it here, or in a thread when it would keep other requests waiting."""
        if not off_loop:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def warm(self, served: Served) -> None:
        """Price and explain a listing: what is built on first use is built before the first caller."""
        listings = [Listing(title="warm-up")]
        answer(served, listings, self.market.seen_now(listings), "warm-up", explain=True)

    def close(self) -> None:
        """Let go of threads and write the log's rest."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.market.close()
        if self._log is not None:
            self._log.close()

    def _count(self, protocol: metrics.Protocol, listings: list[Listing], answers: Answers) -> None:
        metrics.ROWS.labels(protocol).inc(len(listings))
        for state in metrics.MARKET_STATES:
            if count := answers.market.count(state):
                metrics.MARKET_ROWS.labels(state).inc(count)
        for price in answers.price.tolist():
            metrics.PREDICTED.observe(price)
        if self._log is not None:
            self._log.put(Entry(datetime.now(UTC), protocol, listings, answers))
