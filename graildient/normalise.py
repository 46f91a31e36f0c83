"""Spellings of one value brought to one form: prices, sizes, designers, conditions, colours, tags.

Each function takes what a page, a payload, a file or a person wrote and gives the
contract's form; what it cannot understand it hands back unchanged, for the contract to
refuse by field name. All are pure and idempotent: a normalised value stays as it is.

Text longer than any real value is handed back unread, so that no request can keep a
pattern or a cache busy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from graildient import taxonomy

_PRICE = re.compile(
    r"(?:usd?)?\s*\$?\s*(-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|-?\.\d+)\s*(?:usd|us\$|\$)?\s*(?:\([^()]*\))?",
    re.IGNORECASE,
)
_LONGEST = 200
_LONGEST_LIST = 4000
_SPACES = re.compile(r"\s+")
# A lower-case x between spaces joins co-designers; "X-Large", "Xander" and "Revenge X Storm" are names.
_CO_DESIGNERS = re.compile(r"\s*×\s*|\s+x\s+")
_SIZE_SYSTEM = re.compile(r"^(us|eu|it|uk|fr|universal)[ _]+(.+)$")
_GREY = re.compile(r"\bgrey\b")
_TAG_BREAK = re.compile(r"[\s,;#]+")

_SIZES = {
    "one size": "one size", "onesize": "one size", "os": "one size", "one size fits all": "one size",
    "extra small": "xs", "small": "s", "medium": "m", "large": "l", "extra large": "xl", "x-large": "xl",
    "xx-large": "xxl", "2xl": "xxl", "2xs": "xxs", "xxxl": "3xl", "xxxxl": "4xl",
}  # fmt: skip
_CONDITIONS: dict[str, str | None] = {
    "new": "new", "new/never worn": "new", "new / never worn": "new", "never worn": "new",
    "brand new": "new", "gently used": "gently_used", "used": "used", "worn": "worn", "very worn": "worn",
    "not specified": None, "": None,
}  # fmt: skip
_DEPARTMENTS = {
    "menswear": "menswear", "men": "menswear", "mens": "menswear", "men's": "menswear", "male": "menswear",
    "womenswear": "womenswear", "women": "womenswear", "womens": "womenswear", "women's": "womenswear",
    "female": "womenswear",
}  # fmt: skip
_COLORS = dict.fromkeys(
    ("multicolor", "multicolour", "multicolored", "multicoloured", "multi color", "multi-color", "multiple"),
    "multi",
)


def price(value: Any) -> float | None:
    """US dollars from "$1,250 (Sold Price)", "1,250.00" or a number; None for what holds no number.

    Negative and infinite numbers are given back for the contract to refuse.
    """
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        found = _PRICE.fullmatch(value.strip()) if len(value) <= _LONGEST else None
        return float(found[1].replace(",", "")) if found else None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


@lru_cache(maxsize=8192)
def size(text: str) -> str | None:
    """The US size in lower case: "US L / EU 52-54 / 3" → ``l``, "ONE SIZE" → ``one size``.

    A size known only in another system keeps its name ("it_38-5" → ``it 38.5``).
    """
    clean = _SPACES.sub(" ", text.casefold().replace("_", " ")).strip()
    parts = [part.strip() for part in clean.split(" / ")]
    chosen = next((part for part in parts if part.startswith("us ")), parts[0])
    found = _SIZE_SYSTEM.match(chosen)
    if found:
        system, chosen = found[1], found[2].replace("-5", ".5")
        chosen = chosen if system in ("us", "universal") else f"{system} {chosen}"
    chosen = _SIZES.get(chosen, chosen)
    if chosen == text:
        return chosen or None
    # What is left may itself be a spelling ("universal_os"); once it is none, it stays as it is.
    return size(chosen)


def designers(value: Any) -> tuple[str, ...]:
    """Names in the seller's order, each once whatever its case.

    From "Kappa × Vintage", "Cloak x Alexandre Plokhov", a list of names or of ``{"name": …}``.

    Raises:
        TypeError: an element is neither a name nor an object with one.
        ValueError: longer than any list of names.
    """
    return _co_designers(_names(value))


@lru_cache(maxsize=4096)
def _co_designers(names: tuple[str, ...]) -> tuple[str, ...]:
    once: dict[str, str] = {}
    for text in names:
        for part in _CO_DESIGNERS.split(text):
            name = _SPACES.sub(" ", part).strip()
            if name:
                once.setdefault(name.casefold(), name)
    return tuple(once.values())


def _names(value: Any) -> tuple[str, ...]:
    """The strings of a list of names, still unread; a single one stays one."""
    if value is None:
        return ()
    items = value if isinstance(value, list | tuple) else (value,)
    names = tuple(item if isinstance(item, str) else _name_of(item) for item in items)
    if sum(map(len, names)) + len(names) > _LONGEST_LIST:
        raise ValueError("too long")
    return names


def _name_of(item: Any) -> str:
    name = item.get("name") if isinstance(item, Mapping) else None
    if not isinstance(name, str):
        raise TypeError("neither a name nor an object with one")
    return name


@lru_cache(maxsize=1024)
def condition(text: str) -> str | None:
    """``new``, ``gently_used``, ``used`` or ``worn`` from "is_gently_used" or "Gently used".

    None for what is empty or says that it is not specified.
    """
    clean = _SPACES.sub(" ", text.strip().casefold().replace("_", " ")).removeprefix("is ")
    return _CONDITIONS.get(clean, text)


@lru_cache(maxsize=8192)
def color(text: str) -> str | None:
    """Lower case, American: "Heather Grey" → ``heather gray``, "Multicolor" → ``multi``."""
    clean = _GREY.sub("gray", _SPACES.sub(" ", text.strip().casefold()))
    return _COLORS.get(clean, clean) or None


def hashtags(value: Any) -> tuple[str, ...]:
    """Lower case without ``#``, each once, in order, from "#tag #two", a list of tags or of ``{"name": …}``.

    Raises:
        TypeError: an element is neither a tag nor an object with a name.
        ValueError: longer than any list of tags.
    """
    tags = _names(value)
    return _tags(tuple(_TAG_BREAK.split(tags[0])) if isinstance(value, str) else tags)


@lru_cache(maxsize=4096)
def _tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    clean = (_SPACES.sub(" ", tag.casefold()).strip(" #") for tag in tags)
    return tuple(dict.fromkeys(tag for tag in clean if tag))


@lru_cache(maxsize=256)
def department(text: str) -> str | None:
    """``menswear`` or ``womenswear`` from "Menswear", "men", "Women's"."""
    clean = text.strip().casefold()
    return _DEPARTMENTS.get(clean, text) if clean else None


@lru_cache(maxsize=8192)
def category(
    category: str | None, subcategory: str | None = None, department: str | None = None
) -> tuple[str | None, str | None]:
    """Category and sub-category slugs from slugs, labels or a path ("tops.short_sleeve_shirts").

    What the taxonomy does not know is handed back as it came.
    """
    top = (category or "").strip() or None
    below = (subcategory or "").strip() or None
    if top is not None and "." in top:
        head, _, tail = top.partition(".")
        if below is None or below == tail:
            top, below = head, tail or None
    if top is None:
        return (taxonomy.resolve_subcategory(below, None, department) if below else None) or (None, below)
    known = taxonomy.resolve_category(top, department)
    if known is None:
        # A sub-category's label alone says both: "Short Sleeve T-Shirts".
        alone = taxonomy.resolve_subcategory(top, None, department) if below is None else None
        return alone or (top, below)
    if below is None:
        return known, None
    found = taxonomy.resolve_subcategory(below, known)
    if found is None and known != top:
        # A menswear path under the name of womenswear stays where the taxonomy has it.
        found = taxonomy.resolve_subcategory(below, taxonomy.resolve_category(top) or "")
    return found or (known, below)


def integer(value: Any) -> Any:
    """Whole numbers written as text or as a float (a column with gaps); the rest as it came, "" as None."""
    if isinstance(value, str):
        clean = value.strip()
        # Longer than any id, and beyond what int() may refuse to read.
        if not clean:
            return None
        digits = clean[1:] if clean[0] == "-" else clean
        return int(clean) if digits.isascii() and digits.isdigit() and len(digits) < 20 else value
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    return value


def _amount(value: Any) -> Any:
    """Dollars as a float; "" as None, and what holds no number as it came."""
    if isinstance(value, float):
        return value
    if isinstance(value, str) and not value.strip():
        return None
    found = price(value)
    return value if found is None else found


# Read whatever their length: no pattern, no cache.
_TEXTS = frozenset(("description", "location", "seller_hash", "created_at", "sold_at", "scraped_at"))
_WORDS: dict[str, Callable[[str], str | None]] = {
    "size": size,
    "color": color,
    "condition": condition,
    "department": department,
}
_NUMBERS: dict[str, Callable[[Any], Any]] = {
    "id": integer,
    "photo_count": integer,
    "asking_price": _amount,
    "sold_price": _amount,
    "shipping_price": _amount,
}
_LISTS: dict[str, Callable[[Any], tuple[str, ...]]] = {"designers": designers, "hashtags": hashtags}


def listing_fields(data: dict[str, Any]) -> dict[str, Any]:
    """A copy of a listing's fields in the contract's spelling; nothing is dropped.

    Fields it does not know, and values it does not understand, come back as they are. A
    known category without a department gets its own department.
    """
    out = data.copy()
    for name, value in data.items():
        if isinstance(value, str):
            if name in _WORDS:
                if len(value) <= _LONGEST:
                    out[name] = _WORDS[name](value)
                continue
            if name in _TEXTS:
                out[name] = value.strip() or None
                continue
        if name in _NUMBERS:
            out[name] = _NUMBERS[name](value)
        elif name in _LISTS:
            with suppress(TypeError, ValueError):
                out[name] = _LISTS[name](value)
    _place(out)
    return out


def _place(out: dict[str, Any]) -> None:
    """Fill category, subcategory and department in place."""
    top, below, where = out.get("category"), out.get("subcategory"), out.get("department")
    if top is None and below is None:
        return
    for text in (top, below, where):
        if text is not None and not (isinstance(text, str) and len(text) <= _LONGEST):
            return
    out["category"], out["subcategory"] = found = category(top, below, where)
    if where is None and found[0] in taxonomy.CATEGORIES:
        out["department"] = taxonomy.department_of(found[0])
