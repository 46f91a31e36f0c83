"""What Scrapy logs of a run. Problems are told once, in the report; details are there at DEBUG."""

from __future__ import annotations

import logging
from typing import Any

from scrapy.logformatter import LogFormatter


class QuietLog(LogFormatter):
    """A request that fails after all retries is no reason for a stack trace."""

    def download_error(self, *arguments: Any, **more: Any) -> dict[str, Any]:
        return {**super().download_error(*arguments, **more), "level": logging.DEBUG}


def quiet_robots() -> None:
    """A robots.txt that nobody answers is told again, and better, by the request that it was for."""
    logging.getLogger("scrapy.downloadermiddlewares.robotstxt").setLevel(logging.CRITICAL)
