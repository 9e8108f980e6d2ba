"""Triton's own Python client, unchanged, against both routes: all that it can ask of a server, sync and asyncio."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tiny_models
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from service_process import RunningService, running

ROWS = np.arange(600, dtype=np.float32).reshape(200, 3)


def rows_of(values: np.ndarray[Any, Any], *, binary: bool = True) -> triton.InferInput:
    given = triton.InferInput("x", list(values.shape), "FP32")
    given.set_data_from_numpy(values.astype(np.float32), binary_data=binary)
    return given


def texts_of(*texts: str, binary: bool = True) -> triton.InferInput:
    given = triton.InferInput("text", [len(texts)], "BYTES")
    given.set_data_from_numpy(np.array(texts, object), binary_data=binary)
    return given


def with_aio(service: RunningService, work: Callable[[Any], Awaitable[None]]) -> None:
    async def main() -> None:
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
            await work(client)

    # The client forgets the answers to its probes and to its failed requests without reading them to the end.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.run(main())
        gc.collect()


def test_many_requests_at_once_each_get_their_own_answer(service: RunningService) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{service.port}", concurrency=8) as client:
        waiting = [
            client.async_infer("double", [rows_of(np.full((1, 3), number))], request_id=str(number))
            for number in range(40)
        ]
        answers = [request.get_result(timeout=30) for request in waiting]

    assert [answer.get_response()["id"] for answer in answers] == [str(number) for number in range(40)]
    assert [answer.as_numpy("y").tolist() for answer in answers] == [[[2.0 * number] * 3] for number in range(40)]


def test_a_body_made_in_advance_is_read_and_its_answer_is_understood(service: RunningService) -> None:
    body, length = triton.InferenceServerClient.generate_request_body(
        [rows_of(ROWS)], outputs=[triton.InferRequestedOutput("y")], request_id="made"
    )

    answer = httpx.post(
        f"{service.url}/v2/models/double/infer", content=body, headers={"Inference-Header-Content-Length": str(length)}
    )

    read = triton.InferenceServerClient.parse_response_body(
        answer.content, header_length=int(answer.headers["inference-header-content-length"])
    )
    np.testing.assert_array_equal(read.as_numpy("y"), ROWS * 2)
    assert read.get_response()["id"] == "made"


def test_a_request_may_carry_headers_a_query_and_parameters_of_its_own(service: RunningService) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        answer = client.infer(
            "double", [rows_of(ROWS)], model_version="1", headers={"X-Request": "1"}, query_params={"a": "b"},
            parameters={"mine": "kept to myself"}, priority=1, timeout=20_000_000,
        )  # fmt: skip

    np.testing.assert_array_equal(answer.as_numpy("y"), ROWS * 2)


def test_only_the_outputs_that_are_named_come_back_and_each_as_it_was_asked_for(service: RunningService) -> None:
    asked = triton.InferRequestedOutput("y", binary_data=False)

    with triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        answer = client.infer("double", [rows_of(ROWS, binary=False)], outputs=[asked])

    assert answer.get_output("y")["data"] == (ROWS * 2).ravel().tolist()
    assert answer.as_numpy("z") is None


def test_a_request_that_is_out_of_time_raises_what_triton_s_client_raises(service: RunningService) -> None:
    with (
        triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client,
        pytest.raises(triton.InferenceServerException, match="was not answered within") as raised,
    ):
        client.infer("double", [rows_of(ROWS)], timeout=1)

    assert raised.value.status() == "504"


@pytest.mark.parametrize(
    ("model", "given", "status", "message"),
    [
        pytest.param("nobody", rows_of(ROWS), "404", "unknown model 'nobody'", id="model"),
        pytest.param(
            "double", rows_of(ROWS[:, :2]), "400", r"expected shape \[-1, 3\], received \[200, 2\]", id="shape"
        ),
        pytest.param("double", texts_of("a"), "400", "unknown input 'text'; the model takes: x", id="input"),
    ],
)
def test_errors_are_raised_with_our_message_and_status(
    service: RunningService, model: str, given: triton.InferInput, status: str, message: str
) -> None:
    async def asked_aio(client: Any) -> None:
        with pytest.raises(triton.InferenceServerException, match=message) as raised:
            await client.infer(model, [given])
        assert raised.value.status() == status

    with triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        with pytest.raises(triton.InferenceServerException, match=message) as raised:
            client.infer(model, [given])
        assert raised.value.status() == status
        with pytest.raises(triton.InferenceServerException, match=message):
            client.async_infer(model, [given]).get_result()
    with_aio(service, asked_aio)


def test_aio_looks_around(service: RunningService) -> None:
    async def work(client: Any) -> None:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("double")
        assert await client.is_model_ready("double", "1")
        assert not await client.is_model_ready("nobody")
        assert not await client.is_model_ready("double", "7")
        assert (await client.get_server_metadata())["name"] == "ovenbird"
        metadata = await client.get_model_metadata("double", "1")
        assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
        index = await client.get_model_repository_index()
        assert {"name": "double", "version": "1", "state": "READY", "reason": ""} in index

    with_aio(service, work)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("encoding", [None, "gzip", "deflate"])
def test_aio_infers(service: RunningService, binary: bool, encoding: str | None) -> None:
    async def work(client: Any) -> None:
        answer = await client.infer(
            "double", [rows_of(ROWS, binary=binary)], outputs=[triton.InferRequestedOutput("y", binary_data=binary)],
            request_id="7", request_compression_algorithm=encoding, response_compression_algorithm=encoding,
            priority=1, timeout=20_000_000,
        )  # fmt: skip
        np.testing.assert_array_equal(answer.as_numpy("y"), ROWS * 2)
        assert answer.get_response()["id"] == "7"
        lowered = await client.infer("lower", [texts_of("ÄB", "C", binary=binary)])
        assert lowered.as_numpy("lower").tolist() == ["äb".encode(), b"c"]

    with_aio(service, work)


def test_aio_gathers_fifty_answers_each_its_own(service: RunningService) -> None:
    async def work(client: Any) -> None:
        answers = await asyncio.gather(
            *(
                client.infer("double", [rows_of(np.full((1, 3), number))], request_id=str(number))
                for number in range(50)
            )
        )
        assert [answer.get_response()["id"] for answer in answers] == [str(number) for number in range(50)]
        assert [answer.as_numpy("y")[0, 0] for answer in answers] == [2.0 * number for number in range(50)]

    with_aio(service, work)


def test_aio_asks_for_classes(service: RunningService) -> None:
    async def work(client: Any) -> None:
        picture = triton.InferInput("image", [1, 4, 6, 1], "UINT8")
        picture.set_data_from_numpy(np.full((1, 4, 6, 1), 255, np.uint8))
        asked = [triton.InferRequestedOutput("probabilities", class_count=2)]
        answer = await client.infer("brightness", [picture], outputs=asked)
        assert answer.as_numpy("probabilities").tolist() == [[b"1.000000:1:bright", b"0.000000:0:dark"]]

    with_aio(service, work)


def test_aio_loads_and_unloads(tmp_path: Path) -> None:
    tiny_models.publish_affine(tmp_path, "double")
    tiny_models.publish_affine(tmp_path, "triple", factor=3)

    async def work(client: Any) -> None:
        assert not await client.is_model_ready("triple")
        await client.load_model("triple")
        assert await client.is_model_ready("triple")
        await client.unload_model("triple", unload_dependents=True)
        assert not await client.is_model_ready("triple")

    with running(tmp_path, control="explicit", load="double") as service:
        with_aio(service, work)
