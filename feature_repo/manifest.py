"""`features/manifest.json`: what the tables were built from, and their hashes.

It is written last, so a build that was killed leaves tables that do not match it; readers check.
"""

from __future__ import annotations

import hashlib
import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, ValidationError

from feature_repo.store import FOLDER, no_features, view_path
from graildient.errors import FeatureStoreError
from graildient.pricing.market import ALL_VIEWS, View
from graildient.settings import FeatureSettings
from graildient.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = f"{FOLDER}/manifest.json"

Moment = Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]
"""A time, given back in UTC."""


class FeatureManifest(BaseModel):
    """One build. `fingerprint` identifies its content: as_of and the hash of every table."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = 1
    as_of: Moment
    fingerprint: str
    lake_fingerprint: str
    code: str
    settings: dict[str, Any]
    sales: int
    later: int
    newest_sale: Moment
    rows: dict[str, int]
    keys: dict[str, int]
    sha256: dict[str, str]


def build_settings(settings: FeatureSettings) -> dict[str, Any]:
    """The settings that decide what a table holds."""
    return {
        "clock": settings.clock,
        "publication_lag_hours": settings.publication_lag_hours,
        "ttl_days": settings.ttl_days,
    }


def content_fingerprint(as_of: datetime, sha256: dict[str, str]) -> str:
    """Identity of a build's content."""
    text = json.dumps({"as_of": as_of.isoformat(), **sha256}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def find_manifest(storage: Storage) -> FeatureManifest | None:
    """The newest build's manifest; None when nothing was built.

    Raises:
        FeatureStoreError: the file is there and cannot be understood.
    """
    if not storage.exists(MANIFEST):
        return None
    try:
        return FeatureManifest.model_validate_json(storage.read_bytes(MANIFEST))
    except ValidationError as error:
        raise FeatureStoreError(
            f"{storage.url(MANIFEST)} is broken: {error.errors()[0]['msg']}",
            hint="remove it and run: graildient features build",
        ) from None


def read_manifest(storage: Storage) -> FeatureManifest:
    """The newest build's manifest.

    Raises:
        FeatureStoreError: nothing was built, or the file is broken.
    """
    manifest = find_manifest(storage)
    if manifest is None:
        raise no_features(storage)
    return manifest


def read_view(storage: Storage, manifest: FeatureManifest, view: View, **options: Any) -> pa.Table:
    """A view's table, checked against the manifest. `options` go to :func:`pyarrow.parquet.read_table`.

    Raises:
        FeatureStoreError: it is not the table that the manifest speaks of.
        StorageError: it cannot be read.
    """
    import pyarrow.parquet as pq

    data = storage.read_bytes(view_path(view))
    if hashlib.sha256(data).hexdigest() != manifest.sha256.get(view.name):
        raise FeatureStoreError(
            f"{storage.url(view_path(view))} does not match the manifest: a build was killed, or is going on",
            hint="run: graildient features build",
        )
    return pq.read_table(io.BytesIO(data), **options)


def tables_match(storage: Storage, manifest: FeatureManifest) -> bool:
    """Whether every table is there and is the one that the manifest speaks of."""
    return all(
        storage.exists(view_path(view))
        and hashlib.sha256(storage.read_bytes(view_path(view))).hexdigest() == manifest.sha256.get(view.name)
        for view in ALL_VIEWS
    )
