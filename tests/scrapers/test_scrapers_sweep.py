"""The sweep against an index in memory: every hit once, whatever the times, the cap and the source."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scrapy.exceptions import CloseSpider

from graildient.lake import Lake
from graildient.settings import ScraperSettings
from scrapers.marketplace.search import NUMERIC, Index, answer_queries
from scrapers.metrics import Metrics
from scrapers.session import Session
from scrapers.spiders.sold import SoldSpider, Unanswered
from scrapers.sweep import Choice, Counted, Slice, batches, merge, ways

SOLD = "Listing_sold_production"
Hit = dict[str, Any]


def hit(number: int, sold_at_i: int, **fields: Any) -> Hit:
    return {"id": number, "objectID": str(number), "sold_at_i": sold_at_i, **fields}


class Sweeper(SoldSpider):
    """The spider with its questions answered by an index in this process."""

    def __init__(self, session: Session, index: Index, failing: Sequence[str] = ()) -> None:
        super().__init__(session, Metrics())
        self.index = index
        self.failing = failing
        self.asked: list[list[str]] = []

    async def _ask(self, params: Sequence[str]) -> list[dict[str, Any]]:
        self.asked.append(list(params))
        if any(word in text for text in params for word in self.failing):
            raise Unanswered("no")
        body = {"requests": [{"indexName": SOLD, "params": text} for text in params]}
        answer = answer_queries(json.dumps(body).encode(), {SOLD: self.index})
        return cast("list[dict[str, Any]]", json.loads(answer)["results"])

    @property
    def stopping(self) -> bool:
        return False

    @property
    def requests(self) -> int:
        return len(self.asked)


def sweep(
    hits: Sequence[Hit],
    *,
    cap: int = 1000,
    page: int = 1000,
    start: int = 0,
    end: int = 2**31,
    failing: Sequence[str] = (),
    index: type[Index] = Index,
) -> tuple[list[int], Sweeper]:
    scraper = ScraperSettings(hit_cap=cap, hits_per_page=page)
    moments = (datetime.fromtimestamp(t, UTC) for t in (start, end))
    session = Session(scraper, cast(Lake, None), *moments, report=lambda *_, **__: None)
    spider = Sweeper(session, index(SOLD, hits, "sold_at_i", cap=cap), failing)

    async def everything() -> list[int]:
        first = await spider._ask([spider.whole.params(hits=0)])
        return [item.payload["id"] async for item in spider.sweep(first)]

    return asyncio.run(everything()), spider


@given(
    times=st.lists(st.one_of(st.integers(0, 10**9), st.just(5), st.integers(1000, 1004)), max_size=120),
    cap=st.integers(2, 40),
    page=st.integers(1, 50),
)
@settings(max_examples=60, deadline=None)
def test_every_hit_comes_exactly_once(times: list[int], cap: int, page: int) -> None:
    hits = [hit(n + 1, t, category_path=f"c{n % 3}", price_i=n % 7) for n, t in enumerate(times)]
    found, spider = sweep(hits, cap=cap, page=min(page, cap))
    assert Counter(found) == Counter(h["id"] for h in hits)
    assert spider.session.swept
    assert not spider.session.uncovered


def test_a_range_is_half_open() -> None:
    found, _ = sweep([hit(1, 99), hit(2, 100), hit(3, 199), hit(4, 200)], start=100, end=200)
    assert sorted(found) == [2, 3]


def test_a_small_index_takes_two_requests() -> None:
    found, spider = sweep([hit(n, n * 1000) for n in range(1, 900)])
    assert (len(found), spider.requests) == (899, 2)


def test_a_large_index_takes_few_requests_more_than_full_pages() -> None:
    hits = [hit(n, 1_600_000_000 + n * 4000) for n in range(1, 12_001)]
    found, spider = sweep(hits)
    assert len(found) == 12_000
    assert spider.requests <= 12 + 10


def test_oldest_sales_come_first() -> None:
    hits = [hit(n, 1_000_000 + n) for n in range(1, 500)]
    found, spider = sweep(hits, cap=50)
    assert spider.session.ranges > 9
    slots = [n // 50 for n in found]
    # Within a range newest first, as the source shows them; the ranges themselves in order of time.
    assert sum(a > b for a, b in pairwise(slots)) <= spider.session.ranges
    assert found[0] < 60
    assert found[-1] > 440


def test_exactly_as_many_as_the_cap_is_not_trusted() -> None:
    found, spider = sweep([hit(n, n) for n in range(1, 11)], cap=10)
    assert sorted(found) == list(range(1, 11))
    assert spider.session.ranges > 1


def test_thousands_in_one_second_are_parted_by_facets() -> None:
    hits = [
        hit(
            n,
            777,
            category_path=["tops.polos", "-odd", "Ünï × code", None][n % 4],
            category_size=f"s{n % 11}",
            condition=f"is_{n % 3}",
            price_i=n % 50,
        )
        for n in range(1, 3001)
    ]
    found, spider = sweep(hits, cap=300)
    assert Counter(found) == Counter(range(1, 3001))
    assert spider.session.swept
    assert not spider.session.uncovered
    assert "facetFilters" in spider.asked[-1][0]


def test_thousands_in_one_second_without_facets_are_parted_by_number() -> None:
    found, spider = sweep([hit(90_000_000 + n, 777) for n in range(3000)], cap=300)
    assert len(set(found)) == 3000
    assert not spider.session.uncovered


class WithoutIds(Index):
    """A source that does not filter by id."""

    def _column(self, attribute: str) -> Any:
        return super()._column("followerno" if attribute == "id" else attribute)


def test_what_nothing_parts_is_told_loudly() -> None:
    assert "followerno" in NUMERIC
    hits = [hit(n, 777) for n in range(1, 101)] + [hit(n, 900 + n) for n in range(101, 120)]
    found, spider = sweep(hits, cap=30, page=30, index=WithoutIds)
    assert spider.session.uncovered == 70
    assert any("70 listings cannot be reached" in problem for problem in spider.session.problems)
    # The others and as many as can be seen are there all the same.
    assert set(range(101, 120)) < set(found)
    assert len(found) == len(set(found)) == 19 + 30


def test_a_failing_range_is_counted_and_the_others_come() -> None:
    hits = [hit(n, n * 1000) for n in range(1, 200)]
    whole, spider = sweep(hits, cap=20)
    read = next(text for asked in spider.asked for text in asked if "hitsPerPage=1000" in text)
    bounds = read.split("numericFilters=")[1].split("&")[0]
    found, failed = sweep(hits, cap=20, failing=[f"hitsPerPage=1000&numericFilters={bounds}"])
    lost = set(whole) - set(found)
    assert 0 < len(lost) < 20
    assert failed.session.failed_ranges == 1
    (problem,) = failed.session.problems
    assert problem.startswith(f"{len(lost)} listings not read")
    assert failed.session.ranges == spider.session.ranges - 1


def test_a_source_that_is_down_is_left_alone() -> None:
    hits = [hit(n, n * 1000) for n in range(1, 200)]
    with pytest.raises(CloseSpider) as closed:
        sweep(hits, cap=20, failing=["hitsPerPage=1000"])
    assert closed.value.reason == "source_down"


class Growing(Index):
    """A live index: a sale more with every answer, in the range that is read."""

    answers = 0

    def answer(self, query: Any) -> bytes:
        self.answers += 1
        if 4 < self.answers < 7:
            self.__init__(self.name, [*self.hits, hit(5000 + self.answers, 20)], self.order, cap=self.cap)  # type: ignore[misc]
        return super().answer(query)


def test_an_index_that_grows_while_it_is_read_loses_nothing() -> None:
    hits = [hit(n, n) for n in range(1, 40)]
    found, spider = sweep(hits, cap=45, page=10, index=Growing)
    assert set(range(1, 40)) <= set(found)
    assert len(found) == len(set(found))
    assert spider.session.swept


def test_slices_ask_for_what_they_say() -> None:
    part = Slice(10, 11, (Choice("size", ("m", "-x")), Choice("color", ("red",), True)), (("price_i", 5, 9),))
    assert "hitsPerPage=0" in part.params(hits=0)
    index = Index(
        SOLD,
        [
            hit(1, 10, size="m", color="blue", price_i=5),
            hit(2, 10, size="-x", color=None, price_i=8),
            hit(3, 10, size="m", color="red", price_i=5),
            hit(4, 10, size="m", color="blue", price_i=9),
            hit(5, 11, size="m", color="blue", price_i=5),
            hit(6, 10, size="l", color="blue", price_i=5),
        ],
        "sold_at_i",
    )
    # `size` is a facet of the stand-in.
    body = {"requests": [{"indexName": SOLD, "params": part.params(hits=100)}]}
    answer = json.loads(answer_queries(json.dumps(body).encode(), {SOLD: index}))
    assert {h["id"] for h in answer["results"][0]["hits"]} == {1, 2}


def test_pieces_of_time_leave_no_gap_even_if_the_source_errs_about_its_ends() -> None:
    counted = Counted(Slice(0, 1000), 5000, {}, {"sold_at_i": {"min": 400, "max": 450}})
    (pieces,) = ways(counted, 1000)
    assert pieces[0].start == 0
    assert pieces[-1].end == 1000
    assert all(a.end == b.start for a, b in pairwise(pieces))


def test_neighbours_are_joined_below_the_cap() -> None:
    counted = [Counted(Slice(n, n + 1), hits, {}, {}) for n, hits in enumerate([4, 0, 5, 9, 12, 1])]
    joined = merge(counted, 10)
    assert [(c.slice.start, c.slice.end, c.hits) for c in joined] == [
        (0, 3, 9),
        (3, 4, 9),
        (4, 5, 12),
        (5, 6, 1),
    ]


def test_batches_hold_no_more_than_a_page() -> None:
    counted = [Counted(Slice(n, n + 1), hits, {}, {}) for n, hits in enumerate([4, 5, 9, 2])]
    assert [[c.hits for c in b] for b in batches(counted, 10)] == [[4, 5], [9], [2]]
