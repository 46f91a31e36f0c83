"""What a run is asked to do, as one JSON text that travels from the command line into every step.

It names the address and the settings of features and training. Secrets are not in it: a step
reads them from its own environment. A JSON text, and not a KFP struct, because structs turn whole
numbers into floating ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic_settings import BaseSettings

from graildient.errors import Detail, InvalidSettings
from graildient.settings import FeatureSettings, StorageSettings, TrainingSettings, load
from graildient.storage import Storage

S = TypeVar("S", bound=BaseSettings)

SECRETS = {"redis_url"}
ELSEWHERE = {"scratch"}
"""Of this machine only; a step finds its own."""


@dataclass(frozen=True)
class RunConfig:
    """The settings of one run. `cache`: whether steps that were done before are left out."""

    storage: StorageSettings
    features: FeatureSettings
    training: TrainingSettings
    cache: bool = True

    @property
    def root(self) -> Storage:
        """The address below which everything lies."""
        return self.storage.storage

    def to_json(self) -> str:
        """Everything but secrets, sorted.

        `python3` is written with an escape: KFP's local runner replaces that word by an interpreter's
        path wherever it stands in a command, so a root that contains it would be another one.
        """
        groups = {
            "storage": self.storage.model_dump(mode="json", exclude=ELSEWHERE),
            "features": self.features.model_dump(mode="json", exclude=SECRETS),
            "training": self.training.model_dump(mode="json"),
        }
        return json.dumps(groups, sort_keys=True).replace("python3", "python\\u0033")

    @classmethod
    def from_json(cls, text: str, *, root: str = "", cache: bool = True) -> RunConfig:
        """The settings of a JSON text; what it leaves out comes from the environment.

        Args:
            root: when given, in place of the text's.

        Raises:
            InvalidSettings: the text is no such JSON, or a setting is unknown or out of bounds.
        """
        try:
            groups = json.loads(text or "{}")
        except ValueError as error:
            raise InvalidSettings(f"the settings of the run are not JSON: {error}") from None
        known = {"storage", "features", "training"}
        if not isinstance(groups, dict) or not all(isinstance(g, dict) for g in groups.values()):
            raise InvalidSettings("the settings of the run are not a JSON object of objects")
        if unknown := sorted(set(groups) - known):
            raise InvalidSettings(
                f"unknown group of settings: {', '.join(unknown)}",
                hint=f"known are {', '.join(sorted(known))}",
            )
        storage = dict(groups.get("storage", {}))
        if root:
            storage["root"] = root
        return cls(
            _load(StorageSettings, storage),
            _load(FeatureSettings, groups.get("features", {})),
            _load(TrainingSettings, groups.get("training", {})),
            cache,
        )

    def identity(self) -> dict[str, Any]:
        """The settings that decide what comes out."""
        return {
            "features": self.features.model_dump(mode="json", exclude=SECRETS | {"online_store", "project"}),
            "training": self.training.model_dump(mode="json", exclude=set(self.training.EXECUTION)),
        }


def override(training: TrainingSettings, overrides: Mapping[str, str]) -> TrainingSettings:
    """Training settings with some replaced, as `--set key=value` does.

    Raises:
        InvalidSettings: a key is unknown, or a value out of bounds; names each.
    """
    return _load(TrainingSettings, training.model_dump() | dict(overrides), given=overrides)


def _load(kind: type[S], values: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> S:
    checked = values if given is None else given
    if unknown := sorted(set(checked) - set(kind.model_fields)):
        raise InvalidSettings(
            f"no such setting: {', '.join(unknown)}",
            hint=f"there are: {', '.join(sorted(kind.model_fields))}",
            details=[Detail(name, "unknown") for name in unknown],
        )
    try:
        return load(kind, **values)
    except InvalidSettings as error:
        prefix = str(kind.model_config.get("env_prefix", ""))
        details = [Detail(d.field.removeprefix(prefix).lower(), d.reason) for d in error.details]
        if not {d.field for d in details} <= set(checked):
            raise  # it is the environment that is wrong, and that error names the variable
        raise InvalidSettings("; ".join(f"{d.field}: {d.reason}" for d in details), details=details) from None
