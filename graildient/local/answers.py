"""What the command line does to answer with prices and figures, and how it shows them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from graildient.errors import InvalidListing, NotEnoughData, StorageError
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
        "base_price": model.base_price,
        "reasons": [{"field": r.field, "value": r.value, "effect_usd": r.effect_usd} for r in reasons],
    }


def predict_remote(url: str, given: dict[str, Any]) -> dict[str, Any]:
    """Ask a running server over REST."""
    from serving.client import ask_rest

    return ask_rest(url, given)


def show_price(given: dict[str, Any], answer: dict[str, Any], console: Console) -> None:
    """The answer for a person."""
    from graildient.pricing.model import Reason
    from graildient.pricing.words import sentences

    console.print(f"[bold]{given.get('title', '')}[/bold]", highlight=False)
    price, low, high = (float(answer[k]) for k in ("price", "low", "high"))
    console.print(
        f"  [bold green]${price:,.2f}[/bold green]   80 % range ${low:,.2f} to ${high:,.2f}", highlight=False
    )
    reasons = [Reason(**reason) for reason in answer.get("reasons", ())]
    for reason, said in list(zip(reasons, sentences(reasons), strict=True))[:6]:
        console.print(
            f"  {said}", style="green" if reason.effect_usd >= 0 else "red", highlight=False, markup=False
        )
    if "base_price" in answer:
        console.print(f"  [dim]a typical listing: ${float(answer['base_price']):,.2f}[/dim]", highlight=False)
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
    """Figures that a model's manifest records of its untouched newest listings.

    With `intervals`, `slices` and more where the run that made it is still there.
    """
    from graildient.pricing.registry import Registry

    registry = Registry(storage)
    manifest = registry.manifest(registry.resolve(ref))
    figures = manifest.metrics.get("holdout")
    if not isinstance(figures, dict):
        raise NotEnoughData(f"model {manifest.version} records no held-out figures")
    share = manifest.settings.get("holdout_share", 0.2)
    where = f"its newest {share:.0%} by listing time, before the final fit"
    found = {"on": where, "model_version": manifest.version} | figures
    if run := run_of(storage, manifest.version):
        evaluation = json.loads(storage.read_bytes(f"{run}/evaluation.json"))
        found |= {key: evaluation[key] for key in ("intervals", "slices", "folds") if key in evaluation}
    return found


def run_of(storage: Storage, version: str) -> str | None:
    """The folder of the run whose gate judged a version, relative to the root, or None if it is gone."""
    from graildient.pricing.registry import Registry

    run_id = Registry(storage).notes(version).get("gate", {}).get("run_id")
    run = f"runs/{run_id}"
    return run if run_id and storage.exists(f"{run}/evaluation.json") else None


def report_of(storage: Storage, version: str) -> str:
    """Where the report of a version's run lies.

    Raises:
        StorageError: it is not there.
    """
    run = run_of(storage, version)
    if run is None or not storage.exists(f"{run}/report.html"):
        raise StorageError(
            f"there is no report of {version}: the run that made it left none, or is gone",
            hint="a new run makes one: `graildient pipeline run`",
        )
    return storage.url(f"{run}/report.html")


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


def show_slices(figures: dict[str, Any], console: Console) -> None:
    """Figures by slice; those that are too thin to be judged are dim.

    Raises:
        NotEnoughData: none were measured.
    """
    if not figures.get("slices"):
        raise NotEnoughData(
            f"no slices are known of model {figures.get('model_version', '?')}: its run left none or is gone",
            hint="`graildient evaluate FILE --slices` measures them on a file of sold listings",
        )
    # No lines between columns: it fits into 80 characters.
    table = Table(box=None, pad_edge=False)
    for column in ("slice", "n", "RMSLE", "95 % of it", "WAPE", "bias", "holds"):
        table.add_column(column, justify="left" if column == "slice" else "right", no_wrap=True)
    last = None
    for part in figures["slices"]:
        if part["by"] != last:
            table.add_row(f"[bold]{part['by']}[/bold]")
        low, high = part["intervals"]["rmsle"]
        table.add_row(
            f"  {str(part['value']).replace('_', ' ')}",
            f"{part['n']:,}",
            f"{part['rmsle']:.3f}",
            f"{low:.3f}-{high:.3f}",
            f"{part['wape']:.1%}",
            f"{part['bias']:+.1%}",
            f"{part['coverage_80']:.1%}",
            style=None if part["judged"] else "dim",
        )
        last = part["by"]
    console.print(table)
    console.print(
        "price: bands of the predicted price. By the sold price, listings are chosen by their luck.\n"
        "holds: share of sold prices inside the 80 % range. Dim: shown, never judged.",
        highlight=False,
    )


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
