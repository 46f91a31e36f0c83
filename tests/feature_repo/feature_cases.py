"""Small made-up markets for the tests of the feature repository."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from feature_repo.aggregates import SALE_COLUMNS
from feature_repo.build import build_features
from graildient.lake import SCHEMA, Lake, row_from_listing
from graildient.listing import Listing, SoldListing
from graildient.settings import FeatureSettings
from graildient.storage import Storage

START = datetime(2019, 3, 1, tzinfo=UTC)
HISTORY = FeatureSettings(clock="history", online_store="sqlite")
PATHS = (
    ("tops", "short_sleeve_shirts"),
    ("tops", "sweatshirts_hoodies"),
    ("outerwear", "light_jackets"),
    ("outerwear", None),
    (None, None),
)
DESIGNERS = ("Kappa", "Vintage", "Rick Owens", "Acne Studios", "STRASSE", "Number (N)ine")


def sale(
    number: int, *, created: datetime, days: float = 20, price: float = 80.0, **fields: Any
) -> SoldListing:
    """A sold listing; `days` from listing to sale."""
    return SoldListing.model_validate(
        {
            "id": number,
            "title": f"Item {number}",
            "created_at": created,
            "sold_at": created + timedelta(days=days),
            "sold_price": price,
            **fields,
        }
    )


def market(count: int, *, seed: int = 1, days: int = 900, first_id: int = 1) -> list[SoldListing]:
    """Sales over `days`, some without designer or category, some of several designers, some on one day."""
    draw = random.Random(seed)
    made = []
    for number in range(first_id, first_id + count):
        category, subcategory = draw.choice(PATHS)
        designers = draw.sample(DESIGNERS, draw.choice((0, 1, 1, 1, 2, 3)))
        created = START + timedelta(seconds=draw.randrange(days * 86400))
        made.append(
            sale(
                number,
                created=created,
                days=draw.choice((0, 0.5, 3, 20.25, 37, 200)),
                price=round(draw.lognormvariate(4.5, 1), 2),
                designers=designers,
                category=category,
                subcategory=subcategory,
                department=draw.choice(("menswear", "womenswear", None)),
                condition=draw.choice(("new", "gently_used", "used", "worn", None)),
                seller_hash=draw.choice(("a1", "b2", "c3", None)),
            )
        )
    return made


def table(sales: Sequence[SoldListing]) -> pa.Table:
    """Sales as the lake gives them to the aggregates."""
    return pa.Table.from_pylist([row_from_listing(s) for s in sales], schema=SCHEMA).select(SALE_COLUMNS)


def fill(storage: Storage, sales: Sequence[SoldListing]) -> Lake:
    """Put sales into a root's lake."""
    lake = Lake(storage)
    lake.append(sales)
    return lake


def settings_of(request: pytest.FixtureRequest, kind: str, **more: Any) -> FeatureSettings:
    url = request.getfixturevalue("redis_url") if kind == "redis" else "redis://127.0.0.1:1/0"
    return FeatureSettings(**{"clock": "history", "online_store": kind, "redis_url": url, **more})


def unlabelled(listings: list[Any]) -> list[Listing]:
    """The listings as somebody asks for them now."""
    return [listing.model_copy(update={"created_at": None}) for listing in listings]


def questions() -> list[Listing]:
    """Every key of the made-up market, alone and together, and keys that nobody has sold."""
    strangers = [
        Listing(title="x", designers=("Nobody",)),
        Listing(title="x", designers=("Nobody", "Kappa"), category="footwear"),
        Listing(title="x"),
    ]
    return [*unlabelled(market(150, seed=4)), *strangers]


def prepared(storage: Storage, settings: FeatureSettings, count: int = 150) -> None:
    fill(storage, market(count, seed=4))
    build_features(storage, settings)
