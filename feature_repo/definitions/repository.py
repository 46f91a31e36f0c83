"""The repository for the environment's settings: what `feast apply` finds in this folder.

cd feature_repo && GRAILDIENT_ROOT=/path/to/root feast apply
cd feature_repo && GRAILDIENT_ROOT=s3://bucket/prefix feast -f feature_store.cluster.yaml apply
"""

from __future__ import annotations

from feature_repo.definitions.market import definitions
from graildient.settings import FeatureSettings, StorageSettings, load

_storage = load(StorageSettings)
_settings = load(FeatureSettings)
_all = definitions(
    _storage.storage.url("features"),
    ttl=_settings.ttl,
    publication_lag=_settings.publication_lag,
    endpoint=_storage.s3_endpoint,
)

# Feast collects a module's attributes, not what a list holds.
for _made in _all.objects():
    globals()[f"{type(_made).__name__}_{_made.name}"] = _made
