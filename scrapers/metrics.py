"""Prometheus metrics of a run. A job that ends cannot be scraped, so a Pushgateway takes them at the end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge
from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.http import Response
from twisted.python.failure import Failure

from graildient.errors import GraildientError
from scrapers.session import Session

if TYPE_CHECKING:
    from scrapers.run import ScrapeReport

JOB = "graildient_scrape"
_log = logging.getLogger(__name__)


class Metrics:
    """The series of one run, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.pages = Counter("graildient_scrape_pages", "Good answers of the source.", registry=registry)
        self.requests = Counter(
            "graildient_scrape_requests", "Requests sent, retries included.", registry=registry
        )
        self.retries = Counter("graildient_scrape_retries", "Requests sent again.", registry=registry)
        self.items = Counter("graildient_scrape_items", "Hits received.", registry=registry)
        self.written = Counter(
            "graildient_scrape_listings_written", "Listings new to the lake.", registry=registry
        )
        self.known = Counter(
            "graildient_scrape_listings_known", "Listings that the lake had.", registry=registry
        )
        self.quarantined = Counter(
            "graildient_scrape_quarantined", "Hits that went to quarantine.", ["cause"], registry=registry
        )
        self.failed_ranges = Counter(
            "graildient_scrape_failed_ranges", "Ranges that could not be read.", registry=registry
        )
        self.uncovered = Counter(
            "graildient_scrape_uncovered_listings", "Listings that no query can reach.", registry=registry
        )
        self.duration = Gauge(
            "graildient_scrape_duration_seconds", "How long the run took.", registry=registry
        )
        self.exit_code = Gauge(
            "graildient_scrape_exit_code", "0 success, 1 failed, 3 partial, 4 refused.", registry=registry
        )

    def finish(self, report: ScrapeReport, session: Session) -> None:
        """Fill in what is known at the end. Times of success are there only when there was one."""
        self.requests.inc(report.requests)
        self.retries.inc(report.retries)
        self.items.inc(session.seen)
        self.written.inc(report.listings)
        self.known.inc(report.duplicates)
        self.failed_ranges.inc(session.failed_ranges)
        self.uncovered.inc(report.uncovered)
        self.duration.set(report.seconds)
        self.exit_code.set(report.exit_code)
        for cause, count in report.quarantined.items():
            self.quarantined.labels(cause).inc(count)
        if session.newest is not None:
            Gauge(
                "graildient_scrape_newest_sale_timestamp_seconds", "Newest sale met.", registry=self.registry
            ).set(session.newest.timestamp())
        if report.exit_code == 0:
            Gauge(
                "graildient_scrape_last_success_timestamp_seconds",
                "End of a full run.",
                registry=self.registry,
            ).set_to_current_time()

    def push(self, gateway: str) -> str | None:
        """Send all series; the reason when that fails, which is no reason for the run to fail."""
        from prometheus_client import pushadd_to_gateway

        try:
            # Added, not put: the last success outlives a failed run.
            pushadd_to_gateway(gateway, job=JOB, registry=self.registry, timeout=10)
        except (OSError, ValueError) as error:
            _log.warning("metrics not pushed to %s: %s", gateway, error)
            return f"metrics not pushed to {gateway}: {error}"
        return None


class MetricsExtension:
    """Counts good answers while the spider runs, and sees to it that a failing pipeline fails the run."""

    def __init__(self, metrics: Metrics, session: Session) -> None:
        self.metrics = metrics
        self.session = session

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> MetricsExtension:
        extension = cls(crawler.spider.metrics, crawler.spider.session)
        crawler.signals.connect(extension.item_error, signal=signals.item_error)
        crawler.signals.connect(extension.response_received, signal=signals.response_received)
        return extension

    def item_error(self, failure: Failure) -> None:
        self.session.broken = self.session.broken or GraildientError(f"a pipeline failed: {failure.value!r}")

    def response_received(self, response: Response) -> None:
        if response.status == 200:
            self.metrics.pages.inc()
