"""The server's Prometheus metrics. They live in the default registry, which `/metrics` shows.

Label values come from fixed sets only. KServe's own `request_*_seconds` histograms stay beside
them for dashboards that know those.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from prometheus_client import Counter, Gauge, Histogram

from graildient.errors import GraildientError

Protocol = Literal["rest_v1", "rest_v2", "grpc_v2"]
PROTOCOLS: tuple[Protocol, ...] = ("rest_v1", "rest_v2", "grpc_v2")
OUTCOMES = ("ok", "invalid", "not_found", "too_large", "unavailable", "failed")
MARKET_STATES = ("fresh", "partial", "missing", "unavailable")
LOOKUP_OUTCOMES = ("ok", "down", "slow")

REQUESTS = Counter("graildient_requests", "Price requests answered.", ["protocol", "outcome"])
ROWS = Counter("graildient_rows", "Listings priced.", ["protocol"])
DURATION = Histogram(
    "graildient_request_duration_seconds",
    "From the whole request being read to the answer being encoded.",
    ["protocol"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
IN_FLIGHT = Gauge("graildient_requests_in_flight", "Price requests being answered.")
LOOKUPS = Counter("graildient_lookups", "Lookups in the online store, one a request.", ["outcome"])
LOOKUP_DURATION = Histogram(
    "graildient_lookup_duration_seconds",
    "Lookups that were waited for.",
    buckets=(0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
MARKET_ROWS = Counter(
    "graildient_market_rows", "Listings priced, by what the market knew of them.", ["market"]
)
EXPIRED = Counter("graildient_features_expired", "Looked-up values older than their time-to-live.")
FALLBACKS = Counter("graildient_fallbacks", "Requests priced without looked-up features.", ["cause"])
FRESHNESS = Gauge(
    "graildient_feature_freshness_seconds", "Age of the newest market fact seen by a lookup, at its as_of."
)
MODEL_INFO = Gauge("graildient_model_info", "1 for the model being served.", ["name", "version"])
MODEL_CREATED = Gauge("graildient_model_created_timestamp_seconds", "When the model being served was sealed.")
RELOADS = Counter("graildient_model_reloads", "New versions taken over while serving.")
RELOAD_FAILURES = Counter("graildient_model_reload_failures", "New versions refused; the old one went on.")
PREDICTED = Histogram(
    "graildient_predicted_price_usd",
    "Prices answered.",
    buckets=(10, 20, 35, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 5000),
)
LOG_ROWS = Counter("graildient_prediction_log_rows", "Answers written to the prediction log.")
LOG_DROPPED = Counter(
    "graildient_prediction_log_dropped",
    "Answers that the prediction log lost: queue full or storage failing.",
)

for _protocol in PROTOCOLS:
    ROWS.labels(_protocol)
    DURATION.labels(_protocol)
    for _outcome in OUTCOMES:
        REQUESTS.labels(_protocol, _outcome)
for _state in MARKET_STATES:
    MARKET_ROWS.labels(_state)
for _outcome in LOOKUP_OUTCOMES:
    LOOKUPS.labels(_outcome)
for _cause in ("down", "slow"):
    FALLBACKS.labels(_cause)

_BY_STATUS = {404: "not_found", 413: "too_large", 503: "unavailable"}


def outcome_of(error: Exception) -> str:
    """The `outcome` label of a refused or failed request."""
    status = error.http_status if isinstance(error, GraildientError) else 500
    return _BY_STATUS.get(status, "invalid" if 400 <= status < 500 else "failed")


@contextmanager
def request(protocol: Protocol) -> Iterator[None]:
    """Count and time one request; wrap everything from decoding to encoding."""
    start = time.perf_counter()
    outcome = "failed"
    IN_FLIGHT.inc()
    try:
        yield
        outcome = "ok"
    except Exception as error:
        outcome = outcome_of(error)
        raise
    finally:
        IN_FLIGHT.dec()
        DURATION.labels(protocol).observe(time.perf_counter() - start)
        REQUESTS.labels(protocol, outcome).inc()


def serving(name: str, version: str, created: float, *, instead_of: str | None = None) -> None:
    """Say which model is being served, instead of which; exactly one series is left."""
    if instead_of not in (None, version):
        MODEL_INFO.remove(name, instead_of)
    MODEL_INFO.labels(name, version).set(1)
    MODEL_CREATED.set(created)
