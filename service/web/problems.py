"""The only table that turns an error into an HTTP status, and the JSON body that goes with it."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from service import errors
from service.telemetry.logs import LOGGER
from service.web import unsupported

# The most specific class that an error belongs to decides.
STATUS: dict[type[errors.ServiceError], int] = {
    errors.BadRequest: 400,
    errors.ControlRefused: 400,
    errors.NotFound: 404,
    errors.BodyTooSlow: 408,
    errors.BodyTooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.QueueFull: 429,
    errors.InferenceFailed: 500,
    errors.ModelRefused: 500,
    errors.InvalidSettings: 500,
    errors.Unsupported: 501,
    errors.NotReady: 503,
    errors.ProviderUnavailable: 503,
    errors.DeadlineExceeded: 504,
}

JSON = "application/json"
_CONTENT_TYPE = ("Content-Type", JSON)
UNFORESEEN = "internal error; the log of the service says more"


def as_json(value: Any) -> Response:
    """Answer with a value as JSON."""
    return Response(orjson.dumps(value), mimetype=JSON)


def answer_to(error: Exception) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    """Return status, headers and body for an error; one that nobody foresaw is logged, and its cause is not told."""
    if isinstance(error, errors.ServiceError):
        return status_of(error), (_CONTENT_TYPE, *headers_of(error).items()), body_of(str(error))
    LOGGER.error("a request failed unforeseen", exc_info=error)
    return 500, (_CONTENT_TYPE,), body_of(UNFORESEEN)


def status_of(error: errors.ServiceError) -> int:
    """Look up the HTTP status of an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def body_of(message: str) -> bytes:
    """Write an error body, as the Open Inference Protocol has it: `{"error": message}`."""
    return orjson.dumps({"error": message})


def headers_of(error: errors.ServiceError) -> dict[str, str]:
    """Return the headers that an error adds to its answer."""
    return {"Retry-After": str(error.retry_after)} if isinstance(error, errors.QueueFull) else {}


def _http_status(error: HTTPException) -> int:
    # TensorFlow Serving answers 400 to a path below /v1/ that it cannot read.
    below_v1 = request.path.lower().startswith("/v1/")
    return 400 if below_v1 and error.code == 404 else error.code or 500


def _http_message(error: HTTPException) -> str:
    messages = {
        404: f"nothing at {request.path}; / shows what is served",
        405: f"{request.method} is not allowed at {request.path}{_allowed(error)}",
        413: "the body is larger than the limit",
    }
    return messages.get(error.code or 500, f"{error.name}: {error.description}")


def _allowed(error: HTTPException) -> str:
    methods = sorted(set(getattr(error, "valid_methods", None) or ()) - {"HEAD", "OPTIONS"})
    return f", only {' and '.join(methods)}" if methods else ""


def register(app: Flask) -> None:
    """Answer every error of the application with a status from the table and a JSON body."""

    @app.errorhandler(Exception)
    def _error(error: Exception) -> Response:
        status, headers, body = answer_to(error)
        return Response(body, status, headers)

    @app.errorhandler(HTTPException)
    def _http_error(error: HTTPException) -> Response:
        if error.code == 404 and (reason := unsupported.reason_at(request.path)) is not None:
            return _error(errors.Unsupported(reason))
        answer = Response(body_of(_http_message(error)), _http_status(error), mimetype=JSON)
        answer.headers.extend([pair for pair in error.get_headers() if pair[0].lower() == "allow"])
        return answer
