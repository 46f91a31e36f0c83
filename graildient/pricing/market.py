"""What the market knows about a listing: keys, stored features, and their reduction to one row.

The feature repository computes and stores one row per key and day; training and serving look
rows up and reduce them here, so that both see the same numbers. Prices are in log1p of US dollars.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from graildient.listing import Listing

UNKNOWN = "unknown"

Values = Mapping[str, float | None]
"""One row of a view, or a reduced row: feature name to value, None where missing or expired."""


LOG_PRICE = "log1p of US dollars"
SALES = "sales"
DAYS = "days"
SHARE = "share"


@dataclass(frozen=True)
class Stored:
    """One feature as it is stored: what it means and counts, and whether the price model takes it.

    `model=True` is all it takes to let a feature of a view in the model's service, its training
    rows, the online look-up and the model's inputs; without it, it is computed, stored, served by
    the market service and documented, and the model does not see it.
    """

    name: str
    meaning: str
    unit: str = LOG_PRICE
    model: bool = False

    @property
    def whole(self) -> bool:
        """Counts are whole numbers, everything else is a float."""
        return self.unit == SALES


@dataclass(frozen=True)
class View:
    """A feature view as both halves know it.

    `several`: a listing may have several keys (co-designers), whose rows are reduced to
    `<prefix>_<feature>_max` and `_mean`; else they become `<prefix>_<feature>`. `on_form`: whether
    somebody who asks for a price knows the key; where not, the model must not use the view.
    """

    name: str
    join_key: str
    prefix: str
    stored: tuple[Stored, ...]
    several: bool = False
    on_form: bool = True

    def __post_init__(self) -> None:
        if not self.on_form and self.used():
            raise ValueError(f"{self.name}: nobody states {self.join_key} when asking for a price")

    @property
    def features(self) -> dict[str, str]:
        """Feature name to its meaning, in the order of the table's columns."""
        return {feature.name: feature.meaning for feature in self.stored}

    def used(self) -> tuple[Stored, ...]:
        """The features that the price model takes."""
        return tuple(feature for feature in self.stored if feature.model)

    def for_model(self) -> View:
        """The view as the price model's service sees it: fewer columns of the same rows."""
        return replace(self, stored=self.used())


CATEGORY = View(
    "category_market",
    "category_path",
    "category",
    (
        Stored("sales_count", "sales known so far", SALES, model=True),
        Stored("sales_count_365d", "of them in the 365 days before", SALES, model=True),
        Stored("mean_log_price", "mean log1p price, shrunk towards all categories'", model=True),
        Stored("median_log_price", "median log1p price", model=True),
        Stored("p25_log_price", "lower quartile of log1p price", model=True),
        Stored("p75_log_price", "upper quartile of log1p price", model=True),
        Stored(
            "mean_log_price_365d",
            "mean log1p price of the 365 days before, shrunk towards `mean_log_price`",
            model=True,
        ),
        Stored("days_to_sale", "median days from listing to sale", DAYS, model=True),
        Stored("spread", "standard deviation of log1p price"),
        Stored("share_new", "share of the sales with a stated condition that were new", SHARE),
        Stored("share_gently_used", "the same for gently used", SHARE),
        Stored("share_used", "the same for used", SHARE),
        Stored("share_worn", "the same for worn", SHARE),
    ),
)
DESIGNER = View(
    "designer_market",
    "designer",
    "designer",
    (
        Stored("sales_count", "sales known so far", SALES, model=True),
        Stored("sales_count_365d", "of them in the 365 days before", SALES, model=True),
        Stored(
            "residual",
            "mean of log1p price minus its category's mean at the time, shrunk towards 0",
            model=True,
        ),
        Stored("residual_365d", "the same over the 365 days before, shrunk towards `residual`", model=True),
        Stored("spread", "standard deviation of that residual", model=True),
        Stored("median_log_price", "median log1p price"),
        Stored("p25_log_price", "lower quartile of log1p price"),
        Stored("p75_log_price", "upper quartile of log1p price"),
        Stored("days_to_sale", "median days from listing to sale", DAYS),
    ),
    several=True,
)
DESIGNER_CATEGORY = View(
    "designer_category_market",
    "designer_category",
    "designer_category",
    (
        Stored("sales_count", "sales known so far", SALES, model=True),
        Stored(
            "residual", "as the designer's residual, within one category path, shrunk towards it", model=True
        ),
        Stored("median_log_price", "median log1p price"),
    ),
    several=True,
)
CATEGORY_RECENT = View(
    "category_recent",
    "category_path",
    "category_recent",
    (
        Stored("sales_count_7d", "sales that became known in the 7 days before", SALES),
        Stored("sales_count_30d", "in the 30 days before", SALES),
        Stored("sales_count_90d", "in the 90 days before", SALES),
        Stored("mean_log_price_30d", "mean log1p price of the 30 days before, shrunk towards the 90 days'"),
        Stored("mean_log_price_90d", "mean log1p price of the 90 days before, shrunk towards the 365 days'"),
        Stored("trend_90d", "`mean_log_price_90d` minus `mean_log_price_365d` of the same day"),
    ),
)
DESIGNER_RECENT = View(
    "designer_recent",
    "designer",
    "designer_recent",
    (
        Stored("sales_count_30d", "sales that became known in the 30 days before", SALES),
        Stored("sales_count_90d", "in the 90 days before", SALES),
        Stored("residual_30d", "mean residual of the 30 days before, shrunk towards the 90 days'"),
        Stored("residual_90d", "mean residual of the 90 days before, shrunk towards the 365 days'"),
        Stored("trend_90d", "`residual_90d` minus `residual_365d` of the same day"),
    ),
    several=True,
)
CATEGORY_DEPARTMENT = View(
    "category_department_market",
    "category_department",
    "category_department",
    (
        Stored("sales_count", "sales known so far", SALES),
        Stored("sales_count_365d", "of them in the 365 days before", SALES),
        Stored("mean_log_price", "mean log1p price, shrunk towards the category path's"),
        Stored("mean_log_price_365d", "the same of the 365 days before, shrunk towards `mean_log_price`"),
        Stored("median_log_price", "median log1p price"),
        Stored("p25_log_price", "lower quartile of log1p price"),
        Stored("p75_log_price", "upper quartile of log1p price"),
        Stored("days_to_sale", "median days from listing to sale", DAYS),
    ),
)
SELLER = View(
    "seller_market",
    "seller",
    "seller",
    (
        Stored("sales_count", "sales of the seller known so far", SALES),
        Stored("sales_count_365d", "of them in the 365 days before", SALES),
        Stored("residual", "mean of log1p price minus its category's mean at the time, shrunk towards 0"),
        Stored("days_to_sale", "median days from listing to sale", DAYS),
    ),
    on_form=False,
)
ALL_VIEWS = (
    CATEGORY,
    DESIGNER,
    DESIGNER_CATEGORY,
    CATEGORY_RECENT,
    DESIGNER_RECENT,
    CATEGORY_DEPARTMENT,
    SELLER,
)
"""Everything that is computed, stored and materialised."""
VIEWS = tuple(view.for_model() for view in ALL_VIEWS if view.used())
"""What the price model's service serves: the views and features of it that are marked `model`."""


@dataclass(frozen=True)
class Keys:
    """Join keys of one listing; `designer_categories` is parallel to `designers`."""

    category_path: str
    designers: tuple[str, ...]
    designer_categories: tuple[str, ...]
    category_department: str = f"{UNKNOWN}|{UNKNOWN}"
    seller: str = UNKNOWN

    def of(self, view: View) -> tuple[str, ...]:
        """The listing's keys in a view: one, or one a designer where the view has `several`."""
        if view.join_key == "designer":
            return self.designers
        if view.join_key == "designer_category":
            return self.designer_categories
        return (str(getattr(self, view.join_key)),)


def designer_key(name: str) -> str:
    """Case and spacing do not make a designer: "VINTAGE " and "Vintage" share a key."""
    return " ".join(name.casefold().split())


def keys_of(listing: Listing) -> Keys:
    """The keys under which the market knows a listing; `unknown` stands for what is missing."""
    path = listing.category_path or UNKNOWN
    designers = tuple(dict.fromkeys(designer_key(d) for d in listing.designers)) or (UNKNOWN,)
    return Keys(
        path,
        designers,
        tuple(f"{d}|{path}" for d in designers),
        f"{path}|{listing.department or UNKNOWN}",
        listing.seller_hash or UNKNOWN,
    )


def _present(rows: Sequence[Values], name: str) -> list[float]:
    values = (row.get(name) for row in rows)
    return [float(v) for v in values if v is not None and not math.isnan(v)]


def reduce_rows(
    found: Mapping[str, Sequence[Values]], views: Sequence[View] = VIEWS
) -> dict[str, float | None]:
    """Rows of each view (by view name, one row a key) to the market row of one listing.

    Missing rows and values are left out of the reduction; a feature without any value is None.
    """
    reduced: dict[str, float | None] = {}
    for view in views:
        rows = found.get(view.name, ())
        for feature in view.stored:
            name = feature.name
            values = _present(rows, name)
            if view.several:
                # Sorted, so that the order in which co-designers are named cannot move the last bit.
                reduced[f"{view.prefix}_{name}_max"] = max(values) if values else None
                reduced[f"{view.prefix}_{name}_mean"] = (
                    math.fsum(sorted(values)) / len(values) if values else None
                )
            else:
                reduced[f"{view.prefix}_{name}"] = values[0] if values else None
    return reduced


MARKET_FEATURES: tuple[str, ...] = tuple(reduce_rows({}))
"""Names of a market row, in the order in which the model takes them."""
