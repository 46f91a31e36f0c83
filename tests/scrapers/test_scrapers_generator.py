from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from datetime import UTC, datetime

import pytest

from graildient.listing import Listing, SoldListing
from graildient.parsing import parse_hit, parse_listing
from scrapers.marketplace.generator import END, generate
from scrapers.marketplace.shape import Hit, listing_payload


@pytest.fixture(scope="module")
def hits() -> list[Hit]:
    return generate(5000, 7)


@pytest.fixture(scope="module")
def sold(hits: list[Hit]) -> list[SoldListing]:
    parsed = [parse_hit(hit) for hit in hits if hit["sold"]]
    assert all(isinstance(listing, SoldListing) for listing in parsed)
    return [listing for listing in parsed if isinstance(listing, SoldListing)]


def test_same_seed_and_count_give_the_same_bytes(hits: list[Hit]) -> None:
    assert json.dumps(generate(5000, 7)) == json.dumps(hits)


def test_another_seed_gives_another_catalogue(hits: list[Hit]) -> None:
    assert {h["title"] for h in generate(300, 8)} != {h["title"] for h in hits[:300]}


def test_every_listing_keeps_the_contract_and_says_that_it_is_synthetic(hits: list[Hit]) -> None:
    assert len({h["id"] for h in hits}) == 5000
    assert all(h["synthetic"] is True for h in hits)
    for hit in hits:
        again = parse_listing({"data": listing_payload(hit)})
        assert isinstance(again, Listing)
        assert again.category_path == parse_hit(hit).category_path is not None


def test_ids_follow_creation(hits: list[Hit]) -> None:
    created = [h["created_at_i"] for h in sorted(hits, key=lambda h: h["id"])]
    assert created == sorted(created)


def test_nothing_is_known_after_the_end(hits: list[Hit], sold: list[SoldListing]) -> None:
    assert datetime(2026, 7, 1, tzinfo=UTC) == END
    assert max(listing.sold_at for listing in sold) < END
    assert max(h["created_at_i"] for h in hits) < END.timestamp()
    assert (END - min(listing.created_at for listing in sold)).days in range(700, 732)


def test_shares_are_believable(hits: list[Hit], sold: list[SoldListing]) -> None:
    active = [h for h in hits if not h["sold"]]
    assert 0.10 < len(active) / len(hits) < 0.20
    several = sum(len(h["designers"]) > 1 for h in hits) / len(hits)
    assert 0.08 < several < 0.16
    assert 0.02 < sum(listing.condition is None for listing in sold) / len(sold) < 0.07
    assert 0.03 < sum(listing.color is None for listing in sold) / len(sold) < 0.10
    popular = Counter(h["designer_names"] for h in hits).most_common()
    assert len(popular) > 200
    assert popular[0][1] > 20 * statistics.median(count for _, count in popular)


def test_time_to_sale_is_long_tailed_and_longer_for_dearer_things(sold: list[SoldListing]) -> None:
    days = sorted((listing.sold_at - listing.created_at).total_seconds() / 86_400 for listing in sold)
    # Of the sales that had happened by the end; the slow ones are still to come.
    assert 25 < statistics.median(days) < 40
    assert 120 < days[int(0.9 * len(days))] < 240
    middle = statistics.median(listing.sold_price for listing in sold)
    waits: dict[bool, list[float]] = {True: [], False: []}
    for listing in sold:
        waits[listing.sold_price > middle].append((listing.sold_at - listing.created_at).total_seconds())
    assert statistics.median(waits[True]) > 1.2 * statistics.median(waits[False])


def test_designer_and_category_explain_most_of_the_price(sold: list[SoldListing]) -> None:
    """Means by group, learnt on the older listings, tried on the newer ones."""
    ordered = sorted(sold, key=lambda listing: listing.created_at)
    cut = len(ordered) * 4 // 5
    old, new = ordered[:cut], ordered[cut:]
    overall = statistics.fmean(math.log1p(s.sold_price) for s in old)
    by_category: dict[str | None, list[float]] = {}
    for s in old:
        by_category.setdefault(s.category_path, []).append(math.log1p(s.sold_price) - overall)
    category = {key: sum(values) / (len(values) + 3) for key, values in by_category.items()}
    by_designer: dict[tuple[str, ...], list[float]] = {}
    for s in old:
        residual = math.log1p(s.sold_price) - overall - category[s.category_path]
        by_designer.setdefault(s.designers, []).append(residual)
    designer = {key: sum(values) / (len(values) + 2) for key, values in by_designer.items()}

    def error(guess: dict[int, float]) -> float:
        return math.sqrt(statistics.fmean((math.log1p(s.sold_price) - guess[s.id]) ** 2 for s in new))

    middle = math.log1p(statistics.median(s.sold_price for s in old))
    median = error({s.id: middle for s in new})
    grouped = error(
        {s.id: overall + category.get(s.category_path, 0) + designer.get(s.designers, 0) for s in new}
    )
    assert 0.85 < median < 1.15
    assert grouped < 0.75 * median
    # Noise is left that no model can learn.
    assert grouped > 0.42


@pytest.mark.parametrize(
    ("word", "sign"), [("Archive", 1), ("Deadstock", 1), ("Need Gone", -1), ("stain", -1), ("hole", -1)]
)
def test_wording_moves_the_price(sold: list[SoldListing], word: str, sign: int) -> None:
    by_group: dict[tuple[str | None, tuple[str, ...]], list[SoldListing]] = {}
    for s in sold:
        by_group.setdefault((s.category, s.designers), []).append(s)
    differences = []
    for group in by_group.values():
        said = [math.log1p(s.sold_price) for s in group if word in f"{s.title} {s.description}"]
        unsaid = [math.log1p(s.sold_price) for s in group if word not in f"{s.title} {s.description}"]
        if said and unsaid:
            differences.append(statistics.fmean(said) - statistics.fmean(unsaid))
    assert len(differences) > 10
    assert sign * statistics.fmean(differences) > 0


def test_an_empty_catalogue_is_possible() -> None:
    assert generate(0, 7) == []
