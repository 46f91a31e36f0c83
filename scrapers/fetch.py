"""One listing of the source, asked for by address or id: what `predict URL` starts from.

One request needs no crawler (and no reactor, of which a process has one), so this is plain HTTP with
the same manners: robots.txt, user agent, bounded size and time.
"""

from __future__ import annotations

import json
import re
from http.client import HTTPException
from typing import Literal
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from graildient.errors import Detail, InvalidListing, SourceRefused
from graildient.listing import Listing
from graildient.parsing import parse_listing, parse_page
from graildient.settings import ScraperSettings

MAX_BYTES = 16 * 1024 * 1024
TIMEOUT = 20.0
_ID = re.compile(r"(?:^|/listings/)(\d{1,19})(?:$|[-/?#])")


def listing_id_of(text: str | int) -> int:
    """The id in an address ("https://…/listings/123-some-words"), or an id as text.

    Raises:
        InvalidListing: there is none.
    """
    found = _ID.search(str(text).strip())
    if not found:
        reason = "neither an id nor the address of a listing"
        raise InvalidListing(f"listing: {reason}: {str(text)[:200]!r}", details=[Detail("listing", reason)])
    return int(found[1])


def fetch_listing(
    listing: str | int, scraper: ScraperSettings, *, via: Literal["endpoint", "page"] = "endpoint"
) -> Listing:
    """The listing (a SoldListing if it is sold) as the source has it now.

    Args:
        listing: an id, or the address of a listing page; only its id is used, the host is that of `scraper`.
        via: the JSON endpoint, or the page with its `__NEXT_DATA__`.

    Raises:
        InvalidListing: no id in `listing`, or what came breaks the contract.
        SourceRefused: robots.txt forbids it, there is no such listing, or no good answer came.
    """
    number = listing_id_of(listing)
    path = f"/api/listings/{number}" if via == "endpoint" else f"/listings/{number}"
    base = scraper.base_url.rstrip("/")
    if scraper.obey_robots and not _allowed(base, path, scraper):
        raise SourceRefused(f"robots.txt of {urlsplit(base).netloc} forbids {path}")
    status, body = _get(base + path, scraper)
    if status != 200:
        reason = "there is no such listing" if status == 404 else f"HTTP {status}"
        raise SourceRefused(f"{base}{path}: {reason}")
    salt = scraper.seller_salt.get_secret_value()
    if via == "page":
        return parse_page(body.decode("utf-8", "replace"), salt=salt)
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        raise SourceRefused(f"{base}{path}: the answer is not JSON") from None
    return parse_listing(payload, salt=salt)


def _allowed(base: str, path: str, scraper: ScraperSettings) -> bool:
    from protego import Protego

    status, body = _get(f"{base}/robots.txt", scraper)
    if status == 429 or status >= 500:
        return False
    if status != 200:
        return True
    rules = Protego.parse(body.decode("utf-8", "replace"))
    return bool(rules.can_fetch(base + path, scraper.user_agent))


class _Stay(HTTPRedirectHandler):
    """Follows no redirect: a listing that has moved is another listing, and other hosts have other rules."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _get(url: str, scraper: ScraperSettings) -> tuple[int, bytes]:
    """Status and body.

    Raises:
        SourceRefused: no answer, or one that is too large or cut off.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise SourceRefused(f"{url}: not an http address", hint="see GRAILDIENT_SCRAPER_BASE_URL")
    request = Request(url, headers={"User-Agent": scraper.user_agent})  # noqa: S310
    try:
        with build_opener(_Stay).open(request, timeout=TIMEOUT) as response:
            body = response.read(MAX_BYTES + 1)
            status, missing = int(response.status), response.length
    except HTTPError as error:
        return error.code, b""
    except (URLError, HTTPException, OSError) as error:
        raise SourceRefused(f"{url}: {getattr(error, 'reason', None) or error}") from None
    if len(body) > MAX_BYTES:
        raise SourceRefused(f"{url}: more than {MAX_BYTES} bytes")
    if missing:
        raise SourceRefused(f"{url}: the answer is cut off")
    return status, body
