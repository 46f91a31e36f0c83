"""The stand-in's HTTP server: search, the listing endpoint, pages, covers, robots.txt."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from graildient.errors import StorageError
from scrapers.marketplace import pages
from scrapers.marketplace.catalogue import Catalogue, from_file, synthetic
from scrapers.marketplace.faults import Faults
from scrapers.marketplace.filters import SearchError
from scrapers.marketplace.search import Index, answer_queries
from scrapers.marketplace.settings import MarketplaceSettings
from scrapers.marketplace.shape import Hit, listing_payload

DEFAULT_COUNT = 5000
MAX_BODY = 1024 * 1024


def _credential(request: Request, header: str) -> str:
    return request.headers.get(header) or request.query_params.get(header, "")


def application(catalogue: Catalogue, settings: MarketplaceSettings) -> ASGIApp:
    """The ASGI application that serves a catalogue, faults included."""
    shown = catalogue.seen_by(settings)
    by_id = shown.by_id()
    indices = {
        settings.sold_index: Index(settings.sold_index, shown.sold, "sold_at_i", cap=settings.cap),
        settings.active_index: Index(settings.active_index, shown.active, "created_at_i", cap=settings.cap),
    }

    def refuse(error: SearchError) -> JSONResponse:
        return JSONResponse({"message": error.message, "status": error.status}, error.status)

    async def search(request: Request) -> Response:
        key = settings.search_key.get_secret_value()
        app_ok = (
            not settings.search_app or _credential(request, "x-algolia-application-id") == settings.search_app
        )
        key_ok = not key or secrets.compare_digest(
            _credential(request, "x-algolia-api-key").encode(), key.encode()
        )
        if not (app_ok and key_ok):
            return refuse(SearchError("Invalid Application-ID or API key", 403))
        body = await request.body()
        try:
            if len(body) > MAX_BODY:
                raise SearchError("request body too large", 413)
            return Response(answer_queries(body, indices), media_type="application/json")
        except SearchError as error:
            return refuse(error)

    def listing_of(request: Request) -> Hit | None:
        number = request.path_params["name"].split("-")[0].removesuffix(".jpg")
        return by_id.get(int(number)) if number.isdecimal() and len(number) < 20 else None

    async def listing(request: Request) -> Response:
        hit = listing_of(request)
        if hit is None:
            return JSONResponse({"error": {"message": "not found", "status": 404}}, 404)
        return JSONResponse({"data": listing_payload(hit)})

    async def page(request: Request) -> Response:
        hit = listing_of(request)
        if hit is None:
            return PlainTextResponse("no such listing", 404)
        return HTMLResponse(pages.listing_page(hit, shown.synthetic))

    async def image(request: Request) -> Response:
        hit = listing_of(request)
        if hit is None or not request.path_params["name"].endswith(".jpg"):
            return PlainTextResponse("no such image", 404)
        kind = str(hit.get("category"))
        body = await asyncio.to_thread(pages.cover, hit["id"], str(hit.get("color")), kind, shown.synthetic)
        return Response(body, media_type="image/jpeg", headers={"cache-control": "max-age=86400"})

    async def index(_: Request) -> Response:
        examples = [*shown.active[:5], *shown.sold[:5]]
        return HTMLResponse(
            pages.index_page(shown.source, len(shown.sold), len(shown.active), shown.synthetic, examples)
        )

    async def robots(_: Request) -> Response:
        return PlainTextResponse(pages.ROBOTS)

    async def healthz(_: Request) -> Response:
        return JSONResponse(
            {
                "status": "ok",
                "sold": len(shown.sold),
                "active": len(shown.active),
                "synthetic": shown.synthetic,
            }
        )

    app: ASGIApp = Starlette(
        routes=[
            Route("/", index),
            Route("/healthz", healthz),
            Route("/robots.txt", robots),
            Route("/1/indexes/*/queries", search, methods=["POST"]),
            Route("/api/listings/{name}", listing),
            Route("/listings/{name}", page),
            Route("/images/{name}", image),
        ]
    )
    return Faults(app, settings) if settings.faulty else app


class _Server(uvicorn.Server):
    """Tells when it listens."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._tell()


def _bind(host: str, port: int) -> socket.socket:
    """A bound socket; when the port is taken, one on a free port, which is told on stderr."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for wanted in (port, 0):
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, wanted))
        except OSError as error:
            bound.close()
            if wanted == 0 or not isinstance(error, OSError) or error.errno != 98:
                raise StorageError(f"cannot listen on {host}:{wanted}: {error.strerror}") from None
            print(f"port {port} is taken; using a free one", file=sys.stderr)
            continue
        return bound
    raise StorageError(f"cannot listen on {host}:{port}")


def serve(
    settings: MarketplaceSettings | None = None,
    *,
    listings: Path | None = None,
    count: int = DEFAULT_COUNT,
    seed: int = 7,
    host: str = "127.0.0.1",
    port: int = 0,
    ready_file: Path | None = None,
    started: Callable[[str], None] | None = None,
) -> None:
    """Serve a file of listings, or `count` synthetic ones, until SIGINT or SIGTERM.

    Args:
        port: 0 for any free one; a taken one is replaced by a free one.
        ready_file: gets `{"url": "http://…", …}` once the server listens.
        started: is called with that URL.

    Raises:
        StorageError: the file cannot be read, or the host cannot be listened on.
    """
    settings = settings or MarketplaceSettings()
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)
    catalogue = from_file(listings) if listings is not None else synthetic(count, seed)
    bound = _bind(host, port)
    shown_host = f"[{host}]" if ":" in host else host
    url = f"http://{shown_host}:{bound.getsockname()[1]}"

    def tell() -> None:
        if ready_file is not None:
            facts: dict[str, Any] = {
                "url": url,
                "pid": os.getpid(),
                "sold": len(catalogue.sold),
                "active": len(catalogue.active),
                "synthetic": catalogue.synthetic,
            }
            part = ready_file.with_name(f".{ready_file.name}.part")
            part.write_text(json.dumps(facts), encoding="utf-8")
            os.replace(part, ready_file)
        if started is not None:
            started(url)

    config = uvicorn.Config(
        application(catalogue, settings),
        access_log=False,
        # A cut-off body is an error to the server, and here it is wanted.
        log_level="critical" if settings.rate_truncated else "warning",
        lifespan="off",
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    # The server raises the signal that stopped it once more when it is done: that must end it well.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        _Server(config, tell).run(sockets=[bound])
    finally:
        bound.close()
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)
