"""Error figures of a registered model on a file of sold listings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.training_set import market_as_of
from graildient.errors import InvalidListing, NotEnoughData
from graildient.lake import Lake
from graildient.listing import SoldListing
from graildient.listing_files import count_rows, read_listings
from graildient.pricing.model import PriceModel
from graildient.pricing.registry import Registry
from graildient.progress import Reporter
from graildient.progress import report as report_progress
from graildient.settings import FeatureSettings
from graildient.storage import Storage
from training.baselines import Median
from training.evaluate import errors, prefixed, range_figures, score
from training.intervals import intervals
from training.slices import designer_counts, slices

STAGE = "evaluate"
_EVERY = 500
SEED = 7
"""Of the bootstrap."""


def _cause(error: InvalidListing | None) -> str:
    if error is None or not error.details:
        return "not a sale"
    return f"{error.details[0].field}: {error.details[0].reason}"


def _designers(storage: Storage, trained: set[int]) -> list[list[str]]:
    """Designers of the training listings that the lake holds."""
    rows = Lake(storage).read(["id", "designers"])
    ids, designers = rows.column("id").to_pylist(), rows.column("designers").to_pylist()
    return [names or [] for key, names in zip(ids, designers, strict=True) if key in trained]


def evaluate_file(
    path: Path | str,
    storage: Storage,
    settings: FeatureSettings,
    ref: str = "champion",
    report: Reporter = report_progress,
) -> dict[str, Any]:
    """Price the file's listings as of their creation and compare with what they sold for.

    Listings that the model was trained on are left out and counted, and of several rows with one id the
    last is taken. The market comes from the lake's facts alone: the file's prices never become features.
    The median is that of the training listings.

    Raises:
        StorageError: the file cannot be read.
        ModelNotFound: no such version or alias.
        NotEnoughData: no listing is left to evaluate on.
    """
    registry = Registry(storage)
    version = registry.resolve(ref)
    model = PriceModel.load(registry.fetch(version))
    total = count_rows(path)
    found: dict[int, SoldListing] = {}
    rejected: dict[str, int] = {}
    repeated = 0
    for read in read_listings(path, sold=True):
        if isinstance(read.listing, SoldListing):
            repeated += read.listing.id in found
            found[read.listing.id] = read.listing
        else:
            cause = _cause(read.error)
            rejected[cause] = rejected.get(cause, 0) + 1
        if read.row % _EVERY == 0:
            report(STAGE, done=read.row, total=total)
    trained = set(model.trained_ids.tolist())
    listings = [listing for key, listing in sorted(found.items()) if key not in trained]
    left_out = len(found) - len(listings)
    if not listings:
        raise NotEnoughData(
            f"no listing of {Path(str(path)).name} is left to evaluate on: {left_out} were left out because "
            f"the model was trained on them, {sum(rejected.values())} of {total} rows were refused",
            hint="`graildient evaluate` without a file shows the champion's held-out figures",
        )
    market = market_as_of(listings, storage, settings)
    report(STAGE, done=total, total=total, note=f"pricing {len(listings)} listings")
    known = designer_counts(_designers(storage, trained))
    scored = score(model, listings, market)
    median = Median(float(model.manifest.metrics["median_price"])).predict(listings)
    return {
        **errors(scored.sold, scored.price),
        **range_figures(scored),
        **prefixed("median", errors(scored.sold, median)),
        "n": len(listings),
        "intervals": {name: list(pair) for name, pair in intervals(scored, SEED).items()},
        "slices": slices(scored, listings, known, SEED),
        "left_out": left_out,
        "repeated": repeated,
        "rejected": dict(sorted(rejected.items())),
        "without_market": int(np.sum([all(v is None for v in row.values()) for row in market])),
        "model_version": version,
        "as_of": model.manifest.as_of.isoformat(),
    }
