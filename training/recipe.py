"""Recipes: ways to a price, one YAML file each, compared on the same rows by `make bench-model`.

    about: the same, and the market as of the listing
    kind: booster                # median, designer_category, linear, booster or blend
    inputs: [request, market]    # of a booster: request, market, text (the linear part's estimate)
    params: {depth: 8}           # of a booster: what differs from `training.fit.PARAMS`
    iterations: 300
    share: 0.5                   # of the booster in a blend; the rest is the linear part's

A recipe is a file in `training/recipes`, named without its ending, or any file named by its path.
Whatever a recipe is fitted on lies before `cut`: the vocabulary and the estimates as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from graildient.errors import Detail, InvalidSettings
from graildient.pricing import features
from graildient.pricing.market import MARKET_FEATURES
from training.baselines import DesignerCategory, Median
from training.fit import ITERATIONS, PARAMS, Material, Prepared, train_booster

if TYPE_CHECKING:
    from catboost import CatBoostRegressor

FOLDER = Path(__file__).parent / "recipes"

Floats = npt.NDArray[np.float64]
Input = Literal["request", "market", "text"]

COLUMNS: dict[Input, tuple[str, ...]] = {
    "request": tuple(feature.name for feature in features.REQUEST_FEATURES),
    "market": MARKET_FEATURES,
    "text": (features.ESTIMATE,),
}


class Recipe(BaseModel):
    """What a file says; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    about: Annotated[str, Field(min_length=1)]
    kind: Literal["median", "designer_category", "linear", "booster", "blend"]
    inputs: Annotated[tuple[Input, ...], Field(max_length=len(COLUMNS))] = ()
    params: dict[str, bool | int | float | str] = {}
    iterations: Annotated[int, Field(ge=1, le=10_000)] = ITERATIONS
    share: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        boosted = self.kind in ("booster", "blend")
        if boosted != bool(self.inputs):
            raise ValueError(f"a {self.kind} {'needs' if boosted else 'has no'} inputs")
        if (self.kind == "blend") != (self.share is not None):
            raise ValueError(f"a {self.kind} {'needs a' if self.kind == 'blend' else 'has no'} share")
        return self


@dataclass(frozen=True)
class FittedRecipe:
    """`predict`: log1p of the price in US dollars, of the rows from `start` to `end`. `trees`:."""

    predict: Callable[[int, int], Floats]
    trees: int = 0


def names() -> list[str]:
    """The recipes that come with the project, the simplest first."""
    return sorted((path.stem for path in FOLDER.glob("*.yaml")), key=_order)


def load_recipe(name: str) -> Recipe:
    """A recipe by its name or by the path of a file.

    Raises:
        InvalidSettings: there is none, or it is not sound; names the key.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError:
        raise InvalidSettings(
            f"there is no recipe {name!r}", hint=f"there are {', '.join(names())}, or name a file.yaml"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"the recipe {path.name} is no YAML: {error}") from None
    except ValidationError as error:
        details = [
            Detail(".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, "))
            for e in error.errors()
        ]
        first = f"{details[0].field}: {details[0].reason}".removeprefix(": ")
        raise InvalidSettings(f"the recipe {path.name} is not sound: {first}", details=details) from None


def fit_recipe(recipe: Recipe, material: Material, cut: int, seed: int, threads: int) -> FittedRecipe:
    """Fit on the rows before `cut`.

    Args:
        material: the rows fitted on, oldest first, then those that are judged.

    Raises:
        NotEnoughData: too few rows.
    """
    past = material.listings[:cut]
    if recipe.kind == "median":
        level = float(np.log1p(Median.fit(past).price))
        return FittedRecipe(lambda start, end: np.full(end - start, level))
    if recipe.kind == "designer_category":
        means = DesignerCategory.fit(past)
        return FittedRecipe(lambda start, end: np.log1p(means.predict(material.listings[start:end])))
    corpus = material.corpus
    linear = corpus.fit(material.y, cut)
    if recipe.kind == "linear":
        return FittedRecipe(lambda start, end: corpus.predict(linear, start, end))
    booster = _booster(recipe, material.training_rows(cut), seed, threads)
    share = 1.0 if recipe.share is None else recipe.share

    def predict(start: int, end: int) -> Floats:
        estimates = corpus.predict(linear, start, end)
        table = features.frame(material.listings[start:end], material.market[start:end], estimates.tolist())
        boosted = np.asarray(booster.predict(table[_columns(recipe)]), dtype=np.float64)
        return share * boosted + (1 - share) * estimates

    return FittedRecipe(predict, int(booster.tree_count_))


def _columns(recipe: Recipe) -> list[str]:
    wanted = {name for group in recipe.inputs for name in COLUMNS[group]}
    return [name for name in features.NAMES if name in wanted]


def _booster(recipe: Recipe, rows: Prepared, seed: int, threads: int) -> CatBoostRegressor:
    columns = _columns(recipe)
    text = {features.NAMES[i] for i in features.CATEGORICAL}
    chosen = Prepared(rows.x[columns], rows.y, [i for i, name in enumerate(columns) if name in text])
    params: dict[str, Any] = {**PARAMS, **recipe.params}
    return train_booster(chosen, None, params, recipe.iterations, seed, threads)


def _order(name: str) -> tuple[int, int, str]:
    recipe = load_recipe(name)
    kinds = ("median", "designer_category", "linear", "booster", "blend")
    return kinds.index(recipe.kind), len(recipe.inputs), name
