"""Walking forward: the recipe fitted on all before a cut and judged on what came next, several times.

One holdout is one market. Folds from 60 % of the rows to the end show whether the figure holds
through time, and the same models, asked about the newest window, how the error falls with the share of
the past that they know (the learning curve; the shortest share is also the oldest, so it shows age too).
The parameters were searched for on the past, so folds before the holdout are a little flattered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from graildient.errors import NotEnoughData
from graildient.pricing.model import PriceModel
from graildient.progress import Reporter
from graildient.settings import TrainingSettings
from training.baselines import Median
from training.dataset import Dataset
from training.evaluate import Scored, errors, figures, score
from training.fit import Material
from training.split import Split, forward_folds, split
from training.train import fit_candidate

START = 0.6
LEARNING = (0.2, 0.4)
"""Shares of all rows at which the learning curve has models of its own."""
FEWEST = 100
"""Rows below which a cut is left out."""


def walk_forward(
    dataset: Dataset,
    scored: Scored,
    params: Mapping[str, Any],
    iterations: int,
    settings: TrainingSettings,
    report: Reporter,
    stage: str,
) -> dict[str, list[dict[str, Any]]]:
    """Folds and learning curve of a recipe.

    Args:
        scored: what the candidate, fitted on the past, said of the holdout; it is not fitted again.

    Returns:
        `folds`: the figures of each, with `share` (of the rows before its cut), `fitted_on` and `from`.
        `learning`: `share`, `fitted_on` and figures on the holdout. Both empty without folds.
    """
    count = settings.forward_folds
    if not count:
        return {"folds": [], "learning": []}
    rows, cut = len(dataset), split(len(dataset), settings)
    spans = forward_folds(rows, start=START, step=(1 - START) / count)
    ends = {_snap(start, cut): end for start, end in spans}
    starts = sorted({*ends, *(int(rows * share) for share in LEARNING)})
    material = Material.of(dataset.listings, dataset.market)
    folds: list[dict[str, Any]] = []
    learning: list[dict[str, Any]] = []
    for i, start in enumerate(starts):
        report(stage, done=i, total=len(starts), note=f"walking forward: {start:,} of {rows:,} rows")
        if start < FEWEST:
            continue
        about = {"share": round(start / rows, 4), "fitted_on": start}
        model: PriceModel | None = None
        if start != cut.past:
            valid = start - math.ceil(start * settings.validation_share)
            try:
                model = fit_candidate(material, Split(valid, start, rows), params, iterations, settings.seed)
            except NotEnoughData:
                continue
        if start in ends:
            part = dataset.part(start, ends[start])
            said = _first(scored, len(part)) if model is None else score(model, part.listings, part.market)
            found = figures(said, part.listings, Median.fit(dataset.listings[:start]))
            folds.append(about | {"from": part.listings[0].created_at.isoformat(), **found})
        if start <= cut.past:
            newest = dataset.part(cut.past, cut.end)
            said = scored if model is None else score(model, newest.listings, newest.market)
            learning.append(about | errors(said.sold, said.price))
    return {"folds": folds, "learning": learning}


def _snap(start: int, cut: Split) -> int:
    """The cut of the holdout for one that rounding put beside it."""
    return cut.past if abs(start - cut.past) <= 1 else start


def _first(scored: Scored, rows: int) -> Scored:
    return Scored(
        scored.ids[:rows], scored.sold[:rows], scored.price[:rows], scored.low[:rows], scored.high[:rows]
    )


def mean_ratio(folds: Sequence[Mapping[str, Any]]) -> float | None:
    """RMSLE over the median's, the mean over the folds."""
    if not folds or any(fold["median_rmsle"] == 0 for fold in folds):
        return None
    return float(sum(fold["rmsle"] / fold["median_rmsle"] for fold in folds) / len(folds))
