"""Training a price model: fit on the past, judge on the newest listings, then fit again on all of them.

1. The range is calibrated on the newest window of the past, by quantiles fitted on what is before it.
2. The candidate, fitted on the whole past, prices the holdout that nothing has seen. Its figures are
   those of the manifest, under `holdout`.
3. The model that will serve is the same recipe fitted on all listings: under drift the newest rows
   are worth more than any feature. Its range is calibrated on the candidate's quantiles of the
   holdout: the newest listings there are, and none that those quantiles were fitted on.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graildient.code_version import code_version
from graildient.listing import SoldListing
from graildient.pricing import artifact, features
from graildient.pricing.features import FEATURES
from graildient.pricing.model import Calibration, PriceModel, sorted_levels
from graildient.progress import Reporter
from graildient.progress import report as report_progress
from graildient.settings import TrainingSettings
from training.baselines import DesignerCategory, Median
from training.calibrate import calibrate
from training.dataset import Dataset
from training.evaluate import Figures, Scored, figures, score
from training.fit import Fitted, Material, fit_until, train_range
from training.split import Split, split

STAGE = "train"
THREADS = 2
"""Of CatBoost. Fixed, because another number gives other bytes."""
SHARE = 0.5
"""Of the booster in the blend; chosen by forward folds on the real listings."""

MODEL = "model"
HOLDOUT = "holdout.npz"


@dataclass(frozen=True)
class Trained:
    """A sealed model, and what its candidate said about the holdout.

    `folder`: of the artifact. `holdout`: the same figures as `metrics["holdout"]` of the manifest.
    """

    folder: Path
    version: str
    scored: Scored
    holdout: Figures


def train_model(
    dataset: Dataset,
    params: Mapping[str, Any],
    iterations: int,
    settings: TrainingSettings,
    folder: Path,
    report: Reporter = report_progress,
) -> Trained:
    """Train, evaluate and seal a model: `folder` gets the artifact as `model/` and the holdout's prices.

    The same dataset, parameters and settings give the same files, but for the manifest's `created_at`.

    Raises:
        NotEnoughData: too few listings for the split, or for a part of the model.
        StorageError: the manifest cannot be written.
    """
    cut = split(len(dataset), settings)
    report(STAGE, done=0, total=4, note=f"reading {len(dataset)} listings")
    material = Material.of(dataset.listings, dataset.market)
    report(STAGE, done=1, total=4, note="fitting on the past")
    candidate = fit_candidate(material, cut, params, iterations, settings.seed)
    report(STAGE, done=2, total=4, note="pricing the holdout")
    holdout = dataset.part(cut.past, cut.end)
    scored = score(candidate, holdout.listings, holdout.market)
    measured = holdout_figures(scored, dataset, cut)
    report(STAGE, done=3, total=4, note="fitting on all listings")
    raw = candidate.quantile_logs(holdout.listings, holdout.market)
    calibration = calibrate(material.y[cut.past :], raw[:, 0], raw[:, -1], SHARE)
    fitted = fit_until(material, cut.end, params, iterations, settings.seed, THREADS)
    target = folder / MODEL
    # What a killed run left there would be sealed along.
    shutil.rmtree(target, ignore_errors=True)
    assemble(fitted, calibration).save(target)
    manifest = artifact.seal(
        target,
        code_version=code_version(),
        training_set_sha256=dataset.sha256,
        training_from=dataset.listings[0].created_at,
        training_until=dataset.listings[-1].created_at,
        as_of=dataset.as_of,
        rows=len(dataset),
        features=[feature.to_json() for feature in FEATURES],
        settings=settings.model_dump(mode="json", exclude=set(settings.EXECUTION)),
        params={**params, "iterations": iterations},
        metrics={
            "median_price": Median.fit(dataset.listings).price,
            "holdout": measured
            | {
                "from": holdout.listings[0].created_at.isoformat(),
                "until": holdout.listings[-1].created_at.isoformat(),
                "fitted_on": cut.past,
            },
        },
    )
    save_scored(folder / HOLDOUT, scored)
    report(STAGE, done=4, total=4, note=f"RMSLE {measured['rmsle']:.4f} on {len(holdout)} newer listings")
    return Trained(target, manifest.version, scored, measured)


def fit_candidate(
    material: Material, cut: Split, params: Mapping[str, Any], iterations: int, seed: int
) -> PriceModel:
    """A model of the past alone, its range calibrated inside the past."""
    return assemble(
        fit_until(material, cut.past, params, iterations, seed, THREADS),
        _calibrate_past(material, cut, seed),
    )


def _calibrate_past(material: Material, cut: Split, seed: int) -> Calibration:
    rows = material.training_rows(cut.valid)
    spread = train_range(rows, seed, THREADS)
    window: list[SoldListing] = list(material.listings[cut.valid : cut.past])
    corpus, y = material.corpus, material.y
    estimates = corpus.predict(corpus.fit(y, cut.valid), cut.valid, cut.past)
    table = features.frame(window, material.market[cut.valid : cut.past], estimates.tolist())
    raw = sorted_levels(spread.predict(table))
    return calibrate(y[cut.valid : cut.past], raw[:, 0], raw[:, -1], SHARE)


def assemble(fitted: Fitted, calibration: Calibration) -> PriceModel:
    """The parts as the model that serves."""
    return PriceModel(
        fitted.linear, fitted.price, fitted.spread, calibration, fitted.seen, fitted.trained_ids
    )


def holdout_figures(scored: Scored, dataset: Dataset, cut: Split) -> Figures:
    """Figures on the holdout beside the baselines, which are fitted on the past."""
    past = dataset.listings[: cut.past]
    return figures(scored, dataset.listings[cut.past :], Median.fit(past), DesignerCategory.fit(past))


def save_scored(path: Path, scored: Scored) -> None:
    """Write a :class:`Scored`; the same content gives the same bytes."""
    np.savez_compressed(
        path, ids=scored.ids, sold=scored.sold, price=scored.price, low=scored.low, high=scored.high
    )


def load_scored(path: Path) -> Scored:
    """Read what :func:`save_scored` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return Scored(*(arrays[name] for name in ("ids", "sold", "price", "low", "high")))
