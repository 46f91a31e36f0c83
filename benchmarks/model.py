"""`make bench-model`: every recipe on the same real listings, and how often the range of the last one holds.

    python -m benchmarks.model [--listings FILE] [--recipe NAME ...]

Splits: four walk-forward folds (train on all before, test on the next tenth by listing id, from 60 % on),
the newest 20 %, and a random 20 % (told because others publish it: it flatters). A figure is a ratio to the
median's on the same rows. Times are of one fit on the oldest 80 %.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import track

from benchmarks.report import REAL, Figure, publish, told
from feature_repo.build import build_features
from feature_repo.training_set import build_training_set
from graildient.lake import Lake
from graildient.listing import SoldListing
from graildient.listing_files import read_listings
from graildient.settings import FeatureSettings, TrainingSettings
from graildient.storage import Storage
from training.dataset import Dataset, load_dataset
from training.evaluate import errors, range_figures, score
from training.fit import ITERATIONS, Material
from training.recipe import fit_recipe, load_recipe, names
from training.slices import MIN_ROWS, SOLD, designer_counts, slices
from training.split import Split, forward_folds, split
from training.train import THREADS, fit_candidate

Floats = npt.NDArray[np.float64]

SEED = 7
RANDOM_SHARE = 0.2
GOALS = {"forward folds": 0.53, "newest 20 %": 0.50, "random 20 %": 0.48}
COVERAGE, SLICE_COVERAGE = (0.78, 0.82), (0.72, 0.88)
FIT_SECONDS = 60.0


def training_rows(path: Path) -> Dataset:
    """The file's sales beside the market as of each listing, as the pipeline makes them."""
    with tempfile.TemporaryDirectory(prefix="bench-model-") as folder:
        storage, settings = Storage(folder), FeatureSettings(clock="history")
        Lake(storage).append(
            read.listing for read in read_listings(path, sold=True) if isinstance(read.listing, SoldListing)
        )
        build_features(storage, settings)
        return load_dataset(storage, build_training_set(storage, settings, "training_set.parquet"))


def shuffled(dataset: Dataset) -> tuple[Dataset, int]:
    """The same rows with a random fifth moved to the end, and where that begins."""
    order = np.random.default_rng(SEED).permutation(len(dataset))
    cut = len(dataset) - round(len(dataset) * RANDOM_SHARE)
    rows = [*sorted(order[:cut].tolist()), *sorted(order[cut:].tolist())]
    return Dataset(
        [dataset.listings[i] for i in rows], [dataset.market[i] for i in rows], "random", dataset.as_of
    ), cut


def in_range(figure: str, value: float, bounds: tuple[float, float], rows: int) -> Figure:
    """A coverage that must lie between two bounds, beside the 80 % that it is said to be."""
    low, high = bounds
    return Figure(
        f"{figure} ({rows:,} rows)",
        "share",
        round(value, 4),
        "what it says",
        0.8,
        round(value / 0.8, 4),
        f"{low} to {high}",
        low <= value <= high,
    )


def compare(dataset: Dataset, wanted: Sequence[str]) -> list[Figure]:
    """Every recipe's errors by split."""
    past = split(len(dataset), TrainingSettings()).past
    mixed, mixed_cut = shuffled(dataset)
    ordered = Material.of(dataset.listings, dataset.market)
    random = Material.of(mixed.listings, mixed.market)
    splits = [("forward folds", ordered, cut, end) for cut, end in forward_folds(len(dataset))]
    splits += [("newest 20 %", ordered, past, len(dataset)), ("random 20 %", random, mixed_cut, len(mixed))]
    found: dict[tuple[str, str, str], list[float]] = {}
    seconds: dict[str, float] = {}
    work = [(name, *one) for one in splits for name in wanted]
    for name, label, material, cut, end in track(work, "Fitting recipes"):
        sold = np.expm1(material.y[cut:end])
        median = errors(
            sold, np.expm1(fit_recipe(load_recipe("median"), material, cut, SEED, 1).predict(cut, end))
        )
        started = time.perf_counter()
        fitted = fit_recipe(load_recipe(name), material, cut, SEED, THREADS)
        if label == "newest 20 %":
            seconds[name] = time.perf_counter() - started
        mine = errors(sold, np.expm1(fitted.predict(cut, end)))
        for figure in ("rmsle", "wape"):
            found.setdefault((name, label, figure), []).append(mine[figure])
            found.setdefault(("median of " + name, label, figure), []).append(median[figure])
    rows = []
    for name in wanted:
        for label, goal in GOALS.items():
            for figure in ("rmsle", "wape"):
                mine_, theirs = found[name, label, figure], found["median of " + name, label, figure]
                ratio = statistics.mean(a / b for a, b in zip(mine_, theirs, strict=True))
                judged = figure == "rmsle" and name == wanted[-1]
                rows.append(
                    Figure(
                        f"{name}, {label}: {figure.upper()}",
                        "log1p $" if figure == "rmsle" else "share",
                        round(statistics.mean(mine_), 4),
                        "median",
                        round(statistics.mean(theirs), 4),
                        round(ratio, 4),
                        f"ratio <= {goal}" if judged else "told",
                        not judged or ratio <= goal,
                    )
                )
    rows += [told(f"{name}: fit", "s", seconds[name], FIT_SECONDS, "the budget") for name in wanted]
    return rows


def served(dataset: Dataset) -> list[Figure]:
    """Coverage of the served model's range on the newest 20 %, its size, and the time of its fit."""
    settings = TrainingSettings()
    cut: Split = split(len(dataset), settings)
    started = time.perf_counter()
    material = Material.of(dataset.listings, dataset.market)
    model = fit_candidate(material, cut, {}, ITERATIONS, settings.seed)
    took = time.perf_counter() - started
    holdout = dataset.part(cut.past, cut.end)
    scored = score(model, holdout.listings, holdout.market)
    known = designer_counts(one.designers for one in dataset.listings[: cut.past])
    rows = [in_range("80 % range holds", range_figures(scored)["coverage_80"], COVERAGE, len(holdout))]
    parts = slices(scored, holdout.listings, known, settings.seed)
    rows += [
        in_range(f"  {part['by']}: {part['value']}", part["coverage_80"], SLICE_COVERAGE, part["n"])
        for part in parts
        if part["judged"]
    ]
    rows += [
        told(f"  sold for {part['value']}: holds", "share", part["coverage_80"], 0.8, "what it says")
        for part in parts
        if part["by"] == SOLD and part["n"] >= MIN_ROWS
    ]
    with tempfile.TemporaryDirectory(prefix="bench-model-") as folder:
        model.save(Path(folder))
        size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file()) / 2**20
    rows.append(told("size of the artifact", "MiB", size, 64, "a budget of 64"))
    rows.append(
        Figure(
            "fit of price and range, calibrated",
            "s",
            round(took, 2),
            "the budget",
            FIT_SECONDS,
            round(took / FIT_SECONDS, 4),
            "ratio <= 1",
            took <= FIT_SECONDS,
        )
    )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--listings", type=Path, default=REAL)
    parser.add_argument("--recipe", action="append", help="these only, and the last one is judged")
    given = parser.parse_args()
    if not given.listings.exists():
        print(f"there is no {given.listings}: name a file of sold listings with --listings", file=sys.stderr)
        return 2
    dataset = training_rows(given.listings)
    rows = [*compare(dataset, given.recipe or names()), *served(dataset)]
    return publish("model", rows, f"Recipes on {len(dataset):,} sold listings")


if __name__ == "__main__":
    sys.exit(main())
