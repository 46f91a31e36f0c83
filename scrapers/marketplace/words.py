"""Word pools of the synthetic catalogue: invented designers, nouns, and wording that moves a price."""

from __future__ import annotations

NAME_HEADS = (
    "Val", "Kor", "Hal", "Mer", "Tor", "Lin", "Bre", "Sav", "Nor", "Fen", "Dra", "Eli", "Osk", "Ren", "Kaz",
    "Miy", "Yor", "Cas", "Ard", "Wes", "Jun", "Pel", "Rho", "Ilv",
)  # fmt: skip
NAME_TAILS = (
    "den", "mark", "ette", "ovic", "imura", "asaki", "berg", "stad", "ella", "ini", "ard", "wick", "ham",
    "quist", "ova", "sen", "orin", "aki",
)  # fmt: skip
NAME_PATTERNS = (
    "{a}", "{a}", "{a}", "Maison {a}", "Atelier {a}", "{a} Studio", "{a} & Sons", "{a} Works", "{a} Standard",
    "{a} {b}", "N. {a}", "{a} Outfitters",
)  # fmt: skip
STREET_FIRST = (
    "Second", "Quiet", "Lower", "Open", "Static", "Paper", "Idle", "Civic", "Spare", "Late", "Hollow",
    "Plain",
)  # fmt: skip
STREET_LAST = (
    "Shift",
    "District",
    "Signal",
    "Union",
    "Garage",
    "League",
    "Motel",
    "Theory",
    "Harbour",
    "Works",
)

COLORS = (
    ("black", 38), ("blue", 12), ("white", 11), ("gray", 9), ("brown", 7), ("green", 6), ("navy", 5),
    ("beige", 4), ("red", 3), ("multi", 3), ("orange", 1), ("purple", 1), ("yellow", 1),
)  # fmt: skip
LOCATIONS = (
    ("United States", 62), ("Europe", 12), ("Asia", 12), ("Canada", 6), ("United Kingdom", 4),
    ("Australia/NZ", 3), ("Other", 1),
)  # fmt: skip

WORDING: tuple[tuple[str, float, float, str], ...] = (
    ("Archive", 0.24, 0.05, "From the archive, seldom seen."),
    ("Rare", 0.13, 0.09, "Rare piece, hard to find in this size."),
    ("Sample", 0.20, 0.015, "Sample that never went into production."),
    ("Deadstock", 0.22, 0.03, "Deadstock with original tags."),
    ("Runway", 0.32, 0.012, "Worn on the runway."),
    ("Grail", 0.20, 0.02, "A true grail."),
    ("Vintage", 0.04, 0.16, "True vintage, made decades ago."),
    ("Faded", 0.05, 0.05, "Beautiful fade all over."),
    ("Boxy", 0.05, 0.05, "Boxy fit."),
    ("Basic", -0.12, 0.04, "A simple everyday piece."),
    ("Need Gone", -0.16, 0.025, "Need this gone, priced to sell."),
    ("Bundle", -0.10, 0.015, "Ask about a bundle."),
)
"""Word in the title, effect on log price, share of listings, sentence in the description."""

FLAWS: tuple[tuple[float, str], ...] = (
    (-0.30, "There is a visible stain on the front."),
    (-0.34, "Small hole near the hem, see photos."),
    (-0.18, "Some pilling and light marks, priced accordingly."),
    (-0.24, "The zip sticks and needs repair."),
    (-0.12, "Minor flaw on the inside, not visible when worn."),
)
MATERIALS: tuple[tuple[str, float, tuple[str, ...]], ...] = (
    ("Cashmere", 0.30, ("sweater", "scarf", "coat", "beanie", "knit")),
    ("Wool", 0.10, ("sweater", "coat", "scarf", "blazer", "suit", "trousers", "cap", "knit")),
    ("Leather", 0.22, ("boots", "bag", "belt", "sneakers", "wallet", "jacket")),
    ("Selvedge", 0.14, ("jeans", "denim jacket")),
    ("Nylon", 0.03, ("jacket", "parka", "bag", "shorts", "pants", "vest")),
    ("Silk", 0.16, ("shirt", "dress", "blouse", "tie", "skirt")),
    ("Mohair", 0.26, ("sweater", "knit")),
    ("Polyester", -0.12, ("jersey", "shirt", "dress", "tracksuit", "blouse")),
    ("Heavyweight", 0.07, ("tee", "hoodie", "sweatshirt")),
)
"""Word, effect on log price, nouns that it may stand before."""

NOUNS: dict[str, str] = {
    "short_sleeve_shirts": "tee", "long_sleeve_shirts": "long sleeve tee", "button_ups": "shirt",
    "sweatshirts_hoodies": "hoodie", "sweaters_knitwear": "sweater", "polos": "polo",
    "sleeveless": "tank top", "jerseys": "jersey", "denim": "jeans", "casual_pants": "pants",
    "cropped_pants": "cropped pants",
    "sweatpants_joggers": "joggers", "shorts": "shorts", "leggings": "leggings", "jumpsuits": "overalls",
    "swimwear": "swim shorts", "light_jackets": "jacket", "heavy_coats": "coat", "bombers": "bomber",
    "denim_jackets": "denim jacket", "leather_jackets": "leather jacket", "parkas": "parka",
    "raincoats": "raincoat", "vests": "vest", "cloaks_capes": "cape", "lowtop_sneakers": "sneakers",
    "hitop_sneakers": "high-top sneakers", "boots": "boots", "leather": "derbies", "formal_shoes": "oxfords",
    "sandals": "sandals", "slip_ons": "slip ons", "blazers": "blazer", "suits": "suit",
    "formal_shirting": "dress shirt", "formal_trousers": "trousers", "tuxedos": "tuxedo",
    "bags_luggage": "bag", "belts": "belt", "glasses": "glasses", "gloves_scarves": "scarf", "hats": "cap",
    "jewelry_watches": "ring", "wallets": "wallet", "misc": "keychain", "periodicals": "magazine",
    "socks_underwear": "socks", "sunglasses": "sunglasses", "supreme": "box logo sticker",
    "ties_pocketsquares": "tie", "blouses": "blouse", "hoodies": "hoodie", "sweaters": "sweater",
    "sweatshirts": "sweatshirt", "tank_tops": "tank top", "jeans": "jeans", "pants": "pants", "coats": "coat",
    "jackets": "jacket", "mini": "mini dress", "midi": "midi dress", "maxi": "maxi dress", "gowns": "gown",
    "heels": "heels", "flats": "flats", "mules": "mules", "scarves": "scarf",
}  # fmt: skip
"""What sellers call one item of a sub-category; a sub-category without an entry is called by its label."""

CATEGORY_WEIGHTS: dict[str, tuple[float, float]] = {
    "tops": (40, 4.15), "bottoms": (19, 4.3), "outerwear": (17, 4.85), "footwear": (13, 4.75),
    "tailoring": (3, 4.6), "accessories": (8, 4.1),
    "womens_tops": (30, 3.95), "womens_bottoms": (18, 4.1), "womens_outerwear": (12, 4.75),
    "womens_dresses": (13, 4.4), "womens_footwear": (11, 4.7), "womens_accessories": (5, 4.0),
    "womens_bags_luggage": (8, 5.2), "womens_jewelry": (3, 4.2),
}  # fmt: skip
"""Share within its department, and base log price."""

SUBCATEGORY_EFFECTS: dict[str, float] = {
    "short_sleeve_shirts": -0.38, "long_sleeve_shirts": -0.15, "polos": -0.25, "sleeveless": -0.4,
    "sweaters_knitwear": 0.3, "sweatshirts_hoodies": 0.18, "jerseys": -0.1, "denim": 0.2, "shorts": -0.3,
    "sweatpants_joggers": -0.15, "swimwear": -0.4, "leather_jackets": 0.65, "heavy_coats": 0.4,
    "parkas": 0.45, "vests": -0.25, "denim_jackets": -0.1, "light_jackets": -0.15, "boots": 0.3,
    "sandals": -0.4,
    "slip_ons": -0.25, "suits": 0.4, "tuxedos": 0.5, "formal_shirting": -0.5, "bags_luggage": 0.6,
    "socks_underwear": -0.9, "hats": -0.3, "belts": -0.05, "wallets": 0.0, "jewelry_watches": 0.4,
    "periodicals": -0.6, "sunglasses": 0.35, "misc": -0.3, "supreme": -0.2, "ties_pocketsquares": -0.6,
    "coats": 0.35, "fur_faux_fur": 0.4, "gowns": 0.5, "maxi": 0.15, "mini": -0.1, "tank_tops": -0.35,
    "crop_tops": -0.3, "heels": 0.15, "flats": -0.2, "hair_accessories": -0.6, "tote_bags": 0.1,
    "toiletry_pouches": -0.7, "belt_bags": -0.4, "charms": -0.4,
}  # fmt: skip
WARM = ("shorts", "swimwear", "sandals", "short_sleeve_shirts", "tank_tops", "sleeveless", "polos", "mini")
COLD = (
    "heavy_coats", "parkas", "sweaters_knitwear", "boots", "coats", "down_jackets", "gloves_scarves",
    "scarves", "sweaters", "leather_jackets", "fur_faux_fur",
)  # fmt: skip
