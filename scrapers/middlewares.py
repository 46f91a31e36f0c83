"""Downloader middlewares: patience with a source that says "not now", and a careful reading of robots.txt."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from scrapy import Request
from scrapy.downloadermiddlewares.retry import RetryMiddleware
from scrapy.downloadermiddlewares.robotstxt import RobotsTxtMiddleware
from scrapy.exceptions import NotConfigured
from scrapy.http import Response
from scrapy.settings import BaseSettings
from scrapy.utils.response import response_status_message

ANSWER = "answer"
"""Request meta: how many results the answer must have. A request without it may be answered with anything."""
RESULTS = "results"
"""Request meta: those results, parsed."""


class PatientRetry(RetryMiddleware):
    """Scrapy's retries, and besides: waits (Retry-After, else twice as long each time), and takes a body
    that is not what was asked for (cut off, malformed) for the failure that it is.

    Settings: RETRY_BACKOFF, seconds before the first retry; RETRY_WAIT_MAX, beyond which a retry is
    not worth waiting for.
    """

    def __init__(self, settings: BaseSettings) -> None:
        super().__init__(settings)
        self.backoff = settings.getfloat("RETRY_BACKOFF", 1.0)
        self.longest = settings.getfloat("RETRY_WAIT_MAX", 600.0)
        if self.backoff < 0 or self.longest < 0:
            raise NotConfigured("RETRY_BACKOFF and RETRY_WAIT_MAX must not be negative")

    async def process_response(self, request: Request, response: Response) -> Request | Response:
        if response.status in self.retry_http_codes:
            return await self._again(request, response_status_message(response.status), response) or response
        if response.status == 200 and ANSWER in request.meta:
            results = read_results(response.body, request.meta[ANSWER])
            if results is None:
                return await self._again(request, "malformed body", response) or response
            request.meta[RESULTS] = results
        return response

    async def process_exception(self, request: Request, exception: Exception) -> Request | None:
        if isinstance(exception, self.exceptions_to_retry):
            return await self._again(request, exception, None)
        return None

    async def _again(
        self, request: Request, reason: str | Exception, response: Response | None
    ) -> Request | None:
        wait = self.backoff * 2 ** request.meta.get("retry_times", 0)
        if response is not None:
            wait = max(min(wait, 60.0), retry_after(response) or 0.0)
        if wait > self.longest:
            return None
        again = self._retry(request, reason)
        if again is not None:
            # One request at a time: while this one waits, the source is left alone.
            until = time.monotonic() + wait
            while (left := until - time.monotonic()) > 0:
                if not self.crawler.engine.running:
                    return None
                await asyncio.sleep(min(left, 0.5))
        return again


def retry_after(response: Response) -> float | None:
    """Seconds that an answer asks to wait: Retry-After as a number or a date."""
    raw = response.headers.get(b"Retry-After")
    text = raw.decode("latin-1").strip() if raw else ""
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def read_results(body: bytes, queries: int) -> list[dict[str, Any]] | None:
    """The results of a multi-query answer; None for a body that is not one, or not of so many queries."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    results = found.get("results") if isinstance(found, dict) else None
    if not isinstance(results, list) or len(results) != queries:
        return None
    for result in results:
        hits = result.get("nbHits") if isinstance(result, dict) else None
        if not isinstance(hits, int) or isinstance(hits, bool) or not isinstance(result.get("hits"), list):
            return None
    return results


class CarefulRobots(RobotsTxtMiddleware):
    """robots.txt as RFC 9309 reads it: none (4xx) allows everything, one that a server in trouble (429, 5xx)
    withholds allows nothing. Without any answer the request itself will tell that nobody is there.
    """

    async def _parse_robots(self, response: Response, netloc: str, request: Request) -> None:
        if response.status >= 500 or response.status == 429:
            response = response.replace(body=b"User-agent: *\nDisallow: /\n")
        elif response.status >= 400:
            response = response.replace(body=b"")
        await super()._parse_robots(response, netloc, request)
