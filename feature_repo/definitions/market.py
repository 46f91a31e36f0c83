"""Entities, sources, feature views and services, generated from `graildient.pricing.market.ALL_VIEWS`.

The names and meanings of the features live there, because training and serving reduce the same
rows; here they become Feast objects with types, tags and a time-to-live.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.data_format import ParquetFormat
from feast.types import Float64, Int64, String

from feature_repo.definitions import MARKET_SERVICE, SERVICE
from graildient.pricing.market import ALL_VIEWS, VIEWS, Stored, View

EVENT_TIME = "event_at"
CREATED_TIME = "known_at"

_ENTITIES = {
    "category_path": "Category and sub-category, e.g. `tops.short_sleeve_shirts`; `unknown` without any.",
    "designer": "Designer, case-folded; `unknown` for a listing without any.",
    "designer_category": "Designer and category path, joined by `|`.",
    "category_department": "Category path and department, joined by `|`.",
    "seller": "Salted hash of the seller, where known. A form cannot state it.",
}
_DESCRIPTIONS = {
    "category_market": "What sold in a category path, as of each day: level, quartiles over all sales "
    "known so far (an expanding window), pace.",
    "designer_market": "What a designer's sales were worth against their categories, as of each day. "
    "A sale of several designers counts for each.",
    "designer_category_market": "The same within one category path, shrunk to the designer's own value.",
    "category_recent": "A category path's last 7, 30 and 90 days, as of each day: counts, level and trend.",
    "designer_recent": "The last 30 and 90 days of a designer, as of each day: counts, residual and trend.",
    "category_department_market": "What sold in a category path and department, as of each day, "
    "shrunk to the category path's own level.",
    "seller_market": "A seller's sales against their categories, as of each day. Never in the price model.",
}


@dataclass(frozen=True)
class Definitions:
    """Everything that `feast apply` registers, views in the order of `ALL_VIEWS`.

    Each source can be pushed to: `pushes[i]` wraps `sources[i]`.
    """

    entities: tuple[Entity, ...]
    sources: tuple[FileSource, ...]
    views: tuple[FeatureView, ...]
    pushes: tuple[PushSource, ...]
    service: FeatureService
    market_service: FeatureService

    def objects(self) -> list[Entity | FileSource | PushSource | FeatureView | FeatureService]:
        return [
            *self.entities,
            *self.sources,
            *self.pushes,
            *self.views,
            self.service,
            self.market_service,
        ]


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
    entities = {
        key: Entity(name=key, join_keys=[key], value_type=ValueType.STRING, description=meaning)
        for key, meaning in _ENTITIES.items()
    }
    sources = tuple(_source(v, folder, endpoint) for v in ALL_VIEWS)
    pushes = tuple(
        PushSource(
            name=f"{v.name}_push",
            batch_source=source,
            description=f"Fresh rows of {v.name}, between two builds.",
        )
        for v, source in zip(ALL_VIEWS, sources, strict=True)
    )
    knowable = f"first midnight UTC after sale + {publication_lag / timedelta(hours=1):g} h"
    views = tuple(
        FeatureView(
            name=view.name,
            entities=[entities[view.join_key]],
            ttl=ttl,
            schema=[
                Field(name=view.join_key, dtype=String),
                *(_field(feature, knowable) for feature in view.stored),
            ],
            source=push,
            online=True,
            description=_DESCRIPTIONS[view.name],
            tags={"knowable": knowable, "source": "lake/sold", "grain": f"{view.join_key} and day of change"},
        )
        for view, push in zip(ALL_VIEWS, pushes, strict=True)
    )
    by_name = {view.name: view for view in views}
    service = FeatureService(
        name=SERVICE,
        features=[by_name[view.name][list(view.features)] for view in VIEWS],
        description="What the price model looks up for a listing, to be reduced by market.reduce_rows.",
        tags={"model": "price"},
    )
    market_service = FeatureService(
        name=MARKET_SERVICE,
        features=list(views),
        description="Every feature of every view, the seller's included: not for the price of a form.",
    )
    return Definitions(tuple(entities.values()), sources, views, pushes, service, market_service)


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


def _field(feature: Stored, knowable: str) -> Field:
    return Field(
        name=feature.name,
        dtype=Int64 if feature.whole else Float64,
        description=feature.meaning,
        tags={"unit": feature.unit, "knowable": knowable, "source": "lake/sold"},
    )
