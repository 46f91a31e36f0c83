"""What the stand-in has to sell: the generator's listings, or any file of listings, as search hits.

Rows of a file that break the contract, and listings that are there twice, are served as they
are: the source has such things, and the spider has to meet them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from graildient.errors import InvalidListing
from graildient.listing import Listing, SoldListing
from graildient.listing_files import read_listings
from graildient.parsing import parse_row
from graildient.times import ESTIMATED_SALE_LAG, estimate_created_at
from scrapers.marketplace.chance import seeded
from scrapers.marketplace.generator import generate
from scrapers.marketplace.settings import MarketplaceSettings
from scrapers.marketplace.shape import Hit, hit_of, iso, unsold

_LINK = re.compile(r"/listings/(\d{1,18})")
_RAW_NAMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "id": ("id", ("id", "objectID", "link")),
    "title": ("title", ("title", "sub_title")),
    "sold_price": ("sold_price", ("sold_price",)),
    "asking_price": ("price", ("price", "asking_price")),
    "designers": ("designer_names", ("designer_names", "designers", "designer")),
    "category": ("category_path", ("category_path", "category")),
    "subcategory": ("category_path", ("category_path", "category")),
    "photo_count": ("photo_count", ("photo_count", "image_count")),
    "shipping_price": ("sold_shipping_price", ("sold_shipping_price", "shipping_price")),
}
"""Field of the contract: its name in a hit, and the names that a file may have it under."""


@dataclass(frozen=True)
class Catalogue:
    """Hits of the sold and of the active index; `synthetic` when the generator made them up."""

    sold: tuple[Hit, ...]
    active: tuple[Hit, ...]
    synthetic: bool
    source: str

    def by_id(self) -> dict[int, Hit]:
        """Hits that can be asked for by id; of duplicates the first."""
        found: dict[int, Hit] = {}
        for hit in (*self.sold, *self.active):
            if isinstance(hit.get("id"), int):
                found.setdefault(hit["id"], hit)
        return found

    def seen_by(self, settings: MarketplaceSettings) -> Catalogue:
        """The catalogue as of `until`, with the broken and doubled listings that the settings ask for."""
        sold, active = list(self.sold), list(self.active)
        if settings.until is not None:
            until = settings.until if settings.until.tzinfo else settings.until.replace(tzinfo=UTC)
            limit = until.timestamp()
            later = [unsold(hit) for hit in sold if hit["sold_at_i"] >= limit]
            sold = [hit for hit in sold if hit["sold_at_i"] < limit]
            active = [hit for hit in (*active, *later) if hit["created_at_i"] < limit]
        served = []
        for hit in sold:
            chance = seeded("defects", settings.fault_seed, hit["objectID"])
            served.append(_broken(hit, chance) if chance.random() < settings.broken_rate else hit)
            if chance.random() < settings.duplicate_rate:
                served.append(served[-1])
        return Catalogue(tuple(served), tuple(active), self.synthetic, self.source)


def synthetic(count: int, seed: int) -> Catalogue:
    """The generator's catalogue: same count and seed, same listings."""
    hits = generate(count, seed)
    return Catalogue(
        tuple(h for h in hits if h["sold"]),
        tuple(h for h in hits if not h["sold"]),
        True,
        f"{count} synthetic listings of seed {seed}",
    )


def from_file(path: str | Path) -> Catalogue:
    """A file of sold listings (csv, jsonl, parquet) as the source would serve it.

    Raises:
        StorageError: the file cannot be read, or is of no known kind.
    """
    sold: list[Hit] = []
    active: list[Hit] = []
    around = datetime(2026, 1, 1, tzinfo=UTC)
    for read in read_listings(path, sold=True):
        if isinstance(read.listing, SoldListing):
            around = read.listing.sold_at
            sold.append(_hit_of_listing(read.listing, read.payload))
        elif (offer := _offer(read.payload)) is not None:
            active.append(_hit_of_listing(offer, read.payload))
        else:
            sold.append(_raw_hit(read.payload, read.row, read.error, around))
    return Catalogue(tuple(sold), tuple(active), False, Path(path).name)


def _offer(payload: Mapping[str, Any]) -> Listing | None:
    """The listing of a row that says of itself that it is not sold."""
    if str(payload.get("sold")).lower() != "false":
        return None
    try:
        listing = parse_row(payload, sold=False)
    except InvalidListing:
        return None
    return listing if listing.id is not None else None


def _hit_of_listing(listing: Listing, payload: Mapping[str, Any]) -> Hit:
    sale = listing if isinstance(listing, SoldListing) else None
    created = listing.created_at or estimate_created_at(listing.id or 0)
    price = sale.sold_price if sale else None
    if sale and sale.shipping_included and sale.shipping_price:
        # The contract's price is without shipping, the source's is what the buyer paid.
        price = round(sale.sold_price + sale.shipping_price, 2)
    hit = hit_of(
        listing_id=listing.id,
        title=listing.title,
        created_at=created,
        sold_at=sale.sold_at if sale else None,
        sold_price=price,
        price=listing.asking_price,
        description=listing.description,
        designers=listing.designers,
        department=listing.department,
        category=listing.category,
        subcategory=listing.subcategory,
        size=listing.size,
        color=listing.color,
        condition=listing.condition,
        hashtags=listing.hashtags,
        photo_count=listing.photo_count,
        location=listing.location,
        seller=_seller(payload),
        shipping_price=sale.shipping_price if sale else None,
        shipping_included=sale.shipping_included if sale else None,
    )
    if listing.time_is_estimated:
        hit["time_is_estimated"] = True
    if hit["seller_username"] is None and listing.seller_hash is not None:
        hit["seller_hash"] = listing.seller_hash
    return hit


def _seller(payload: Mapping[str, Any]) -> str | None:
    inner = payload.get("user") or payload.get("seller")
    name = payload.get("seller_username") or (inner.get("username") if isinstance(inner, Mapping) else inner)
    return str(name) if isinstance(name, str | int) and name != "" else None


def _raw_hit(row: Mapping[str, Any], number: int, error: InvalidListing | None, around: datetime) -> Hit:
    """A row that is no listing, served with the values that make it none.

    It needs a time of sale to be found at all; without one of its own it gets an estimate from its
    id, and without an id that of the row before it.
    """
    raw = {str(name): _plain(value) for name, value in row.items()}
    details = error.details if error else ()
    wrong = {detail.field.split(".")[0] for detail in details}
    listing_id = None if "id" in wrong else _id_of(raw)
    created = None if "created_at" in wrong else _time_of(raw, "created_at")
    sold_at = None if "sold_at" in wrong else _time_of(raw, "sold_at")
    estimated = created is None or sold_at is None
    created = created or (
        estimate_created_at(listing_id) if listing_id else (sold_at or around) - ESTIMATED_SALE_LAG
    )
    sold_at = sold_at or created + ESTIMATED_SALE_LAG
    if "row" in wrong:
        # Not even its columns can be told apart: none of its values may pass for a field.
        found = {"sold_at": iso(sold_at), "sold_at_i": int(sold_at.timestamp())}
        return {"objectID": f"row-{number}", "row": raw, **found}
    hit = _best_effort(raw, listing_id, created)
    hit |= {
        "objectID": str(listing_id) if listing_id else f"row-{number}",
        "sold": True,
        "sold_at": iso(sold_at),
        "sold_at_i": int(sold_at.timestamp()),
        "created_at_i": int(created.timestamp()),
        "sold_price": raw.get("sold_price"),
    }
    for name in sorted(wrong):
        target, names = _RAW_NAMES.get(name, (name, (name,)))
        hit[target] = next((raw[n] for n in names if raw.get(n) not in (None, "")), raw.get(names[0]))
    if "id" in wrong:
        # The address would give away what the row does not say.
        hit["listing_url"] = raw.get("listing_url") or raw.get("link")
    if estimated:
        hit["time_is_estimated"] = True
    return hit


def _best_effort(raw: Mapping[str, Any], listing_id: int | None, created: datetime) -> Hit:
    """What a bad row says of the listing apart from its sale: all of it if that is sound, else its texts."""
    try:
        listing = parse_row(raw, sold=False)
    except InvalidListing:
        texts = (raw.get("title") or raw.get("sub_title") or "", raw.get("description"))
        title, description = (text if isinstance(text, str) else None for text in texts)
        return hit_of(
            listing_id=listing_id,
            title=title or "",
            created_at=created,
            description=description,
            seller=_seller(raw),
        )
    return _hit_of_listing(listing.model_copy(update={"id": listing_id, "created_at": created}), raw)


def _id_of(raw: Mapping[str, Any]) -> int | None:
    link = raw.get("link") or raw.get("listing_url")
    found = _LINK.search(link) if isinstance(link, str) else None
    for value in (raw.get("id"), raw.get("objectID"), found[1] if found else None):
        text = str(value).strip() if isinstance(value, int | str) else ""
        if text.isdecimal() and 0 < int(text) < 2**62:
            return int(text)
    return None


def _time_of(raw: Mapping[str, Any], name: str) -> datetime | None:
    text, seconds = raw.get(name), raw.get(f"{name}_i")
    try:
        if isinstance(text, str) and text:
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if isinstance(seconds, int) and seconds > 0:
            return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError):
        pass
    return None


def _plain(value: Any) -> Any:
    """A value of any reader as JSON has it."""
    if isinstance(value, datetime):
        return iso(value if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _broken(hit: Hit, chance: Random) -> Hit:
    """The hit with one field as no listing may have it."""
    defects: Iterable[Hit] = (
        {"sold_price": None},
        {"sold_price": "make an offer"},
        {"sold_price": -20},
        {"title": ""},
        {"condition": "is_shiny"},
        {"category_path": "vehicles.hovercraft", "category": "vehicles"},
        {"created_at": "2031-01-01T00:00:00.000Z"},
        {"sold_at": "yesterday"},
    )
    return {**hit, **chance.choice(list(defects))}
