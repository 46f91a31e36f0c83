"""The source's shapes: a search hit of 2026, the body of the listing endpoint, and a listing page's data."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from graildient import taxonomy

Hit = dict[str, Any]

CONDITION_CODES = {c: f"is_{c}" for c in taxonomy.CONDITIONS}
_NOT_SLUG = re.compile(r"[^a-z0-9]+")


def iso(moment: datetime) -> str:
    """`2026-03-25T01:58:16.538Z`, as the source writes times; finer ones keep their microseconds."""
    precision = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return moment.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def slug(text: str) -> str:
    """The words of a text as a page's address has them."""
    return _NOT_SLUG.sub("-", text.lower()).strip("-")


def designer_id(name: str) -> int:
    """A stable made-up number for a designer: the source has one, files do not."""
    number = 2166136261
    for byte in name.encode():
        number = (number ^ byte) * 16777619 % 2**32
    return number % 1_000_000


def hit_of(
    *,
    listing_id: int | None,
    title: str,
    created_at: datetime,
    sold_at: datetime | None = None,
    sold_price: float | None = None,
    price: float | None = None,
    price_drops: list[int] | None = None,
    description: str | None = None,
    designers: tuple[str, ...] = (),
    department: str | None = None,
    category: str | None = None,
    subcategory: str | None = None,
    size: str | None = None,
    color: str | None = None,
    condition: str | None = None,
    hashtags: tuple[str, ...] = (),
    photo_count: int | None = None,
    location: str | None = None,
    seller: str | None = None,
    shipping_price: float | None = None,
    shipping_included: bool | None = None,
    followers: int = 0,
    strata: str = "basic",
) -> Hit:
    """A search hit from the contract's values; sold when `sold_at` is given."""
    path = f"{category}.{subcategory}" if category and subcategory else category
    named = [{"id": designer_id(name), "name": name} for name in designers]
    hit: Hit = {
        "id": listing_id,
        "objectID": str(listing_id),
        "title": title,
        "description": description,
        "designer_names": " × ".join(designers),
        "designers": named,
        "department": department,
        "category": category,
        "category_path": path,
        "category_size": f"{category}.{size}" if category and size else None,
        "category_path_size": f"{path}.{size}" if path and size else None,
        "size": size,
        "color": color,
        "condition": CONDITION_CODES.get(condition or "", "is_not_specified"),
        "hashtags": list(hashtags),
        "traits": [{"name": "color", "value": color}] if color else [],
        "price": _whole(price),
        "price_i": None if price is None else int(price),
        "price_drops": price_drops or [],
        "dropped": bool(price_drops),
        "currency": "usd",
        "created_at": iso(created_at),
        "created_at_i": int(created_at.timestamp()),
        "photo_count": photo_count,
        "cover_photo_url": f"/images/{listing_id}.jpg",
        "location": location,
        "seller_username": seller,
        "followerno": followers,
        "strata": strata,
        "badges": [],
        "marketplace": "grailed",
        "buynow": True,
        "makeoffer": True,
        "deleted": False,
        "sold": sold_at is not None,
        "sold_at": None if sold_at is None else iso(sold_at),
        "sold_at_i": 0 if sold_at is None else int(sold_at.timestamp()),
        "sold_price": 0 if sold_at is None else _whole(sold_price),
        "sold_price_includes_shipping": shipping_included,
        "sold_shipping_price": None if sold_at is None else _whole(shipping_price),
        "shipping": {}
        if shipping_price is None
        else {"us": {"amount": _whole(shipping_price), "enabled": True}},
        "listing_url": f"/listings/{listing_id}-{slug(title)[:60]}",
    }
    return hit


def unsold(hit: Hit) -> Hit:
    """The same listing before its sale."""
    before = {"sold": False, "sold_at": None, "sold_at_i": 0, "sold_price": 0, "sold_shipping_price": None}
    return {**hit, **before, "sold_price_includes_shipping": None}


def listing_payload(hit: Hit) -> dict[str, Any]:
    """The `data` of the listing endpoint: more than a hit has, and without the search's own fields."""
    label = str(hit.get("category_path") or "")
    photos = hit.get("photo_count")
    color = hit.get("color")
    data: dict[str, Any] = {
        "id": hit.get("id"),
        "title": hit.get("title"),
        "true_created_at": hit.get("created_at"),
        "created_at": hit.get("created_at"),
        "sold": hit.get("sold"),
        "sold_at": hit.get("sold_at"),
        "sold_price": hit.get("sold_price"),
        "sold_price_includes_shipping": hit.get("sold_price_includes_shipping"),
        "sold_shipping_price": hit.get("sold_shipping_price"),
        "price": hit.get("price"),
        "price_drops": hit.get("price_drops"),
        "dropped": hit.get("dropped"),
        "description": hit.get("description"),
        "department": hit.get("department"),
        "category": hit.get("category"),
        "subcategory": taxonomy.LABELS.get(label) if "." in label else None,
        "category_path": hit.get("category_path"),
        "size": hit.get("size"),
        "pretty_size": f"US {hit['size'].upper()}" if isinstance(hit.get("size"), str) else None,
        "condition": hit.get("condition"),
        "traits": [{"name": "color", "value": color}] if color else [],
        "hashtags": hit.get("hashtags"),
        "designer_names": hit.get("designer_names"),
        "designers": hit.get("designers"),
        "photos": [
            {
                "id": n,
                "url": f"{hit.get('cover_photo_url')}?photo={n}",
                "width": 600,
                "height": 800,
                "rotate": 0,
            }
            for n in range(photos if isinstance(photos, int) else 0)
        ],
        "pretty_path": hit.get("listing_url"),
        "seller": {"username": hit.get("seller_username"), "location": hit.get("location")},
        "shipping": hit.get("shipping"),
        "strata": hit.get("strata"),
        "buy_now": hit.get("buynow"),
        "make_offer": hit.get("makeoffer"),
        "currency": hit.get("currency"),
        "follower_count": hit.get("followerno"),
        "deleted": hit.get("deleted"),
        "measurements": [],
    }
    for marker in ("synthetic", "time_is_estimated"):
        if marker in hit:
            data[marker] = hit[marker]
    return data


def camel_case(value: Any) -> Any:
    """Every key of nested objects in camelCase, as in a page's own data."""
    if isinstance(value, dict):
        return {_camel(key): camel_case(item) for key, item in value.items()}
    if isinstance(value, list):
        return [camel_case(item) for item in value]
    return value


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def _whole(value: float | None) -> float | None:
    return int(value) if value is not None and float(value).is_integer() else value
