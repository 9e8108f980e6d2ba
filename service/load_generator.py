"""Load for a running service, in closed or open loops over plain connections. Knows HTTP/1.1, no tensors.

In a closed loop so many clients each send their next request when the last one is answered: it shows how much a
service can take, and hides waiting, since a slow answer keeps the next request back. In an open loop requests are due
at random moments of a given rate (a Poisson process), whether or not others are answered, and latency counts from the
moment a request was due: a service that stalls is charged for everybody who would have come meanwhile.
Source: G. Tene, "How NOT to Measure Latency" (coordinated omission).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httptools

# An open loop opens more connections as it needs them; beyond these, requests wait for one, and the wait counts.
MOST_CONNECTIONS = 1024
CONNECTIONS_AT_START = 16
# Event loops sleep in whole milliseconds, so the last ones before a request is due are spent turning.
TURNING_SECONDS = 0.002
# Beyond the last request, for answers that are still out.
LAST_ANSWERS_SECONDS = 10.0


@dataclass(frozen=True)
class Target:
    """Where requests go: an address, what it takes to connect, and what stands before every path."""

    host: str
    port: int
    tls: bool = False
    prefix: str = ""

    @classmethod
    def of(cls, url: str) -> Target:
        """Read http://host:port or https://host; raise `ValueError` for what is neither."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r}: expected http://… or https://…")
        tls = parts.scheme == "https"
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls, parts.path.rstrip("/"))

    def request(self, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        """Write a POST as it goes over the wire."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        fields = {"Host": f"{host}:{self.port}", "Content-Length": str(len(body)), **headers}
        lines = [f"POST {self.prefix}{path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join((*lines, "", "")).encode("latin-1") + body


@dataclass
class Load:
    """What a loop saw: seconds of each request answered with 2xx, and how often what else came, by what it was.

    `lateness` says how long after it was due each request of an open loop was taken up: the generator's own delay,
    which no service is to be blamed for. `busy` is the part of the time that this process was computing.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    lateness: list[float] = field(default_factory=list)
    busy: float = 0.0


async def closed_loop(target: Target, requests: Sequence[bytes], *, clients: int, seconds: float) -> Load:
    """Let so many clients send for so long, each as soon as it is answered.

    Raises:
        OSError: nobody listens there.
    """
    load, clock = Load(), time.perf_counter
    supply = itertools.cycle(requests)
    connections = [await _connect(target) for _ in range(clients)]

    async def client(connection: _Connection) -> None:
        current = connection
        while (sent := clock()) < until:
            if current.closed:
                current = await _connect(target)
            _count(load, await current.ask(next(supply)), clock() - sent)
        current.close()

    with _watched(load) as started:
        until = started + seconds
        await _gather([client(connection) for connection in connections])
    return load


async def open_loop(target: Target, requests: Sequence[bytes], *, rate: float, seconds: float, seed: int = 0) -> Load:
    """Send at random moments, `rate` a second on average; latency counts from when a request was due.

    Raises:
        OSError: nobody listens there.
    """
    load, clock = Load(), time.perf_counter
    supply = itertools.cycle(requests)
    idle = [await _connect(target) for _ in range(CONNECTIONS_AT_START)]
    places = asyncio.Semaphore(MOST_CONNECTIONS)
    under_way: set[asyncio.Task[None]] = set()

    async def send(due: float) -> None:
        load.lateness.append(clock() - due)
        async with places:
            try:
                connection = _usable(idle) or await _connect(target)
                _count(load, await connection.ask(next(supply)), clock() - due)
                idle.append(connection)
            except OSError as error:
                load.failures[_named(error)] += 1

    with _watched(load) as started:
        for moment in arrivals(rate, seconds, seed=seed):
            await _until(started + moment)
            task = asyncio.create_task(send(started + moment))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await _until(started + seconds)
        await _last_answers(load, under_way)
    for connection in idle:
        connection.close()
    return load


def arrivals(rate: float, seconds: float, *, seed: int = 0) -> Iterator[float]:
    """Yield the moments of a Poisson process, in seconds from its start: `rate` of them a second on average."""
    chance = random.Random(seed)  # noqa: S311  (no secret)
    moment = chance.expovariate(rate)
    while moment < seconds:
        yield moment
        moment += chance.expovariate(rate)


@contextlib.contextmanager
def _watched(load: Load) -> Iterator[float]:
    """Note how long something took, and how busy this process was; gives the moment of its start."""
    cpu, started = time.process_time(), time.perf_counter()
    yield started
    load.seconds = time.perf_counter() - started
    load.busy = (time.process_time() - cpu) / load.seconds


async def _until(moment: float) -> None:
    rest = moment - time.perf_counter()
    if rest > TURNING_SECONDS:
        await asyncio.sleep(rest - TURNING_SECONDS)
    while time.perf_counter() < moment:
        await asyncio.sleep(0)


async def _gather(work: Sequence[Awaitable[None]]) -> None:
    await asyncio.gather(*work)


async def _last_answers(load: Load, under_way: set[asyncio.Task[None]]) -> None:
    if not under_way:
        return
    _, unanswered = await asyncio.wait(under_way, timeout=LAST_ANSWERS_SECONDS)
    for task in unanswered:
        load.failures["no answer in time"] += 1
        task.cancel()
    await asyncio.gather(*unanswered, return_exceptions=True)


def _count(load: Load, outcome: int | str, seconds: float) -> None:
    if isinstance(outcome, int) and 200 <= outcome < 300:
        load.latencies.append(seconds)
    else:
        load.failures[f"HTTP {outcome}" if isinstance(outcome, int) else outcome] += 1


def _usable(idle: list[_Connection]) -> _Connection | None:
    while idle:
        # The one used last: its memory is warm, and the others may be closed by the service in peace.
        if not (connection := idle.pop()).closed:
            return connection
    return None


def _named(error: OSError) -> str:
    return error.strerror or type(error).__name__


async def _connect(target: Target) -> _Connection:
    context = ssl.create_default_context() if target.tls else None
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(_Connection, target.host, target.port, ssl=context)
    return connection


class _Connection(asyncio.Protocol):
    """One connection that is kept; one request at a time is on it. Its answer's body is not kept."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[int | str] | None = None
        self._transport: asyncio.Transport | None = None
        self.closed = False

    def ask(self, request: bytes) -> asyncio.Future[int | str]:
        """Send a request; its answer's status comes later, or in words why there is none."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        if self.closed:
            self._settle("connection closed")
        else:
            self._transport.write(request)
        return self._answer

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()
            self._settle("not HTTP")

    def on_message_complete(self) -> None:
        """Take note of a whole answer: the parser calls this."""
        if not self._parser.should_keep_alive():
            self.close()
        self._settle(self._parser.get_status_code())

    def connection_lost(self, _: Exception | None) -> None:
        self.closed = True
        self._settle("connection closed")

    def _settle(self, outcome: int | str) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(outcome)
