"""One payload, page or row to one listing.

Understood are search hits and listing bodies of 2020 and of today, listing pages with
their ``__NEXT_DATA__``, rows of the page strings of 2021, and flat rows under our own
names. Fields that a source does not have stay missing; fields that the contract does not
have are not taken. Sellers' names become salted hashes here and go no further.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from hashlib import blake2b
from typing import Any

from pydantic import TypeAdapter, ValidationError

from graildient import normalise, page_strings, taxonomy
from graildient.errors import Detail, InvalidListing
from graildient.listing import Listing, SoldListing, UtcDatetime
from graildient.times import ESTIMATED_SALE_LAG, estimate_created_at

_MAX_DETAILS = 20
_FIELD_REASON = re.compile(r"(?:Value error, )?([a-z_]+): (.+)", re.DOTALL)
# The distances are bounded, so that a page of broken elements costs no more than its length.
_NEXT_DATA = re.compile(r"<script\b[^>]{0,300}?__NEXT_DATA__[^>]{0,300}>", re.IGNORECASE)
_SCRIPT_END = re.compile(r"</script", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_TIME: TypeAdapter[datetime] = TypeAdapter(UtcDatetime)


def invalid(error: ValidationError, where: str = "") -> InvalidListing:
    """What pydantic found, as the error of this system: one field and one reason each.

    `where` goes before each field's name (``instances[3]`` → ``instances[3].size``).
    """
    details = []
    found = error.errors(include_url=False, include_context=False, include_input=False)
    for item in found[:_MAX_DETAILS]:
        field = ".".join(str(part) for part in item["loc"])
        reason = item["msg"].removeprefix("Value error, ")
        named = None if field else _FIELD_REASON.fullmatch(reason)
        if named:
            field, reason = named[1], named[2]
        if item["type"] == "extra_forbidden":
            reason = "unknown field"
        elif item["type"] == "missing":
            reason = "missing"
        details.append(Detail(".".join(part for part in (where, field) if part), reason))
    message = "; ".join(f"{d.field}: {d.reason}" for d in details[:3])
    if len(found) > 3:
        message += f"; and {len(found) - 3} more"
    return InvalidListing(message, details=details)


def _refuse(field: str, reason: str) -> InvalidListing:
    return InvalidListing(f"{field}: {reason}", details=[Detail(field, reason)])


def to_listing(data: Mapping[str, Any], where: str = "") -> Listing:
    """A request's fields, under our own names, as a listing.

    Raises:
        InvalidListing: naming each field that is unknown, missing or wrong.
    """
    if not isinstance(data, Mapping):
        raise _refuse(where or "listing", "is not an object")
    try:
        return Listing.model_validate(dict(data))
    except ValidationError as error:
        raise invalid(error, where) from None


def seller_hash(name: object, salt: str | None = None) -> str | None:
    """16 hex digits that stand for a seller; None for no seller.

    Without the salt the name cannot be told from them. What looks hashed already is hashed as well.
    `salt` defaults to the setting ``GRAILDIENT_SCRAPER_SELLER_SALT``.
    """
    if isinstance(name, int) and not isinstance(name, bool) and abs(name) < 2**64:
        name = str(name)
    if not isinstance(name, str) or not name:
        return None
    text = f"{_default_salt() if salt is None else salt}\0{name}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@cache
def _default_salt() -> str:
    from graildient.settings import ScraperSettings

    return ScraperSettings().seller_salt.get_secret_value()


def parse_hit(payload: Any, *, salt: str | None = None) -> Listing | SoldListing:
    """A hit of the search endpoint, of 2020 or of today.

    With a `sold_at` it is a :class:`SoldListing`, without one a :class:`Listing`.

    Raises:
        InvalidListing: naming the fields that are missing or wrong.
    """
    source = _mapping(payload, "hit")
    fields = _fields(source, salt)
    if _sold_at(source) is not None:
        return _sold(fields, source)
    return _unsold(fields)


def parse_listing(payload: Any, *, salt: str | None = None) -> Listing | SoldListing:
    """A body of the listing endpoint: ``{"data": {…}}``, or what is inside.

    Raises:
        InvalidListing: naming the fields that are missing or wrong.
    """
    source = _mapping(payload, "listing")
    if "data" in source:
        source = _mapping(source["data"], "data")
    return parse_hit(source, salt=salt)


def parse_page(html: str, *, salt: str | None = None) -> Listing | SoldListing:
    """A listing page, by the JSON of its ``__NEXT_DATA__`` element.

    Raises:
        InvalidListing: there is no such element, no listing in it, or the listing is wrong.
    """
    start = _NEXT_DATA.search(html) if isinstance(html, str) else None
    end = _SCRIPT_END.search(html, start.end()) if start else None
    if start is None or end is None:
        raise _refuse("__NEXT_DATA__", "the page has no such element, or not the whole of it")
    try:
        data = json.loads(html[start.end() : end.start()])
    except (ValueError, RecursionError):
        raise _refuse("__NEXT_DATA__", "is not JSON") from None
    for step in ("props", "pageProps", "listing"):
        data = _mapping(data, "__NEXT_DATA__").get(step)
    return parse_listing(_snake(_mapping(data, "props.pageProps.listing")), salt=salt)


def parse_row(row: Any, *, sold: bool | None = None, salt: str | None = None) -> Listing | SoldListing:
    """A row of a file: page strings of 2021, a flattened or whole hit, or our own names.

    `sold`: True refuses what was not sold, False leaves the sale out, None takes it as it
    is. A sale without dates gets them from its id and is marked ``time_is_estimated``.

    Raises:
        InvalidListing: naming the fields that are missing or wrong.
    """
    source = _mapping(row, "row")
    if isinstance(source.get("data"), Mapping):
        source = source["data"]
    if page_strings.is_page_strings(source):
        fields = page_strings.listing_fields(source)
        fields["seller_hash"] = seller_hash(_first(source, "seller"), salt)
        fields["created_at"] = _estimated(fields["id"])
        fields["time_is_estimated"] = fields["created_at"] is not None
    else:
        fields = _fields(source, salt)
    price = _first(source, "sold_price")
    # A price that is no number is one all the same: the contract shall say so.
    with_sale = _sold_at(source) is not None or (price is not None and normalise.price(price) != 0)
    if sold is False or (sold is None and not with_sale):
        return _unsold(fields)
    if not with_sale:
        raise _refuse("sold_price", "missing: the row tells of no sale")
    return _sold(fields, source, _dated(fields, source))


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _refuse(name, "is not an object")
    return value


def _first(source: Mapping[str, Any], *names: str) -> Any:
    """The first that says something: null, "" and not-a-number (a column with gaps) say nothing."""
    for name in names:
        value = source.get(name)
        if value is not None and value != "" and value == value:
            return value
    return None


def _snake(source: Mapping[str, Any], depth: int = 1) -> dict[str, Any]:
    """Keys of a page's JSON as the endpoints spell them; of objects in it too, `depth` levels down."""
    return {
        _CAMEL.sub(r"_\1", key).lower(): (
            _snake(value, depth - 1) if depth and isinstance(value, Mapping) else value
        )
        for key, value in source.items()
    }


def _sold_at(source: Mapping[str, Any]) -> Any:
    """The sale's time as the source has it; an epoch of 0 is none."""
    found = _first(source, "sold_at")
    if found is None and normalise.price(source.get("sold_at_i")) not in (None, 0.0):
        return source["sold_at_i"]
    return found


def _fields(source: Mapping[str, Any], salt: str | None) -> dict[str, Any]:
    """The contract's fields out of the source's names, or out of our own."""
    seller = source.get("seller", source.get("user"))
    seller = seller if isinstance(seller, Mapping) else {}
    fields: dict[str, Any] = {
        "id": _first(source, "id", "objectID", "object_id", "objectid"),
        "title": _first(source, "title"),
        "description": _first(source, "description"),
        # The joined names first: they are in the seller's order in every payload.
        "designers": _first(source, "designer_names", "designers", "designer"),
        "department": _first(source, "department"),
        "size": _number_as_text(_first(source, "size", "pretty_size")),
        "color": _first(source, "color") or _color_trait(source.get("traits")),
        "condition": _first(source, "condition"),
        "hashtags": _first(source, "hashtags"),
        "photo_count": _first(source, "photo_count", "image_count"),
        "asking_price": _first(source, "asking_price", "price", "price_i"),
        "location": _first(source, "location") or _first(seller, "location"),
        "seller_hash": _first(source, "seller_hash")
        or seller_hash(
            _first(source, "seller_username", "seller_id")
            or _first(seller, "username", "id")
            or (source["seller"] if isinstance(source.get("seller"), str) else None),
            salt,
        ),
        "created_at": _first(source, "true_created_at", "created_at", "created_at_i"),
        "time_is_estimated": _first(source, "time_is_estimated") or False,
    }
    if fields["photo_count"] is None and isinstance(source.get("photos"), list):
        fields["photo_count"] = len(source["photos"])
    if fields["id"] is None:
        fields["id"] = page_strings.id_from_link(_first(source, "listing_url", "link", "url"))
    top = _first(source, "category_path", "category")
    below = None if isinstance(top, str) and "." in top else _first(source, "subcategory")
    _place(fields, top, below)
    return fields


def _number_as_text(value: Any) -> Any:
    """A column of sizes without letters is read as numbers: 32.0 is the size 32."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1000:
        return f"{value:g}"
    return value


def _color_trait(traits: Any) -> Any:
    if not isinstance(traits, list):
        return None
    for wanted in ("color", "unvalidated_color"):
        for trait in traits:
            if isinstance(trait, Mapping) and trait.get("name") == wanted and trait.get("value"):
                return trait["value"]
    return None


def _place(fields: dict[str, Any], top: Any, below: Any) -> None:
    """Put category and sub-category; where our taxonomy lacks the sub-category, the category alone."""
    department = fields["department"]
    fields["category"], fields["subcategory"] = top, below
    if all(text is None or (isinstance(text, str) and len(text) <= 100) for text in (top, below, department)):
        department = normalise.department(department) if department else None
        top, below = normalise.category(top, below, department)
        known = taxonomy.CATEGORIES.get(top or "", ())
        fields["category"], fields["subcategory"] = top, below if below in known else None


def _validated(kind: type[Listing], fields: dict[str, Any]) -> Any:
    try:
        # Without the empty ones, so that a required field is told as missing.
        return kind.model_validate({name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        raise invalid(error) from None


def _unsold(fields: dict[str, Any]) -> Listing:
    listing: Listing = _validated(Listing, fields)
    return listing


def _sold(fields: dict[str, Any], source: Mapping[str, Any], sold_at: Any = None) -> SoldListing:
    raw = _first(source, "sold_price", "sold_price_i")
    sold_price = normalise.price(raw)
    included = _first(source, "shipping_included")
    shipping = _first(source, "shipping_price")
    if shipping is None:
        shipping = normalise.price(source.get("sold_shipping_price"))
    if included is None:
        included = _first(source, "sold_price_includes_shipping")
        # Only a price under the source's own name still holds the shipping.
        if included in (True, "true", "True") and sold_price is not None and isinstance(shipping, float):
            sold_price = round(sold_price - shipping, 2)
    sale = {
        "sold_price": raw if sold_price is None else sold_price,
        "sold_at": _sold_at(source) if sold_at is None else sold_at,
        "shipping_price": shipping,
        "shipping_included": included,
        "scraped_at": _first(source, "scraped_at"),
    }
    listing: SoldListing = _validated(SoldListing, fields | sale)
    return listing


def _dated(fields: dict[str, Any], source: Mapping[str, Any]) -> Any:
    """The time of the sale; fills in what is missing of creation and sale, and marks it."""
    sold_at, created_at = _sold_at(source), fields["created_at"]
    if sold_at is not None and created_at is not None:
        return sold_at
    if created_at is None:
        created_at = _estimated(fields["id"])
        sale = None if sold_at is None else _moment(sold_at)
        if created_at is not None and sale is not None:
            created_at = min(created_at, sale)
        fields["created_at"] = created_at
    if sold_at is None:
        created = _moment(created_at)
        sold_at = None if created is None else created + ESTIMATED_SALE_LAG
    fields["time_is_estimated"] = True
    return sold_at


def _moment(value: Any) -> datetime | None:
    """A time as the contract reads it; None for what the contract will refuse."""
    try:
        return _TIME.validate_python(value)
    except ValidationError:
        return None


def _estimated(listing_id: Any) -> datetime | None:
    number = normalise.integer(listing_id)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        return None
    return estimate_created_at(number)
