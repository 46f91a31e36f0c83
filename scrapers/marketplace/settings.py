"""Settings of the stand-in marketplace."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class MarketplaceSettings(BaseSettings):
    """What the stand-in serves besides its catalogue: access, the cap, time, and faults on demand.

    Rates are shares of requests, decided by seed and request number; at most one fault a request.
    """

    model_config = SettingsConfigDict(env_prefix="GRAILDIENT_MARKETPLACE_", frozen=True, extra="ignore")

    sold_index: str = "Listing_sold_production"
    active_index: str = "Listing_production"
    search_app: str = Field(
        "", description="Application id that a search must carry; empty: none is asked for."
    )
    search_key: SecretStr = Field(SecretStr(""), description="Search key that a search must carry.")
    cap: int = Field(1000, ge=1, description="Hits of one query that can be paged through.")
    until: datetime | None = Field(
        None, description="The catalogue as it was then: later sales are still active, later listings absent."
    )
    broken_rate: float = Field(
        0, ge=0, le=1, description="Share of sold listings served with a broken field."
    )
    duplicate_rate: float = Field(0, ge=0, le=1, description="Share of sold listings served twice.")

    fault_seed: int = 1
    rate_429: float = Field(0, ge=0, le=1, description="Too many requests, with Retry-After.")
    retry_after: int = Field(1, ge=0, description="Seconds that a 429 asks for.")
    rate_500: float = Field(0, ge=0, le=1)
    rate_slow: float = Field(0, ge=0, le=1)
    slow_seconds: float = Field(1.0, ge=0)
    rate_truncated: float = Field(0, ge=0, le=1, description="The connection closes in the middle of a body.")
    rate_malformed: float = Field(0, ge=0, le=1, description="A whole body that is no longer JSON.")
    faults_in_a_row: int = Field(
        1, ge=1, description="How often the very same request may fail before it is answered."
    )

    @model_validator(mode="after")
    def _rates_fit(self) -> MarketplaceSettings:
        total = self.rate_429 + self.rate_500 + self.rate_slow + self.rate_truncated + self.rate_malformed
        if total > 1:
            raise ValueError("the rates of all faults together must not exceed 1")
        return self

    @property
    def faulty(self) -> bool:
        """Whether any fault is switched on."""
        return any((self.rate_429, self.rate_500, self.rate_slow, self.rate_truncated, self.rate_malformed))
