"""A seeded, openly synthetic catalogue with a believable price process.

The logarithm of a price is a sum of what a buyer pays for: designer (tier, own level, slow
trend, affinity to a category), category and sub-category, condition, season, wording, material,
flaws, photographs, collaborations; plus noise, about a fifth of the variance. The time to a sale
is lognormal (median 37 days, one in ten beyond 233), longer for dearer things, so that what was
listed late is partly still for sale. Same seed and count: same catalogue. No clock is read.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from random import Random

from graildient import taxonomy
from scrapers.marketplace import words
from scrapers.marketplace.chance import seeded
from scrapers.marketplace.shape import Hit, hit_of

END = datetime(2026, 7, 1, tzinfo=UTC)
"""The catalogue knows nothing of this moment and after; its last sales are of 30 June 2026."""
MONTHS = 24
FIRST_ID = 70_000_000
DESIGNERS = 320
MEDIAN_DAYS_TO_SALE = 37.0
_DAYS = 730
_START = END - timedelta(days=_DAYS)
# A tenth beyond 233 days: ln(233 / 37) over the 90th percentile of the standard normal.
_SPREAD_OF_DAYS = math.log(233 / 37) / 1.2815515655446004
_DEARER_IS_SLOWER = 0.35
_TYPICAL_LOG_PRICE = 4.45
_NOISE = 0.42
_CONDITION_EFFECTS = {"new": 0.2, "gently_used": 0.0, "used": -0.2, "worn": -0.55}
_CONDITION_SHARES = (("gently_used", 47), ("new", 25), ("used", 23), ("worn", 5))
_TIERS = (  # share, strata, mean and spread of the level
    (0.07, "grailed", 1.55, 0.30),
    (0.20, "sartorial", 0.75, 0.28),
    (0.33, "hype", 0.10, 0.30),
    (0.40, "basic", -0.55, 0.28),
)


@dataclass(frozen=True)
class Designer:
    """An invented designer, and what its name is worth."""

    name: str
    strata: str
    level: float
    trend: float
    womenswear: float
    favourite: str


class _Weighted:
    """Draws by weight."""

    def __init__(self, weights: Sequence[float]) -> None:
        self._sums = list(accumulate(weights))

    def draw(self, random: Random) -> int:
        return min(bisect(self._sums, random.random() * self._sums[-1]), len(self._sums) - 1)


def _pick(random: Random, shares: Sequence[tuple[str, float]]) -> str:
    return shares[_Weighted([share for _, share in shares]).draw(random)][0]


def designers(seed: int) -> list[Designer]:
    """The designers of a seed, most sold first."""
    random = seeded("designers", seed)
    surnames = [head + tail for head in words.NAME_HEADS for tail in words.NAME_TAILS]
    random.shuffle(surnames)
    names: dict[str, None] = {}
    while len(names) < DESIGNERS:
        if random.random() < 0.25:
            names[f"{random.choice(words.STREET_FIRST)} {random.choice(words.STREET_LAST)}"] = None
        else:
            pattern = random.choice(words.NAME_PATTERNS)
            names[pattern.format(a=surnames[len(names)], b=random.choice(surnames))] = None
    found = []
    for name in names:
        _, strata, mean, spread = _TIERS[_Weighted([t[0] for t in _TIERS]).draw(random)]
        womens = random.random() < 0.12
        department = "womenswear" if womens else "menswear"
        own = [c for c in words.CATEGORY_WEIGHTS if taxonomy.department_of(c) == department]
        found.append(
            Designer(
                name=name,
                strata=strata,
                level=random.gauss(mean, spread),
                trend=random.gauss(0.0, 0.12),
                womenswear=0.85 if womens else 0.06,
                favourite=random.choice(own),
            )
        )
    return found


class Generator:
    """Draws listings one after the other from one stream of random numbers."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = seeded("listings", seed)
        self.designers = designers(seed)
        self._popularity = _Weighted([1 / (rank + 4) ** 0.9 for rank in range(len(self.designers))])
        self._below = {
            c: _Weighted([1 / (r + 1) ** 0.8 for r in range(len(s))]) for c, s in taxonomy.CATEGORIES.items()
        }
        self._affinity: dict[tuple[str, str], float] = {}

    def _affinity_of(self, designer: Designer, path: str) -> float:
        key = (designer.name, path)
        if key not in self._affinity:
            self._affinity[key] = seeded("affinity", self.seed, designer.name, path).gauss(0.0, 0.16)
        return self._affinity[key]

    def _category(self, designer: Designer) -> tuple[str, str]:
        random = self.random
        department = "womenswear" if random.random() < designer.womenswear else "menswear"
        if random.random() < 0.35 and taxonomy.department_of(designer.favourite) == department:
            category = designer.favourite
        else:
            own = [
                (c, w[0])
                for c, w in words.CATEGORY_WEIGHTS.items()
                if taxonomy.department_of(c) == department
            ]
            category = _pick(random, own)
        return category, taxonomy.CATEGORIES[category][self._below[category].draw(random)]

    def _size(self, category: str) -> str:
        sizes = taxonomy.SIZES[category]
        if sizes[0] == "one size" and self.random.random() < 0.85:
            return sizes[0]
        middle = (min(len(sizes), 7) - 1) / 2 if "s" in sizes else (len(sizes) - 1) / 2.6
        drawn = round(self.random.gauss(middle, max(1.0, len(sizes) / 7)))
        return sizes[min(max(drawn, 0), len(sizes) - 1)]

    def _created(self) -> datetime:
        # The market grows: the density at the end is one and a half times that at the beginning.
        while True:
            share = self.random.random()
            if self.random.random() * 1.5 <= 1 + 0.5 * share:
                return _START + timedelta(milliseconds=int(share * _DAYS * 86_400_000))

    def draw(self) -> tuple[datetime, datetime, float, dict[str, object]]:
        """Creation, sale (maybe beyond the end), price, and what the seller says."""
        random = self.random
        designer = self.designers[self._popularity.draw(random)]
        named = [designer]
        if random.random() < 0.12:
            other = self.designers[self._popularity.draw(random)]
            if other.name != designer.name:
                named.append(other)
        category, subcategory = self._category(designer)
        path = f"{category}.{subcategory}"
        created = self._created()
        years = (created - _START) / timedelta(days=365)
        condition = _pick(random, _CONDITION_SHARES)
        log_price = words.CATEGORY_WEIGHTS[category][1] + words.SUBCATEGORY_EFFECTS.get(subcategory, 0.0)
        levels = [d.level + d.trend * years for d in named]
        # Of two names the dearer one counts more, and together they are worth a little extra.
        log_price += levels[0] if len(levels) == 1 else 0.7 * max(levels) + 0.3 * min(levels) + 0.15
        log_price += 0.04 * years + self._affinity_of(designer, path) + _CONDITION_EFFECTS[condition]
        season = math.cos(2 * math.pi * (created.timetuple().tm_yday - 320) / 365)
        log_price += 0.16 * season * ((subcategory in words.COLD) - (subcategory in words.WARM))
        text = _Text(random, named, path, condition)
        photos = min(max(round(random.lognormvariate(1.6, 0.45)), 1), 20)
        log_price += text.effect + 0.02 * (min(photos, 10) - 5) + random.gauss(0.0, _NOISE)
        spread = math.sqrt(_SPREAD_OF_DAYS**2 - _DEARER_IS_SLOWER**2)
        log_days = math.log(MEDIAN_DAYS_TO_SALE) + _DEARER_IS_SLOWER * (log_price - _TYPICAL_LOG_PRICE)
        days = math.exp(random.gauss(log_days, spread))
        sold = created + timedelta(seconds=min(max(days, 0.01), 3650) * 86_400)
        size = self._size(category)
        color = text.color
        return (
            created,
            sold,
            _asked(math.exp(log_price)),
            {
                "title": text.title,
                "description": text.description(size),
                "designers": tuple(d.name for d in named),
                "department": taxonomy.department_of(category),
                "category": category,
                "subcategory": subcategory,
                "size": size,
                "color": None if random.random() < 0.06 else color,
                "condition": None if random.random() < 0.04 else condition,
                "hashtags": text.hashtags(),
                "photo_count": photos,
                "location": _pick(random, words.LOCATIONS),
                "seller": f"synthetic-seller-{int(random.paretovariate(1.1) * 20) % 2000:04d}",
                "strata": designer.strata,
                "followers": int(random.expovariate(1 / (3 + days**0.5))),
            },
        )


class _Text:
    """Title, description and tags of one listing, and what their wording does to the price."""

    def __init__(self, random: Random, named: list[Designer], path: str, condition: str) -> None:
        self.random = random
        self.named = named
        _, _, below = path.partition(".")
        self.noun = words.NOUNS.get(below, taxonomy.LABELS[path].lower())
        said = [entry for entry in words.WORDING if random.random() < entry[2]]
        praised = any(entry[1] > 0.1 for entry in said)
        self.said = [entry for entry in said if not (praised and entry[0] == "Basic")]
        fitting = [m for m in words.MATERIALS if self.noun.split()[-1] in m[2] or self.noun in m[2]]
        self.material = random.choice(fitting) if fitting and random.random() < 0.3 else None
        flawed = {"new": 0.0, "gently_used": 0.05, "used": 0.2, "worn": 0.5}[condition]
        self.flaw = random.choice(words.FLAWS) if random.random() < flawed else None
        self.color = _pick(random, words.COLORS)
        self.effect = (
            sum(entry[1] for entry in self.said)
            + (self.material[1] if self.material else 0.0)
            + (self.flaw[0] if self.flaw else 0.0)
        )
        parts = [entry[0] for entry in self.said]
        if random.random() < 0.6:
            parts.append(" x ".join(d.name for d in named))
        if random.random() < 0.35:
            parts.append(self.color.title())
        if self.material:
            parts.append(self.material[0])
        parts.append(self.noun.title())
        self.title = " ".join(parts)

    def description(self, size: str) -> str:
        random = self.random
        lines = [f"{' x '.join(d.name for d in self.named)} {self.noun} in {self.color}."]
        lines += [entry[3] for entry in self.said]
        if self.material:
            lines.append(f"Made of {self.material[0].lower()}.")
        if self.flaw:
            lines.append(self.flaw[1])
        lines.append(
            f"Tagged size {size.upper()}, fits {random.choice(('true to size', 'a little large', 'slim'))}."
        )
        if random.random() < 0.5:
            width, length = random.randint(18, 26), random.randint(24, 32)
            lines.append(f"Measurements: width {width} inches, length {length} inches.")
        lines.append(
            random.choice(("Ships within two days.", "No returns.", "Message me with questions.", ""))
        )
        return "\n".join(line for line in lines if line)

    def hashtags(self) -> tuple[str, ...]:
        random = self.random
        pool = [entry[0].lower().replace(" ", "") for entry in self.said]
        pool += [
            self.named[0].name.lower().replace(" ", ""),
            self.noun.replace(" ", ""),
            self.named[0].strata,
        ]
        return tuple(dict.fromkeys(tag for tag in pool if random.random() < 0.4))


def _asked(value: float) -> float:
    """People ask for round numbers."""
    step = 1 if value < 40 else 5 if value < 300 else 10 if value < 1000 else 50
    return float(max(5, step * round(value / step)))


def generate(count: int, seed: int) -> list[Hit]:
    """`count` listings, sold and still for sale, in the order of their ids (which is that of creation)."""
    generator = Generator(seed)
    drawn = sorted((generator.draw() for _ in range(count)), key=lambda d: (d[0], d[1], d[2]))
    random = seeded("sales", seed)
    hits = []
    for rank, (created, sold, price, fields) in enumerate(drawn):
        # Half sell at the last asking price; the others take an offer below it.
        asked = price if random.random() < 0.5 else _asked(price / random.uniform(0.78, 0.97))
        drops = [
            int(_asked(asked * 1.1**step)) for step in range(min(int((sold - created).days / 45), 5), 0, -1)
        ]
        shipping = float(random.choice((6, 8, 10, 12, 15, 20)))
        is_sold = sold < END
        included = random.random() < 0.08
        hit = hit_of(
            listing_id=FIRST_ID + 13 * rank,
            created_at=created,
            sold_at=sold if is_sold else None,
            # The source tells what the buyer paid.
            sold_price=price + shipping * included if is_sold else None,
            price=asked,
            price_drops=drops,
            shipping_price=shipping,
            shipping_included=included if is_sold else None,
            **fields,  # type: ignore[arg-type]
        )
        hits.append({**hit, "synthetic": True})
    return hits
