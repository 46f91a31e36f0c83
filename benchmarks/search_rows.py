"""What the trials of `make bench-search` are trained on."""

from __future__ import annotations

from pathlib import Path

from graildient.listing import SoldListing
from graildient.parsing import parse_hit
from graildient.pricing.market import MARKET_FEATURES
from scrapers.marketplace.generator import generate
from training.fit import prepare_split


def make_rows(folder: Path, count: int, seed: int) -> None:
    """Generated sales as rows for a booster, the newest fifth to validate on; nothing known of the market."""
    parsed = (parse_hit(hit) for hit in generate(count, seed))
    sold = sorted((s for s in parsed if isinstance(s, SoldListing)), key=lambda s: (s.created_at, s.id))
    parts = prepare_split(sold, [dict.fromkeys(MARKET_FEATURES) for _ in sold], len(sold) * 4 // 5)
    for name, part in zip(("train", "valid"), parts, strict=True):
        part.save(folder / name)
