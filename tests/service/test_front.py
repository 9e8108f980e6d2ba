"""The asyncio front under gunicorn, at the level of sockets: slow, broken and greedy clients."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from service_process import RunningService, affine_body, running

from service.http_protocol import BoundedHttpProtocol


@pytest.fixture(scope="module")
def front(tiny_store: Path) -> Iterator[RunningService]:
    with running(tiny_store, body_timeout=1, max_json_bytes=100_000, max_binary_bytes=200_000) as service:
        yield service


def connected(service: RunningService) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=20)


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one HTTP response: status, headers, body."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        assert piece, f"the connection closed after {received!r}"
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return int(status.split()[1]), headers, body


def post(path: str, body: bytes, *, length: int | None = None, extra: str = "") -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) if length is None else length}\r\n{extra}\r\n"
    )
    return head.encode() + body


INFER = "/v2/models/double/infer"
BODY = json.dumps(affine_body([1, 2, 3])).encode()


@pytest.mark.parametrize("path", [INFER, "/v2/models/double/predict"])
def test_clients_that_stall_in_their_upload_do_not_stop_others(front: RunningService, path: str) -> None:
    with ExitStack() as stack:
        stalled = [stack.enter_context(connected(front)) for _ in range(20)]
        for connection in stalled:
            connection.sendall(post(path, b'{"inputs"', length=5000))

        started = time.monotonic()
        health = httpx.get(f"{front.url}/v2/health/live")
        metadata = httpx.get(f"{front.url}/v2/models/double")

        assert (health.status_code, metadata.status_code) == (200, 200)
        assert time.monotonic() - started < 1, "the answers waited for the stalled clients"
        status, _, body = read_answer(stalled[0])
        assert status == 408
        assert json.loads(body)["error"] == "the body did not arrive within 1 seconds"


@pytest.mark.parametrize("pieces", [1, 2, 3], ids=["at-once", "head-then-body", "head-in-two"])
def test_a_client_that_offers_http_2_is_answered_in_http_1(service: RunningService, pieces: int) -> None:
    offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    request = post(INFER, BODY, extra=offer)
    head = len(request) - len(BODY)
    cuts = {1: [], 2: [head], 3: [request.index(b"Upgrade: h2c"), head]}[pieces]

    with connected(service) as connection:
        for start, end in zip([0, *cuts], [*cuts, len(request)], strict=True):
            connection.sendall(request[start:end])
            time.sleep(0.05)
        first = read_answer(connection)
        connection.sendall(post(INFER, BODY))
        second = read_answer(connection)

    assert [json.loads(body)["outputs"][0]["data"] for _, _, body in (first, second)] == [[2, 4, 6]] * 2


def test_a_body_that_speaks_of_an_upgrade_is_left_as_it_is(service: RunningService) -> None:
    text = "first\r\nupgrade: of the text\r\nlast"
    raw = post("/v2/models/lower/infer", text.encode(), extra="Inference-Header-Content-Length: 0\r\n")

    with connected(service) as connection:
        connection.sendall(raw)
        _, _, answered = read_answer(connection)

    assert answered.endswith(text.encode())


def test_a_client_that_leaves_in_its_upload_harms_nothing(front: RunningService) -> None:
    for _ in range(5):
        with connected(front) as connection:
            connection.sendall(post(INFER, b'{"inputs"', length=5000))

    assert httpx.post(front.url + INFER, json=affine_body([1, 2, 3])).status_code == 200
    assert "Traceback" not in front.log()


def test_a_client_that_leaves_before_its_answer_harms_nothing(front: RunningService) -> None:
    slow = json.dumps(affine_body([1, 2, 3])).encode()
    for _ in range(5):
        with connected(front) as connection:
            connection.sendall(post("/v2/models/slow/infer", slow))

    assert httpx.post(front.url + "/v2/models/slow/infer", json=affine_body([1, 2, 3])).status_code == 200
    assert "Traceback" not in front.log()


def test_two_requests_sent_at_once_on_one_connection_are_answered_in_order(front: RunningService) -> None:
    with connected(front) as connection:
        second = json.dumps(affine_body([10, 20, 30])).encode()
        connection.sendall(post(INFER, BODY) + post(INFER, second))

        first_answer = read_answer(connection)
        received = first_answer[2]
        # Both answers may come in one piece.
        first = json.loads(received[: int(first_answer[1]["content-length"])])
        rest = received[int(first_answer[1]["content-length"]) :]
        while not rest.endswith(b"]}]}"):
            rest += connection.recv(65536)

    assert first["outputs"][0]["data"] == [2, 4, 6]
    assert json.loads(rest.partition(b"\r\n\r\n")[2])["outputs"][0]["data"] == [20, 40, 60]


def test_a_body_that_announces_too_much_is_refused_and_the_connection_lives_on(front: RunningService) -> None:
    with connected(front) as connection:
        connection.sendall(post(INFER, b" " * 150_000))
        refused = read_answer(connection)
        connection.sendall(post(INFER, BODY))
        answered = read_answer(connection)

    assert (refused[0], answered[0]) == (413, 200)
    assert "connection" not in refused[1]


def test_a_client_that_asks_before_it_sends_too_much_is_told_at_once(front: RunningService) -> None:
    with connected(front) as connection:
        connection.sendall(post(INFER, b"", length=10**12, extra="Expect: 100-continue\r\n"))
        status, headers, _ = read_answer(connection)

    assert (status, headers["connection"]) == (413, "close")


def test_a_client_that_asks_before_it_sends_is_asked_to_go_on(front: RunningService) -> None:
    with connected(front) as connection:
        connection.sendall(post(INFER, b"", length=len(BODY), extra="Expect: 100-continue\r\n"))
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        status, _, _ = read_answer(connection)

    assert status == 200


def test_headers_that_grow_without_end_are_refused(front: RunningService) -> None:
    with connected(front) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        for number in range(100):
            try:
                connection.sendall(b"X-%d: " % number + b"a" * 2000 + b"\r\n")
            except OSError:
                break
        status, headers, _ = read_answer(connection)

    assert (status, headers["connection"]) == (431, "close")


class Hasty(BoundedHttpProtocol):
    """Half a second for headers, instead of thirty."""

    header_seconds = 0.5


def test_headers_that_never_end_are_refused_but_idle_and_waiting_connections_are_not() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await asyncio.sleep(1)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def main() -> tuple[bytes, bytes, bytes]:
        config = uvicorn.Config(slow, http=Hasty, port=0, log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.write(request)
        waited = await reader.readuntil(b"ok")
        await asyncio.sleep(1)
        writer.write(request)
        after_idling = await reader.readuntil(b"ok")
        writer.write(request[:20])
        never_ending = await reader.read()
        writer.close()
        server.should_exit = True
        await running
        return waited, after_idling, never_ending

    waited, after_idling, never_ending = asyncio.run(main())

    assert waited.startswith(b"HTTP/1.1 200")
    assert after_idling.startswith(b"HTTP/1.1 200")
    assert never_ending.startswith(b"HTTP/1.1 408")


def test_what_is_not_http_is_refused(front: RunningService) -> None:
    with connected(front) as connection:
        connection.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        status, _, _ = read_answer(connection)

    assert status == 400


@pytest.mark.parametrize("length", ["abc", "-1", "1, 2"])
def test_a_content_length_that_is_no_number_is_refused(front: RunningService, length: str) -> None:
    with connected(front) as connection:
        connection.sendall(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
        status, _, _ = read_answer(connection)

    assert status == 400


def test_an_encoded_path_finds_its_model(front: RunningService) -> None:
    assert httpx.post(f"{front.url}/v2/models/%64ouble/infer", json=affine_body([1, 2, 3])).status_code == 200


def test_head_and_query_strings_are_understood(front: RunningService) -> None:
    assert httpx.head(f"{front.url}/v2/health/ready").status_code == 200
    assert httpx.get(f"{front.url}/v2/health/ready?verbose=1").status_code == 200
    assert httpx.post(f"{front.url}{INFER}?x=1", json=affine_body([1, 2, 3])).status_code == 200


# The express lane: what goes by it and what does not must not be told apart from outside ----------------------------


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(BODY, id="good"),
        pytest.param(b"{", id="not-json"),
        pytest.param(json.dumps(affine_body([1, 2])).encode(), id="wrong-tensor"),
        pytest.param(b"", id="empty"),
    ],
)
@pytest.mark.parametrize("path", [INFER, "/v1/models/double:predict", "/v2/models/nobody/infer"])
def test_both_ways_give_the_same_answer(front: RunningService, path: str, body: bytes) -> None:
    chunked = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunked += (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    with connected(front) as connection:
        answers = []
        for request in (post(path, body), chunked):
            connection.sendall(request)
            status, headers, content = read_answer(connection)
            answers.append((status, {name: value for name, value in headers.items() if name != "date"}, content))

    assert answers[0] == answers[1]


def test_a_body_that_comes_in_pieces_is_put_together(front: RunningService) -> None:
    with connected(front) as connection:
        request = post(INFER, BODY)
        for start in range(0, len(request), 37):
            connection.sendall(request[start : start + 37])
            time.sleep(0.002)

        status, _, content = read_answer(connection)

    assert (status, json.loads(content)["outputs"][0]["data"]) == (200, [2.0, 4.0, 6.0])


def test_requests_of_every_kind_sent_at_once_are_answered_in_order(front: RunningService) -> None:
    slow = "/v2/models/slow/infer"
    with connected(front) as connection:
        connection.sendall(
            post(slow, BODY) + b"GET /v2/models/double/ready HTTP/1.1\r\nHost: x\r\n\r\n" + post(INFER, BODY)
            + post(INFER, b"{") + post(slow, BODY) + b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n"
        )  # fmt: skip
        answers = [read_one(connection) for _ in range(6)]

    assert [status for status, _ in answers] == [200, 200, 200, 400, 200, 200]
    names = [content.get("model_name") or content.get("name") or "error" for _, content in answers]
    assert names == ["slow", "double", "double", "error", "slow", "ovenbird"]


def read_one(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Read exactly one response, byte by byte in its head, so that the next one is left where it is."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    length = next(int(line[15:]) for line in head.decode().split("\r\n") if line.startswith("content-length:"))
    content = b""
    while len(content) < length:
        content += connection.recv(length - len(content))
    return int(head.split()[1]), json.loads(content)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_client_that_wants_the_connection_closed_gets_it_closed(front: RunningService, version: str) -> None:
    request = post(INFER, BODY, extra="Connection: close\r\n" if version == "1.1" else "")
    with connected(front) as connection:
        connection.sendall(request.replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
        status, headers, _ = read_answer(connection)

        assert (status, headers["connection"]) == (200, "close")
        assert connection.recv(1) == b""


def test_rows_that_nobody_waits_for_any_more_are_not_computed(tiny_store: Path) -> None:
    with running(tiny_store, max_batch_size=1, load_timeout=60) as service:

        def count(field: str) -> int:
            (stats,) = httpx.get(f"{service.url}/v2/models/slow/stats").json()["model_stats"]
            return int(stats[field])

        before = count("inference_count")
        with ExitStack() as stack:
            for _ in range(60):
                connection = stack.enter_context(connected(service))
                connection.sendall(post("/v2/models/slow/infer", BODY))
        # All have left; what is still computed is at most what had begun.
        httpx.post(f"{service.url}/v2/models/slow/infer", json=affine_body([1, 2, 3]))

        assert count("inference_count") - before < 50
