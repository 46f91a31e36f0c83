"""Rows of strings as the listing pages of 2021 showed them.

`category` is a designer and a label ("Cloak Light Jackets"), `size_color_cond` three
facts in one (" Size: US L / EU 52-54 / 3 Color: Navy Condition: Gently used"), the id is in
`link`, and there are no dates and no departments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from graildient import normalise, taxonomy

_MARKS = frozenset({"sub_title", "size_color_cond"})
_LONGEST = 500
_LISTING_LINK = re.compile(r"/listings/(\d{1,19})(?!\d)")
_SIZE_COLOR_CONDITION = re.compile(
    r"(?:Size:(?P<size>.*?))?(?:Color:(?P<color>.*?))?(?:Condition:(?P<condition>.*))?", re.DOTALL
)
_TAILORED_SIZE = re.compile(r"\d\d[srl]")


def is_page_strings(row: Mapping[str, Any]) -> bool:
    """Whether a row has this form."""
    return not _MARKS.isdisjoint(row)


def id_from_link(link: Any) -> int | None:
    """The listing id in a page's address."""
    found = _LISTING_LINK.search(link) if isinstance(link, str) else None
    return int(found[1]) if found else None


def listing_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the row says of the item, under the contract's names; empty strings for what is missing."""
    text = row.get("size_color_cond")
    found = None
    if isinstance(text, str) and len(text) <= _LONGEST:
        found = _SIZE_COLOR_CONDITION.fullmatch(text.strip())
    said = found.groupdict("") if found else {"size": text}
    designers, label = row.get("designer"), row.get("category")
    top, below = None, None
    if isinstance(label, str) and len(label) <= _LONGEST:
        top, below = _place(label, designers if isinstance(designers, str) else "", said["size"])
    return {
        "id": id_from_link(row.get("link")) or row.get("id"),
        "title": row.get("sub_title"),
        "description": row.get("description"),
        "designers": designers,
        "category": top,
        "subcategory": below,
        "photo_count": row.get("image_count"),
        **said,
    }


def _place(text: str, designers: str, size: Any) -> tuple[str | None, str | None]:
    """Category and sub-category of "<designer> <label>"; nothing for a label that nobody knows."""
    folded, label = text.casefold(), text
    names = normalise.designers(designers) if len(designers) <= _LONGEST else ()
    for prefix in sorted((designers, *names), key=len, reverse=True):
        if prefix and folded.startswith(f"{prefix.casefold()} "):
            label = text[len(prefix) :]
            break
    # Only tailoring has sizes such as 40R, and both outerwear and tailoring have vests.
    tailored = isinstance(size, str) and _TAILORED_SIZE.fullmatch(size.strip().casefold())
    place = taxonomy.resolve_subcategory(label, "tailoring") if tailored else None
    words = label.split()
    while place is None and words:
        place = taxonomy.resolve_subcategory(" ".join(words))
        del words[0]
    return place or (None, None)
