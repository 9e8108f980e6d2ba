"""Tensors of 100 MB and bodies at their limits, through both routes, with the limits as they are by default."""

from __future__ import annotations

import gzip
import json
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tiny_models
from service_process import FRONTS, RunningService, running

INFER = "/v2/models/same/infer"
MEGABYTE = 2**20
JSON_LIMIT = 16 * MEGABYTE


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large") / "store"
    tiny_models.put(folder, "same", tiny_models.identity())
    return folder


@pytest.fixture(scope="module", params=list(FRONTS))
def service(request: pytest.FixtureRequest, store: Path) -> Iterator[RunningService]:
    with running(store, command=FRONTS[request.param]) as service:
        yield service


def request_of(megabytes: int) -> tuple[bytes, bytes, dict[str, str]]:
    """A tensor's bytes, the body that carries them and asks for them back as bytes, and its header."""
    tensor = np.random.default_rng(0).integers(0, 1000, (4, megabytes * MEGABYTE // 16)).astype("<f4")
    blob = tensor.tobytes()
    described = {"name": "x", "shape": list(tensor.shape), "datatype": "FP32"}
    head = json.dumps(
        {
            "inputs": [described | {"parameters": {"binary_data_size": len(blob)}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    return blob, head + blob, {"Inference-Header-Content-Length": str(len(head)), "Accept-Encoding": "identity"}


def most_memory(service: RunningService) -> int:
    """The most bytes that one of the service's processes ever held."""
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in (*children, str(service.process.pid))]
    return max(int(text.split("VmHWM:")[1].split()[0]) * 1024 for text in texts)


@pytest.mark.parametrize("chunked", [False, True], ids=["at-once", "chunked"])
def test_100_mb_go_in_and_come_out_and_few_copies_are_held(service: RunningService, chunked: bool) -> None:
    blob, body, headers = request_of(100)
    pieces = (body[start : start + MEGABYTE] for start in range(0, len(body), MEGABYTE))

    with service.client() as client:
        answer = client.post(INFER, content=pieces if chunked else body, headers=headers)

    assert answer.status_code == 200
    assert answer.content[int(answer.headers["inference-header-content-length"]) :] == blob
    assert most_memory(service) < 6 * len(blob)


def test_its_connection_is_kept(service: RunningService) -> None:
    _, body, headers = request_of(32)
    with httpx.Client(base_url=service.url, timeout=30, limits=httpx.Limits(max_connections=1)) as client:
        client.post(INFER, content=body, headers=headers)
        (connection,) = client._transport._pool.connections  # type: ignore[attr-defined]

        answer = client.get("/v2/health/live")

        assert answer.json() == {"live": True}
        assert client._transport._pool.connections == [connection]  # type: ignore[attr-defined]


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_large_compressed_body_keeps_nobody_else_waiting(service: RunningService, encoding: str) -> None:
    blob, body, headers = request_of(32)
    packed = gzip.compress(body, 1) if encoding == "gzip" else zlib.compress(body, 1)
    headers |= {"Content-Encoding": encoding, "Accept-Encoding": encoding}
    answers: list[httpx.Response] = []

    def ask() -> None:
        with service.client() as client:
            answers.append(client.post(INFER, content=packed, headers=headers))

    asking = threading.Thread(target=ask)
    waits: list[float] = []
    began = time.monotonic()
    asking.start()
    with service.client() as prober:
        while asking.is_alive():
            before = time.monotonic()
            assert prober.get("/v2/health/live").status_code == 200
            waits.append(time.monotonic() - before)
            time.sleep(0.01)
    asking.join()
    lasted = time.monotonic() - began

    (answer,) = answers
    assert answer.headers["content-encoding"] == encoding
    assert answer.content[int(answer.headers["inference-header-content-length"]) :] == blob
    # Unpacking and packing are most of the request: who is kept waiting by either waits for a good part of it.
    assert max(waits) < lasted / 4


@pytest.mark.parametrize("extra", [0, 1])
def test_json_may_be_exactly_as_large_as_its_limit(service: RunningService, extra: int) -> None:
    numbers = np.random.default_rng(0).integers(1000, 9999, 1_000_000)
    message: dict[str, Any] = {
        "inputs": [{"name": "x", "shape": [1, numbers.size], "datatype": "FP32", "data": numbers.tolist()}]
    }
    body = json.dumps(message, separators=(",", ":")).encode().ljust(JSON_LIMIT + extra)

    with service.client() as client:
        answer = client.post(INFER, content=body)
        after = client.post(INFER, json={"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}]})

    assert after.json()["outputs"][0]["data"] == [1]
    if extra:
        assert answer.status_code == 413
        assert answer.json() == {"error": f"the body is larger than the limit of {JSON_LIMIT} bytes"}
    else:
        np.testing.assert_array_equal(answer.json()["outputs"][0]["data"], numbers)
