"""Reasons in words: "Rick Owens: +$84 over a typical light jacket".

The effects of a listing's fields add up to its price less the typical price of all listings, so those
of the other fields add up from what its category makes of that: they are told against a typical listing
of the category, and the category's own against a typical listing.
"""

from __future__ import annotations

from collections.abc import Iterable

from graildient import taxonomy
from graildient.pricing.model import Reason

ANY = "listing"
_COUNTED = ("tops", "outerwear", "womens_tops", "womens_outerwear", "womens_dresses", "womens_bags_luggage")
"""Categories whose things come one by one, and whose labels are plain plurals."""
_NOT_THINGS = {"accessories.misc", "accessories.supreme", "womens_accessories.miscellaneous"}
_NAMES = {"color": "colour", "photo_count": "number of photos", "designers": "designer"}
_LONGEST = 60


def typical(category_path: str | None) -> str:
    """What a price is told against: "a typical light jacket", "typical boots", "a typical listing"."""
    if category_path is None:
        return f"a typical {ANY}"
    category = category_path.partition(".")[0]
    label = taxonomy.LABELS.get(category if category_path in _NOT_THINGS else category_path)
    if label is None:
        return f"a typical {ANY}"
    label = label.partition(" (")[0].lower()
    if category in _COUNTED and category_path != category and "&" not in label:
        if label.endswith(("sses", "ches")):
            return f"a typical {label[:-2]}"
        if label.endswith("s") and not label.endswith("ss"):
            return f"a typical {label[:-1]}"
    return f"typical {label}"


def sentence(reason: Reason, category_path: str | None) -> str:
    """One reason. `category_path`: of the listing."""
    against = f"a typical {ANY}" if reason.field == "category" else typical(category_path)
    amount = money(reason.effect_usd)
    if amount.strip("+−$0.") == "":
        return f"{_subject(reason)}: as {against}"
    return f"{_subject(reason)}: {amount} {'over' if reason.effect_usd > 0 else 'against'} {against}"


def sentences(reasons: Iterable[Reason]) -> list[str]:
    """The reasons of one listing, in their order."""
    found = list(reasons)
    path = next((r.value for r in found if r.field == "category"), None)
    return [sentence(reason, path if isinstance(path, str) else None) for reason in found]


def money(effect_usd: float) -> str:
    """+$84, −$2.50: with cents below ten dollars."""
    sign, size = ("−" if effect_usd < 0 else "+"), abs(effect_usd)
    return f"{sign}${size:,.0f}" if size >= 9.995 else f"{sign}${size:.2f}"


def _subject(reason: Reason) -> str:
    value, field = reason.value, reason.field
    if value is None or value == "":
        name = {"color": "colour", "photo_count": "number of photos", "designers": "designer"}.get(
            field, field
        )
        return f"no {name}" if field in ("description", "hashtags", "designers") else f"{name} not stated"
    if field == "photo_count" and isinstance(value, int | float):
        return "1 photo" if value == 1 else f"{value:g} photos"
    text = " ".join(str(value).split())
    if field in ("title", "description"):
        return f"the words of the {field}"
    if field == "size":
        return f"size {text}"
    if field in ("category", "condition", "department"):
        return taxonomy.LABELS.get(text, text)
    if field == "hashtags":
        text = ", ".join(f"#{tag.strip()}" for tag in text.split(","))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
