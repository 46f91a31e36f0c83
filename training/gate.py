"""The gate: whether a newly trained model may replace the champion, and why.

The policy, in order:

1. The version that is champion already stays; there is nothing to decide.
2. On the holdout the candidate must beat the median price by RMSLE.
3. The coverage of its 80 % range may be off by `gate_coverage_slack` at most.
4. It must beat the champion by more than `gate_min_gain` RMSLE on the same rows of the holdout. The champion
   itself is asked where at least `MIN_FRESH` of them are newer to it than its training; it knows the
   others' prices. Where they are fewer, its recipe (the parameters in its manifest) is fitted on the
   past that the candidate was fitted on, and asked about the whole holdout: the recipes are compared.

The difference of the errors is paired by listing; its bootstrap interval stands beside the verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graildient.errors import ArtifactCorrupted, ModelError, ModelNotFound
from graildient.pricing.model import PriceModel
from graildient.pricing.registry import Registry
from graildient.progress import Reporter
from graildient.progress import report as report_progress
from graildient.settings import TrainingSettings
from training.dataset import Dataset
from training.evaluate import Figures, Scored, score, squared_log_errors
from training.fit import Material
from training.split import split
from training.train import Trained, fit_candidate

STAGE = "gate"
CHAMPION = "champion"
MIN_FRESH = 200
DRAWS = 1_000
INTERVAL = (0.025, 0.975)

Verdict = dict[str, Any]
"""`promote`: bool. `reasons`: sentences. `figures`: numbers. `version`, `champion`: versions."""


@dataclass(frozen=True)
class Rival:
    """What stands for the champion: its prices of rows of the holdout, and how they came about."""

    scored: Scored
    how: str


def judge(
    trained: Trained,
    registry: Registry,
    dataset: Dataset,
    settings: TrainingSettings,
    report: Reporter = report_progress,
) -> Verdict:
    """Decide by the policy above. Registers and promotes nothing.

    Raises:
        StorageError: the registry cannot be read.
    """
    report(STAGE, done=0, total=1)
    champion = registry.alias(CHAMPION)
    verdict = _decide(trained, champion, registry, dataset, settings)
    said = "promoted" if verdict["promote"] else "not promoted"
    report(STAGE, done=1, total=1, note=f"{said}: {verdict['reasons'][-1]}")
    return verdict


def _decide(
    trained: Trained, champion: str | None, registry: Registry, dataset: Dataset, settings: TrainingSettings
) -> Verdict:
    figures: dict[str, Any] = {
        key: trained.holdout[key] for key in ("rmsle", "median_rmsle", "coverage_80", "n")
    }
    verdict = {"version": trained.version, "champion": champion, "figures": figures}
    if champion == trained.version:
        return verdict | {"promote": False, "reasons": [f"{champion} is already champion"]}
    passed, reasons = alone(trained.holdout, settings)
    if not passed:
        return verdict | {"promote": False, "reasons": reasons}
    if champion is None:
        return verdict | {"promote": True, "reasons": [*reasons, "there is no champion yet"]}
    try:
        model = PriceModel.load(registry.fetch(champion))
    except (ArtifactCorrupted, ModelNotFound, ModelError) as error:
        said = (
            f"the champion {champion} cannot be loaded ({error.message}), so only the median is to be beaten"
        )
        return verdict | {"promote": True, "reasons": [*reasons, said]}
    against = rival(model, trained.scored, dataset, settings)
    better, found, reason = compare(trained.scored, against, settings)
    figures.update(found)
    return verdict | {"promote": better, "reasons": [*reasons, reason]}


def alone(holdout: Figures, settings: TrainingSettings) -> tuple[bool, list[str]]:
    """Rules 2 and 3: whether the candidate passes, and a sentence for each rule."""
    rmsle, median = holdout["rmsle"], holdout["median_rmsle"]
    coverage, slack = holdout["coverage_80"], settings.gate_coverage_slack
    beats = rmsle < median
    holds = abs(coverage - 0.8) <= slack + 1e-12
    return beats and holds, [
        f"RMSLE {rmsle:.4f} {'beats' if beats else 'does not beat'} the median's {median:.4f}",
        f"the 80 % range holds {coverage:.1%}, {'within' if holds else 'more than'} {slack:.0%} of 80 %",
    ]


def rival(champion: PriceModel, scored: Scored, dataset: Dataset, settings: TrainingSettings) -> Rival:
    """The champion's prices of the holdout, or its recipe's (rule 4)."""
    cut = split(len(dataset), settings)
    version = champion.manifest.version
    fresh = ~np.isin(scored.ids, champion.trained_ids)
    if int(fresh.sum()) >= MIN_FRESH:
        rows = (np.flatnonzero(fresh) + cut.past).tolist()
        listings = [dataset.listings[i] for i in rows]
        market = [dataset.market[i] for i in rows]
        return Rival(
            score(champion, listings, market), f"{version} on the {len(rows)} listings that it does not know"
        )
    params = dict(champion.manifest.params)
    iterations = int(params.pop("iterations"))
    seed = int(champion.manifest.settings.get("seed", settings.seed))
    recipe = fit_candidate(Material.of(dataset.listings, dataset.market), cut, params, iterations, seed)
    holdout = dataset.part(cut.past, cut.end)
    return Rival(
        score(recipe, holdout.listings, holdout.market),
        f"the recipe of {version} on the same past (it knows all but {int(fresh.sum())} of the listings)",
    )


def compare(
    candidate: Scored, against: Rival, settings: TrainingSettings
) -> tuple[bool, dict[str, float], str]:
    """Rule 4: whether the candidate is better by enough, the figures, and a sentence."""
    mine = candidate.part(np.isin(candidate.ids, against.scored.ids))
    ours = squared_log_errors(mine.sold, mine.price)
    theirs = squared_log_errors(against.scored.sold, against.scored.price)
    gain = float(np.sqrt(theirs.mean()) - np.sqrt(ours.mean()))
    low, high = paired_interval(ours, theirs, settings.seed)
    better = gain > settings.gate_min_gain
    figures = {
        "candidate_rmsle": float(np.sqrt(ours.mean())),
        "champion_rmsle": float(np.sqrt(theirs.mean())),
        "gain": gain,
        "gain_low": low,
        "gain_high": high,
        "compared": float(ours.size),
    }
    need = f"more than {settings.gate_min_gain:g} is asked for"
    reason = (
        f"RMSLE {figures['candidate_rmsle']:.4f} against {figures['champion_rmsle']:.4f} of {against.how}: "
        f"a gain of {gain:+.4f} (95 % interval {low:+.4f} to {high:+.4f}), {need}"
    )
    return better, figures, reason


def paired_interval(
    ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64], seed: int
) -> tuple[float, float]:
    """95 % bootstrap interval of the gain in RMSLE; rows are drawn with both of their errors."""
    rng = np.random.default_rng(seed)
    gains = np.empty(DRAWS)
    for i in range(DRAWS):
        rows = rng.integers(0, ours.size, ours.size)
        gains[i] = np.sqrt(theirs[rows].mean()) - np.sqrt(ours[rows].mean())
    low, high = np.quantile(gains, INTERVAL)
    return float(low), float(high)
