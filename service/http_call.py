"""One HTTP call to a running service, for the commands that ask one; the standard library suffices."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

import click

TIMEOUT_SECONDS = 120.0


class Refused(Exception):
    """The service answered with an error; says which."""


def url_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--url`, with the same meaning for every command that asks a service."""
    return click.option(
        "--url",
        default="http://127.0.0.1:8000",
        envvar="OVENBIRD_URL",
        show_default=True,
        show_envvar=True,
        help="Where the service is.",
    )(command)


def post(
    url: str, path: str, body: bytes = b"", content_type: str = "application/json", *, timeout: float = TIMEOUT_SECONDS
) -> bytes:
    """Post a body to a path (already quoted) of the service at `url`, and return the answer's body.

    Raises:
        Refused, click.UsageError, click.ClickException: as `call`.
    """
    return call(url, path, body, {"Content-Type": content_type}, timeout=timeout)


def call(
    url: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, *,
    timeout: float = TIMEOUT_SECONDS,
) -> bytes:  # fmt: skip
    """Get a path (already quoted) of the service at `url`, or post a body to it, and return the answer's body.

    Raises:
        Refused: the service answered with an error.
        click.UsageError, click.ClickException: there is no such address, or nobody answers there.
    """
    if not url.startswith(("http://", "https://")):
        raise click.UsageError(f"--url {url!r}: expected http://… or https://…")
    request = urllib.request.Request(f"{url.rstrip('/')}{path}", body, dict(headers or {}))  # noqa: S310  (checked above)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
            answer: bytes = response.read()
            return answer
    except urllib.error.HTTPError as error:
        raise Refused(_reason(error)) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise click.ClickException(f"no answer from {url}: {reason}; is `ovenbird serve` running there?") from None


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code} {error.reason}"
