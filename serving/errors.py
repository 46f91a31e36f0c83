"""What a request can be refused for, and how every error looks over HTTP and gRPC.

Over HTTP the body is `GraildientError.to_json()`; over gRPC the status carries the message and the
trailing metadata `graildient-error` carries the same JSON.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from graildient.errors import Detail, GraildientError, InvalidListing, ModelNotFound

log = logging.getLogger("graildient.serving")

ERROR_KEY = "graildient-error"
"""Key of the trailing metadata that holds the error's JSON."""

MAX_DETAILS = 100
MAX_TEXT = 500
MAX_METADATA = 4096
"""gRPC clients refuse more than 8 KiB of metadata in all."""


class InvalidRequest(GraildientError):
    """A request cannot be understood: no JSON, wrong types, unknown tensors, nothing to price."""

    code = "invalid_request"
    http_status = 400


class NoSuchRoute(GraildientError):
    """There is nothing at this path."""

    code = "not_found"
    http_status = 404


class MethodNotAllowed(GraildientError):
    """The path exists, but not for this method."""

    code = "method_not_allowed"
    http_status = 405


class RequestTooLarge(GraildientError):
    """More bytes or more rows than the server takes at once."""

    code = "too_large"
    http_status = 413


class UnsupportedMediaType(GraildientError):
    """The body is declared to be something other than what the path takes."""

    code = "unsupported_media_type"
    http_status = 415


class NotOffered(GraildientError):
    """A call of the protocol that this server does not offer."""

    code = "not_offered"
    http_status = 403


class NotReady(GraildientError):
    """The server is starting or stopping."""

    code = "not_ready"
    http_status = 503


class Failed(GraildientError):
    """Something is wrong on our side. The log has the cause; the caller does not."""

    code = "internal"
    http_status = 500


class ServerUnreachable(GraildientError):
    """No server answers at the address that a client was given."""

    code = "server_unreachable"


def shorten(text: str, limit: int = MAX_TEXT) -> str:
    """Cut what a caller sent before it is sent back."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def refuse_rows(
    problems: list[tuple[int, InvalidListing]], name: Callable[[int, str], str]
) -> InvalidListing:
    """One error for all the rows of a batch that break the contract.

    `name` turns a row and a field into the field's path in the request, e.g. `instances[0].condition`.
    """
    details = [
        Detail(shorten(name(row, d.field), 200), shorten(d.reason))
        for row, problem in problems
        for d in problem.details or (Detail("", problem.message),)
    ]
    first = details[0]
    message = f"{first.field}: {first.reason}" if first.field else first.reason
    if len(details) > 1:
        message += f" (and {len(details) - 1} more)"
    return InvalidListing(message, details=details[:MAX_DETAILS])


def to_body(error: GraildientError) -> dict[str, Any]:
    """The error shape, with what a caller sent cut to a bearable length."""
    body = error.to_json()
    body["error"] = shorten(body["error"])
    body["details"] = [
        {"field": shorten(d["field"], 200), "reason": shorten(d["reason"])}
        for d in body["details"][:MAX_DETAILS]
    ]
    return body


def to_metadata(error: GraildientError) -> str:
    """The error shape as ASCII JSON that fits into gRPC's metadata; details that do not fit are left out."""
    body = to_body(error)
    while len(text := json.dumps(body)) > MAX_METADATA and body["details"]:
        body["details"].pop()
    return (
        text if len(text) <= MAX_METADATA else json.dumps({"error": "", "code": body["code"], "details": []})
    )


def understood(error: Exception) -> GraildientError:
    """Any exception as one of ours; what nobody foresaw is logged with its trace and answered without it."""
    if isinstance(error, GraildientError):
        return error
    from serving.kserve_sdk import kserve_errors

    if isinstance(error, kserve_errors.ModelNotFound):
        return ModelNotFound(str(error))
    if isinstance(error, kserve_errors.InvalidInput):
        return InvalidRequest(str(error))
    if isinstance(error, (kserve_errors.ModelNotReady, kserve_errors.ServerNotReady)):
        return NotReady(str(error))
    log.error("request failed: %s", error, exc_info=error)
    return Failed("internal error", hint="the server's log has the cause")
