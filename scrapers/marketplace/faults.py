"""Faults on demand, as ASGI middleware: what real servers do to a client on a bad day.

Whether a request fails is decided by the seed and the number of the request, so a run of the
same requests meets the same faults. The very same request fails a bounded number of times in a
row, so that a patient client always gets through.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from hashlib import sha256

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scrapers.marketplace.chance import seeded
from scrapers.marketplace.settings import MarketplaceSettings

UNTOUCHED = frozenset({"/healthz"})


class Faults:
    """Wraps the application; answers some requests badly."""

    def __init__(self, app: ASGIApp, settings: MarketplaceSettings) -> None:
        self.app = app
        self.settings = settings
        self.requests = 0
        self._in_a_row: Counter[bytes] = Counter()

    def _choose(self, request: bytes) -> str | None:
        self.requests += 1
        share = seeded("fault", self.settings.fault_seed, self.requests).random()
        s = self.settings
        for kind, rate in (
            ("429", s.rate_429),
            ("500", s.rate_500),
            ("slow", s.rate_slow),
            ("truncated", s.rate_truncated),
            ("malformed", s.rate_malformed),
        ):
            if share < rate:
                if self._in_a_row[request] >= s.faults_in_a_row:
                    break
                self._in_a_row[request] += 1
                return kind
            share -= rate
        self._in_a_row.pop(request, None)
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNTOUCHED:
            await self.app(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        replayed = False

        async def replay() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": body, "more_body": False}

        line = f"{scope['method']} {scope['path']}?".encode() + scope["query_string"] + b"\n"
        kind = self._choose(sha256(line + body).digest())
        if kind == "429":
            headers = {"retry-after": str(self.settings.retry_after)}
            await PlainTextResponse("too many requests", 429, headers)(scope, replay, send)
        elif kind == "500":
            await PlainTextResponse("internal server error", 500)(scope, replay, send)
        elif kind in ("truncated", "malformed"):
            await self._damage(kind, scope, replay, send)
        else:
            if kind == "slow":
                await asyncio.sleep(self.settings.slow_seconds)
            await self.app(scope, replay, send)

    async def _damage(self, kind: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends two thirds of the real answer: with its real length (cut off), or as if that were all."""
        start: Message = {}
        parts: list[bytes] = []

        async def collect(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))

        await self.app(scope, receive, collect)
        whole = b"".join(parts)
        kept = whole[: len(whole) * 2 // 3]
        if kind == "malformed":
            headers = [(k, v) for k, v in start["headers"] if k.lower() != b"content-length"]
            headers.append((b"content-length", str(len(kept)).encode()))
            await send({**start, "headers": headers})
            await send({"type": "http.response.body", "body": kept})
            return
        await send(start)
        # More is promised and never comes: the server then closes the connection.
        await send({"type": "http.response.body", "body": kept, "more_body": True})
