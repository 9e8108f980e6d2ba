"""The express lane: ordinary inference requests, answered by the HTTP protocol itself.

An ASGI cycle takes a task, a scope, events and several awaits for each request: more than the arithmetic of a small
network. A request goes by this lane if its body is announced, small, and neither compressed nor asked for first; every
other one, and everything that is not inference, goes to the ASGI application, which answers the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.body import BodyReader, Headers
from service.errors import BodyTooSlow, QueueFull, ServiceError
from service.live_model import LiveModel
from service.tensors import Arrays
from service.web import problems
from service.web.dialects import Target, find_target, seconds_for
from service.web.inference import count_failure
from service.web.parts import Parts
from service.web.wire import ASIDE_BYTES, Answer, Wire

# Headers of a request that is left to the ASGI application.
ELSEWHERE = frozenset({b"transfer-encoding", b"content-encoding", b"expect", b"upgrade"})


class Connection(Protocol):
    """What the lane needs of the connection that a request came by."""

    url: bytes
    headers: Headers
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport

    def default_head(self) -> bytes:
        """Return the header lines of every response."""

    def on_response_complete(self) -> None:
        """Go on to the next request."""


class ExpressLane:
    """Finds the requests that may go by it. One for each process; has no state of its own."""

    def __init__(self, parts: Parts, bodies: BodyReader) -> None:
        self.parts = parts
        self.bodies = bodies
        self._limit = min(ASIDE_BYTES, parts.settings.max_json_bytes, parts.settings.max_binary_bytes)

    def enter(self, connection: Connection, *, keep_alive: bool) -> ExpressRequest | None:
        """Take a POST whose headers are whole; None if it has to go the other way."""
        target = _target(connection.url)
        if target is None:
            return None
        length, header_length, accept_encoding = -1, None, ""
        for name, value in connection.headers:
            if name == b"content-length":
                length = int(value) if value.isdigit() else -1
            elif name == b"inference-header-content-length":
                header_length = value.decode("latin-1")
            elif name == b"accept-encoding":
                accept_encoding = value.decode("latin-1")
            elif name in ELSEWHERE:
                return None
        if not 0 <= length <= self._limit:
            return None
        try:
            self.bodies.reserve(length)
        except QueueFull:
            return None
        wire = target.wire(Wire.of(header_length, "", accept_encoding))
        return ExpressRequest(self, connection, target, wire, length, keep_alive=keep_alive)


def _refuse_unread(model: LiveModel, body: bytes) -> None:
    """Refuse what would be refused anyway, before its numbers are read: under overload that is most of the work."""
    try:
        model.batcher.check_room()
    except QueueFull:
        if b'"priority"' not in body:
            raise


def _target(url: bytes) -> Target | None:
    if b"%" in url or b"?" in url or b"#" in url or not url.isascii():
        return None
    return find_target(url.decode("ascii"))


class _NoEvent:
    """Stands where uvicorn sets an event that nobody waits for here."""

    def set(self) -> None:
        """Do nothing."""


class ExpressRequest:
    """One request in the lane; to uvicorn's protocol it is the cycle of request and response that is going on."""

    __slots__ = (
        "_answer", "_connection", "_lane", "_length", "_model", "_pieces", "_started", "_target", "_timer", "_wire",
        "keep_alive", "response_complete", "whole",
    )  # fmt: skip

    message_event = _NoEvent()

    def __init__(
        self,
        lane: ExpressLane,
        connection: Connection,
        target: Target,
        wire: Wire,
        length: int,
        *,
        keep_alive: bool,
    ) -> None:
        self._lane = lane
        self._connection = connection
        self._target = target
        self._wire = wire
        self._length = length
        self._pieces: list[bytes] = []
        self._started = 0.0
        self._model: LiveModel | None = None
        self._answer: asyncio.Future[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.keep_alive = keep_alive
        self.whole = False
        self.response_complete = False

    @property
    def disconnected(self) -> bool:
        """Whether the client has left."""
        return self._connection.transport.is_closing()

    @disconnected.setter
    def disconnected(self, _: bool) -> None:
        # What nobody waits for is dropped when the batch forms.
        if self._answer is not None:
            self._answer.cancel()
        elif not self.response_complete:
            self._end()

    def feed(self, piece: bytes) -> None:
        """Take a piece of the body."""
        self._pieces.append(piece)

    def wait_for_rest(self) -> None:
        """Bound the time that the rest of the body may take."""
        if self._timer is None:
            seconds = self._lane.parts.settings.body_timeout
            self._timer = self._connection.loop.call_later(seconds, self._too_slow, seconds)

    def run(self) -> None:
        """Answer; the body is whole."""
        self.whole = True
        if self._timer is not None:
            self._timer.cancel()
        self._started = time.monotonic()
        found, target = self._lane.parts, self._target
        try:
            body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            model = self._model = found.repository.get(target.name, target.version, label=target.label)
            _refuse_unread(model, body)
            asked = target.dialect.read(self._wire, body, model, found.settings)
            seconds = seconds_for(asked, found.settings)
            answer = model.batcher.ask(asked.inputs, timeout=seconds, priority=asked.priority)
        except Exception as error:
            self._fail(error)
        else:
            self._wait(answer, lambda outputs: self._computed(outputs, asked, model))

    def _wait(self, future: asyncio.Future[Any], go_on: Callable[[Any], None]) -> None:
        """Go on with what a future brings, unless the client leaves before."""

        def done(finished: asyncio.Future[Any]) -> None:
            if finished.cancelled():
                self._end()
                return
            try:
                go_on(finished.result())
            except Exception as error:
                self._fail(error)

        self._answer = future
        future.add_done_callback(done)

    def _computed(self, outputs: Arrays, asked: Any, model: LiveModel) -> None:
        def write() -> Answer:
            return self._target.dialect.write(self._wire, asked, outputs, model)

        if sum([array.nbytes for array in outputs.values()]) > ASIDE_BYTES:
            aside = self._connection.loop.run_in_executor(None, write)
            self._wait(aside, lambda answer: self._send_answer(answer, model))
        else:
            self._send_answer(write(), model)

    def _send_answer(self, answer: Answer, model: LiveModel) -> None:
        model.metrics.answered(time.monotonic() - self._started)
        self._send(200, answer.headers + model.identity, answer.body)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, ServiceError):
            seconds = time.monotonic() - self._started
            target = self._target
            count_failure(self._lane.parts, error, target.name, target.version, model=self._model, seconds=seconds)
        self._send(*problems.answer_to(error))

    def _too_slow(self, seconds: float) -> None:
        self.keep_alive = False
        self._send(*problems.answer_to(BodyTooSlow(seconds)))

    def _send(self, status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> None:
        connection = self._connection
        if not connection.transport.is_closing():
            close = b"" if self.keep_alive else b"connection: close\r\n"
            length = b"content-length: %d\r\n\r\n" % len(body)
            connection.transport.write(
                b"".join((STATUS_LINE[status], connection.default_head(), _lines(headers), close, length, body))
            )
            if not self.keep_alive:
                connection.transport.close()
        self._end()

    def _end(self) -> None:
        if not self.response_complete:
            self.response_complete = True
            self._lane.bodies.release(self._length)
            self._connection.on_response_complete()


@lru_cache(maxsize=4096)
def _lines(headers: tuple[tuple[str, str], ...]) -> bytes:
    """Write headers; a model's answers carry the same few again and again."""
    return b"".join(f"{name.lower()}: {value}\r\n".encode("latin-1") for name, value in headers)
