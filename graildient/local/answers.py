"""What the command line does to answer with prices and figures, and how it shows them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from graildient.errors import InvalidListing, NotEnoughData
from graildient.settings import FeatureSettings
from graildient.storage import Storage


def read_json_listing(source: str) -> dict[str, Any]:
    """A listing as a JSON object from a file or, for `-`, from stdin. Raises InvalidListing."""
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        loaded = json.loads(text)
    except (OSError, ValueError) as error:
        raise InvalidListing(f"cannot read a listing from {source}: {error}") from None
    if not isinstance(loaded, dict):
        raise InvalidListing(f"{source}: expected one JSON object, got {type(loaded).__name__}")
    return loaded


def predict_here(storage: Storage, settings: FeatureSettings, given: dict[str, Any]) -> dict[str, Any]:
    """Price with the registry's champion in this process, with reasons."""
    from feature_repo.online import OnlineMarket
    from graildient.parsing import to_listing
    from graildient.pricing.model import PriceModel
    from graildient.pricing.registry import Registry

    listing = to_listing(given)
    model = PriceModel.load(Registry(storage).fetch("champion"))
    lookup = OnlineMarket(storage, settings).lookup([listing])
    prices = model.predict([listing], lookup.rows)
    reasons = model.explain([listing], lookup.rows)[0]
    return {
        "price": float(prices.price[0]),
        "low": float(prices.low[0]),
        "high": float(prices.high[0]),
        "model_version": model.manifest.version,
        "as_of": lookup.as_of.isoformat(),
        "warnings": list(prices.warnings[0]),
        "reasons": [{"field": r.field, "value": r.value, "effect_usd": r.effect_usd} for r in reasons],
    }


def predict_remote(url: str, given: dict[str, Any]) -> dict[str, Any]:
    """Ask a running server over REST."""
    from serving.client import ask_rest

    return ask_rest(url, given)


def show_price(given: dict[str, Any], answer: dict[str, Any], console: Console) -> None:
    """The answer for a person."""
    console.print(f"[bold]{given.get('title', '')}[/bold]", highlight=False)
    price, low, high = (float(answer[k]) for k in ("price", "low", "high"))
    console.print(
        f"  [bold green]${price:,.2f}[/bold green]   80 % range ${low:,.2f} to ${high:,.2f}", highlight=False
    )
    for reason in answer.get("reasons", ())[:6]:
        value = "" if reason["value"] in (None, "") else f" ({str(reason['value'])[:40]})"
        effect = float(reason["effect_usd"])
        sign, style = ("+", "green") if effect >= 0 else ("−", "red")
        console.print(
            f"  [{style}]{sign}${abs(effect):>8,.2f}[/{style}]  {reason['field']}{value}", highlight=False
        )
    for warning in answer.get("warnings", ()):
        console.print(f"  [yellow]note[/yellow] {warning}", highlight=False)
    console.print(f"  [dim]model {answer['model_version']}, as of {answer['as_of']}[/dim]", highlight=False)


def evaluate_on(file: Path, storage: Storage, settings: FeatureSettings, ref: str) -> dict[str, Any]:
    """Figures of a model on a file of sold listings."""
    from graildient.progress import bar
    from training.evaluate_file import evaluate_file

    with bar("evaluate") as show:
        figures = evaluate_file(file, storage, settings, ref=ref, report=show)
    return {"on": str(file.name)} | figures


def evaluate_champion(storage: Storage, ref: str) -> dict[str, Any]:
    """Figures that a model's manifest records of its untouched newest listings."""
    from graildient.pricing.registry import Registry

    registry = Registry(storage)
    manifest = registry.manifest(registry.resolve(ref))
    figures = manifest.metrics.get("holdout")
    if not isinstance(figures, dict):
        raise NotEnoughData(f"model {manifest.version} records no held-out figures")
    share = manifest.settings.get("holdout_share", 0.2)
    where = f"its newest {share:.0%} by listing time, before the final fit"
    return {"on": where, "model_version": manifest.version} | figures


_ROWS = (
    ("RMSLE", "rmsle", "median_rmsle", "{:.4f}"),
    ("WAPE", "wape", "median_wape", "{:.1%}"),
    ("median absolute error", "mdape", "median_mdape", "{:.1%}"),
    ("within 20 %", "within_20", "median_within_20", "{:.1%}"),
    ("bias", "bias", "median_bias", "{:+.1%}"),
)


def show_figures(figures: dict[str, Any], console: Console) -> None:
    """Error figures beside the median's."""
    title = f"model {figures.get('model_version', '?')} on {figures['on']}: {figures['n']:,} listings"
    console.print(title, highlight=False, soft_wrap=True)
    table = Table()
    for column in ("", "model", "median", "ratio"):
        table.add_column(column, justify="left" if not column else "right")
    for label, key, base, form in _ROWS:
        if key not in figures:
            continue
        mine, other = figures[key], figures.get(base)
        ratio = f"{mine / other:.3f}" if other and key in ("rmsle", "wape") else ""
        table.add_row(label, form.format(mine), form.format(other) if other is not None else "", ratio)
    table.add_row("80 % range holds", f"{figures['coverage_80']:.1%}", "", "")
    table.add_row("its width", f"{figures['width_80']:.2f}", "", "")
    console.print(table)
    if figures.get("left_out"):
        console.print(
            f"{figures['left_out']:,} listings left out: the model was trained on them", highlight=False
        )
    for cause, count in sorted(figures.get("rejected", {}).items()):
        console.print(f"{count:,} rows refused: {cause}", highlight=False)


def list_models(storage: Storage, console: Console) -> None:
    """Versions, newest last, with their held-out error."""
    from graildient.pricing.registry import Registry

    registry = Registry(storage)
    aliases = {alias: registry.alias(alias) for alias in ("champion", "challenger")}
    table = Table()
    for column in ("version", "alias", "rows", "until", "RMSLE", "median's", "80 % holds"):
        left = column in ("version", "alias")
        table.add_column(column, justify="left" if left else "right", no_wrap=left)
    for version in registry.versions():
        manifest = registry.manifest(version)
        held = manifest.metrics.get("holdout", {})
        table.add_row(
            version,
            ", ".join(a for a, v in aliases.items() if v == version),
            f"{manifest.rows:,}",
            f"{manifest.training_until:%Y-%m-%d}",
            *(f"{held[k]:.4f}" if k in held else "" for k in ("rmsle", "median_rmsle")),
            f"{held['coverage_80']:.1%}" if "coverage_80" in held else "",
        )
    console.print(table)
    if not registry.versions():
        console.print("no model yet: run `graildient up` or `graildient train`", highlight=False)
