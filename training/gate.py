"""The gate: whether a newly trained model may replace the champion, and why.

The limits are a policy (`training/policies`). The rules, in order:

1. The version that is champion already stays; there is nothing to decide.
2. On the holdout the candidate must beat the median price by RMSLE.
3. The coverage of its 80 % range is within the policy's slack, or within the noise of so few listings.
4. No leakage alarm is blocking, and the artifact's size and the time of one price are within budget.
5. It must beat the champion on the same rows of the holdout, by more than the policy asks for and by more
   than noise, and no slice may be worse than the policy allows. The champion itself is asked where
   at least `MIN_FRESH` of the rows are newer to it than its training; it knows the others' prices.
   Where they are fewer, its recipe (the parameters in its manifest) is fitted on the past that the
   candidate was fitted on, and asked about the whole holdout: the recipes are compared.

Rule 5 is only asked of what passes the others: fitting the champion's recipe takes as long as training.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graildient.errors import ArtifactCorrupted, ModelError, ModelNotFound
from graildient.pricing.model import PriceModel
from graildient.pricing.registry import Registry
from graildient.progress import Reporter
from graildient.progress import report as report_progress
from graildient.settings import TrainingSettings
from training.dataset import Dataset
from training.evaluate import Figures, Scored, score, squared_log_errors
from training.fit import Material
from training.intervals import paired_gain
from training.leakage import Alarm, alarms
from training.policy import Policy, load_policy
from training.slices import SOLD, designer_counts, labels, rows_of
from training.split import Split, split
from training.train import Trained, fit_candidate

STAGE = "gate"
CHAMPION = "champion"
MIN_FRESH = 200
TIMED = 30
"""Prices of one listing whose median time counts."""

Verdict = dict[str, Any]
"""`promote`: bool. `reasons`: sentences. `figures`: numbers. `version`, `champion`: versions. `policy`: its
name. `checks`: rule, passed, said. `alarms`: name, level, said. `slices`: candidate against champion.
`measured`: size in MiB and milliseconds a price on the machine of the gate."""


@dataclass(frozen=True)
class Rival:
    """What stands for the champion: its prices of rows of the holdout, and how they came about."""

    scored: Scored
    how: str


class Check(NamedTuple):
    """One rule: whether the candidate passed, and a sentence."""

    rule: str
    passed: bool
    said: str


def judge(
    trained: Trained,
    registry: Registry,
    dataset: Dataset,
    settings: TrainingSettings,
    report: Reporter = report_progress,
    leakage: Mapping[str, Any] | None = None,
) -> Verdict:
    """Decide by the rules above. Registers and promotes nothing.

    Args:
        leakage: what :func:`training.leakage.measure` saw; without it no alarm is raised.

    Raises:
        StorageError: the registry cannot be read.
        InvalidSettings: the policy is not sound.
    """
    report(STAGE, done=0, total=1)
    policy = load_policy(settings.policy)
    champion = registry.alias(CHAMPION)
    found = alarms(leakage, policy) if leakage else []
    verdict: Verdict = {
        "version": trained.version,
        "champion": champion,
        "policy": settings.policy,
        "figures": {key: trained.holdout[key] for key in ("rmsle", "median_rmsle", "coverage_80", "n")},
        "alarms": [alarm._asdict() for alarm in found],
    }
    if champion == trained.version:
        said = f"{champion} is already champion"
        verdict |= {"promote": False, "reasons": [said], "checks": []}
        report(STAGE, done=1, total=1, note=f"not promoted: {said}")
        return verdict
    measured = budget(trained.folder, dataset)
    checks = [
        *alone(trained.holdout, split(len(dataset), settings), policy),
        no_leak(found),
        within_budget(measured, policy),
    ]
    last = ""
    if all(check.passed for check in checks):
        if champion is None:
            last = "there is no champion yet"
        else:
            more, last, extra = _against(champion, trained, registry, dataset, settings, policy)
            checks += more
            verdict["slices"] = extra.pop("slices", [])
            verdict["figures"] |= extra
    promote = all(check.passed for check in checks)
    failed = [check.said for check in checks if not check.passed]
    verdict |= {
        "promote": promote,
        # What decided stands last.
        "reasons": [*(check.said for check in checks if check.passed), *failed, *([last] if last else [])],
        "checks": [check._asdict() for check in checks],
        "measured": measured,
    }
    said = "promoted" if promote else "not promoted"
    report(STAGE, done=1, total=1, note=f"{said}: {verdict['reasons'][-1]}")
    return verdict


def alone(holdout: Figures, cut: Split, policy: Policy) -> list[Check]:
    """Rules 2 and 3."""
    rmsle, median = holdout["rmsle"], holdout["median_rmsle"]
    coverage = holdout["coverage_80"]
    held_out, calibrated_on = int(holdout["n"]), cut.past - cut.valid
    slack = coverage_slack(held_out, calibrated_on, policy)
    beats, holds = rmsle < median, abs(coverage - 0.8) <= slack + 1e-12
    noise = f", the noise of {held_out:,} listings and {calibrated_on:,} to calibrate on"
    noise = noise if slack > policy.coverage_slack else ""
    return [
        Check(
            "median",
            beats,
            f"RMSLE {rmsle:.4f} {'beats' if beats else 'does not beat'} the median's {median:.4f}",
        ),
        Check(
            "coverage",
            holds,
            f"the 80 % range holds {coverage:.1%}, {'within' if holds else 'more than'} "
            f"{slack * 100:.1f} points of 80 %{noise}",
        ),
    ]


def coverage_slack(held_out: int, calibrated_on: int, policy: Policy) -> float:
    """How far the coverage may be off: the policy's slack, or chance where that is more.

    Chance has two parts: of the `held_out` listings a share of 0.8 varies by sqrt(0.8 * 0.2 / n), and
    a range calibrated on m listings covers 0.8 only up to about sqrt(0.8 * 0.2 / m), whatever it is
    judged on (Vovk, Conditional validity of inductive conformal predictors, 2012: a Beta distribution).
    """
    chance = policy.coverage_noise * float(np.sqrt(0.16 * (1 / held_out + 1 / max(1, calibrated_on))))
    return max(policy.coverage_slack, chance)


def no_leak(found: Sequence[Alarm]) -> Check:
    """Rule 4, first half."""
    blocking = [alarm.said for alarm in found if alarm.level == "blocking"]
    if blocking:
        return Check("leakage", False, f"leakage: {'; '.join(blocking)}")
    warned = sum(alarm.level == "warning" for alarm in found)
    said = f"no leakage alarm blocks{f', {warned} warn' if warned else ''}"
    return Check("leakage", True, said)


def budget(folder: Path, dataset: Dataset) -> dict[str, float]:
    """Size of the artifact in MiB, and the median time of one price in milliseconds, on this machine."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    model = PriceModel.load(folder)
    times = []
    for i in range(TIMED + 3):
        at = i % len(dataset)
        clock = time.perf_counter()
        model.predict([dataset.listings[at]], [dataset.market[at]])
        times.append(time.perf_counter() - clock)
    return {
        "artifact_mib": round(size / 2**20, 3),
        "latency_ms": round(1000 * float(np.median(times[3:])), 3),
    }


def within_budget(measured: Mapping[str, float], policy: Policy) -> Check:
    """Rule 4, second half. Says the limits, and the figures only of what is beyond them: they vary."""
    over = []
    if measured["artifact_mib"] > policy.artifact_mib_max:
        over.append(f"the artifact has {measured['artifact_mib']:.1f} MiB of {policy.artifact_mib_max:g}")
    if measured["latency_ms"] > policy.latency_ms_max:
        over.append(f"a price takes {measured['latency_ms']:.1f} ms of {policy.latency_ms_max:g}")
    limits = f"{policy.artifact_mib_max:g} MiB and {policy.latency_ms_max:g} ms a price"
    said = f"beyond the budget: {', '.join(over)}" if over else f"within the budget of {limits}"
    return Check("budget", not over, said)


def _against(
    champion: str,
    trained: Trained,
    registry: Registry,
    dataset: Dataset,
    settings: TrainingSettings,
    policy: Policy,
) -> tuple[list[Check], str, dict[str, Any]]:
    """Rule 5: checks, what else is to be said, figures."""
    try:
        model = PriceModel.load(registry.fetch(champion))
    except (ArtifactCorrupted, ModelNotFound, ModelError) as error:
        said = (
            f"the champion {champion} cannot be loaded ({error.message}), so only the median is to be beaten"
        )
        return [], said, {}
    against = rival(model, trained.scored, dataset, settings)
    better, figures = compare(trained.scored, against, policy, settings.seed)
    sliced, rows = compare_slices(trained.scored, against, dataset, settings, policy)
    # The gain is what one wants to read last.
    return [sliced, better], "", figures | {"slices": rows}


def rival(champion: PriceModel, scored: Scored, dataset: Dataset, settings: TrainingSettings) -> Rival:
    """The champion's prices of the holdout, or its recipe's (rule 5)."""
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


def _same_rows(candidate: Scored, against: Rival) -> Scored:
    return candidate.part(np.isin(candidate.ids, against.scored.ids))


def compare(candidate: Scored, against: Rival, policy: Policy, seed: int) -> tuple[Check, dict[str, float]]:
    """Whether the candidate is better by enough on the same rows, and the figures."""
    mine = _same_rows(candidate, against)
    ours = squared_log_errors(mine.sold, mine.price)
    theirs = squared_log_errors(against.scored.sold, against.scored.price)
    gain = float(np.sqrt(theirs.mean()) - np.sqrt(ours.mean()))
    low, high, p = paired_gain(ours, theirs, seed)
    enough, sure = gain > policy.gain_min, low > 0 or not policy.gain_beyond_noise
    figures = {
        "candidate_rmsle": float(np.sqrt(ours.mean())),
        "champion_rmsle": float(np.sqrt(theirs.mean())),
        "gain": gain,
        "gain_low": low,
        "gain_high": high,
        "gain_p": p,
        "compared": float(ours.size),
    }
    asked = f"more than {policy.gain_min:g} is asked for"
    if policy.gain_beyond_noise:
        asked += ", and an interval above 0"
    said = (
        f"RMSLE {figures['candidate_rmsle']:.4f} against {figures['champion_rmsle']:.4f} of {against.how}: "
        f"a gain of {gain:+.4f} (95 % interval {low:+.4f} to {high:+.4f}: {_meaning(low, high, p)}); {asked}"
    )
    return Check("champion", enough and sure, said), figures


def _meaning(low: float, high: float, p: float) -> str:
    """The interval in words."""
    if low > 0:
        return f"better, and other listings would say so too, p = {p:.3f}"
    if high < 0:
        return "worse, and other listings would say so too"
    return f"no more than chance, p = {p:.3f}"


def compare_slices(
    candidate: Scored, against: Rival, dataset: Dataset, settings: TrainingSettings, policy: Policy
) -> tuple[Check, list[dict[str, Any]]]:
    """Whether no slice is worse than allowed, and the gain in each.

    Price bands are by the geometric mean of both prices: by its own, each would be judged where it errs.
    """
    mine, theirs = _same_rows(candidate, against), against.scored
    by_id = {one.id: one for one in dataset.listings}
    past = dataset.listings[: split(len(dataset), settings).past]
    known = designer_counts(one.designers for one in past)
    between = Scored(mine.ids, mine.sold, np.sqrt(mine.price * theirs.price), mine.low, mine.high)
    ours, others = squared_log_errors(mine.sold, mine.price), squared_log_errors(theirs.sold, theirs.price)
    rows: list[dict[str, Any]] = []
    worse = []
    for by, value, mask in rows_of(labels(between, [by_id[i] for i in mine.ids.tolist()], known)):
        if by == SOLD:
            continue
        n = int(mask.sum())
        gain = float(np.sqrt(others[mask].mean()) - np.sqrt(ours[mask].mean()))
        low, high, _ = paired_gain(ours[mask], others[mask], settings.seed)
        judged = n >= policy.slice_rows
        rows.append(
            {"by": by, "value": value, "n": n, "judged": judged, "gain": gain, "interval": [low, high]}
        )
        if judged and -gain > policy.slice_worse_max and high < 0:
            worse.append(f"{by} {value} by {-gain:.4f} ({n} listings)")
    judged_rows = sum(row["judged"] for row in rows)
    said = (
        f"worse by more than {policy.slice_worse_max:g} RMSLE and by more than noise: {'; '.join(worse)}"
        if worse
        else f"none of {judged_rows} slices is worse by more than {policy.slice_worse_max:g} RMSLE"
    )
    return Check("slices", not worse, said), rows
