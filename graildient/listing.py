"""The listing contract: what a seller knows, and what a sale adds.

This is the only shape in which listings travel between rooms. Scraper, features,
training and serving all build a :class:`Listing` through :mod:`graildient.parsing`
or through :meth:`Listing.model_validate`, so that the same listing gives the same
features on every path.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from graildient import normalise, taxonomy

Department = Literal["menswear", "womenswear"]
Condition = Literal["new", "gently_used", "used", "worn"]

MAX_TITLE = 300
MAX_DESCRIPTION = 20_000
MAX_PRICE = 1_000_000.0


MAX_ID = 2**63 - 1
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    if not EARLIEST <= value < LATEST:
        raise ValueError("not a date between 2000 and 2099")
    return value.astimezone(UTC)


UtcDatetime = Annotated[datetime, AfterValidator(_utc)]
# Strict: True is no number and "12" no count; `normalise` has read what may be written as text.
WholeNumber = Annotated[int, Field(strict=True)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Dollars = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Listing(BaseModel):
    """What a seller knows when asking for a price.

    Every field but `title` may be missing: the model treats a missing value as a value of
    its own. Spellings are normalised on the way in ("Gently used" → ``gently_used``,
    "US L / EU 52-54 / 3" → ``l``, "Kappa × Vintage" → ``("Kappa", "Vintage")``); a value
    that is no string where a string belongs is refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    id: WholeNumber | None = Field(None, gt=0, le=MAX_ID, description="The marketplace's listing id.")
    title: str = Field(min_length=1, max_length=MAX_TITLE, description="Item name.")
    description: str | None = Field(None, max_length=MAX_DESCRIPTION)
    designers: tuple[Name, ...] = Field((), max_length=20, description="In the seller's order.")
    department: Department | None = None
    category: str | None = Field(None, description="Top level, e.g. `tops`.")
    subcategory: str | None = Field(None, description="Below it, e.g. `short_sleeve_shirts`.")
    size: str | None = Field(None, max_length=40, description="Lower case, e.g. `l`, `32`, `one size`.")
    color: str | None = Field(None, max_length=60, description="Lower case.")
    condition: Condition | None = None
    hashtags: tuple[Name, ...] = Field((), max_length=100, description="Lower case, without `#`.")
    photo_count: WholeNumber | None = Field(None, ge=0, le=200)
    asking_price: Dollars | None = Field(
        None, ge=0, le=MAX_PRICE, description="US dollars. Never a feature; compared with the answer."
    )
    location: str | None = Field(None, max_length=100)
    seller_hash: str | None = Field(
        None, max_length=64, description="Salted hash; the name itself is never kept."
    )
    created_at: UtcDatetime | None = Field(None, description="Label time: when a price is asked for.")
    time_is_estimated: bool = Field(False, description="Dates were derived from the id.")

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return normalise.listing_fields(data)
        return data

    @field_validator("category")
    @classmethod
    def _known_category(cls, value: str | None) -> str | None:
        if value is not None and value not in taxonomy.CATEGORIES:
            raise ValueError(f"unknown category; one of {', '.join(sorted(taxonomy.CATEGORIES))}")
        return value

    @model_validator(mode="after")
    def _known_path(self) -> Listing:
        if self.subcategory is not None:
            if self.category is None:
                raise ValueError("subcategory: needs a category")
            known = taxonomy.CATEGORIES[self.category]
            if self.subcategory not in known:
                raise ValueError(f"subcategory: not below {self.category!r}; one of {', '.join(known)}")
        return self

    @property
    def category_path(self) -> str | None:
        """`tops.short_sleeve_shirts`, or the category alone, or nothing."""
        if self.category is None:
            return None
        return f"{self.category}.{self.subcategory}" if self.subcategory else self.category


class SoldListing(Listing):
    """A listing with the sale that ended it."""

    id: WholeNumber = Field(gt=0, le=MAX_ID)
    sold_price: Dollars = Field(gt=0, le=MAX_PRICE, description="US dollars, without shipping where known.")
    sold_at: UtcDatetime = Field(description="Event time of the sale.")
    created_at: UtcDatetime
    shipping_price: Dollars | None = Field(None, ge=0, le=MAX_PRICE)
    shipping_included: bool | None = None
    scraped_at: UtcDatetime | None = None

    @model_validator(mode="after")
    def _sold_after_created(self) -> SoldListing:
        if self.sold_at < self.created_at:
            raise ValueError("sold_at: before created_at")
        return self

    def knowable_at(self, publication_lag: timedelta) -> datetime:
        """When the sale could first have been known: the fact's created time, not when we scraped it."""
        return self.sold_at + publication_lag
