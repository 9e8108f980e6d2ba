"""Triton's extensions that are not supported say so; custom parameters change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from service_process import RunningService, affine_body
from tritonclient.utils import InferenceServerException

Client = triton.InferenceServerClient


@pytest.fixture
def triton_client(service: RunningService) -> Iterator[Client]:
    with Client(f"127.0.0.1:{service.port}") as client:
        yield client


def ask(client: Client, **options: object) -> list[float]:
    given = triton.InferInput("x", [1, 3], "FP32")
    given.set_data_from_numpy(np.array([[1, 2, 3]], np.float32))
    values: list[float] = client.infer("double", [given], **options).as_numpy("y").ravel().tolist()
    return values


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (Client.get_trace_settings, "tracing is not supported"),
        (lambda client: client.get_trace_settings("double"), "tracing is not supported"),
        (lambda client: client.update_trace_settings("double", {"trace_level": ["TIMESTAMPS"]}), "tracing"),
        (Client.get_system_shared_memory_status, "shared memory is not supported"),
        (lambda client: client.register_system_shared_memory("r", "/r", 12), "shared memory is not supported"),
        (lambda client: client.unregister_system_shared_memory("r"), "shared memory is not supported"),
        (Client.get_cuda_shared_memory_status, "shared memory is not supported"),
        (lambda client: client.register_cuda_shared_memory("r", b"x", 0, 12), "shared memory is not supported"),
        (lambda client: client.unregister_cuda_shared_memory(), "shared memory is not supported"),
    ],
)
def test_an_extension_that_is_not_supported_says_so(
    triton_client: Client, call: Callable[[Client], object], message: str
) -> None:
    with pytest.raises(InferenceServerException, match=message) as refused:
        call(triton_client)

    assert refused.value.status() == "501"


@pytest.mark.parametrize("path", ["double/generate", "double/generate_stream", "double/versions/1/generate"])
def test_generating_is_not_supported(client: httpx.Client, path: str) -> None:
    answer = client.post(f"/v2/models/{path}", json={"text_input": "x"})

    assert answer.status_code == 501
    assert answer.json()["error"] == "the generate extension is not supported; ask the model's /infer"


def test_what_no_extension_has_is_not_found(client: httpx.Client) -> None:
    assert client.get("/v2/trace").status_code == 404
    assert client.post("/v2/models/double/generated").status_code == 404


def test_custom_parameters_are_accepted_and_change_nothing(triton_client: Client) -> None:
    assert ask(triton_client, parameters={"mine": "text", "number": 7, "flag": False, "rate": 0.5}) == [2, 4, 6]


def test_reserved_parameters_at_their_defaults_ask_for_nothing(client: httpx.Client) -> None:
    parameters = {"sequence_id": 0, "sequence_start": False, "sequence_end": False, "headers": ""}

    answer = client.post("/v2/models/double/infer", json=affine_body([1, 2, 3]) | {"parameters": parameters})

    assert answer.json()["outputs"][0]["data"] == [2, 4, 6]


def test_a_sequence_is_refused_in_the_client_s_words(triton_client: Client) -> None:
    with pytest.raises(InferenceServerException, match="sequence_id: not supported: each request stands alone"):
        ask(triton_client, sequence_id=5, sequence_start=True)


def test_tensors_in_shared_memory_are_refused(triton_client: Client) -> None:
    given = triton.InferInput("x", [1, 3], "FP32")
    given.set_shared_memory("region", 12)

    with pytest.raises(InferenceServerException, match="shared_memory_region: not supported"):
        triton_client.infer("double", [given])
