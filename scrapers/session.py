"""One scraping run: what its spider, pipelines and extension share, and what it says in the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from graildient.errors import GraildientError, StorageError
from graildient.lake import Lake, Quarantined
from graildient.listing import SoldListing
from graildient.progress import Reporter
from graildient.settings import ScraperSettings

FLUSH = 2500
"""Listings that are written at once; what a killed run loses at most, and fetches again."""


@dataclass
class Session:
    """The state of a run. Writing to the lake happens in a thread, one batch at a time."""

    scraper: ScraperSettings
    lake: Lake
    start: datetime
    until: datetime
    report: Reporter
    scraped_at: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    total: int | None = None
    seen: int = 0
    written: int = 0
    known: int = 0
    ranges: int = 0
    failed_ranges: int = 0
    uncovered: int = 0
    newest: datetime | None = None
    quarantined: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    swept: bool = False
    refused: bool = False
    broken: GraildientError | None = None

    _listings: list[SoldListing] = field(default_factory=list)
    _refused_items: list[Quarantined] = field(default_factory=list)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def quarantine(self, cause: str, where: str, payload: Any) -> None:
        """Keep what cannot be taken, with its cause; written with the next batch."""
        self.quarantined[cause] += 1
        self._refused_items.append(Quarantined(cause, where, payload, self.scraper.sold_index))

    def take(self, listing: SoldListing) -> None:
        """Keep a listing; written with the next batch."""
        self._listings.append(listing)
        if self.newest is None or listing.sold_at > self.newest:
            self.newest = listing.sold_at

    @property
    def is_full(self) -> bool:
        return len(self._listings) + len(self._refused_items) >= FLUSH

    async def flush(self) -> None:
        """Write what is kept. A lake that cannot be written ends the run; see `broken`."""
        listings, self._listings = self._listings, []
        refused, self._refused_items = self._refused_items, []
        async with self._writing:
            if self.broken is None and (listings or refused):
                await asyncio.to_thread(self._write, listings, refused)

    def _write(self, listings: list[SoldListing], refused: list[Quarantined]) -> None:
        try:
            if refused:
                self.lake.quarantine(refused)
            appended = self.lake.append(listings)
        except Exception as error:
            # Listings that are not in the lake must never look as if they were.
            if not isinstance(error, GraildientError):
                error = StorageError(f"cannot write the lake: {error!r}")
            self.broken = error
            return
        self.written += appended.written
        self.known += appended.duplicates

    async def settled(self) -> None:
        """Returns when no batch is being written, so that fetching cannot run ahead of the lake."""
        async with self._writing:
            pass

    def tell(self, requests: int) -> None:
        """Show how far the sweep is."""
        note = f"{requests} requests"
        if self.quarantined:
            note += f", {sum(self.quarantined.values())} quarantined"
        self.report("scrape", done=self.seen, total=self.total, note=note)
