"""The linear part: TF-IDF of words, one-hot attributes, their crosses and a few numbers under one ridge.

Fitted in `training.text` with scikit-learn, held here as a vocabulary and arrays, and applied with
plain Python: serving needs no scikit-learn. Every weight belongs to a field of the listing, so the
estimate is a sum of contributions of fields.

Amounts of money in texts are asking prices and would leak the answer; they are masked
before any word is read.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graildient.errors import ArtifactCorrupted, Detail
from graildient.listing import Listing
from graildient.pricing.features import FIELDS, MISSING, market_values
from graildient.pricing.market import MARKET_FEATURES, Values, designer_key

Floats = npt.NDArray[np.float64]

MAX_TEXT = 20_000
"""Characters of a text that are read: the contract's bound of a description."""

UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile)
"""What reading a broken JSON or npz file raises."""

_FIELD = {name: i for i, name in enumerate(FIELDS)}

_WORD = re.compile(r"\w+")
# Every repetition is bounded, so that no text takes longer than in proportion to its length.
_MONEY = re.compile(
    r"""
    [$€£¥₽]\s{0,2}\d[\d.,]{0,12}\s?k?\b
    | (?<![\w.,])\d[\d.,]{0,12}\s{0,2}
      (?:[$€£¥₽]|us\$|(?:usd|dollars?|bucks?|eur|euros?|gbp|pounds|cad|aud|yen|jpy)\b)
    | (?<![\w.,])(?!(?:8|9|10|12|14|18|22|24)k\b)\d{1,6}(?:[.,]\d{1,3})?k\b  # but the carats of gold
    | \b(?:retail\w{0,6}|rrp|msrp|paid|pay|asking|ask|worth|bin|obo|offers?|offering
        |price[sd]?|pricing|cost|sells?|selling|sold|valued?)
      \b\W{0,3}(?:[^\W\d]{1,15}\W{1,3}){0,2}\d[\d.,]{0,12}k?
    """,
    re.VERBOSE,
)
_MASK = " money "


def mask_money(text: str) -> str:
    """The text in lower case, its first `MAX_TEXT` characters, with amounts of money masked."""
    return _MONEY.sub(_MASK, text[:MAX_TEXT].lower())


def words(text: str | None) -> list[str]:
    """Words of a text, lower case, in order."""
    return _WORD.findall(mask_money(text)) if text else []


def grams(found: Sequence[str]) -> list[str]:
    """Words, then pairs of neighbours."""
    return [*found, *(f"{a} {b}" for a, b in pairwise(found))]


@dataclass(frozen=True)
class Tokens:
    """What the blocks read from one listing; `attributes` are pairs of field and token."""

    title: list[str]
    description: list[str]
    attributes: list[tuple[str, str]]
    cross: list[str]


def tokens(listing: Listing) -> Tokens:
    """Read a listing."""
    title = words(listing.title)
    designers = list(dict.fromkeys(map(designer_key, listing.designers)))
    path, category = listing.category_path or MISSING, listing.category or MISSING
    attributes = [
        ("department", f"department={listing.department or MISSING}"),
        ("category", f"category={category}"),
        ("category", f"path={path}"),
        ("condition", f"condition={listing.condition or MISSING}"),
        ("color", f"color={listing.color or MISSING}"),
        ("size", f"size={listing.size or MISSING}"),
        *(("designers", f"designer={name}") for name in designers or [MISSING]),
        *(("designers", f"designer={name}|{path}") for name in designers),
        *(("hashtags", f"hashtag={tag}") for tag in listing.hashtags),
    ]
    distinct = list(dict.fromkeys(title))
    cross = [f"{key}|{word}" for key in (category, *designers) for word in distinct]
    return Tokens(grams(title), grams(words(listing.description)), attributes, cross)


BLOCKS: Mapping[str, Callable[[Tokens], Sequence[str]]] = {
    "title": lambda read: read.title,
    "description": lambda read: read.description,
    "cross": lambda read: read.cross,
    "attributes": lambda read: [token for _, token in read.attributes],
}
"""Name of a block to its terms, as often as they occur. `attributes` are 0 or 1, the others TF-IDF."""
_TEXT_BLOCKS = {"title": _FIELD["title"], "description": _FIELD["description"], "cross": _FIELD["title"]}

NUMBERS = ("photo_count", "description", "title")
NUMBER_FIELDS = (
    *(_FIELD[name] for name in NUMBERS),
    *(_FIELD["category" if name.startswith("category_") else "designers"] for name in MARKET_FEATURES),
)
_IS_COUNT = tuple("_count" in name for name in MARKET_FEATURES)


def numbers(listing: Listing, market: Values) -> list[float]:
    """Photos, lengths and the market of a listing, counts in logarithms; NaN where missing."""
    photos = math.nan if listing.photo_count is None else float(min(listing.photo_count, 12))
    lengths = [math.log1p(len(listing.description or "")), math.log1p(len(listing.title))]
    found = market_values(market)
    return [photos, *lengths, *(math.log1p(v) if c else v for v, c in zip(found, _IS_COUNT, strict=True))]


class TextRidge:
    """The fitted linear part.

    `terms`: block to {term: (inverse document frequency, weight)}; `attributes` has 1 for the former.
    `center`, `scale`, `weights`: of :func:`numbers`, which enter as (value - center) / scale, 0 where
    missing. `means`: each field's mean contribution to the training listings.
    """

    def __init__(
        self,
        terms: Mapping[str, Mapping[str, tuple[float, float]]],
        intercept: float,
        center: Floats,
        scale: Floats,
        weights: Floats,
        means: Floats,
    ) -> None:
        self.terms = {name: dict(terms[name]) for name in BLOCKS}
        self.intercept = float(intercept)
        self.center, self.scale, self.weights = center, scale, weights
        self.means = means
        self._numbers = list(
            zip(NUMBER_FIELDS, center.tolist(), scale.tolist(), weights.tolist(), strict=True)
        )

    def contributions(self, listings: Sequence[Listing], market: Sequence[Values]) -> Floats:
        """What each field adds to log1p of the price: one row a listing, one column a field of `FIELDS`."""
        found = [self._one(listing, row) for listing, row in zip(listings, market, strict=True)]
        return np.array(found, dtype=np.float64).reshape(len(found), len(FIELDS))

    def predict(self, listings: Sequence[Listing], market: Sequence[Values]) -> Floats:
        """log1p of the price in US dollars, one a listing."""
        return self.total(self.contributions(listings, market))

    def total(self, contributions: Floats) -> Floats:
        """log1p of the price from what the fields add."""
        return np.asarray(self.intercept + contributions.sum(axis=1), dtype=np.float64)

    def _one(self, listing: Listing, market: Values) -> list[float]:
        fields = [0.0] * len(FIELDS)
        read = tokens(listing)
        for block, field in _TEXT_BLOCKS.items():
            fields[field] += _tfidf(self.terms[block], BLOCKS[block](read))
        known = self.terms["attributes"]
        for name, token in dict.fromkeys(read.attributes):
            if (term := known.get(token)) is not None:
                fields[_FIELD[name]] += term[1]
        for (field, center, scale, weight), value in zip(
            self._numbers, numbers(listing, market), strict=True
        ):
            if value == value:
                fields[field] += (value - center) / scale * weight
        return fields

    def save(self, folder: Path) -> None:
        """Write `terms.json` and `weights.npz`; the same fit gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        names = {block: list(terms) for block, terms in self.terms.items()}
        text = json.dumps(names, ensure_ascii=False, separators=(",", ":"))
        (folder / "terms.json").write_text(text, encoding="utf-8")
        arrays: dict[str, Any] = {
            "intercept": np.array([self.intercept]),
            "center": self.center,
            "scale": self.scale,
            "weights": self.weights,
            "means": self.means,
        }
        for block, terms in self.terms.items():
            arrays[f"{block}_terms"] = np.array(list(terms.values()), dtype=np.float64).reshape(-1, 2)
        np.savez_compressed(folder / "weights.npz", **arrays)

    @classmethod
    def load(cls, folder: Path) -> TextRidge:
        """Read what :meth:`save` wrote.

        Raises:
            ArtifactCorrupted: naming the file that is missing or does not fit.
        """
        name = "terms.json"
        try:
            names = json.loads((folder / name).read_text(encoding="utf-8"))
            if not all(isinstance(names[block], list) for block in BLOCKS):
                raise ValueError("no lists of terms")
            name = "weights.npz"
            with np.load(io.BytesIO((folder / name).read_bytes()), allow_pickle=False) as arrays:
                terms = {
                    block: dict(zip(names[block], map(tuple, arrays[f"{block}_terms"].tolist()), strict=True))
                    for block in BLOCKS
                }
                shapes = [arrays[key].shape for key in ("center", "scale", "weights")]
                if shapes != [(len(NUMBER_FIELDS),)] * 3 or arrays["means"].shape != (len(FIELDS),):
                    raise ValueError("made for other fields")
                return cls(
                    terms,
                    float(arrays["intercept"][0]),
                    arrays["center"],
                    arrays["scale"],
                    arrays["weights"],
                    arrays["means"],
                )
        except UNREADABLE as error:
            path = f"{folder.name}/{name}"
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ArtifactCorrupted(f"{path}: {reason}", details=[Detail(path, reason)]) from None


def _tfidf(terms: Mapping[str, tuple[float, float]], found: Sequence[str]) -> float:
    """The weighted sum of a text's TF-IDF: sub-linear counts, unit length."""
    total = square = 0.0
    for term, count in Counter(found).items():
        known = terms.get(term)
        if known is not None:
            value = (1.0 + math.log(count)) * known[0]
            total += value * known[1]
            square += value * value
    return total / math.sqrt(square) if square else 0.0
