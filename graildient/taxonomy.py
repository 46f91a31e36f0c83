"""The marketplace's taxonomy: departments, categories, sub-categories, conditions and sizes.

Slugs are those of today's site (its search facets and its form). Labels and older
spellings are mapped to them by :func:`resolve_subcategory`, so that "Shirts (Button Ups)"
of a page of 2021 and ``tops.button_ups`` of today are one thing.
"""

from __future__ import annotations

import re
from functools import lru_cache

DEPARTMENTS = ("menswear", "womenswear")

CONDITIONS = ("new", "gently_used", "used", "worn")
"""From best to worst."""

_CONDITION_LABELS = {
    "new": "New/Never Worn",
    "gently_used": "Gently Used",
    "used": "Used",
    "worn": "Very Worn",
}

_TREE: dict[str, tuple[str, dict[str, str]]] = {
    "tops": (
        "Tops",
        {
            "short_sleeve_shirts": "Short Sleeve T-Shirts",
            "long_sleeve_shirts": "Long Sleeve T-Shirts",
            "button_ups": "Shirts (Button Ups)",
            "sweatshirts_hoodies": "Sweatshirts & Hoodies",
            "sweaters_knitwear": "Sweaters & Knitwear",
            "polos": "Polos",
            "sleeveless": "Tank Tops & Sleeveless",
            "jerseys": "Jerseys",
        },
    ),
    "bottoms": (
        "Bottoms",
        {
            "denim": "Denim",
            "casual_pants": "Casual Pants",
            "cropped_pants": "Cropped Pants",
            "sweatpants_joggers": "Sweatpants & Joggers",
            "shorts": "Shorts",
            "leggings": "Leggings",
            "jumpsuits": "Overalls & Jumpsuits",
            "swimwear": "Swimwear",
        },
    ),
    "outerwear": (
        "Outerwear",
        {
            "light_jackets": "Light Jackets",
            "heavy_coats": "Heavy Coats",
            "bombers": "Bombers",
            "denim_jackets": "Denim Jackets",
            "leather_jackets": "Leather Jackets",
            "parkas": "Parkas",
            "raincoats": "Raincoats",
            "vests": "Vests",
            "cloaks_capes": "Cloaks & Capes",
        },
    ),
    "footwear": (
        "Footwear",
        {
            "lowtop_sneakers": "Low-Top Sneakers",
            "hitop_sneakers": "Hi-Top Sneakers",
            "boots": "Boots",
            "leather": "Casual Leather Shoes",
            "formal_shoes": "Formal Shoes",
            "sandals": "Sandals",
            "slip_ons": "Slip Ons",
        },
    ),
    "tailoring": (
        "Tailoring",
        {
            "blazers": "Blazers",
            "suits": "Suits",
            "formal_shirting": "Formal Shirting",
            "formal_trousers": "Formal Trousers",
            "tuxedos": "Tuxedos",
            "vests": "Vests",
        },
    ),
    "accessories": (
        "Accessories",
        {
            "bags_luggage": "Bags & Luggage",
            "belts": "Belts",
            "glasses": "Glasses",
            "gloves_scarves": "Gloves & Scarves",
            "hats": "Hats",
            "jewelry_watches": "Jewelry & Watches",
            "wallets": "Wallets",
            "misc": "Miscellaneous",
            "periodicals": "Periodicals",
            "socks_underwear": "Socks & Underwear",
            "sunglasses": "Sunglasses",
            "supreme": "Supreme",
            "ties_pocketsquares": "Ties & Pocketsquares",
        },
    ),
    "womens_tops": (
        "Women's Tops",
        {
            "blouses": "Blouses",
            "bodysuits": "Bodysuits",
            "button_ups": "Button Ups",
            "crop_tops": "Crop Tops",
            "hoodies": "Hoodies",
            "long_sleeve_shirts": "Long Sleeve T-Shirts",
            "polos": "Polos",
            "short_sleeve_shirts": "Short Sleeve T-Shirts",
            "sweaters": "Sweaters",
            "sweatshirts": "Sweatshirts",
            "tank_tops": "Tank Tops",
        },
    ),
    "womens_bottoms": (
        "Women's Bottoms",
        {
            "jeans": "Jeans",
            "joggers": "Joggers",
            "jumpsuits": "Jumpsuits",
            "leggings": "Leggings",
            "maxi_skirts": "Maxi Skirts",
            "midi_skirts": "Midi Skirts",
            "mini_skirts": "Mini Skirts",
            "pants": "Pants",
            "shorts": "Shorts",
            "sweatpants": "Sweatpants",
        },
    ),
    "womens_outerwear": (
        "Women's Outerwear",
        {
            "blazers": "Blazers",
            "bombers": "Bombers",
            "coats": "Coats",
            "denim_jackets": "Denim Jackets",
            "down_jackets": "Down Jackets",
            "fur_faux_fur": "Fur & Faux Fur",
            "jackets": "Jackets",
            "leather_jackets": "Leather Jackets",
            "rain_jackets": "Rain Jackets",
            "vests": "Vests",
        },
    ),
    "womens_dresses": (
        "Women's Dresses",
        {
            "mini": "Mini Dresses",
            "midi": "Midi Dresses",
            "maxi": "Maxi Dresses",
            "gowns": "Gowns",
        },
    ),
    "womens_footwear": (
        "Women's Footwear",
        {
            "boots": "Boots",
            "flats": "Flats",
            "heels": "Heels",
            "hitop_sneakers": "Hi-Top Sneakers",
            "lowtop_sneakers": "Low-Top Sneakers",
            "mules": "Mules",
            "platforms": "Platforms",
            "sandals": "Sandals",
            "slip_ons": "Slip Ons",
        },
    ),
    "womens_accessories": (
        "Women's Accessories",
        {
            "belts": "Belts",
            "glasses": "Glasses",
            "gloves": "Gloves",
            "hair_accessories": "Hair Accessories",
            "hats": "Hats",
            "miscellaneous": "Miscellaneous",
            "scarves": "Scarves",
            "socks_intimates": "Socks & Intimates",
            "sunglasses": "Sunglasses",
            "wallets": "Wallets",
            "watches": "Watches",
        },
    ),
    "womens_bags_luggage": (
        "Women's Bags & Luggage",
        {
            "backpacks": "Backpacks",
            "belt_bags": "Belt Bags",
            "bucket_bags": "Bucket Bags",
            "clutches": "Clutches",
            "crossbody_bags": "Crossbody Bags",
            "handle_bags": "Handle Bags",
            "hobo_bags": "Hobo Bags",
            "luggage_travel": "Luggage & Travel",
            "messengers_satchels": "Messengers & Satchels",
            "mini_bags": "Mini Bags",
            "other": "Other",
            "shoulder_bags": "Shoulder Bags",
            "toiletry_pouches": "Toiletry Pouches",
            "tote_bags": "Tote Bags",
        },
    ),
    "womens_jewelry": (
        "Women's Jewelry",
        {
            "body_jewelry": "Body Jewelry",
            "bracelets": "Bracelets",
            "brooches": "Brooches",
            "charms": "Charms",
            "cufflinks": "Cufflinks",
            "earrings": "Earrings",
            "necklaces": "Necklaces",
            "rings": "Rings",
        },
    ),
}

CATEGORIES: dict[str, tuple[str, ...]] = {slug: tuple(below) for slug, (_, below) in _TREE.items()}
"""Category slug to the slugs below it; menswear first, most sold first."""

LABELS: dict[str, str] = {"menswear": "Menswear", "womenswear": "Womenswear", **_CONDITION_LABELS}
"""What to show for a department, condition, category, path (`tops.polos`) or sub-category slug."""
for _category, (_label, _below) in _TREE.items():
    LABELS[_category] = _label
    for _slug, _name in _below.items():
        LABELS[f"{_category}.{_slug}"] = _name
        LABELS.setdefault(_slug, _name)

_LETTERS = ("xxs", "xs", "s", "m", "l", "xl", "xxl")
_WOMENS_LETTERS = (*_LETTERS, "3xl", "4xl", "one size")
_WOMENS_US = ("00", *(str(n) for n in range(0, 28, 2)))


def _steps(first: float, last: float) -> tuple[str, ...]:
    """Half sizes from first to last: 5, 5.5, 6, …"""
    return tuple(f"{n / 2:g}" for n in range(int(first * 2), int(last * 2) + 1))


SIZES: dict[str, tuple[str, ...]] = {
    "tops": _LETTERS,
    "bottoms": tuple(str(n) for n in range(26, 45)),
    "outerwear": _LETTERS,
    "footwear": (*_steps(5, 13), "14", "15"),
    "tailoring": tuple(f"{n}{cut}" for n in range(34, 56, 2) for cut in "srl"),
    "accessories": ("one size", *(str(n) for n in range(26, 48, 2))),
    "womens_tops": (*_WOMENS_LETTERS, *_WOMENS_US),
    "womens_bottoms": (*(str(n) for n in range(22, 43)), *(n for n in _WOMENS_US if int(n) < 22)),
    "womens_outerwear": (*_WOMENS_LETTERS, *_WOMENS_US),
    "womens_dresses": (*_WOMENS_LETTERS, *_WOMENS_US),
    "womens_footwear": _steps(4, 12),
    "womens_accessories": ("one size",),
    "womens_bags_luggage": ("one size",),
    "womens_jewelry": ("one size",),
}
"""US sizes that the site's form offers, for display and suggestion. The contract takes others too."""

_OTHER_SPELLINGS: dict[str, tuple[str, ...]] = {
    "tops.short_sleeve_shirts": ("t-shirts", "tees", "short sleeve"),
    "tops.long_sleeve_shirts": ("long sleeve",),
    "tops.button_ups": ("shirts", "button up shirts", "button downs"),
    "tops.sweatshirts_hoodies": ("sweatshirts", "hoodies"),
    "tops.sweaters_knitwear": ("sweaters", "knitwear"),
    "tops.sleeveless": ("tank tops",),
    "bottoms.denim": ("jeans",),
    "bottoms.casual_pants": ("pants",),
    "bottoms.sweatpants_joggers": ("sweatpants", "joggers"),
    "bottoms.jumpsuits": ("overalls", "jumpsuits", "overalls_jumpsuits"),
    "bottoms.swimwear": ("swimwear",),
    "outerwear.heavy_coats": ("coats",),
    "outerwear.light_jackets": ("jackets",),
    "outerwear.raincoats": ("rain jackets",),
    "outerwear.cloaks_capes": ("cloaks", "capes"),
    "footwear.lowtop_sneakers": ("low top sneakers", "sneakers"),
    "footwear.hitop_sneakers": ("high top sneakers", "high-top sneakers"),
    "footwear.leather": ("leather shoes", "casual leather"),
    "footwear.formal_shoes": ("formal",),
    "footwear.slip_ons": ("slipons",),
    "tailoring.formal_shirting": ("formal shirts",),
    "tailoring.vests": ("waistcoats",),
    "accessories.bags_luggage": ("bags",),
    "accessories.gloves_scarves": ("gloves", "scarves"),
    "accessories.jewelry_watches": ("jewelry", "watches", "jewellery & watches"),
    "accessories.misc": ("miscellaneous",),
    "accessories.socks_underwear": ("socks", "underwear"),
    "accessories.ties_pocketsquares": ("ties", "ties & pocket squares"),
    "womens_accessories.miscellaneous": ("misc",),
    "womens_dresses.mini": ("mini",),
    "womens_dresses.midi": ("midi",),
    "womens_dresses.maxi": ("maxi",),
}
_NOT_ALPHANUMERIC = re.compile(r"[^a-z0-9]+")


def _key(text: str) -> str:
    """Case, punctuation and "&" do not make a label: "Ties & Pocketsquares" is "ties_pocketsquares"."""
    return _NOT_ALPHANUMERIC.sub("", text.casefold().replace(" and ", ""))


def _spellings(category: str, below: dict[str, str]) -> dict[str, str]:
    """Every spelling of a category's sub-categories, as key, to the slug."""
    found: dict[str, str] = {}
    for slug, label in below.items():
        found[_key(slug)] = found[_key(label)] = slug
    for path, others in _OTHER_SPELLINGS.items():
        parent, _, slug = path.partition(".")
        if parent == category:
            for other in others:
                found.setdefault(_key(other), slug)
    return found


_WITHIN = {category: _spellings(category, below) for category, (_, below) in _TREE.items()}

_CATEGORY_KEYS: dict[str, str] = {}
for _category, (_label, _) in _TREE.items():
    _CATEGORY_KEYS[_key(_category)] = _category
    _CATEGORY_KEYS[_key(_label)] = _category
_CATEGORY_KEYS.update(dresses="womens_dresses", shoes="footwear", womensshoes="womens_footwear")


def department_of(category: str) -> str:
    """The department of a known category slug."""
    return "womenswear" if category.startswith("womens_") else "menswear"


def resolve_category(label: str, department: str | None = None) -> str | None:
    """Slug of a category given as slug or label, or None. "Tops" in womenswear is ``womens_tops``."""
    found = label if label in CATEGORIES else _CATEGORY_KEYS.get(_key(label))
    if found is not None and department == "womenswear" and f"womens_{found}" in CATEGORIES:
        return f"womens_{found}"
    return found


@lru_cache(maxsize=4096)
def resolve_subcategory(
    label: str, category: str | None = None, department: str | None = None
) -> tuple[str, str] | None:
    """Category and sub-category slugs of a label, an older spelling or a slug; None if nobody knows it.

    A label that several categories have ("Vests", "Boots") is looked for in `category`
    alone when that is given, else in the categories of `department`, menswear first.
    """
    key = _key(label)
    if category is not None:
        slug = _WITHIN.get(category, {}).get(key)
        return None if slug is None else (category, slug)
    for parent, known in _WITHIN.items():
        if department is not None and department_of(parent) != department:
            continue
        if key in known:
            return parent, known[key]
    return None
