from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from graildient.errors import InvalidListing, SourceRefused
from graildient.listing import SoldListing
from graildient.parsing import parse_hit
from graildient.settings import ScraperSettings
from scrapers.fetch import fetch_listing, listing_id_of
from scrapers.marketplace.catalogue import synthetic


@pytest.fixture(scope="module")
def hits() -> list[dict[str, Any]]:
    return list(synthetic(1200, 3).sold)


@pytest.mark.parametrize("via", ["endpoint", "page"])
def test_a_listing_by_id_or_address(shop: Any, hits: list[dict[str, Any]], via: Any) -> None:
    settings = ScraperSettings(base_url=shop.url)
    expected = parse_hit(hits[0])
    assert isinstance(expected, SoldListing)
    for asked in (hits[0]["id"], str(hits[0]["id"]), shop.url + hits[0]["listing_url"]):
        assert fetch_listing(asked, settings, via=via) == expected


def test_no_such_listing(shop: Any) -> None:
    with pytest.raises(SourceRefused, match="there is no such listing"):
        fetch_listing(1, ScraperSettings(base_url=shop.url))


def test_nobody_there(free_port: int) -> None:
    with pytest.raises(SourceRefused, match="refused"):
        fetch_listing(1, ScraperSettings(base_url=f"http://127.0.0.1:{free_port}"))


@pytest.mark.parametrize("text", ["", "tee", "https://www.grailed.com/designers/kappa", "-5", "1" * 25])
def test_what_names_no_listing(text: str) -> None:
    with pytest.raises(InvalidListing, match="neither an id nor the address"):
        listing_id_of(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("123", 123),
        (123, 123),
        (" https://www.grailed.com/listings/123-alexandre-x-cloak ", 123),
        ("https://www.grailed.com/listings/123?utm=1", 123),
        ("grailed.com/listings/123", 123),
    ],
)
def test_ids_are_found_in_addresses(text: str | int, number: int) -> None:
    assert listing_id_of(text) == number


def test_files_are_no_source() -> None:
    with pytest.raises(SourceRefused, match="not an http address"):
        fetch_listing(1, ScraperSettings(base_url="file:///etc"))


class Odd(BaseHTTPRequestHandler):
    """Answers each path as its server's table says."""

    def do_GET(self) -> None:
        status, body = self.server.answers.get(self.path, (404, b""))  # type: ignore[attr-defined]
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/listings/9")
        self.send_header("Content-Length", str(len(body) + (5 if body == b"cut" else 0)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


PATH = "/api/listings/5"


@pytest.mark.parametrize(
    ("answers", "error", "message"),
    [
        ({"/robots.txt": (200, b"User-agent: *\nDisallow: /api/")}, SourceRefused, "robots.txt"),
        ({"/robots.txt": (503, b""), PATH: (200, b"{}")}, SourceRefused, "robots.txt"),
        ({PATH: (200, b"<html>")}, SourceRefused, "not JSON"),
        ({PATH: (200, b"cut")}, SourceRefused, "cut off"),
        ({PATH: (302, b"")}, SourceRefused, "HTTP 302"),
        ({PATH: (403, b"")}, SourceRefused, "HTTP 403"),
        ({PATH: (200, b"[]")}, InvalidListing, "listing"),
        ({PATH: (200, json.dumps({"data": {"id": 5}}).encode())}, InvalidListing, "title"),
    ],
)
def test_odd_answers_are_named(answers: dict[str, Any], error: type[Exception], message: str) -> None:
    with HTTPServer(("127.0.0.1", 0), Odd) as server:
        server.answers = answers  # type: ignore[attr-defined]
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            with pytest.raises(error, match=message):
                fetch_listing(5, ScraperSettings(base_url=f"http://127.0.0.1:{server.server_port}"))
        finally:
            server.shutdown()
