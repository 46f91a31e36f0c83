"""Search spaces: YAML files that say which parameters of CatBoost the search may change, and how far.

    learning_rate: {type: loguniform, low: 0.02, high: 0.2, default: 0.06}
    depth: {type: int, low: 4, high: 8, default: 6}
    grow_policy: {type: choice, choices: [SymmetricTree, Lossguide], default: SymmetricTree}

A space is a file in `training/spaces`, named without its ending, or any file named by its path.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from graildient.errors import Detail, InvalidSettings

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

FOLDER = Path(__file__).parent / "spaces"

Scalar = bool | int | float | str


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


class Real(_Strict):
    """A number between two bounds, drawn evenly or evenly in its logarithm."""

    type: Literal["uniform", "loguniform"]
    low: float
    high: float
    default: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.type == "loguniform" and self.low <= 0:
            raise ValueError("low must be above 0 for loguniform")
        _check_order(self)
        return self

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.type == "loguniform")


class Whole(_Strict):
    """A whole number between two bounds, both included."""

    type: Literal["int"]
    low: Annotated[int, Field(strict=True)]
    high: Annotated[int, Field(strict=True)]
    default: Annotated[int, Field(strict=True)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self)
        return self

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high)


class Choice(_Strict):
    """One of several values."""

    type: Literal["choice"]
    choices: Annotated[tuple[Scalar, ...], Field(min_length=1)]
    default: Scalar

    @model_validator(mode="after")
    def _listed(self) -> Self:
        if self.default not in self.choices:
            raise ValueError(f"default {self.default!r} is not among the choices")
        return self

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.choices)


Parameter = Annotated[Real | Whole | Choice, Field(discriminator="type")]
Space = dict[str, Parameter]
"""Name of a parameter to the values it may take."""

_PARAMETERS: TypeAdapter[Space] = TypeAdapter(Space)


def load_space(name: str) -> Space:
    """Read and check a search space.

    Raises:
        InvalidSettings: there is no such space, or it is not sound; the details name each key.
    """
    path, content = _find(name), read_space(name)
    unknown = sorted(key for key in content if key not in _searchable())
    if unknown:
        details = [
            Detail(key, "is no parameter of CatBoostRegressor that a search may set") for key in unknown
        ]
        raise _refused(path, details)
    try:
        return _PARAMETERS.validate_python(content)
    except ValidationError as error:
        tags = {"uniform", "loguniform", "int", "choice"}
        details = [
            Detail(
                ".".join(str(p) for p in e["loc"] if p not in tags), e["msg"].removeprefix("Value error, ")
            )
            for e in error.errors()
        ]
        raise _refused(path, details) from None


def read_space(name: str) -> dict[str, Any]:
    """The content of a search space, not checked yet.

    Raises:
        InvalidSettings: there is no such space, or it is no YAML mapping.
    """
    path = _find(name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidSettings(
            f"the search space {path} cannot be read: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(content, dict) or not content:
        raise InvalidSettings(f"the search space {path} names no parameter")
    return {str(key): value for key, value in content.items()}


def defaults(space: Space) -> dict[str, Scalar]:
    """The values that the first trial takes."""
    return {name: parameter.default for name, parameter in space.items()}


def describe(space: Space) -> dict[str, Any]:
    """A space as JSON; two spaces are the same when these are."""
    described: dict[str, Any] = json.loads(_PARAMETERS.dump_json(space))
    return described


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if path.is_file():
            return path
    elif (path := FOLDER / f"{name}.yaml").is_file() and path.parent == FOLDER:
        return path
    known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.yaml")))
    raise InvalidSettings(
        f"there is no search space {name!r}",
        hint=f"name one of training/spaces ({known}) or a path to a YAML file",
        details=[Detail("space", "not found")],
    )


def _searchable() -> set[str]:
    """What CatBoost takes, but for what the training decides by itself."""
    import inspect

    from catboost import CatBoostRegressor

    decided = """
        self iterations n_estimators num_boost_round num_trees random_seed random_state thread_count
        loss_function objective eval_metric custom_metric cat_features text_features embedding_features
        verbose silent verbose_eval logging_level metric_period train_dir allow_writing_files task_type
        devices use_best_model save_snapshot snapshot_file snapshot_interval callback
    """
    return set(inspect.signature(CatBoostRegressor.__init__).parameters) - set(decided.split())


def _check_order(parameter: Real | Whole) -> None:
    if parameter.low > parameter.high:
        raise ValueError(f"low {parameter.low} is above high {parameter.high}")
    if not parameter.low <= parameter.default <= parameter.high:
        raise ValueError(f"default {parameter.default} is outside of {parameter.low} to {parameter.high}")


def _refused(path: Path, details: list[Detail]) -> InvalidSettings:
    listed = "; ".join(f"{d.field}: {d.reason}" for d in details)
    return InvalidSettings(f"the search space {path} is not sound: {listed}", details=details)
