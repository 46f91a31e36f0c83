"""All that is measured of a newly trained model, gathered once; the gate, the report and the UI read it.

Nothing here decides anything: the candidate is not asked again, and the holdout stays what it was, the
judge of one model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graildient.pricing.model import PriceModel
from graildient.progress import Reporter
from graildient.progress import report as report_progress
from graildient.settings import TrainingSettings
from training.dataset import Dataset
from training.dependence import Lookup, importance, partial_dependence
from training.drift import by_month
from training.forward import mean_ratio, walk_forward
from training.intervals import intervals
from training.leakage import measure
from training.policy import load_policy
from training.slices import designer_counts, slices
from training.split import split
from training.train import Trained

STAGE = "evaluate"


def assess(
    dataset: Dataset,
    trained: Trained,
    params: Mapping[str, Any],
    iterations: int,
    settings: TrainingSettings,
    lookup: Lookup,
    report: Reporter = report_progress,
) -> dict[str, Any]:
    """Figures with intervals, slices, folds, leaks, importance, dependence and drift, as JSON types.

    Args:
        lookup: the market of a listing as of its creation, for listings moved to another category.

    Raises:
        InvalidSettings: the policy is not sound.
    """
    report(STAGE, done=0, total=1, note="slices and leaks")
    cut, scored = split(len(dataset), settings), trained.scored
    past, holdout = dataset.part(0, cut.past), dataset.part(cut.past, cut.end)
    model = PriceModel.load(trained.folder)
    known = designer_counts(one.designers for one in past.listings)
    min_rows = load_policy(settings.policy).slice_rows
    found: dict[str, Any] = {
        "version": trained.version,
        "holdout": trained.holdout,
        "intervals": {name: list(pair) for name, pair in intervals(scored, settings.seed).items()},
        "slices": slices(scored, holdout.listings, known, settings.seed, min_rows),
        "leakage": measure(
            past.listings, past.market, holdout.listings, holdout.market, scored, model, settings.seed
        ),
        "importance": importance(model, holdout.listings, holdout.market, settings.seed),
        "base_price": model.base_price,
        "dependence": partial_dependence(model, holdout.listings, holdout.market, lookup, settings.seed),
        "drift": by_month(dataset.listings),
    }
    found |= walk_forward(dataset, scored, params, iterations, settings, report, STAGE)
    ratio = mean_ratio(found["folds"])
    note = "" if ratio is None else f"{ratio:.3f} of the median's RMSLE over {len(found['folds'])} folds"
    report(STAGE, done=1, total=1, note=note)
    return found
