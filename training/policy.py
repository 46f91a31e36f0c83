"""The policy of the gate: every limit with its meaning, written as YAML.

A policy is a file in `training/policies`, named without its ending, or any file named by its path
(setting `GRAILDIENT_TRAINING_POLICY`). What a file leaves out is as in `default.yaml`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from graildient.errors import Detail, InvalidSettings

FOLDER = Path(__file__).parent / "policies"
DEFAULT = "default"


class Policy(BaseModel):
    """The limits; `policies/default.yaml` says what each means."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    gain_min: float = Field(ge=0)
    gain_beyond_noise: bool
    slice_rows: int = Field(ge=1)
    slice_worse_max: float = Field(ge=0)
    coverage_slack: float = Field(ge=0, le=1)
    coverage_noise: float = Field(ge=0, le=10)
    artifact_mib_max: float = Field(gt=0)
    latency_ms_max: float = Field(gt=0)
    feature_r2_blocking: float = Field(gt=0, le=1)
    feature_share_warning: float = Field(gt=0, le=1)
    feature_lead_warning: float = Field(gt=0, le=1)
    gap_warning: float = Field(ge=1)
    gap_blocking: float = Field(ge=1)
    copies_told: float = Field(ge=0, le=1)
    copies_warning: float = Field(ge=0, le=1)
    copies_blocking: float = Field(ge=0, le=1)
    copies_flatter_max: float = Field(ge=0)
    seller_flatter_warning: float = Field(ge=0)


def load_policy(name: str = DEFAULT) -> Policy:
    """Read and check a policy.

    Raises:
        InvalidSettings: there is no such policy, it cannot be read, or a key is unknown or out of bounds;
            the details name each key.
    """
    content = _read(FOLDER / f"{DEFAULT}.yaml")
    if name != DEFAULT:
        content |= _read(_find(name))
    try:
        return Policy.model_validate(content)
    except ValidationError as error:
        details = [
            Detail(
                ".".join(str(part) for part in e["loc"]),
                "is no limit of a policy" if e["type"] == "extra_forbidden" else e["msg"],
            )
            for e in error.errors()
        ]
        listed = "; ".join(f"{d.field}: {d.reason}" for d in details)
        raise InvalidSettings(
            f"the policy {name} is not sound: {listed}",
            hint=f"the limits are {', '.join(Policy.model_fields)}",
            details=details,
        ) from None


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if path.is_file():
            return path
    elif (path := FOLDER / f"{name}.yaml").is_file() and path.parent == FOLDER:
        return path
    known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.yaml")))
    raise InvalidSettings(
        f"there is no policy {name!r}",
        hint=f"name one of training/policies ({known}) or a path to a YAML file",
        details=[Detail("policy", "not found")],
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidSettings(f"the policy {path} cannot be read: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InvalidSettings(f"the policy {path} is no mapping of limits")
    return {str(key): value for key, value in content.items()}
