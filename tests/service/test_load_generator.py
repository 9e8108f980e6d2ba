"""The load generator against small real servers that stall, refuse, or hang up."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.load_generator import Load, Target, arrivals, closed_loop, open_loop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def measured(answer: Answer, measure: Callable[[Target], Awaitable[Load]]) -> Load:
    """Measure a server that does `answer` with each request."""

    served: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.current_task())  # type: ignore[arg-type]
        with contextlib.suppress(ConnectionError):
            while await reader.readline():
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(4)
                await answer(writer)
            writer.close()
            await writer.wait_closed()

    async def run() -> Load:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        load = await measure(Target("127.0.0.1", server.sockets[0].getsockname()[1]))
        server.close()
        await asyncio.gather(*served)
        return load

    return asyncio.run(run())


def always(raw: bytes, *, close: bool = False) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        if close:
            writer.close()

    return answer


class StallsAtFirst:
    """Answers nothing for half a second after the first request, then everything at once."""

    def __init__(self) -> None:
        self.asked: Any = None

    async def __call__(self, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        self.asked = self.asked or loop.time()
        await asyncio.sleep(max(0.0, self.asked + 0.5 - loop.time()))
        writer.write(OK)


def post(target: Target) -> list[bytes]:
    return [target.request("/", b"rows", {})]


def closed(*, clients: int, seconds: float) -> Callable[[Target], Awaitable[Load]]:
    return lambda target: closed_loop(target, post(target), clients=clients, seconds=seconds)


def open_(*, rate: float, seconds: float) -> Callable[[Target], Awaitable[Load]]:
    return lambda target: open_loop(target, post(target), rate=rate, seconds=seconds)


def test_arrivals_are_a_poisson_process() -> None:
    moments = list(arrivals(1000, 20, seed=1))

    waits = [later - earlier for earlier, later in itertools.pairwise(moments)]
    mean = sum(waits) / len(waits)
    assert moments == sorted(moments)
    assert 0 < moments[0] < moments[-1] < 20
    assert mean == pytest.approx(1e-3, rel=0.03)
    # The waits of such a process vary as much as they last.
    assert sum((wait - mean) ** 2 for wait in waits) / len(waits) == pytest.approx(mean**2, rel=0.1)


def test_an_open_loop_charges_a_stall_to_everybody_who_came_meanwhile() -> None:
    load = measured(StallsAtFirst(), open_(rate=200, seconds=0.2))

    due = list(arrivals(200, 0.2))
    assert len(load.latencies) == len(due) > 20
    assert min(load.latencies) >= 0.3


def test_a_closed_loop_sees_a_stall_once_for_each_client() -> None:
    load = measured(StallsAtFirst(), closed(clients=3, seconds=0.7))

    assert len([seconds for seconds in load.latencies if seconds >= 0.4]) == 3
    assert len(load.latencies) > 3


@pytest.mark.parametrize("loop", [closed(clients=2, seconds=0.2), open_(rate=100, seconds=0.2)], ids=["closed", "open"])
@pytest.mark.parametrize(
    ("answer", "counted"),
    [
        pytest.param(always(b"HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n"), "HTTP 429", id="refused"),
        pytest.param(always(b"", close=True), "connection closed", id="hung-up"),
        pytest.param(always(b"SSH-2.0-none\r\n\r\n"), "not HTTP", id="another-protocol"),
    ],
)
def test_what_is_no_success_is_counted_by_its_kind(
    answer: Answer, counted: str, loop: Callable[[Target], Awaitable[Load]]
) -> None:
    load = measured(answer, loop)

    assert load.latencies == []
    assert list(load.failures) == [counted]


@pytest.mark.parametrize("loop", [closed(clients=2, seconds=0.2), open_(rate=100, seconds=0.2)], ids=["closed", "open"])
def test_a_server_that_closes_after_each_answer_is_asked_over_new_connections(
    loop: Callable[[Target], Awaitable[Load]],
) -> None:
    load = measured(always(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), close=True), loop)

    assert len(load.latencies) > 2
    assert not load.failures


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://127.0.0.1:8000", Target("127.0.0.1", 8000)),
        ("http://models.example/ovenbird/", Target("models.example", 80, prefix="/ovenbird")),
        ("https://[::1]", Target("::1", 443, tls=True)),
    ],
)
def test_an_address_says_where_requests_go(url: str, target: Target) -> None:
    assert Target.of(url) == target


def test_a_request_names_the_host_and_the_whole_path() -> None:
    request = Target("::1", 8000, prefix="/ovenbird").request("/v2", b"rows", {"X-One": "1"})

    assert request == (b"POST /ovenbird/v2 HTTP/1.1\r\nHost: [::1]:8000\r\nContent-Length: 4\r\nX-One: 1\r\n\r\nrows")
