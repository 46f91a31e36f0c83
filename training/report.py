"""The report of a run: one HTML page that needs nothing but itself.

Made from the run's files alone (:class:`Content`), so that the same run gives the same page. Times of
this machine are left out of it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from training import report_plots as plots
from training.evaluate import Scored
from training.forward import mean_ratio
from training.leakage import Measured
from training.report_svg import WIDE, draw

STYLE = """
:root{color-scheme:light}
body{font:15px/1.55 system-ui,"DejaVu Sans",sans-serif;margin:2rem auto 4rem;max-width:60rem;padding:0 1.2rem;
color:#1f2933;background:#fff}
h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:2.4rem 0 .4rem;padding-top:.8rem;
border-top:1px solid #e4e7eb}
p{margin:.4rem 0;max-width:48rem}.soft{color:#616e7c}small{color:#616e7c}
.tiles{display:flex;flex-wrap:wrap;gap:.8rem;margin:1.2rem 0}
.tile{flex:1 1 6.2rem;border:1px solid #e4e7eb;border-radius:.5rem;padding:.6rem .9rem}
.tile b{display:block;font-size:1.45rem;line-height:1.3;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}
table{border-collapse:collapse;margin:.6rem 0;font-size:.88rem}
td.w{white-space:nowrap}
td,th{padding:.28rem .7rem;border-bottom:1px solid #e4e7eb;text-align:left;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tr.thin td{color:#9aa5b1}
ul.checks{list-style:none;padding:0;margin:.6rem 0}
ul.checks li{padding:.18rem 0 .18rem 1.6rem;text-indent:-1.6rem}
.yes{color:#2c7a4b}.no{color:#a83a25}.mark{display:inline-block;width:1.6rem;text-indent:0;font-weight:bold}
.alarm{border-left:.3rem solid #9aa5b1;padding:.3rem .8rem;margin:.5rem 0;background:#f5f7fa}
.alarm.warning{border-color:#d9952b}.alarm.blocking{border-color:#a83a25}
svg{display:block;width:100%;height:auto;margin:.5rem 0}
"""

_SHORT = 24
"""Characters that are not broken into lines in a table."""

_NUMBER = re.compile(r"[-+]?\$?[0-9][0-9,.]*(e[-+][0-9]+)?%?")

FIGURES = (
    ("rmsle", "RMSLE", "root mean squared error of log1p of the price", "{:.4f}"),
    ("wape", "WAPE", "sum of absolute errors over sum of sold prices", "{:.1%}"),
    ("mdape", "median absolute error", "half of the prices are closer", "{:.1%}"),
    ("within_20", "within 20 %", "share of prices within 20 % of the sold price", "{:.1%}"),
    ("bias", "bias", "sum of errors over sum of sold prices; below 0: too low", "{:+.1%}"),
    ("coverage_80", "80 % range holds", "share of sold prices inside the range", "{:.1%}"),
    ("width_80", "its width", "mean of high less low, over the price", "{:.2f}"),
)


@dataclass(frozen=True)
class Content:
    """What a run left. `evaluation`: of :func:`training.assess.assess`. `release`: with the verdict.

    `recipes`: rows of one table, where the run compared several.
    """

    run_id: str
    evaluation: Mapping[str, Any]
    scored: Scored
    trials: Sequence[Mapping[str, Any]] = ()
    release: Mapping[str, Any] = field(default_factory=dict)
    recipes: Sequence[Mapping[str, Any]] = ()


def render(content: Content) -> str:
    """The page."""
    sections = [
        _head(content),
        _verdict(content.release),
        _leakage(content.release.get("verdict", {}).get("alarms", ()), content.evaluation["leakage"]),
        _figures(content.evaluation),
        *_plots(content),
        _slices(content.evaluation["slices"]),
        _against(content.release.get("verdict", {}).get("slices", ())),
        _recipes(content.recipes),
    ]
    title = html.escape(f"Model of run {content.run_id}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )


def table(names: Sequence[str], rows: Iterable[Sequence[Any]], styles: Sequence[str] = ()) -> str:
    """An HTML table; numbers stand right. `styles`: a class a row."""
    cells = [[(v, _NUMBER.fullmatch(plain(v)) is not None) for v in row] for row in rows]
    right = [
        bool(cells) and all(row[i][1] or row[i][0] in (None, "") for row in cells) for i in range(len(names))
    ]
    head = "".join(f"<th{_n(r)}>{html.escape(name)}</th>" for name, r in zip(names, right, strict=True))
    body = "".join(
        f"<tr{_style(styles, i)}>"
        + "".join(f"<td{_n(number, plain(value))}>{html.escape(plain(value))}</td>" for value, number in row)
        + "</tr>"
        for i, row in enumerate(cells)
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def plain(value: Any) -> str:
    """A value for a cell."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _n(number: bool, text: str = "") -> str:
    if number:
        return ' class="n"'
    return ' class="w"' if len(text) < _SHORT else ""


def _style(styles: Sequence[str], i: int) -> str:
    return f' class="{styles[i]}"' if styles and styles[i] else ""


def _head(content: Content) -> str:
    held = content.evaluation["holdout"]
    ratio = held["rmsle"] / held["median_rmsle"] if held["median_rmsle"] else None
    folds = mean_ratio(content.evaluation["folds"])
    tiles = [
        (f"{held['rmsle']:.4f}", "RMSLE"),
        ("–" if ratio is None else f"{ratio:.3f}", "of the median's"),
        *([(f"{folds:.3f}", f"the same over {len(content.evaluation['folds'])} folds")] if folds else []),
        (f"{held['wape']:.1%}", "WAPE"),
        (f"{held['within_20']:.1%}", "within 20 %"),
        (f"{held['coverage_80']:.1%}", "in the 80 % range"),
    ]
    boxes = "".join(f'<div class="tile"><b>{value}</b><small>{word}</small></div>' for value, word in tiles)
    version = html.escape(str(content.evaluation["version"]))
    return (
        f"<h1>Model {version}</h1><p class='soft'>Run {html.escape(content.run_id)}. Judged on the newest "
        f"{held['n']:,} listings, which neither the search nor the fit had seen; the model that is served "
        f"was fitted again on all of them.</p><div class='tiles'>{boxes}</div>"
    )


def _verdict(release: Mapping[str, Any]) -> str:
    if not release:
        return ""
    verdict = release["verdict"]
    word, style = ("promoted to champion", "yes") if release["promoted"] else ("not promoted", "no")
    checks = [(check["passed"], check["said"]) for check in verdict.get("checks", ())]
    said = {text for _, text in checks}
    rest = [str(reason) for reason in verdict.get("reasons", ()) if reason not in said]
    items = [
        f'<li><span class="mark {"yes" if passed else "no"}">{"✔" if passed else "✘"}</span>'
        f"{html.escape(text)}</li>"
        for passed, text in checks
    ]
    items += [f'<li><span class="mark soft">→</span>{html.escape(text)}</li>' for text in rest]
    policy = html.escape(str(verdict.get("policy", "default")))
    return (
        f'<h2>The gate: <span class="{style}">{word}</span></h2>'
        f"<p class='soft'>By the policy “{policy}”.</p><ul class='checks'>{''.join(items)}</ul>"
    )


def _leakage(alarms: Sequence[Mapping[str, Any]], measured: Measured) -> str:
    raised = "".join(
        f'<div class="alarm {html.escape(a["level"])}"><b>{html.escape(a["level"])}</b> '
        f"{html.escape(a['said'])}</div>"
        for a in alarms
    )
    said = raised or "<p>No alarm.</p>"
    gap, sellers = measured["gap"], measured["sellers"]
    looked = [
        f"RMSLE on listings that it was fitted on {gap['fitted']:.4f}, on newer ones {gap['newer']:.4f}"
    ]
    if texts := measured["texts"]:
        looked.append(f"{texts['near']} of {texts['compared']:,} texts are also or nearly in the past")
    if sellers and sellers["seen"]["n"] and sellers["unseen"]["n"]:
        looked.append(
            f"RMSLE {sellers['seen']['rmsle']:.4f} on {sellers['seen']['n']:,} listings of sellers that the "
            f"past knows, {sellers['unseen']['rmsle']:.4f} on {sellers['unseen']['n']:,} of others"
        )
    if measured["features"] and (alone := measured["features"]["alone"]):
        looked.append(
            f"the strongest feature alone, {alone[0]['name']}, explains {alone[0]['r2']:.0%} of the variance "
            f"of log prices, the model {measured['features']['model_r2']:.0%}"
        )
    return f"<h2>Leakage</h2>{said}<p class='soft'>Looked at: {html.escape('; '.join(looked))}.</p>"


def _figures(evaluation: Mapping[str, Any]) -> str:
    held, rows = evaluation["holdout"], []
    for key, label, meaning, form in FIGURES:
        low, high = evaluation["intervals"][key]
        base = [held.get(f"{other}_{key}") for other in ("median", "designer_category")]
        others = ["" if value is None else form.format(value) for value in base]
        rows.append(
            (label, form.format(held[key]), f"{form.format(low)} to {form.format(high)}", *others, meaning)
        )
    names = ("figure", "model", "95 % interval", "median", "designer × category", "meaning")
    return f"<h2>Figures</h2>{table(names, rows)}"


def _plots(content: Content) -> list[str]:
    evaluation, scored = content.evaluation, content.scored
    shown = [part for part in evaluation["slices"] if part["by"] != "sold price"]
    found = [
        _plot("Does the range mean what it says?", "calibration", plots.calibration(scored),
              "Bars: 95 % of chance with so many listings. The band on the right is the goal, 78 to 82 %."),
        _plot("Errors", "predicted", plots.predicted(scored), ""),
        _plot("", "residuals", plots.residuals(scored), ""),
        _plot("Error by slice", "slices", plots.by_slice(evaluation["slices"], evaluation["holdout"]),
              "In brackets the listings. Grey: fewer than the policy judges. Price bands are of the "
              "predicted price: by the sold price alone any model looks bad at both ends, since listings are "
              "then chosen by their luck.", (8.6, 1.2 + 0.27 * len(shown))),
    ]  # fmt: skip
    if evaluation["folds"]:
        found.append(
            _plot("Through time", "folds", plots.through_time(evaluation["folds"], evaluation["learning"]),
                  "Left: the recipe fitted on all before a month and judged on what came next. Right: fitted "
                  "on the oldest listings only, so the left end of the curve is also the stalest.")
        )  # fmt: skip
    if any(trial["score"] is not None for trial in content.trials):
        found.append(_plot("Search", "search", plots.search(content.trials), ""))
    found.append(
        _plot("What moves a price", "importance", plots.importance(evaluation["importance"]),
              f"Mean absolute effect, against the typical price of ${evaluation['base_price']:,.0f}.",
              (8.6, 2.8))
    )  # fmt: skip
    found.append(
        _plot("", "dependence", plots.dependence(evaluation["dependence"]),
              "The typical price, had every listing this value of that one field.", (8.6, 2.6))
    )  # fmt: skip
    if len(evaluation["drift"]) > 1:
        found.append(
            _plot("How the listings change", "drift", plots.drift(evaluation["drift"]),
                  "By month of listing. Left: median and middle half. Right: share of listings none of whose "
                  "designers was listed before.", (8.6, 2.9))
        )  # fmt: skip
    return found


def _plot(
    title: str, name: str, plot: Callable[[Any], None], caption: str, size: tuple[float, float] = WIDE
) -> str:
    head = f"<h2>{html.escape(title)}</h2>" if title else ""
    said = f"<p class='soft'>{html.escape(caption)}</p>" if caption else ""
    return f"{head}{draw(name, plot, size)}{said}"


def _slices(slices: Sequence[Mapping[str, Any]]) -> str:
    names = ("by", "slice", "listings", "RMSLE", "95 % interval", "WAPE", "bias", "80 % range holds", "width")
    rows = [
        (part["by"], str(part["value"]).replace("_", " "), part["n"], f"{part['rmsle']:.3f}",
         "{:.3f} to {:.3f}".format(*part["intervals"]["rmsle"]), f"{part['wape']:.1%}",
         f"{part['bias']:+.1%}", f"{part['coverage_80']:.1%}", f"{part['width_80']:.2f}")
        for part in slices
    ]  # fmt: skip
    styles = ["" if part["judged"] else "thin" for part in slices]
    return f"<h2>Slices</h2>{table(names, rows, styles)}<p class='soft'>Grey: shown, never judged.</p>"


def _against(slices: Sequence[Mapping[str, Any]]) -> str:
    if not slices:
        return ""
    names = ("by", "slice", "listings", "gain in RMSLE", "95 % interval")
    rows = [
        (part["by"], str(part["value"]).replace("_", " "), part["n"], f"{part['gain']:+.4f}",
         "{:+.4f} to {:+.4f}".format(*part["interval"]))
        for part in slices
    ]  # fmt: skip
    styles = ["" if part["judged"] else "thin" for part in slices]
    return f"<h2>Against the champion, by slice</h2>{table(names, rows, styles)}"


def _recipes(recipes: Sequence[Mapping[str, Any]]) -> str:
    if not recipes:
        return ""
    names = [k for k, v in recipes[0].items() if not isinstance(v, dict | list)]
    return f"<h2>Recipes</h2>{table(names, ([r.get(name) for name in names] for r in recipes))}"
