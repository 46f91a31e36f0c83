"""One sweep from the command line, a CronJob or a pipeline: settings in, a report out."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from graildient import progress
from graildient.errors import Detail, InvalidSettings
from graildient.lake import Lake
from graildient.listing import EARLIEST
from graildient.progress import Reporter
from graildient.settings import ScraperSettings
from graildient.storage import Storage
from scrapers.ledger import Covered, only_run, read_covered, write_covered
from scrapers.session import Session

SUCCESS, FAILED, PARTIAL, REFUSED = 0, 1, 3, 4
_LOOPBACK = ("localhost", "::1")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScrapeReport:
    """What a run did.

    `listings` are new to the lake, `duplicates` were there; `quarantined` counts by cause what was
    not taken; `uncovered` counts what no query can reach. `finished` tells that the whole range is in
    the lake. Exit codes: 0 success, 1 failed (nothing could be asked, or nothing written), 3 partial,
    4 refused by the source. `problems` says why it is not 0.
    """

    listings: int
    duplicates: int
    quarantined: dict[str, int]
    requests: int
    retries: int
    ranges: int
    seconds: float
    finished: bool
    exit_code: int
    uncovered: int
    failed_ranges: int
    since: datetime
    until: datetime
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self) | {
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "problems": list(self.problems),
        }


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in _LOOPBACK or host.startswith("127.")


def crawler_settings(scraper: ScraperSettings) -> dict[str, Any]:
    """Scrapy's settings for a source: one request at a time, never faster than asked for."""
    public = not _is_loopback(scraper.search_url or scraper.base_url)
    return {
        "BOT_NAME": "graildient",
        "USER_AGENT": scraper.user_agent,
        "ROBOTSTXT_OBEY": scraper.obey_robots,
        "CONCURRENT_REQUESTS": 1,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 1,
        "DOWNLOAD_DELAY": 1 / scraper.requests_per_second,
        "DOWNLOAD_DELAY_JITTER": 0.0,
        "DOWNLOAD_TIMEOUT": 30,
        "DOWNLOAD_MAXSIZE": 64 * 1024 * 1024,
        "DOWNLOAD_WARNSIZE": 0,
        "AUTOTHROTTLE_ENABLED": public,
        "AUTOTHROTTLE_START_DELAY": 1 / scraper.requests_per_second,
        "RETRY_TIMES": 6,
        "RETRY_BACKOFF": 1.0 if public else 0.05,
        "RETRY_PRIORITY_ADJUST": 0,
        "RETRY_GIVE_UP_LOG_LEVEL": "WARNING",
        "REDIRECT_ENABLED": False,
        "COOKIES_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "LOG_LEVEL": "WARNING",
        "LOG_FORMATTER": "scrapers.logs.QuietLog",
        "DOWNLOADER_MIDDLEWARES": {
            "scrapy.downloadermiddlewares.robotstxt.RobotsTxtMiddleware": None,
            "scrapers.middlewares.CarefulRobots": 100,
            "scrapy.downloadermiddlewares.retry.RetryMiddleware": None,
            "scrapers.middlewares.PatientRetry": 550,
        },
        "ITEM_PIPELINES": {
            "scrapers.pipelines.Validate": 100,
            "scrapers.pipelines.Deduplicate": 200,
            "scrapers.pipelines.WriteLake": 300,
        },
        "EXTENSIONS": {"scrapers.metrics.MetricsExtension": 100},
    }


def scrape(
    scraper: ScraperSettings,
    storage: Storage,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    report: Reporter = progress.report,
) -> ScrapeReport:
    """Bring the sold listings of a range of time into the lake. One call a process: the reactor starts once.

    Args:
        since: first moment of sale; by default a little before the end of what earlier sweeps have
            covered, and for the first sweep the earliest time that a listing may have.
        until: the moment of sale before which it stops; by default now.

    SIGTERM and SIGINT end it cleanly, with what was fetched written.

    Raises:
        StorageError: another run writes this lake, or it cannot be read.
        InvalidSettings: the range is empty.
    """
    began = time.monotonic()
    with only_run(storage):
        covered = read_covered(storage)
        start = _utc(since) if since else _resume(covered, scraper)
        end = _utc(until) if until else datetime.fromtimestamp(int(time.time()) + 1, UTC)
        if start >= end:
            reason = f"must be before until ({end.isoformat()})"
            raise InvalidSettings(f"since: {reason}", details=[Detail("since", reason)])
        session = Session(scraper, Lake(storage), start, end, report)
        report("scrape", done=0, total=None, note=scraper.base_url)

        from scrapers.metrics import Metrics

        metrics = Metrics()
        stats = _crawl(session, metrics)
        done = _sum_up(session, stats, time.monotonic() - began)
        if done.finished and session.newest is not None:
            reached = Covered(start, session.newest)
            write_covered(storage, covered.joined(start, session.newest) if covered else reached)
        report(
            "scrape",
            done=session.seen,
            total=session.total,
            note=f"{done.listings} new, {done.duplicates} known",
        )
        metrics.finish(done, session)
        if scraper.metrics_pushgateway:
            metrics.push(scraper.metrics_pushgateway)
        _log.info(json.dumps(done.to_json()))
        return done


def _resume(covered: Covered | None, scraper: ScraperSettings) -> datetime:
    if covered is None:
        return EARLIEST
    return max(EARLIEST, covered.end - timedelta(hours=scraper.overlap_hours))


def _crawl(session: Session, metrics: Any) -> dict[str, Any]:
    """Run the spider to its end; Scrapy's statistics."""
    from scrapy.crawler import AsyncCrawlerProcess

    from scrapers.logs import quiet_robots
    from scrapers.spiders.sold import SoldSpider

    process = AsyncCrawlerProcess(crawler_settings(session.scraper))
    # After Scrapy has set up its own logging, which forgets what was set before.
    quiet_robots()
    crawler = process.create_crawler(SoldSpider)
    process.crawl(crawler, session=session, metrics=metrics)
    process.start()
    return dict(crawler.stats.get_stats())


def _sum_up(session: Session, stats: dict[str, Any], seconds: float) -> ScrapeReport:
    finished = (
        session.swept and not session.failed_ranges and not session.uncovered and session.broken is None
    )
    problems = list(session.problems)
    if session.broken is not None:
        problems.append(session.broken.message)
    elif stats.get("spider_exceptions/count"):
        finished = False
        problems.append("the spider failed; its log says where")
    elif not session.swept and not problems:
        problems.append("stopped before the end")
    if finished:
        code = SUCCESS
    elif session.refused:
        code = REFUSED
    elif session.broken is not None or session.total is None:
        code = FAILED
    else:
        code = PARTIAL
    return ScrapeReport(
        listings=session.written,
        duplicates=session.known,
        quarantined=dict(sorted(session.quarantined.items())),
        requests=int(stats.get("downloader/request_count", 0)),
        retries=int(stats.get("retry/count", 0)),
        ranges=session.ranges,
        seconds=round(seconds, 3),
        finished=finished,
        exit_code=code,
        uncovered=session.uncovered,
        failed_ranges=session.failed_ranges,
        since=session.start,
        until=session.until,
        problems=tuple(problems),
    )
