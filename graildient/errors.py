"""Every error that graildient raises on purpose.

    GraildientError
    ├── InvalidListing        a listing, payload or row breaks the contract (names field and reason)
    ├── InvalidSettings       a setting is missing or out of bounds
    ├── StorageError          a lake, feature or registry address cannot be read or written
    ├── SourceRefused         the marketplace said no, or could not be understood at all
    ├── NotEnoughData         a window, training set or file holds too little to go on
    ├── LakeRefused           the lake holds too much that cannot be true
    ├── FeatureStoreError     the feature repository is missing, stale or inconsistent
    │   └── OnlineStoreUnavailable   the online store is down; prices go on without it
    └── ModelError
        ├── ModelNotFound     no such version or alias in the registry
        └── ArtifactCorrupted a file of an artifact does not match its manifest (names the file)

Rooms add their own below these where a caller must tell them apart: :mod:`serving.errors` for what
a request can get wrong, `StageFailed` in :mod:`graildient.local.supervisor`.

Each carries `message` (what happened), `hint` (the cure, may be empty) and
`details` (field and reason pairs, may be empty), and renders itself as the one
JSON error shape of the whole system:

    {"error": "<message>", "code": "<code>", "details": [{"field": "...", "reason": "..."}], "hint": "..."}

`error` is a string because the Open Inference Protocol says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Detail:
    """One thing that is wrong: where, and why."""

    field: str
    reason: str


class GraildientError(Exception):
    """Base of all. Catch it to show a clean message; never show a stack trace to a user."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str = "", details: Sequence[Detail] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = tuple(details)

    def to_json(self) -> dict[str, Any]:
        """The one error shape, as plain JSON types."""
        body: dict[str, Any] = {
            "error": self.message,
            "code": self.code,
            "details": [{"field": d.field, "reason": d.reason} for d in self.details],
        }
        if self.hint:
            body["hint"] = self.hint
        return body


class InvalidListing(GraildientError):
    """A listing, payload or row breaks the contract."""

    code = "invalid_listing"
    http_status = 400


class InvalidSettings(GraildientError):
    """A setting is missing or out of bounds."""

    code = "invalid_settings"


class StorageError(GraildientError):
    """A lake, feature or registry address cannot be read or written."""

    code = "storage"


class SourceRefused(GraildientError):
    """The marketplace said no, or could not be understood at all."""

    code = "source_refused"


class NotEnoughData(GraildientError):
    """A window, a training set or a file holds too little to go on."""

    code = "not_enough_data"


class LakeRefused(GraildientError):
    """The lake holds too much that cannot be true to learn from it."""

    code = "lake_refused"


class FeatureStoreError(GraildientError):
    """The feature repository is missing, stale or inconsistent."""

    code = "feature_store"


class OnlineStoreUnavailable(FeatureStoreError):
    """The online store is down. Serving goes on without looked-up features and says so."""

    code = "online_store_unavailable"
    http_status = 503


class ModelError(GraildientError):
    """Something is wrong with a model or the registry."""

    code = "model"


class ModelNotFound(ModelError):
    """No such version or alias in the registry."""

    code = "model_not_found"
    http_status = 404


class ArtifactCorrupted(ModelError):
    """A file of an artifact does not match its manifest; it is never loaded."""

    code = "artifact_corrupted"
    http_status = 503
