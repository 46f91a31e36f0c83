"""Entities, sources, feature views and the feature service, generated from `graildient.pricing.market.VIEWS`.

The names and meanings of the features live there, because training and serving reduce the same
rows; here they become Feast objects with types, tags and a time-to-live.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.types import Float64, Int64, String

from feature_repo.definitions import SERVICE
from graildient.pricing.market import VIEWS, View

EVENT_TIME = "event_at"
CREATED_TIME = "known_at"

_ENTITIES = {
    "category_path": "Category and sub-category, e.g. `tops.short_sleeve_shirts`; `unknown` without any.",
    "designer": "Designer, case-folded; `unknown` for a listing without any.",
    "designer_category": "Designer and category path, joined by `|`.",
}
_DESCRIPTIONS = {
    "category_market": "What sold in a category path, as of each day: level, quartiles over all sales "
    "known so far (an expanding window), pace.",
    "designer_market": "What a designer's sales were worth against their categories, as of each day. "
    "A sale of several designers counts for each.",
    "designer_category_market": "The same within one category path, shrunk to the designer's own value.",
}
_UNITS = {"sales_count": "sales", "sales_count_365d": "sales", "days_to_sale": "days"}
LOG_PRICE_UNIT = "log1p of US dollars"


@dataclass(frozen=True)
class Definitions:
    """Everything that `feast apply` registers, each in the order of `VIEWS`."""

    entities: tuple[Entity, ...]
    sources: tuple[FileSource, ...]
    views: tuple[FeatureView, ...]
    service: FeatureService

    def objects(self) -> list[Entity | FileSource | FeatureView | FeatureService]:
        return [*self.entities, *self.sources, *self.views, self.service]


def definitions(
    folder: str, *, ttl: timedelta, publication_lag: timedelta, endpoint: str | None = None
) -> Definitions:
    """The objects for one place.

    Args:
        folder: address of the folder that holds `<view>.parquet`, local or `s3://`.
        ttl: time-to-live of every view.
        publication_lag: from a sale until it can be known; stated in the tags.
        endpoint: S3 server other than the default one.
    """
    entities = tuple(
        Entity(
            name=v.join_key,
            join_keys=[v.join_key],
            value_type=ValueType.STRING,
            description=_ENTITIES[v.join_key],
        )
        for v in VIEWS
    )
    sources = tuple(_source(v, folder, endpoint) for v in VIEWS)
    knowable = f"first midnight UTC after sale + {publication_lag / timedelta(hours=1):g} h"
    views = tuple(
        FeatureView(
            name=view.name,
            entities=[entity],
            ttl=ttl,
            schema=[
                Field(name=view.join_key, dtype=String),
                *(_field(n, m, knowable) for n, m in view.features.items()),
            ],
            source=source,
            online=True,
            description=_DESCRIPTIONS[view.name],
            tags={"knowable": knowable, "source": "lake/sold", "grain": f"{view.join_key} and day of change"},
        )
        for view, entity, source in zip(VIEWS, entities, sources, strict=True)
    )
    service = FeatureService(
        name=SERVICE,
        features=list(views),
        description="What the price model looks up for a listing, to be reduced by market.reduce_rows.",
        tags={"model": "price"},
    )
    return Definitions(entities, sources, views, service)


def _source(view: View, folder: str, endpoint: str | None) -> FileSource:
    return FileSource(
        name=f"{view.name}_source",
        path=f"{folder}/{view.name}.parquet",
        timestamp_field=EVENT_TIME,
        created_timestamp_column=CREATED_TIME,
        file_format=ParquetFormat(),
        s3_endpoint_override=endpoint or "",
        description=f"Aggregates of the sold listings by {view.join_key}, one row a key and day of change.",
    )


def _field(name: str, meaning: str, knowable: str) -> Field:
    return Field(
        name=name,
        dtype=Int64 if name.startswith("sales_count") else Float64,
        description=meaning,
        tags={"unit": _UNITS.get(name, LOG_PRICE_UNIT), "knowable": knowable, "source": "lake/sold"},
    )
