"""Made-up sales with a known price process, and the market rows that go with them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from graildient.listing import Listing, SoldListing
from graildient.pricing.market import MARKET_FEATURES, Values
from training.dataset import Dataset, make_dataset

DESIGNERS = {"Rick Owens": 5.6, "Carhartt": 4.4, "Vintage": 3.9, "Nike": 4.1, "Prada": 5.3, "Uniqlo": 3.0}
PATHS = {
    ("outerwear", "light_jackets"): 0.5,
    ("tops", "short_sleeve_shirts"): -0.5,
    ("footwear", "boots"): 0.3,
    ("bottoms", "denim"): -0.1,
}
WORDS = {"archive": 0.6, "rare": 0.3, "classic": 0.0, "faded": -0.3, "cropped": 0.1}
CONDITIONS = {"new": 0.3, "gently_used": 0.0, "used": -0.2, "worn": -0.6, None: 0.0}
START = datetime(2020, 1, 1, tzinfo=UTC)
AS_OF = datetime(2021, 2, 1, tzinfo=UTC)
NO_MARKET: Values = dict.fromkeys(MARKET_FEATURES)


def make_sales(
    count: int, *, seed: int = 7, first_id: int = 1000, noise: float = 0.3, **fixed: Any
) -> list[SoldListing]:
    """Sales through one year, oldest first; `fixed` sets fields of all of them."""
    chance = random.Random(seed)
    made = []
    for i in range(count):
        designer = chance.choice(sorted(DESIGNERS))
        path = chance.choice(sorted(PATHS))
        condition = chance.choice(sorted(CONDITIONS, key=str))
        found = chance.sample(sorted(WORDS), 2)
        log = DESIGNERS[designer] + PATHS[path] + CONDITIONS[condition] + sum(WORDS[word] for word in found)
        created = START + timedelta(days=365 * i / count)
        fields: dict[str, Any] = {
            "id": first_id + i,
            "title": f"{designer} {' '.join(found)} {path[1].replace('_', ' ')}",
            "description": chance.choice([None, "Worn once, great fit", "Pit to pit 22in. 日本製 🔥"]),
            "designers": (designer,) if chance.random() < 0.8 else (designer, "Vintage"),
            "category": path[0],
            "subcategory": path[1],
            "condition": condition,
            "size": chance.choice(["s", "m", "32", None]),
            "color": chance.choice(["black", "brown", None]),
            "hashtags": chance.choice([(), ("archive",)]),
            "photo_count": chance.choice([None, 3, 8]),
            "sold_price": round(math.exp(log + chance.gauss(0, noise)), 2),
            "created_at": created,
            "sold_at": created + timedelta(days=chance.randrange(1, 60)),
        }
        made.append(SoldListing.model_validate(fields | fixed))
    return made


def make_market(listings: Sequence[Listing], *, seed: int = 7) -> list[Values]:
    """A market row each: about what the designer and the category are worth, sometimes nothing."""
    chance = random.Random(seed)
    rows: list[Values] = []
    for listing in listings:
        row = dict(NO_MARKET)
        if chance.random() < 0.9:
            worth = PATHS.get((listing.category or "", listing.subcategory or ""), 0.0)
            row |= dict.fromkeys(MARKET_FEATURES, float(chance.randrange(1, 40)))
            row |= {n: 4.3 + worth for n in MARKET_FEATURES if n.startswith("category_") and "price" in n}
            own = sum(DESIGNERS.get(name, 4.3) for name in listing.designers) / max(1, len(listing.designers))
            row |= {n: own - 4.3 for n in MARKET_FEATURES if "residual" in n}
        rows.append(row)
    return rows


def make_data(count: int, *, seed: int = 7, sha256: str = "ab" * 32, **fixed: Any) -> Dataset:
    """A dataset of made-up sales."""
    sales = make_sales(count, seed=seed, **fixed)
    return make_dataset(sales, make_market(sales, seed=seed), sha256, AS_OF)
