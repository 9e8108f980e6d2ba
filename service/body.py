"""Reads a request's body in the asyncio front: whole, within a size, a time and the process's budget of bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from service.errors import BodyTooLarge, BodyTooSlow, MalformedBody, QueueFull
from service.web.inference import DISCARD_BYTES

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Headers = list[tuple[bytes, bytes]]

DISCARD_SECONDS = 10.0


class ClientLeft(Exception):
    """The client closed the connection before its request was whole; there is nobody to answer."""


class BodyReader:
    """Reads bodies; `_in_flight`, the bytes announced by all requests being read or answered, is its only state."""

    def __init__(self, *, seconds: float, budget: int) -> None:
        self._seconds = seconds
        self._budget = budget
        self._in_flight = 0

    def reserve(self, announced: int) -> None:
        """Take a request's bytes from the budget; raise `QueueFull` if they are not there. Give back by `release`."""
        if self._in_flight and self._in_flight + announced > self._budget:
            raise QueueFull(f"bodies of {self._in_flight} bytes are being answered; the limit is {self._budget}")
        self._in_flight += announced

    def release(self, announced: int) -> None:
        """Give a request's bytes back."""
        self._in_flight -= announced

    async def refuse_too_large(self, headers: Headers, receive: Receive, *, announced: int, limit: int) -> None:
        """Raise `BodyTooLarge` if a body announces more than `limit` bytes; its start is read and thrown away."""
        if announced > limit:
            # A client that asks first (Expect: 100-continue) has sent nothing, and must not be asked to.
            asks_first = any(name == b"expect" for name, _ in headers)
            raise BodyTooLarge(limit, unread=asks_first or not await _discard(receive))

    async def read(self, receive: Receive, *, limit: int) -> bytes:
        """Read the whole body.

        Raises:
            BodyTooLarge: it is longer than `limit` bytes (the rest, if it is bounded, has been thrown away).
            BodyTooSlow: it did not arrive in time.
            ClientLeft: the client closed the connection.
        """
        try:
            async with asyncio.timeout(self._seconds):
                return await _read(receive, limit)
        except TimeoutError:
            raise BodyTooSlow(self._seconds) from None


async def _read(receive: Receive, limit: int) -> bytes:
    message = await _next(receive)
    if not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise BodyTooLarge(limit)
        return body
    # Joined once at the end: adding each piece to the last copies the whole body again and again.
    pieces = [message.get("body", b"")]
    size = len(pieces[0])
    while message.get("more_body"):
        message = await _next(receive)
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > limit:
            raise BodyTooLarge(limit, unread=message.get("more_body", False) and not await _discard(receive))
    return b"".join(pieces)


async def _discard(receive: Receive) -> bool:
    """Throw away the rest of a body, up to a bound of bytes and time; tell whether that was all of it."""
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_SECONDS):
            while size < DISCARD_BYTES:
                message = await _next(receive)
                size += len(message.get("body", b""))
                if not message.get("more_body"):
                    return True
    return False


async def _next(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientLeft
    return message


def announced_length(headers: Headers) -> int:
    """Read Content-Length; 0 where there is none (a chunked body). Raise `MalformedBody` if it is no number."""
    for name, value in headers:
        if name == b"content-length":
            if not value.isdigit():
                raise MalformedBody(f"Content-Length: expected a number, received {value!r}")
            return int(value)
    return 0
