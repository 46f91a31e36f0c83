"""What the model looks at, declared once: request features, market features and the linear part's estimate.

Training and serving assemble their rows here and nowhere else. A value that the form cannot know
(likes, price drops, dates, the seller, the asking price) is not declared, so it cannot get in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from graildient import taxonomy
from graildient.listing import Listing
from graildient.pricing.market import MARKET_FEATURES, VIEWS, Values, designer_key

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["categorical", "numeric"]

MISSING = "missing"
"""Stands for an absent category, so that absence is a category of its own."""

ESTIMATE = "linear_log_price"

FIELDS = (
    "title",
    "description",
    "designers",
    "department",
    "category",
    "condition",
    "color",
    "size",
    "hashtags",
    "photo_count",
)
"""Fields of a listing that the model reads, and to which reasons are attributed."""


@dataclass(frozen=True)
class Feature:
    """One column of the model's input. `source`: the listing's fields that it is computed from."""

    name: str
    kind: Kind
    source: tuple[str, ...]
    meaning: str

    def to_json(self) -> dict[str, Any]:
        """As the manifest records it."""
        return asdict(self) | {"source": list(self.source)}


def _numeric(name: str, source: str, meaning: str) -> Feature:
    return Feature(name, "numeric", (source,), meaning)


def _categorical(name: str, meaning: str, source: str = "") -> Feature:
    return Feature(name, "categorical", (source or name,), meaning)


REQUEST_FEATURES: tuple[Feature, ...] = (
    _categorical("department", "department"),
    _categorical("category", "category"),
    _categorical("category_path", "category and sub-category", "category"),
    _categorical("condition", "condition"),
    _categorical("color", "colour"),
    _categorical("size", "size"),
    _categorical("designer", "first designer named, by its market key", "designers"),
    _numeric("title_chars", "title", "characters of the title"),
    _numeric("title_words", "title", "words of the title"),
    _numeric("title_upper_share", "title", "share of capitals among the title's characters"),
    _numeric("title_digits", "title", "digits in the title"),
    _numeric("description_chars", "description", "characters of the description, 0 without one"),
    _numeric("description_words", "description", "words of the description"),
    _numeric("description_lines", "description", "lines of the description"),
    _numeric("hashtag_count", "hashtags", "hashtags"),
    _numeric("photo_count", "photo_count", "photos, missing where not known"),
    _numeric("designer_count", "designers", "designers named"),
    _numeric("size_number", "size", "the size where it is a number"),
    _numeric("condition_rank", "condition", "0 new to 3 worn, missing where not stated"),
)

_MARKET_SOURCE = {"category": "category", "designer": "designers", "designer_category": "designers"}


def _market_features() -> tuple[Feature, ...]:
    meanings: dict[str, tuple[str, str]] = {}
    for view in VIEWS:
        for name, meaning in view.features.items():
            stem, source = f"{view.prefix}_{name}", _MARKET_SOURCE[view.prefix]
            if view.several:
                meanings[f"{stem}_max"] = (source, f"{meaning}; highest of the co-designers")
                meanings[f"{stem}_mean"] = (source, f"{meaning}; mean of the co-designers")
            else:
                meanings[stem] = (source, meaning)
    return tuple(_numeric(name, *meanings[name]) for name in MARKET_FEATURES)


FEATURES: tuple[Feature, ...] = (
    *REQUEST_FEATURES,
    *_market_features(),
    Feature(
        ESTIMATE,
        "numeric",
        FIELDS,
        "the linear part's log1p price; in training from a fit on older listings only",
    ),
)
"""Every input of the boosters, in order."""

NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
CATEGORICAL: tuple[int, ...] = tuple(i for i, f in enumerate(FEATURES) if f.kind == "categorical")

_RANK = {condition: float(i) for i, condition in enumerate(taxonomy.CONDITIONS)}
_SIZE_NUMBER = re.compile(r"(?:[a-z]{2} )?(\d{1,3}(?:\.\d{1,2})?)[srl]?", re.ASCII)
_NAN = math.nan


def size_number(size: str | None) -> float:
    """10.5 of `10.5`, 40 of `40r`, 44 of `it 44`; NaN of `xl`."""
    found = _SIZE_NUMBER.fullmatch(size) if size else None
    return float(found[1]) if found else _NAN


def _request_values(listing: Listing) -> list[float | str]:
    title, description = listing.title, listing.description or ""
    designers = listing.designers
    photos = listing.photo_count
    return [
        listing.department or MISSING,
        listing.category or MISSING,
        listing.category_path or MISSING,
        listing.condition or MISSING,
        listing.color or MISSING,
        listing.size or MISSING,
        designer_key(designers[0]) if designers else MISSING,
        float(len(title)),
        float(len(title.split())),
        sum(map(str.isupper, title)) / len(title) if title else 0.0,
        float(sum(map(str.isdigit, title))),
        float(len(description)),
        float(len(description.split())),
        float(description.count("\n") + 1) if description else 0.0,
        float(len(listing.hashtags)),
        _NAN if photos is None else float(photos),
        float(len(designers)),
        size_number(listing.size),
        _NAN if listing.condition is None else _RANK[listing.condition],
    ]


def request_features(listing: Listing) -> dict[str, float | str | None]:
    """What the listing alone tells; None where a number is missing."""
    values = _request_values(listing)
    return {
        feature.name: None if isinstance(value, float) and math.isnan(value) else value
        for feature, value in zip(REQUEST_FEATURES, values, strict=True)
    }


def market_values(market: Values) -> list[float]:
    """A market row in the order of `MARKET_FEATURES`, NaN where missing."""
    return [_NAN if (value := market.get(name)) is None else float(value) for name in MARKET_FEATURES]


def rows(
    listings: Sequence[Listing], market: Sequence[Values], estimates: Sequence[float] | None = None
) -> list[list[float | str]]:
    """One list a listing with its values in the order of `FEATURES`: strings for categories, else floats.

    Args:
        estimates: the linear part's log1p price of each listing; NaN without.

    Raises:
        ValueError: the arguments differ in length.
    """
    known = [_NAN] * len(listings) if estimates is None else estimates
    return [
        [*_request_values(listing), *market_values(row), float(estimate)]
        for listing, row, estimate in zip(listings, market, known, strict=True)
    ]


def to_frame(values: Sequence[Sequence[float | str]]) -> pd.DataFrame:
    """Rows of :func:`rows` as columns: `object` for categories, `float64` for numbers."""
    import numpy as np
    import pandas as pd

    columns: Sequence[Sequence[float | str]] = list(zip(*values, strict=True)) or [()] * len(FEATURES)
    data: Mapping[str, Any] = {
        feature.name: np.array(column, dtype=object if feature.kind == "categorical" else np.float64)
        for feature, column in zip(FEATURES, columns, strict=True)
    }
    return pd.DataFrame(data)


def frame(
    listings: Sequence[Listing], market: Sequence[Values], estimates: Sequence[float] | None = None
) -> pd.DataFrame:
    """The same values as :func:`rows`, one column a feature of `FEATURES`."""
    return to_frame(rows(listings, market, estimates))
