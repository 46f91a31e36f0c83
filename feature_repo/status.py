"""What state the features are in, for `graildient features status` and `graildient doctor`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from feature_repo.manifest import build_settings, find_manifest
from feature_repo.online_store import open_online_store, state_of
from graildient.errors import GraildientError
from graildient.lake import Lake
from graildient.settings import FeatureSettings
from graildient.storage import Storage

TIMEOUT = 1.0


def status(storage: Storage, settings: FeatureSettings, *, now: datetime | None = None) -> dict[str, Any]:
    """The state of lake, build and online store, as plain JSON types.

    Keys: `built`; if so `as_of`, `fingerprint`, `sales`, `rows`, `keys`, `newest_sale`, `current` (the
    lake and the settings are those of the build), `age_days` (of the build at the clock's now; None
    at the end of history), `expired` (older than the time-to-live); `online`: `store`, `state`
    (`current`, `stale`, `empty`, `damaged`, `unavailable`), `as_of`, `problem`.

    Args:
        now: the wall clock; default: the machine's.

    Raises:
        FeatureStoreError: the manifest is broken.
        StorageError: the lake cannot be read.
    """
    manifest = find_manifest(storage)
    answer: dict[str, Any] = {"root": storage.root, "clock": settings.clock, "built": manifest is not None}
    if manifest is not None:
        live = settings.clock == "live"
        age = (now or datetime.now(UTC)) - manifest.as_of
        answer |= {
            "as_of": manifest.as_of.isoformat(),
            "fingerprint": manifest.fingerprint,
            "sales": manifest.sales,
            "rows": manifest.rows,
            "keys": manifest.keys,
            "newest_sale": manifest.newest_sale.isoformat(),
            "current": manifest.lake_fingerprint == Lake(storage).fingerprint()
            and manifest.settings == build_settings(settings),
            "age_days": round(age.total_seconds() / 86400, 2) if live else None,
            "expired": live and age > settings.ttl,
        }
    answer["online"] = _online(storage, settings, manifest.fingerprint if manifest else "")
    return answer


def _online(storage: Storage, settings: FeatureSettings, fingerprint: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"store": settings.online_store, "state": "empty", "as_of": None, "problem": ""}
    try:
        store = open_online_store(storage, settings, timeout=TIMEOUT)
        marker = store.marker()
        answer["as_of"] = marker.as_of.isoformat() if marker else None
        answer["state"] = state_of(store, fingerprint)
    except GraildientError as error:
        answer |= {"state": "unavailable", "problem": error.message}
    return answer
