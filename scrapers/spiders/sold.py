"""The sweep of sold listings through the search endpoint."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from scrapy import Request, Spider
from scrapy.exceptions import CloseSpider, IgnoreRequest
from scrapy.http import Response
from twisted.python.failure import Failure

from scrapers.metrics import Metrics
from scrapers.middlewares import ANSWER, RESULTS
from scrapers.pipelines import ScrapedHit
from scrapers.session import Session
from scrapers.sweep import Counted, Slice, batches, merge, ways

SEARCH_PATH = "/1/indexes/*/queries"
REREADS = 3
"""How often a slice is read that changes while it is read."""
PATIENCE = 3
"""Failed ranges in a row after which the source is taken to be down."""


class Refused(Exception):
    """The source says no: to these credentials, to robots, or to the question itself."""


class Unanswered(Exception):
    """No good answer after all retries."""


class Stopped(Exception):
    """The run was asked to end."""


class SoldSpider(Spider):
    """Counts first, cuts what is over the cap, then reads, oldest sales first, one request at a time.

    The order of a sweep is fixed, so that of listings that the source has twice every run takes the
    same one.
    """

    name = "sold"

    def __init__(self, session: Session, metrics: Metrics, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.session = session
        self.metrics = metrics
        settings = session.scraper
        self.url = settings.search_url or settings.base_url.rstrip("/") + SEARCH_PATH
        self._failed_in_a_row = 0

    @property
    def requests(self) -> int:
        """Requests sent so far, retries and robots.txt included."""
        return int(self.crawler.stats.get_value("downloader/request_count", 0))

    @property
    def stopping(self) -> bool:
        """Whether SIGTERM or Ctrl-C asked for an end."""
        return not self.crawler.engine.running

    @property
    def whole(self) -> Slice:
        """The range of this run."""
        return Slice(int(self.session.start.timestamp()), int(self.session.until.timestamp()))

    async def start(self) -> AsyncIterator[Request]:
        """One request, the count of everything: the sweep is its callback, which closing waits for."""
        request = self._request([self.whole.params(hits=0)])
        yield request.replace(callback=self.parse, errback=self.unanswered)

    async def parse(self, response: Response) -> AsyncIterator[ScrapedHit]:
        """Every hit of the run's range."""
        try:
            results = self._results(response)
        except (Refused, Unanswered) as error:
            raise self._ended(error) from None
        async for item in self.sweep(results):
            yield item

    def unanswered(self, failure: Failure) -> None:
        """The first request has found nobody, or robots.txt forbids it."""
        raise self._ended(self._named(failure.value))

    async def sweep(self, results: list[dict[str, Any]]) -> AsyncIterator[ScrapedHit]:
        """Every hit, given the answer to the first count."""
        session = self.session
        counted = _counted([self.whole], results)[0]
        session.total = counted.hits
        session.tell(self.requests)
        try:
            async for hits in self._cover(counted):
                for hit in hits:
                    yield ScrapedHit(hit)
                await session.settled()
                session.tell(self.requests)
                if session.broken is not None:
                    raise CloseSpider("lake_broken")
        except (Refused, Unanswered) as error:
            raise self._ended(error) from None
        except Stopped:
            return
        session.swept = True

    def _ended(self, error: Refused | Unanswered) -> CloseSpider:
        self.session.refused = isinstance(error, Refused)
        self.session.problems.append(str(error))
        return CloseSpider("refused" if self.session.refused else "source_down")

    async def _cover(self, counted: Counted) -> AsyncIterator[list[Any]]:
        """The hits of a slice, cut as far as it takes."""
        cap = self.session.scraper.hit_cap
        if counted.hits == 0:
            return
        if counted.hits < cap:
            async for hits in self._read([counted]):
                yield hits
            return
        pieces = await self._cut(counted)
        if pieces is None:
            async for hits in self._read([counted], most=cap):
                yield hits
            return
        waiting: list[Counted] = []
        for piece in merge(pieces, cap):
            if piece.hits < cap:
                waiting.append(piece)
                continue
            async for hits in self._read(waiting):
                yield hits
            waiting = []
            async for hits in self._cover(piece):
                yield hits
        async for hits in self._read(waiting):
            yield hits

    async def _cut(self, counted: Counted) -> list[Counted] | None:
        """Counted pieces of a slice that holds too much; None when nothing parts it."""
        best: list[Counted] | None = None
        most = 0
        try:
            for pieces in ways(counted, self.session.scraper.hit_cap):
                found = await self._count(pieces)
                covered = sum(piece.hits for piece in found)
                if covered >= counted.hits:
                    return found
                if covered > most:
                    best, most = found, covered
                if not counted.slice.is_one_second:
                    # Sales may be withdrawn while we count; the pieces of time leave no gap.
                    return found
        except Unanswered as error:
            self._failed([counted], error)
            return []
        missed = counted.hits - (most if best else self.session.scraper.hit_cap)
        if missed > 0:
            self.session.uncovered += missed
            problem = f"{missed} listings cannot be reached: nothing parts {counted.slice}"
            self.session.problems.append(problem)
            self.logger.error(problem)
        return best

    async def _read(self, counted: Sequence[Counted], *, most: int | None = None) -> AsyncIterator[list[Any]]:
        """The hits of slices, several in one request where they fit; of one over the cap the first `most`."""
        waiting = batches(counted, self.session.scraper.hits_per_page)
        while waiting:
            together = waiting.pop(0)
            try:
                if len(together) == 1:
                    found = [await self._read_pages(together[0], most)]
                else:
                    found = await self._read_together(together)
            except Unanswered as error:
                if len(together) > 1:
                    # One of them may be what the source cannot answer.
                    waiting[:0] = [[item] for item in together]
                else:
                    self._failed(together, error)
                continue
            self._failed_in_a_row = 0
            self.session.ranges += len(together)
            for hits in found:
                yield hits

    async def _read_together(self, counted: Sequence[Counted]) -> list[list[Any]]:
        size = self.session.scraper.hits_per_page
        results = await self._ask([item.slice.params(hits=size) for item in counted])
        found = []
        for item, result in zip(counted, results, strict=True):
            hits = result["hits"]
            whole = len(hits) == result["nbHits"] < self.session.scraper.hit_cap
            found.append(hits if whole else await self._read_pages(item, None))
        return found

    async def _read_pages(self, counted: Counted, most: int | None) -> list[Any]:
        """All pages of a slice, from one state of the index: a slice that changes meanwhile is read again."""
        size = self.session.scraper.hits_per_page
        for _ in range(REREADS):
            hits: list[Any] = []
            page, total = 0, counted.hits
            while page == 0 or len(hits) < min(total, most or total):
                result = (await self._ask([counted.slice.params(hits=size, page=page)]))[0]
                if page > 0 and result["nbHits"] != total:
                    break
                total = result["nbHits"]
                if not result["hits"]:
                    break
                hits += result["hits"]
                page += 1
            if len(hits) >= min(total, most or total):
                if most is None and total >= self.session.scraper.hit_cap:
                    # It has grown past the cap since it was counted.
                    return [
                        hit
                        async for part in self._cover((await self._count([counted.slice]))[0])
                        for hit in part
                    ]
                return hits
        raise Unanswered(f"{counted.slice}: the source shows fewer hits than it counts")

    async def _count(self, slices: Sequence[Slice]) -> list[Counted]:
        return _counted(slices, await self._ask([part.params(hits=0) for part in slices]))

    async def _ask(self, params: Sequence[str]) -> list[dict[str, Any]]:
        """One multi-query request.

        Raises:
            Refused: by robots.txt, or with a 4xx.
            Unanswered: no good answer after all retries.
            Stopped: nothing more is asked.
        """
        if self.stopping:
            raise Stopped
        try:
            response = await self.crawler.engine.download_async(self._request(params))
        except Exception as error:
            # Whatever the network can raise; the retries have had their turn.
            raise self._named(error) from None
        return self._results(response)

    def _request(self, params: Sequence[str]) -> Request:
        settings = self.session.scraper
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if settings.search_app:
            headers["X-Algolia-Application-Id"] = settings.search_app
        if key := settings.search_key.get_secret_value():
            headers["X-Algolia-API-Key"] = key
        body = {"requests": [{"indexName": settings.sold_index, "params": text} for text in params]}
        return Request(
            self.url,
            method="POST",
            body=json.dumps(body).encode(),
            headers=headers,
            dont_filter=True,
            meta={ANSWER: len(params), "handle_httpstatus_all": True},
        )

    def _results(self, response: Response) -> list[dict[str, Any]]:
        status = response.status
        if 400 <= status < 500 and status not in (408, 429):
            raise Refused(f"{self.url}: HTTP {status}: {response.body[:200].decode('utf-8', 'replace')}")
        results = response.meta.get(RESULTS) if status == 200 else None
        if results is None:
            found = f"HTTP {status}" if status != 200 else "no search result"
            raise Unanswered(f"{self.url}: {found} after all retries")
        return list(results)

    def _named(self, error: BaseException) -> Refused | Unanswered:
        text = str(error) or type(error).__name__
        return (
            Refused(f"{self.url}: {text}")
            if isinstance(error, IgnoreRequest)
            else Unanswered(f"{self.url}: {text}")
        )

    def _failed(self, counted: Sequence[Counted], error: Unanswered) -> None:
        """Remembers what could not be read, and gives up when the source seems to be down."""
        self.session.failed_ranges += len(counted)
        self._failed_in_a_row += 1
        for item in counted:
            self.session.problems.append(f"{item.hits} listings not read ({item.slice}): {error}")
        if self._failed_in_a_row >= PATIENCE:
            raise CloseSpider("source_down")


def _counted(slices: Sequence[Slice], results: Sequence[dict[str, Any]]) -> list[Counted]:
    return [
        Counted(part, result["nbHits"], _mapping(result.get("facets")), _mapping(result.get("facets_stats")))
        for part, result in zip(slices, results, strict=True)
    ]


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
