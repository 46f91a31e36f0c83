"""Settings: one class a room, each read once from the environment (prefix ``GRAILDIENT_``).

Nothing else in the code reads the environment for configuration. Secrets are `SecretStr`
and come from the environment or a Kubernetes Secret only.
"""

from __future__ import annotations

import tempfile
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from graildient.errors import Detail, InvalidSettings
from graildient.storage import Storage

S = TypeVar("S", bound=BaseSettings)


class StorageSettings(BaseSettings):
    """Where everything lives: one root, a local folder or `s3://bucket/prefix`."""

    model_config = SettingsConfigDict(env_prefix="GRAILDIENT_", frozen=True, extra="ignore")

    root: str = Field(".graildient/local", description="Lake, features, registry and runs lie below it.")
    s3_endpoint: str | None = Field(None, description="Address of an S3 server other than the default one.")
    scratch: Path = Field(
        default_factory=lambda: Path(tempfile.gettempdir()) / "graildient",
        description="Local folder for what is rebuilt at will (copies of remote models).",
    )

    @cached_property
    def storage(self) -> Storage:
        """The root, opened."""
        return Storage(self.root, endpoint=self.s3_endpoint)


class ScraperSettings(BaseSettings):
    """The source and how politely it is asked. The defaults suit a public site."""

    model_config = SettingsConfigDict(env_prefix="GRAILDIENT_SCRAPER_", frozen=True, extra="ignore")

    base_url: str = Field("https://www.grailed.com", description="Listing pages and the listing endpoint.")
    search_url: str = Field(
        "", description="The multi-query search endpoint. Empty: `base_url` + its usual path."
    )
    sold_index: str = "Listing_sold_production"
    active_index: str = "Listing_production"
    search_key: SecretStr = Field(
        SecretStr(""), description="The search-only key. From a Secret, never from code."
    )
    search_app: str = Field("", description="The application id that goes with the key.")
    user_agent: str = "graildient (set GRAILDIENT_SCRAPER_USER_AGENT to name a contact)"
    requests_per_second: float = Field(1.0, gt=0, description="Upper bound; AutoThrottle may go lower.")
    obey_robots: bool = True
    hits_per_page: int = Field(1000, ge=1, le=1000)
    hit_cap: int = Field(1000, ge=1, description="Hits of one query that can be paged through.")
    overlap_hours: float = Field(
        48, ge=0, description="How far back an incremental sweep looks for corrections."
    )
    seller_salt: SecretStr = Field(SecretStr("graildient"), description="Salt of the seller hash.")
    metrics_pushgateway: str = Field("", description="Address of a Pushgateway; empty: none.")


class FeatureSettings(BaseSettings):
    """The feature store."""

    model_config = SettingsConfigDict(env_prefix="GRAILDIENT_FEATURES_", frozen=True, extra="ignore")

    online_store: Literal["sqlite", "redis"] = "sqlite"
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"), description="Used when online_store is redis."
    )
    ttl_days: int = Field(
        365, gt=0, description="A market value older than this at `as_of` counts as missing."
    )
    publication_lag_hours: float = Field(24, ge=0, description="From a sale until it can be known.")
    clock: Literal["live", "history"] = Field(
        "live",
        description="`live`: `as_of` is now. `history`: `as_of` is the newest knowable sale of the lake.",
    )
    project: str = Field(
        "graildient", pattern=r"^[a-z][a-z0-9_]*$", description="Feast project; prefixes online keys."
    )

    @property
    def publication_lag(self) -> timedelta:
        return timedelta(hours=self.publication_lag_hours)

    @property
    def ttl(self) -> timedelta:
        return timedelta(days=self.ttl_days)


class TrainingSettings(BaseSettings):
    """Search, training and the gate. What decides the result is recorded in the run and in the manifest."""

    model_config = SettingsConfigDict(env_prefix="GRAILDIENT_TRAINING_", frozen=True, extra="forbid")

    EXECUTION: ClassVar[frozenset[str]] = frozenset(
        {
            "ray_address",
            "checkpoint_seconds",
            "checkpoint_root",
            "max_absurd_share",
            "max_quarantine_share",
        }
    )
    """Where and how safely something runs; decides nothing about the result."""

    seed: int = 7
    holdout_share: float = Field(
        0.2, gt=0, lt=0.9, description="Newest share of listings, untouched until evaluation."
    )
    validation_share: float = Field(
        0.15, gt=0, lt=0.9, description="Newest share of the past, for the search."
    )
    trials: int = Field(8, ge=1)
    batch: int = Field(2, ge=1, description="Trials that run at once; also the unit of every decision.")
    mode: Literal["batched", "async"] = Field(
        "batched", description="`batched` is deterministic; `async` is plain ASHA."
    )
    space: str = Field(
        "default", description="Name of a search space in training/spaces, or a path to a YAML file."
    )
    max_iterations: int = Field(600, ge=1)
    warm_start: int = Field(
        0, ge=0, description="Best parameters of earlier searches of the same space that are tried first."
    )
    ray_address: str = Field("", description="Empty: Ray on this machine. Else the address of a Ray cluster.")
    checkpoint_seconds: int = Field(
        5, ge=0, le=3600, description="Least time between two snapshots of a trial. 0: one an iteration."
    )
    checkpoint_root: str = Field(
        "",
        description="Folder or s3:// address that every worker of the Ray cluster reaches, for the snapshots "
        "of its trials. Empty: trials on a cluster keep none.",
    )
    max_absurd_share: float = Field(
        0.05, ge=0, le=1, description="Share of listings that cannot be true above which nothing is learnt."
    )
    max_quarantine_share: float = Field(
        0.5, ge=0, le=1, description="Share of what was scraped that may lie in quarantine."
    )
    min_rows: int = Field(200, ge=10)
    policy: str = Field(
        "default", description="Name of the gate's policy in training/policies, or a path to a YAML file."
    )
    forward_folds: int = Field(
        4, ge=0, le=10, description="Walk-forward folds that a trained recipe is measured on; 0: none."
    )


class ServingSettings(BaseSettings):
    """The model server."""

    model_config = SettingsConfigDict(env_prefix="GRAILDIENT_SERVING_", frozen=True, extra="ignore")

    model_name: str = Field(
        "graildient", pattern=r"^[a-z][a-z0-9-]*$", description="Name in the paths of V1 and V2."
    )
    model: str = Field("champion", description="Alias or version to serve.")
    host: str = Field("0.0.0.0", description="Address to listen on; 127.0.0.1: this machine only.")  # noqa: S104
    http_port: int = Field(8080, ge=0, le=65535)
    grpc_port: int = Field(8081, ge=0, le=65535)
    reload_seconds: float = Field(5, ge=0, description="How often the alias is looked at; 0: never.")
    max_batch: int = Field(10_000, ge=1, description="Rows a request may carry.")
    max_body_bytes: int = Field(64 * 1024 * 1024, ge=1024)
    lookup_timeout_ms: float = Field(
        250, gt=0, description="After this an answer goes on without looked-up features."
    )
    drain_seconds: float = Field(20, ge=0, description="How long a stopping server waits for its requests.")
    prediction_log: bool = Field(
        True, description="Write every answer to the prediction log (without personal data)."
    )


class PipelineSettings(BaseSettings):
    """Kubeflow Pipelines."""

    model_config = SettingsConfigDict(env_prefix="GRAILDIENT_PIPELINE_", frozen=True, extra="ignore")

    host: str = Field("", description="Address of a Kubeflow Pipelines API server, for `pipeline submit`.")
    image: str = Field("graildient-trainer:0.1.0", description="Image of the steps on a cluster.")
    experiment: str = "graildient"


def load(kind: type[S], **overrides: object) -> S:
    """Read settings; say which one is wrong and why instead of a validator's trace.

    Raises:
        InvalidSettings: with one detail a setting.
    """
    try:
        return kind(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        prefix = str(kind.model_config.get("env_prefix", ""))
        details = [Detail(prefix + "_".join(map(str, e["loc"])).upper(), e["msg"]) for e in error.errors()]
        raise InvalidSettings("; ".join(f"{d.field}: {d.reason}" for d in details), details=details) from None
