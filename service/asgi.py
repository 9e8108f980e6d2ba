"""The asyncio front: inference, health, readiness and metrics are answered here; everything else goes to Flask.

Under gunicorn with uvicorn's worker this is the application (`service.asgi:create_front()`). The models load in
the lifespan's start-up, in the worker, after the fork: a worker never accepts a request before they are ready.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from a2wsgi import WSGIMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from model_store import StoreError
from service.app import build_parts, create_app, start, stop
from service.body import BodyReader, ClientLeft, Headers, Message, Receive, announced_length
from service.errors import BodyTooLarge, ServiceError
from service.express import ExpressLane
from service.live_model import LiveModel
from service.settings import Settings
from service.telemetry.logs import LOGGER
from service.telemetry.metrics import CONTENT_TYPE
from service.tensors import bytes_of
from service.web import health, inference, problems
from service.web.dialects import Target, find_target, seconds_for
from service.web.wire import ASIDE_BYTES, Answer, Wire

Scope = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
Result = TypeVar("Result")

# Requests in flight hold thousands of objects, none of them garbage: Python's 700 would have them looked at again and
# again.
GC_ALLOCATIONS = 20_000

# A thread whose batch has run waits so long, not Python's 5 ms, until the loop lets it say so: the model stands idle.
SWITCH_SECONDS = 0.5e-3

JSON_HEADERS: Headers = [(b"content-type", problems.JSON.encode())]

# Threads for what Flask answers: metadata, pages, the friendly route.
WSGI_THREADS = 8


class Front:
    """The ASGI application of one worker."""

    def __init__(self, settings: Settings) -> None:
        self._parts = build_parts(settings)
        self._bodies = BodyReader(seconds=settings.body_timeout, budget=4 * settings.max_binary_bytes)
        app: Any = create_app(served=self._parts)
        # Behind a proxy, pages name the address that the proxy was asked at; inference names none.
        trusted = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")
        flask: Any = WSGIMiddleware(app, workers=WSGI_THREADS)
        self._flask: Any = ProxyHeadersMiddleware(flask, trusted)
        self.express = ExpressLane(self._parts, self._bodies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or run the lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            raise ValueError(f"only HTTP is served here, not {scope['type']!r}")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self._parts.loop.adopt(asyncio.get_running_loop())
        try:
            await start(self._parts)
        except (ServiceError, StoreError) as error:
            LOGGER.error("cannot start: %s", error)
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        _settle_memory()
        sys.setswitchinterval(SWITCH_SECONDS)
        settings, serving = self._parts.settings, len(self._parts.repository.names())
        models = "1 model" if serving == 1 else f"{serving} models"
        LOGGER.info("serving %s on http://%s:%d (Ctrl-C stops)", models, settings.host, settings.port)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await stop(self._parts)
        LOGGER.info("stopped: all that was accepted is answered")
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        try:
            if scope["method"] == "POST":
                await self._post(path, scope, receive, send)
            else:
                await self._get(path, scope, receive, send)
        except ClientLeft:
            return
        except Exception as error:  # whatever goes wrong is answered as JSON
            status, told, body = problems.answer_to(error)
            headers = _as_bytes(told)
            if isinstance(error, BodyTooLarge) and error.unread:
                headers.append((b"connection", b"close"))
            await _answer(send, body, status, headers=headers)

    async def _post(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Headers = scope["headers"]
        settings, target, wire = self._parts.settings, find_target(path), Wire.from_headers(headers)
        if target is not None:
            wire = target.wire(wire)
        limit = wire.limit(settings) if target else settings.max_binary_bytes
        announced = announced_length(headers)
        await self._bodies.refuse_too_large(headers, receive, announced=announced, limit=limit)
        self._bodies.reserve(announced)
        try:
            body = await self._bodies.read(receive, limit=limit)
            if target:
                answer, model = await self._infer(target, wire, body)
                await _answer(send, answer.body, headers=_as_bytes((*answer.headers, *model.identity)))
            else:
                await self._flask(scope, _replay(body, receive), send)
        finally:
            self._bodies.release(announced)

    async def _infer(self, target: Target, wire: Wire, body: bytes) -> tuple[Answer, LiveModel]:
        found, started, model = self._parts, time.monotonic(), None
        try:
            model = found.repository.get(target.name, target.version, label=target.label)
            asked = await _aside(len(body), target.dialect.read, wire, body, model, found.settings)
            timeout = seconds_for(asked, found.settings)
            outputs = await model.predict(asked.inputs, timeout=timeout, priority=asked.priority)
            answer = await _aside(bytes_of(outputs), target.dialect.write, wire, asked, outputs, model)
        except ServiceError as error:
            seconds = time.monotonic() - started
            inference.count_failure(found, error, target.name, target.version, model=model, seconds=seconds)
            raise
        model.metrics.answered(time.monotonic() - started)
        return answer, model

    async def _get(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "GET" and path == "/v2/health/live":
            await _answer(send, health.LIVE)
        elif scope["method"] == "GET" and path == "/v2/health/ready":
            await _answer(send, *health.ready_answer(self._parts.repository))
        elif scope["method"] == "GET" and path == "/metrics":
            text = await asyncio.to_thread(self._parts.metrics.text)
            await _answer(send, text, headers=[(b"content-type", CONTENT_TYPE.encode())])
        else:
            body = await self._bodies.read(receive, limit=self._parts.settings.max_json_bytes)
            await self._flask(scope, _replay(body, receive), send)


def _settle_memory() -> None:
    """Keep the garbage collector from what lives as long as the process, and from looking at every few requests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS)


async def _aside(size: int, work: Callable[..., Result], *arguments: Any) -> Result:
    """Read or write tensors: a few bytes here, many in a thread, so that other requests and probes do not wait."""
    return await asyncio.to_thread(work, *arguments) if size > ASIDE_BYTES else work(*arguments)


def _as_bytes(headers: Iterable[tuple[str, str]]) -> Headers:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give Flask a body that was read already, so that none of its threads waits for an upload."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed


async def _answer(send: Send, body: bytes, status: int = 200, *, headers: Headers = JSON_HEADERS) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


def create_front() -> Front:
    """Make the front from `OVENBIRD_*`; called once in each worker."""
    return Front(Settings.from_env())
