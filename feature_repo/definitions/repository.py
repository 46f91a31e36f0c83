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
category_path, designer, designer_category = _all.entities
category_source, designer_source, designer_category_source = _all.sources
category_market, designer_market, designer_category_market = _all.views
price_model_v1 = _all.service
