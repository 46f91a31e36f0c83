"""Leakage: signs that the figures are better than a price asked for tomorrow will be.

:func:`measure` looks, once, when the model is trained; :func:`alarms` judges what it saw by the limits of
a policy, so a changed policy needs no new training. Clean data raise no alarm.

    told       worth knowing; changes nothing
    warning    look at it before you trust the figures
    blocking   the figures cannot be trusted; the gate does not promote the model
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from graildient.listing import SoldListing
from graildient.pricing import features
from graildient.pricing.market import Values
from graildient.pricing.model import PriceModel
from training.evaluate import Scored, score, squared_log_errors
from training.near_duplicates import find_copies
from training.policy import Policy

Floats = npt.NDArray[np.float64]
Measured = dict[str, Any]
"""JSON types: `ids`, `texts`, `sellers`, `features`, `gap`; None for what could not be measured."""

BINS = 32
"""Into which a number is cut to see what it alone explains."""
SHRINKAGE = 5.0
"""Listings that a value needs to count as much as the mean of all."""
SAMPLE = 2_000
"""Training listings that the model is asked about again for the gap."""
FEWEST = 50
"""Listings on a side below which two errors are not compared."""


class Alarm(NamedTuple):
    """A sign of leakage. `name`: of the check; `said`: a sentence."""

    name: str
    level: Literal["told", "warning", "blocking"]
    said: str


def measure(
    past: Sequence[SoldListing],
    past_market: Sequence[Values],
    holdout: Sequence[SoldListing],
    holdout_market: Sequence[Values],
    scored: Scored,
    model: PriceModel,
    seed: int,
) -> Measured:
    """Look for leaks between what was fitted on and what was judged on.

    Args:
        scored: what the candidate, fitted on `past`, said of `holdout`.
        model: the model that will serve. It was fitted on the past too, and is asked about a part
            of it again.
    """
    old = {one.id for one in past}
    log = np.log1p([one.sold_price for one in past])
    new_log = np.log1p(scored.sold)
    explained = _r2(new_log, np.log1p(scored.price))
    looked: Measured | None = None
    if explained is not None:
        table, newer = features.frame(past, past_market), features.frame(holdout, holdout_market)
        looked = {"model_r2": explained, "alone": alone(table, log, newer, new_log)}
    return {
        "ids": {"shared": sum(one.id in old for one in holdout)},
        "texts": _texts(past, holdout, scored, seed),
        "sellers": _sellers(past, holdout, scored),
        "features": looked,
        "gap": _gap(past, past_market, scored, model, seed),
    }


def alone(past: Any, past_log: Floats, new: Any, new_log: Floats) -> list[dict[str, Any]]:
    """What each feature explains by itself: R² on newer listings of the mean log price of its value.

    Numbers are cut at quantiles of the past. The linear part's estimate is left out: it is a model of
    its own, made on older listings only, and explains much by design.

    Args:
        past, new: data frames with the columns of :data:`graildient.pricing.features.FEATURES`.

    Returns:
        `name`, `field` and `r2`, highest first.
    """
    sources = {f.name: f for f in features.FEATURES}
    found = []
    for name in past.columns:
        if name == features.ESTIMATE:
            continue
        feature = sources.get(name)
        if feature is not None and feature.kind == "categorical":
            before, after = past[name].to_numpy(), new[name].to_numpy()
        else:
            before, after = _cut(past[name].to_numpy(np.float64), new[name].to_numpy(np.float64))
        r2 = _r2(new_log, _means(before, past_log, after))
        field = feature.source[0] if feature is not None else name
        if r2 is not None:
            found.append({"name": str(name), "field": field, "r2": round(r2, 6)})
    return sorted(found, key=lambda f: (-f["r2"], f["name"]))


def _cut(before: Floats, after: Floats) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    there = before[~np.isnan(before)]
    if not there.size:
        return np.zeros(before.size), np.zeros(after.size)
    edges = np.unique(np.quantile(there, np.linspace(0, 1, BINS + 1)[1:-1]))

    def bins(values: Floats) -> npt.NDArray[Any]:
        return np.where(np.isnan(values), -1, np.searchsorted(edges, values, side="right"))

    return bins(before), bins(after)


def _means(before: npt.NDArray[Any], logs: Floats, after: npt.NDArray[Any]) -> Floats:
    mean = float(logs.mean())
    sums: Counter[Any] = Counter()
    sizes = Counter(before.tolist())
    for value, log in zip(before.tolist(), logs.tolist(), strict=True):
        sums[value] += log
    table = {v: (sums[v] + SHRINKAGE * mean) / (n + SHRINKAGE) for v, n in sizes.items()}
    return np.array([table.get(value, mean) for value in after.tolist()])


def _r2(true: Floats, said: Floats) -> float | None:
    """Share of the variance explained; None where all prices are one."""
    total = float(((true - true.mean()) ** 2).sum())
    return None if total < 1e-9 else 1 - float(((true - said) ** 2).sum()) / total


def _rmsle(scored: Scored, rows: npt.NDArray[np.bool_]) -> float:
    return float(np.sqrt(squared_log_errors(scored.sold[rows], scored.price[rows]).mean()))


def _texts(
    past: Sequence[SoldListing], holdout: Sequence[SoldListing], scored: Scored, seed: int
) -> Measured | None:
    copies = find_copies(past, holdout, seed)
    if not copies.compared:
        return None
    pairs = [(holdout[i], past[int(copies.like[i])]) for i in np.flatnonzero(copies.near).tolist()]
    sellers = [a.seller_hash == b.seller_hash for a, b in pairs if a.seller_hash and b.seller_hash]
    several = copies.near.any() and not copies.near.all()
    return {
        "compared": copies.compared,
        "exact": int(copies.exact.sum()),
        "near": int(copies.near.sum()),
        "share": float(copies.near.mean()),
        "same_seller": float(np.mean(sellers)) if sellers else None,
        "rmsle": _rmsle(scored, np.ones(scored.sold.size, dtype=bool)),
        "rmsle_copies": _rmsle(scored, copies.near) if copies.near.any() else None,
        "rmsle_without": _rmsle(scored, ~copies.near) if several else None,
    }


def _sellers(past: Sequence[SoldListing], holdout: Sequence[SoldListing], scored: Scored) -> Measured | None:
    known = {one.seller_hash for one in past} - {None}
    told = np.array([one.seller_hash is not None for one in holdout])
    seen = np.array([one.seller_hash in known for one in holdout])
    if not told.any():
        return None
    sides = {"seen": told & seen, "unseen": told & ~seen}
    return {
        "without": int((~told).sum()),
        **{
            name: {"n": int(rows.sum()), "rmsle": _rmsle(scored, rows) if rows.any() else None}
            for name, rows in sides.items()
        },
    }


def _gap(
    past: Sequence[SoldListing], market: Sequence[Values], scored: Scored, model: PriceModel, seed: int
) -> Measured:
    rows = np.random.default_rng(seed).permutation(len(past))[:SAMPLE].tolist()
    again = score(model, [past[i] for i in rows], [market[i] for i in rows])
    fitted = float(np.sqrt(squared_log_errors(again.sold, again.price).mean()))
    return {
        "fitted": fitted,
        "newer": _rmsle(scored, np.ones(scored.sold.size, dtype=bool)),
        "n": len(rows),
    }


def alarms(measured: Mapping[str, Any], policy: Policy) -> list[Alarm]:
    """What of :func:`measure` is beyond the limits of a policy."""
    found: list[Alarm] = []
    if shared := measured["ids"]["shared"]:
        said = f"{shared} listings of the holdout are also in the past that the model was fitted on"
        found.append(Alarm("ids", "blocking", said))
    if texts := measured.get("texts"):
        found += _text_alarms(texts, policy)
    if looked := measured.get("features"):
        found += _feature_alarms(looked, policy)
    gap = measured["gap"]
    # A model that knows its prices by heart has an error of 0 there; a cent is as good.
    ratio = gap["newer"] / max(gap["fitted"], 1e-4)
    if ratio > policy.gap_warning and gap["newer"] > 0.01:
        said = (
            f"RMSLE is {gap['newer']:.3f} on newer listings and {gap['fitted']:.3f} on {gap['n']:,} that the "
            f"model was fitted on, {ratio:.1f} times less: it learned something there that later is not so"
        )
        found.append(Alarm("gap", "blocking" if ratio > policy.gap_blocking else "warning", said))
    if sellers := measured.get("sellers"):
        found += _seller_alarms(sellers, policy)
    return found


def _text_alarms(texts: Mapping[str, Any], policy: Policy) -> list[Alarm]:
    if texts["share"] <= policy.copies_told:
        return []
    said = (
        f"{texts['near']} of the holdout's texts ({texts['share']:.1%}) are also or nearly in the past, "
        f"{texts['exact']} of them word for word"
    )
    flatter = 0.0
    if texts["rmsle_without"] is not None:
        flatter = texts["rmsle_without"] - texts["rmsle"]
        said += f"; without them RMSLE is {texts['rmsle_without']:.4f} instead of {texts['rmsle']:.4f}"
    if texts["share"] > policy.copies_blocking and flatter > policy.copies_flatter_max:
        return [Alarm("texts", "blocking", said)]
    return [Alarm("texts", "warning" if texts["share"] > policy.copies_warning else "told", said)]


def _feature_alarms(looked: Mapping[str, Any], policy: Policy) -> list[Alarm]:
    found = []
    for best in looked["alone"]:
        others = [f["r2"] for f in looked["alone"] if f["field"] != best["field"]]
        lead = best["r2"] - max(0.0, max(others, default=0.0))
        said = (
            f"the feature {best['name']} alone explains {best['r2']:.0%} of the variance of log prices "
            f"(the whole model {looked['model_r2']:.0%}, the best feature of any other field "
            f"{max(0.0, max(others, default=0.0)):.0%}): too good to be true"
        )
        if best["r2"] >= policy.feature_r2_blocking:
            found.append(Alarm("feature", "blocking", said))
        elif (
            lead > policy.feature_lead_warning
            and best["r2"] > policy.feature_share_warning * looked["model_r2"]
        ):
            found.append(Alarm("feature", "warning", said))
    return found


def _seller_alarms(sellers: Mapping[str, Any], policy: Policy) -> list[Alarm]:
    seen, unseen = sellers["seen"], sellers["unseen"]
    if min(seen["n"], unseen["n"]) < FEWEST:
        return []
    flatter = unseen["rmsle"] - seen["rmsle"]
    if flatter <= policy.seller_flatter_warning:
        return []
    said = (
        f"RMSLE is {seen['rmsle']:.4f} on {seen['n']} listings of sellers that the past knows and "
        f"{unseen['rmsle']:.4f} on {unseen['n']} of others: what a new seller gets is the latter"
    )
    return [Alarm("sellers", "warning", said)]
