"""uvicorn's httptools protocol with two bounds that it lacks, a deaf ear for other protocols, and a kinder end.

Headers may not grow beyond a size, nor take longer than a time. Java's HTTP client and `curl --http2` offer with a
request to go on in HTTP/2; httptools then leaves the request's body unread, so the offer is not shown to it. When the
server stops, an idle connection is kept open for a moment: a request that was on its way when the signal came is
answered instead of reset.
"""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.express import ExpressLane, ExpressRequest

MAX_HEADER_BYTES = 64 * 2**10
LAST_CALL_SECONDS = 0.5

_UPGRADE = re.compile(rb"(?im)^upgrade:[^\r\n]*\r\n")

_TOO_LARGE = b'{"error":"the request line and headers are larger than 65536 bytes"}'
_TOO_SLOW = b'{"error":"the request line and headers did not arrive in time"}'


class BoundedHttpProtocol(HttpToolsProtocol):
    """Bounds the size and the time of a request's headers."""

    header_seconds: ClassVar[float] = 30.0

    # uvicorn's own kind, or one of the express lane's.
    cycle: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take the express lane from the application, if it has one."""
        super().__init__(*arguments, **options)
        self._lane: ExpressLane | None = getattr(self.app, "express", None)
        self._express: ExpressRequest | None = None

    _header_bytes = 0
    _in_headers = False
    _in_body = False
    _stopping = False
    _header_timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser; refuse headers that are too large, and give those that are incomplete a deadline."""
        super().data_received(data if self._in_body else without_upgrade(data))
        if self._express is not None and not self._express.whole:
            self._express.wait_for_rest()
        if self._in_headers and not self.transport.is_closing():
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse(b"431 Request Header Fields Too Large", _TOO_LARGE)
            elif self._header_timer is None:
                self._header_timer = self.loop.call_later(self.header_seconds, self._headers_too_slow)

    def on_message_begin(self) -> None:
        """Note that a request has begun: its line and headers are to come."""
        self._in_headers = True
        self._header_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that the headers are whole; start the request."""
        self._in_headers = False
        self._in_body = True
        self._cancel_header_timer()
        if not self._goes_express():
            super().on_headers_complete()
        if self._stopping and self.cycle is not None:
            self.cycle.keep_alive = False

    def _goes_express(self) -> bool:
        """Take a request into the express lane if it is one for it, and the connection is free."""
        lane, cycle = self._lane, self.cycle
        free = (cycle is None or cycle.response_complete) and not self.flow.write_paused
        if lane is None or not free or self.parser.get_method() != b"POST":
            return False
        keep_alive = self.parser.should_keep_alive() and self.parser.get_http_version() != "1.0"
        self._express = lane.enter(self, keep_alive=keep_alive)
        if self._express is None:
            return False
        # uvicorn's own part of this class sees a request that is going on, and queues what follows it.
        self.cycle = self._express
        return True

    def on_body(self, body: bytes) -> None:
        """Take a piece of a request's body."""
        if self._express is not None and self.cycle is self._express:
            self._express.feed(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the next bytes are another request's."""
        self._in_body = False
        if self._express is None or self.cycle is not self._express:
            super().on_message_complete()
        elif not self._express.response_complete:
            self._express.run()

    def default_head(self) -> bytes:
        """Write the header lines of every response, the date among them; uvicorn renews them each second."""
        return _default_head(tuple(self.server_state.default_headers))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._cancel_header_timer()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End the connection after the request that is being answered, or that arrives in the next moment."""
        self._stopping = True
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(LAST_CALL_SECONDS, self._close_if_idle)
        else:
            self.cycle.keep_alive = False

    def _close_if_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def _headers_too_slow(self) -> None:
        self._refuse(b"408 Request Timeout", _TOO_SLOW)

    def _cancel_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _refuse(self, status: bytes, body: bytes) -> None:
        if self.transport.is_closing():
            return
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, len(body)) + body)
        self.transport.close()


@lru_cache(maxsize=2)
def _default_head(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)


def without_upgrade(data: bytes) -> bytes:
    """Take the offer of another protocol out of the head of a request; leave its body as it is."""
    end = data.find(b"\r\n\r\n")
    head = data if end < 0 else data[: end + 2]
    return _UPGRADE.sub(b"", head) + data[len(head) :] if b"upgrade:" in head.lower() else data
