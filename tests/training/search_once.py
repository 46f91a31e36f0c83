"""One search on generated listings, as a program of its own, so that a test can kill it.

python -m tests.training.search_once FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from graildient.listing import SoldListing
from graildient.parsing import parse_hit
from graildient.pricing.market import MARKET_FEATURES, Values
from graildient.settings import TrainingSettings
from scrapers.marketplace.generator import generate
from training.search import SearchResult, search

SETTINGS = TrainingSettings(
    seed=5, trials=5, batch=2, max_iterations=300, space="quick", checkpoint_seconds=0
)


def rows(count: int = 400) -> tuple[list[SoldListing], list[Values]]:
    """Generated sales by time of creation, in a market that nothing is known about."""
    parsed = (parse_hit(hit) for hit in generate(count, 11))
    sold = [listing for listing in parsed if isinstance(listing, SoldListing)]
    sold.sort(key=lambda listing: (listing.created_at, listing.id))
    return sold, [dict.fromkeys(MARKET_FEATURES) for _ in sold]


def run(folder: Path) -> SearchResult:
    """The search of the tests, in `folder`."""
    listings, market = rows()
    return search(listings, market, SETTINGS, folder)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
