"""Item pipelines: a hit is validated, looked for among those of this run, and written to the lake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scrapy.crawler import Crawler
from scrapy.exceptions import DropItem

from graildient.errors import InvalidListing
from graildient.listing import SoldListing
from graildient.parsing import parse_hit
from scrapers.session import Session


@dataclass(frozen=True)
class ScrapedHit:
    """A hit as the source sent it."""

    payload: Any


@dataclass(frozen=True)
class ScrapedListing:
    """A hit that is a sold listing."""

    listing: SoldListing
    payload: Any


class _Pipeline:
    """Has the run's session at hand."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> _Pipeline:
        return cls(crawler.spider.session)

    def refuse(self, cause: str, where: str, payload: Any) -> DropItem:
        """Quarantines the payload; the answer ends the item's way."""
        self.session.quarantine(cause, where, payload)
        return DropItem(f"{cause}: {where}", log_level="DEBUG")


class Validate(_Pipeline):
    """Turns a hit into a listing through the contract; what breaks it goes to quarantine."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.salt = session.scraper.seller_salt.get_secret_value()

    def process_item(self, item: ScrapedHit) -> ScrapedListing:
        self.session.seen += 1
        try:
            listing = parse_hit(item.payload, salt=self.salt)
        except InvalidListing as error:
            detail = error.details[0] if error.details else None
            cause = "missing" if detail and detail.reason.startswith("missing") else "invalid"
            raise self.refuse(cause, detail.field if detail else "", item.payload) from None
        except Exception as error:
            # No payload, however odd, may be lost because nobody thought of it.
            raise self.refuse("error", type(error).__name__, item.payload) from error
        if not isinstance(listing, SoldListing):
            raise self.refuse("unsold", "sold_at", item.payload)
        taken = listing.model_copy(update={"scraped_at": self.session.scraped_at})
        return ScrapedListing(taken, item.payload)


class Deduplicate(_Pipeline):
    """Takes each listing once a run: the first, in the sweep's order. The lake knows those of other runs."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.ids: set[int] = set()

    def process_item(self, item: ScrapedListing) -> ScrapedListing:
        if item.listing.id in self.ids:
            raise self.refuse("duplicate", "id", item.payload)
        self.ids.add(item.listing.id)
        return item


class WriteLake(_Pipeline):
    """Hands listings to the session, which writes them in batches; the last one when the spider closes."""

    async def process_item(self, item: ScrapedListing) -> ScrapedListing:
        self.session.take(item.listing)
        if self.session.is_full:
            await self.session.flush()
        return item

    async def close_spider(self) -> None:
        await self.session.flush()
