"""The price model as everybody uses it: prices, ranges and reasons for listings and their market.

    price.cbm           booster of log1p of the price
    range.cbm           booster of its quantiles
    text/               the linear part (`graildient.pricing.text`)
    calibration.json    how the two are blended, and by how much the range is widened
    seen.json           values of the training listings, for warnings
    trained_ids.npz     sorted ids of the training listings, so that none is used to judge the model
    manifest.json       `graildient.pricing.artifact`

log1p(price) = (1 - share) * linear part + share * booster.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graildient.errors import ArtifactCorrupted, Detail, ModelError
from graildient.listing import MAX_PRICE, Listing
from graildient.pricing import artifact, features
from graildient.pricing.features import FIELDS
from graildient.pricing.market import MARKET_FEATURES, Values, designer_key
from graildient.pricing.text import UNREADABLE, TextRidge

if TYPE_CHECKING:
    from catboost import CatBoostRegressor

Floats = npt.NDArray[np.float64]

LEVELS = (0.1, 0.5, 0.9)
"""Quantiles of the range; the outer two hold 80 % of the sales."""
MIN_PRICE = 1.0
SMALL_BATCH = 2_000
"""Up to here one thread is quicker than waking others, and leaves them to other requests."""


@dataclass(frozen=True)
class Reason:
    """What a field does to the price; `effect_usd` is in US dollars against the typical price."""

    field: str
    value: str | float | None
    effect_usd: float


@dataclass(frozen=True)
class Prices:
    """US dollars, one element a listing; `low` <= `price` <= `high`. `quantiles`: by level, without widening.

    `warnings`: what a reader of the price should know, one tuple a listing.
    """

    price: Floats
    low: Floats
    high: Floats
    quantiles: dict[float, Floats]
    warnings: list[tuple[str, ...]]


@dataclass(frozen=True)
class Calibration:
    """`share`: of the booster in the blend. `low`, `high`: how far the outer quantiles are moved outwards.

    The latter are in log1p, and were measured on `rows` listings.
    """

    share: float
    low: float
    high: float
    rows: int = 0

    @classmethod
    def from_json(cls, content: Any) -> Calibration:
        """Raises ValueError."""
        try:
            made = cls(
                float(content["share"]), float(content["low"]), float(content["high"]), int(content["rows"])
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"no calibration: {error}") from None
        if not (0 <= made.share <= 1 and math.isfinite(made.low) and math.isfinite(made.high)):
            raise ValueError("out of bounds")
        return made


SEEN_FIELDS = ("designers", "category", "size")
_NAMES = {"designers": "designer", "category": "category", "size": "size"}


@dataclass(frozen=True)
class Seen:
    """Values that the training listings had, by field of `SEEN_FIELDS`."""

    values: Mapping[str, frozenset[str]]

    @staticmethod
    def _of(listing: Listing) -> dict[str, list[tuple[str, str]]]:
        """Field to pairs of key and spelling."""
        path, size = listing.category_path, listing.size
        return {
            "designers": [(designer_key(name), name) for name in listing.designers],
            "category": [(path, path)] if path else [],
            "size": [(size, size)] if size else [],
        }

    @classmethod
    def of(cls, listings: Iterable[Listing]) -> Seen:
        """Gathered from training listings."""
        found: dict[str, set[str]] = {field: set() for field in SEEN_FIELDS}
        for listing in listings:
            for field, pairs in cls._of(listing).items():
                found[field].update(key for key, _ in pairs)
        return cls({field: frozenset(values) for field, values in found.items()})

    def unknown(self, listing: Listing) -> list[str]:
        """A sentence for each value that no training listing had."""
        return [
            f"the model has not seen the {_NAMES[field]} {spelling!r}"
            for field, pairs in self._of(listing).items()
            for key, spelling in pairs
            if key not in self.values[field]
        ]

    def to_json(self) -> dict[str, list[str]]:
        """Sorted, so that the same values give the same bytes."""
        return {field: sorted(self.values[field]) for field in SEEN_FIELDS}


class PriceModel:
    """Prices listings. Safe to share between threads: nothing changes after it is made."""

    def __init__(
        self,
        linear: TextRidge,
        price: CatBoostRegressor,
        spread: CatBoostRegressor,
        calibration: Calibration,
        seen: Seen,
        trained_ids: npt.NDArray[np.int64],
        manifest: artifact.Manifest | None = None,
    ) -> None:
        self._linear = linear
        self._price = price
        self._spread = spread
        self.calibration = calibration
        self.seen = seen
        self.trained_ids = trained_ids
        self._manifest = manifest

    @property
    def manifest(self) -> artifact.Manifest:
        """What it is and where it comes from. Raises ModelError for a model that was never sealed."""
        if self._manifest is None:
            raise ModelError("a model that is not sealed has no manifest")
        return self._manifest

    def predict(self, listings: Sequence[Listing], market: Sequence[Values]) -> Prices:
        """Price listings.

        Args:
            market: the reduced market row of each; empty rows where nothing is known.

        Raises:
            ValueError: the arguments differ in length.
        """
        if len(listings) != len(market):
            raise ValueError(f"{len(listings)} listings and {len(market)} market rows")
        if not listings:
            none: Floats = np.empty(0)
            return Prices(none, none, none, dict.fromkeys(LEVELS, none), [])
        estimates = self._linear.predict(listings, market)
        table, threads = self._table(listings, market, estimates)
        share = self.calibration.share
        booster = np.asarray(self._price.predict(table, thread_count=threads), dtype=np.float64)
        logs = (1 - share) * estimates + share * booster
        levels = self._levels(table, threads)
        price = _dollars(logs)
        low = np.minimum(_dollars(levels[:, 0] - self.calibration.low), price)
        high = np.maximum(_dollars(levels[:, -1] + self.calibration.high), price)
        quantiles = {level: _dollars(levels[:, i]) for i, level in enumerate(LEVELS)}
        warnings = [self._warnings(one, row) for one, row in zip(listings, market, strict=True)]
        return Prices(price, low, high, quantiles, warnings)

    def quantile_logs(self, listings: Sequence[Listing], market: Sequence[Values]) -> Floats:
        """Raw quantiles of log1p of the price, one row a listing, rising, for calibration."""
        return self._levels(*self._table(listings, market, self._linear.predict(listings, market)))

    def _levels(self, table: Any, threads: int) -> Floats:
        return sorted_levels(self._spread.predict(table, thread_count=threads))

    @property
    def base_price(self) -> float:
        """The typical price in US dollars that reasons are told against."""
        return float(_dollars(np.array([self._base_log()]))[0])

    def explain(self, listings: Sequence[Listing], market: Sequence[Values]) -> list[list[Reason]]:
        """Why each price is what it is, largest effect first.

        The effects of a listing add up to its price less :attr:`base_price`. What a feature of
        the market contributes is told under the field by which it was looked up.
        """
        if not listings:
            return []
        contributions = self._linear.contributions(listings, market)
        estimates = self._linear.total(contributions)
        centered = contributions - self._linear.means
        table, _ = self._table(listings, market, estimates)
        shap = self._shap(table)
        share = self.calibration.share
        effects = (1 - share) * centered
        for i, feature in enumerate(features.FEATURES):
            if feature.name == features.ESTIMATE:
                # The booster's use of the estimate goes back to the fields in proportion to what they put in.
                weight = np.abs(centered)
                total = weight.sum(axis=1, keepdims=True)
                parts = np.divide(weight, total, out=np.full_like(weight, 1 / len(FIELDS)), where=total > 0)
                effects += share * shap[:, i : i + 1] * parts
            else:
                effects[:, FIELDS.index(feature.source[0])] += share * shap[:, i]
        logs = self._base_log() + effects.sum(axis=1)
        price, base = _dollars(logs), self.base_price
        return [_reasons(listing, effects[i], float(price[i]) - base) for i, listing in enumerate(listings)]

    def _table(
        self, listings: Sequence[Listing], market: Sequence[Values], estimates: Floats
    ) -> tuple[Any, int]:
        rows = features.rows(listings, market, estimates.tolist())
        # A data frame costs more than a price; it pays for itself in a batch.
        if len(rows) <= 64:
            return rows, 1
        return features.to_frame(rows), 1 if len(rows) <= SMALL_BATCH else -1

    def _shap(self, table: Any) -> Floats:
        from catboost import Pool

        pool = Pool(table, cat_features=list(features.CATEGORICAL))
        found = self._price.get_feature_importance(pool, type="ShapValues", thread_count=1)
        return np.asarray(found, dtype=np.float64)

    def _base_log(self) -> float:
        linear = self._linear.intercept + float(self._linear.means.sum())
        share = self.calibration.share
        return (1 - share) * linear + share * self._expected

    @cached_property
    def _expected(self) -> float:
        """What the booster gives on average: the last column of SHAP values, the same for every row."""
        return float(self._shap(features.rows([Listing(title="-")], [{}], [0.0]))[0, -1])

    def _warnings(self, listing: Listing, market: Values) -> tuple[str, ...]:
        found = self.seen.unknown(listing)
        missing = [name for name in MARKET_FEATURES if (v := market.get(name)) is None or v != v]
        if len(missing) == len(MARKET_FEATURES):
            found.append("priced without market features: none are known")
        elif any(name.startswith("category_") for name in missing):
            found.append("no recent sales are known of this category")
        elif any(name in missing for name in ("designer_sales_count_max", "designer_residual_max")):
            found.append("no recent sales are known of this designer")
        return tuple(found)

    def save(self, folder: Path) -> None:
        """Write every file but the manifest. The same model gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        self._price.save_model(str(folder / "price.cbm"))
        self._spread.save_model(str(folder / "range.cbm"))
        self._linear.save(folder / "text")
        _write_json(folder / "calibration.json", self.calibration.__dict__)
        _write_json(folder / "seen.json", self.seen.to_json())
        np.savez_compressed(folder / "trained_ids.npz", ids=self.trained_ids)

    @classmethod
    def load(cls, folder: Path) -> PriceModel:
        """Verify an artifact and load it.

        Raises:
            ArtifactCorrupted: naming the file that does not match the manifest or cannot be read.
            ModelError: it was made for other features than this program has.
        """
        from catboost import CatBoostError, CatBoostRegressor

        manifest = artifact.verify(folder)
        made_for = tuple(feature.get("name") for feature in manifest.features)
        if made_for != features.NAMES:
            other = sorted({str(name) for name in set(made_for) ^ set(features.NAMES)}) or ["their order"]
            raise ModelError(
                f"model {manifest.version} was made for other features: {', '.join(other[:5])}",
                hint="train again, or run the release that trained it",
            )
        name = "price.cbm"
        try:
            price = CatBoostRegressor().load_model(str(folder / name))
            name = "range.cbm"
            spread = CatBoostRegressor().load_model(str(folder / name))
            name = "calibration.json"
            calibration = Calibration.from_json(_read_json(folder / name))
            name = "seen.json"
            content = _read_json(folder / name)
            seen = Seen({field: frozenset(content[field]) for field in SEEN_FIELDS})
            name = "trained_ids.npz"
            with np.load(io.BytesIO((folder / name).read_bytes()), allow_pickle=False) as arrays:
                ids = np.asarray(arrays["ids"], dtype=np.int64)
        except (*UNREADABLE, CatBoostError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ArtifactCorrupted(f"{name}: {reason}", details=[Detail(name, reason)]) from None
        return cls(TextRidge.load(folder / "text"), price, spread, calibration, seen, ids, manifest)


def sorted_levels(predicted: Any) -> Floats:
    """Quantiles of log1p of the price, one row a listing, put in order where the booster crossed them."""
    return np.sort(np.asarray(predicted, dtype=np.float64), axis=1)


def _dollars(logs: Floats) -> Floats:
    # Clipped before expm1, so that no absurd row overflows.
    prices: Floats = np.expm1(np.clip(logs, math.log1p(MIN_PRICE), math.log1p(MAX_PRICE)))
    return np.clip(prices, MIN_PRICE, MAX_PRICE)


def _reasons(listing: Listing, effects: Floats, total: float) -> list[Reason]:
    """Effects in logarithms shared out in dollars, so that they add up to `total`."""
    moved = float(effects.sum())
    # Where ups and downs cancel, no slope is defined; the effects are then as good as nothing.
    slope = total / moved if abs(moved) > 1e-12 else 0.0
    order = sorted(range(len(FIELDS)), key=lambda i: (-abs(effects[i]), i))
    return [Reason(FIELDS[i], _value(listing, FIELDS[i]), float(effects[i]) * slope) for i in order]


def _value(listing: Listing, field: str) -> str | float | None:
    if field == "category":
        return listing.category_path
    if field in ("designers", "hashtags"):
        return " × ".join(getattr(listing, field)) if field == "designers" else ", ".join(listing.hashtags)
    value: str | float | None = getattr(listing, field)
    return value


def _write_json(path: Path, content: Any) -> None:
    path.write_text(
        json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
