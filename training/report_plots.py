"""The plots of the report: each function gives what draws it into a figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from training.evaluate import Scored
from training.report_svg import BLUE, GRID, MIX, PALE, RED, SOFT, dollars, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 800
"""Most listings that a scatter shows."""


def calibration(scored: Scored) -> Callable[[Figure], None]:
    """Nominal and observed shares of the three levels, and coverage by decile of the price."""

    def plot(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.6))
        sold, n = scored.sold, scored.sold.size
        nominal = np.array([0.1, 0.5, 0.9])
        seen = np.array(
            [(sold < scored.low).mean(), (sold < scored.price).mean(), (sold <= scored.high).mean()]
        )
        left.plot([0, 1], [0, 1], color=SOFT, lw=1, ls="--")
        left.errorbar(nominal, seen, yerr=_noise(seen, n), fmt="o", color=BLUE, capsize=3)
        for x, y, word in zip(
            nominal, seen, ("below the range", "below the price", "not above it"), strict=True
        ):
            left.annotate(
                f"{word}\n{y:.0%}", (x, y), xytext=(6, -20), textcoords="offset points", fontsize=7.5
            )
        left.set(
            xlim=(0, 1.15),
            ylim=(-0.02, 1.05),
            title="Sold prices below a level",
            xlabel="meant",
            ylabel="seen",
        )
        percent(left.xaxis, left.yaxis)
        inside = (scored.low <= sold) & (sold <= scored.high)
        parts = _deciles(scored.price)
        share = np.array([inside[rows].mean() for rows in parts])
        at = np.arange(len(parts))
        right.axhspan(0.78, 0.82, color=PALE, alpha=0.5, lw=0)
        right.axhline(0.8, color=SOFT, lw=1, ls="--")
        noise = np.array([_noise(s, rows.size) for s, rows in zip(share, parts, strict=True)])
        right.errorbar(at, share, yerr=noise, fmt="o", color=BLUE, capsize=3)
        right.set_xticks(at, [f"${np.median(scored.price[rows]):,.0f}" for rows in parts])
        low = float(min(0.55, (share - noise).min() - 0.02))
        right.set(
            ylim=(low, 1.0),
            title="Coverage of the 80 % range by price",
            xlabel="predicted price, median of each decile",
        )
        percent(right.yaxis)

    return plot


def predicted(scored: Scored) -> Callable[[Figure], None]:
    """Predicted against sold prices, and how the errors are spread."""

    def plot(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        rows = np.arange(scored.sold.size)[:: max(1, -(-scored.sold.size // POINTS))]
        ends = np.array(
            [min(scored.sold.min(), scored.price.min()), max(scored.sold.max(), scored.price.max())]
        )
        ends = ends * np.array([0.8, 1.25])
        left.fill_between(ends, ends / 1.2, ends / 0.8, color=PALE, alpha=0.5, lw=0, label="within 20 %")
        left.plot(ends, ends, color=SOFT, lw=1, ls="--")
        left.plot(scored.price[rows], scored.sold[rows], ".", ms=3, alpha=0.5, color=BLUE, mew=0)
        left.set(xscale="log", yscale="log", xlim=ends, ylim=ends, title="Sold against predicted price")
        left.set(xlabel="predicted, US dollars", ylabel="sold, US dollars")
        dollars(left.xaxis, left.yaxis)
        left.legend(loc="upper left")
        off = np.log1p(scored.price) - np.log1p(scored.sold)
        bins = np.linspace(-2, 2, 61)
        right.hist(np.clip(off, -2, 2), bins=bins, color=PALE, edgecolor=BLUE, linewidth=0.4)
        right.axvline(0, color=SOFT, lw=1, ls="--")
        middle = float(np.median(off))
        right.axvline(middle, color=RED, lw=1.2, label=f"median {np.expm1(middle):+.1%}")
        ticks = np.log([0.25, 0.5, 1, 2, 4])
        right.set_xticks(ticks, ["a quarter", "half", "exact", "double", "4 times"])
        right.set(title="Predicted over sold price", ylabel="listings")
        right.legend(loc="upper left")

    return plot


def residuals(scored: Scored) -> Callable[[Figure], None]:
    """Where, along the predicted price, the model is too high or too low, and how far off."""

    def plot(figure: Figure) -> None:
        axes = figure.subplots(1, 1)
        off = np.log1p(scored.price) - np.log1p(scored.sold)
        parts = _deciles(scored.price)
        at = np.arange(len(parts))
        tenths = np.array([np.percentile(off[rows], [10, 25, 50, 75, 90]) for rows in parts])
        axes.axhline(0, color=SOFT, lw=1, ls="--")
        axes.vlines(at, tenths[:, 0], tenths[:, 4], color=PALE, lw=3, label="80 % of the listings")
        axes.vlines(at, tenths[:, 1], tenths[:, 3], color=BLUE, lw=7, alpha=0.6, label="half of them")
        axes.plot(at, tenths[:, 2], "o", color=RED, ms=4, label="median")
        axes.set_xticks(at, [f"${np.median(scored.price[rows]):,.0f}" for rows in parts])
        ticks = np.log([0.25, 0.5, 0.8, 1, 1.25, 2, 4])
        axes.set_yticks(ticks, ["¼", "½", "0.8", "exact", "1.25", "2 ×", "4 ×"])
        axes.set(title="Predicted over sold price, by price", xlabel="predicted price, median of each decile")
        axes.set_ylim(min(-1.0, tenths.min() - 0.1), max(1.0, tenths.max() + 0.1))
        axes.legend(loc="upper right", ncols=3)

    return plot


def by_slice(slices: Sequence[Mapping[str, Any]], whole: Mapping[str, float]) -> Callable[[Figure], None]:
    """RMSLE and coverage of each slice with its interval; thin ones grey."""
    shown = [part for part in slices if part["by"] != "sold price"]

    def plot(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        at = -np.arange(len(shown), dtype=np.float64)
        groups = list(dict.fromkeys(part["by"] for part in shown))
        at -= np.array([groups.index(part["by"]) * 0.8 for part in shown])
        for axes, key, title in (
            (left, "rmsle", "RMSLE"),
            (right, "coverage_80", "Coverage of the 80 % range"),
        ):
            axes.axvline(whole[key], color=SOFT, lw=1, ls="--")
            if key == "coverage_80":
                axes.axvspan(0.72, 0.88, color=PALE, alpha=0.3, lw=0)
            for y, part in zip(at, shown, strict=True):
                low, high = part["intervals"][key]
                color = BLUE if part["judged"] else "#b8c2cc"
                axes.plot([low, high], [y, y], color=color, lw=2, alpha=0.6, solid_capstyle="round")
                axes.plot([part[key]], [y], "o", color=color, ms=5)
            axes.set_title(title)
        words = [f"{str(part['value']).replace('_', ' ')}  ({part['n']:,})" for part in shown]
        left.set_yticks(at, words)
        left.tick_params(axis="y", length=0)
        for group in groups:
            first = max(y for y, part in zip(at, shown, strict=True) if part["by"] == group)
            left.text(
                0.0,
                first + 0.55,
                group,
                transform=left.get_yaxis_transform(),
                fontsize=8,
                color=SOFT,
                fontstyle="italic",
            )
        left.set_ylim(at.min() - 0.8, 1.2)
        left.set_xlim(left=0)
        right.set_xlim(right=1.0)
        percent(right.xaxis)

    return plot


def through_time(
    folds: Sequence[Mapping[str, Any]], learning: Sequence[Mapping[str, Any]]
) -> Callable[[Figure], None]:
    """Walk-forward folds beside the median, and the learning curve."""

    def plot(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        at = np.arange(len(folds))
        left.bar(at - 0.2, [f["median_rmsle"] for f in folds], 0.38, color=GRID, label="median price")
        left.bar(at + 0.2, [f["rmsle"] for f in folds], 0.38, color=BLUE, label="model")
        for x, fold in zip(at, folds, strict=True):
            ratio = f"{fold['rmsle'] / fold['median_rmsle']:.2f}" if fold["median_rmsle"] else "–"
            left.annotate(
                ratio,
                (x + 0.2, fold["rmsle"]),
                ha="center",
                xytext=(0, 3),
                textcoords="offset points",
                fontsize=8,
            )
        left.set_xticks(at, [f"{f['from'][:7]}\non {f['fitted_on']:,}" for f in folds])
        left.set(title="Walking forward: RMSLE, and its ratio")
        left.set_ylim(top=1.2 * max(f["median_rmsle"] for f in folds) + 0.01)
        left.legend(loc="upper left", ncols=2)
        left.grid(axis="x", visible=False)
        right.plot([f["fitted_on"] for f in learning], [f["rmsle"] for f in learning], "o-", color=BLUE)
        right.set(title="Learning curve: RMSLE on the newest window", xlabel="oldest listings fitted on")
        right.set_xlim(left=0)

    return plot


def search(trials: Sequence[Mapping[str, Any]]) -> Callable[[Figure], None]:
    """Score of each trial and the best so far, and the score up to each rung."""

    def plot(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        done = [t for t in trials if t["score"] is not None]
        for trial in done:
            full = trial["state"] == "complete"
            left.plot(
                [trial["number"]], [trial["score"]], "o", color=BLUE, mfc=BLUE if full else "white", ms=5
            )
            rungs = sorted((int(k), v) for k, v in trial["rungs"].items())
            if rungs:
                right.plot(
                    [k for k, _ in rungs],
                    [v for _, v in rungs],
                    "o-",
                    color=BLUE if full else PALE,
                    ms=3,
                    lw=1,
                )
        numbers = [t["number"] for t in done]
        left.plot(
            numbers,
            np.minimum.accumulate([t["score"] for t in done]),
            color=RED,
            lw=1.2,
            drawstyle="steps-post",
            label="best so far",
        )
        left.set(title="Search: validation RMSLE by trial", xlabel="trial (hollow: stopped early)")
        left.xaxis.get_major_locator().set_params(integer=True)
        left.legend(loc="upper right")
        right.set(title="Best score up to each rung", xlabel="iterations")

    return plot


def drift(months: Sequence[Mapping[str, Any]]) -> Callable[[Figure], None]:
    """Price level, mix of categories and share of new designers by month of listing."""

    def plot(figure: Figure) -> None:
        price, mix, fresh = figure.subplots(1, 3)
        at = np.arange(len(months))
        price.fill_between(
            at, [m["p25"] for m in months], [m["p75"] for m in months], color=PALE, alpha=0.6, lw=0
        )
        price.plot(at, [m["median"] for m in months], "o-", ms=3, color=BLUE)
        price.set(title="Sold price", ylim=(0, None))
        dollars(price.yaxis)
        totals: dict[str, float] = {}
        for month in months:
            for name, share in month["categories"].items():
                totals[name] = totals.get(name, 0.0) + share
        names = sorted(totals, key=lambda name: (-totals[name], name))[: len(MIX) - 1]
        below = np.zeros(len(months))
        for name, color in zip(names, MIX, strict=False):
            share = np.array([m["categories"].get(name, 0.0) for m in months])
            mix.bar(at, share, 0.9, bottom=below, color=color, label=name)
            below += share
        mix.set(title="Categories", ylim=(0, 1))
        mix.grid(visible=False)
        mix.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.14),
            ncols=3,
            fontsize=7,
            handlelength=1,
            columnspacing=1,
        )
        fresh.bar(at, [m["new_designers"] for m in months], 0.9, color=BLUE)
        fresh.set(title="Listings of new designers", ylim=(0, None))
        percent(mix.yaxis, fresh.yaxis)
        for axes in (price, mix, fresh):
            step = max(1, -(-len(months) // 5))
            axes.set_xticks(
                at[::step], [m["month"][2:].replace("-", "/") for m in months][::step], fontsize=7.5
            )

    return plot


def importance(fields: Sequence[Mapping[str, Any]]) -> Callable[[Figure], None]:
    """The mean absolute effect of each field in US dollars."""

    def plot(figure: Figure) -> None:
        axes = figure.subplots(1, 1)
        at = -np.arange(len(fields))
        axes.barh(at, [f["effect_usd"] for f in fields], color=BLUE, height=0.7)
        for y, field in zip(at, fields, strict=True):
            axes.annotate(
                f"${field['effect_usd']:,.2f}",
                (field["effect_usd"], y),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        axes.set_yticks(at, [str(f["field"]).replace("_", " ") for f in fields])
        axes.set(title="How much each field moves a price, on average")
        axes.grid(axis="y", visible=False)
        axes.set_xlim(right=1.12 * max(0.01, *(f["effect_usd"] for f in fields)))
        dollars(axes.xaxis)

    return plot


def dependence(lines: Mapping[str, Sequence[Mapping[str, Any]]]) -> Callable[[Figure], None]:
    """The typical price by one field alone, one panel each."""
    titles = {"condition": "Condition", "photo_count": "Photos", "description": "Words of description"}

    def plot(figure: Figure) -> None:
        axes = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.3))
        for one, (name, title) in zip(axes, titles.items(), strict=False):
            values, prices = [v["value"] for v in lines[name]], [v["price"] for v in lines[name]]
            if name == "condition":
                at = np.arange(len(values))
                one.plot(at, prices, "o-", color=BLUE, ms=4)
                one.set_xticks(at, [v.replace("_", "\n") for v in values], fontsize=7.5)
                one.set_xlim(-0.4, len(values) - 0.6)
            else:
                one.plot(values, prices, "o-", color=BLUE, ms=4)
            one.set(title=title, ylim=(0, 1.15 * max(prices)))
            dollars(one.yaxis)
        last, found = axes[3], lines["category"]
        at = -np.arange(len(found))
        last.barh(at, [v["price"] for v in found], color=BLUE, height=0.7)
        last.set_yticks(at, [v["value"].rpartition(".")[2].replace("_", " ") for v in found], fontsize=7.5)
        last.set_title("Category")
        last.grid(axis="y", visible=False)
        dollars(last.xaxis)

    return plot


def _noise(share: Any, n: int) -> Any:
    """95 % of a share's chance among n."""
    return 1.96 * np.sqrt(share * (1 - share) / max(1, n))


def _deciles(values: Any) -> list[Any]:
    """Row numbers in ten parts of equal size by value; fewer where there are few rows."""
    order = np.argsort(values, kind="stable")
    return [part for part in np.array_split(order, min(10, order.size)) if part.size]
