"""Whatever a caller does wrong gets the right 4xx and a JSON body that says what to mend; the service serves on."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from service_process import RunningService, affine_body, infer_body

INFER = "/v2/models/double/infer"


def tensor(**changes: Any) -> dict[str, Any]:
    entry = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]} | changes
    return {"inputs": [{key: value for key, value in entry.items() if value is not ...}]}


BAD_REQUESTS = [
    pytest.param(tensor(name="z"), "unknown input 'z'; the model takes: x", id="unknown-input"),
    pytest.param(tensor(name=...), "inputs[0].name: expected a string, received nothing", id="no-name"),
    pytest.param(tensor(datatype="FP64"), "input 'x': expected datatype FP32, received FP64", id="other-datatype"),
    pytest.param(tensor(datatype=...), "input 'x': expected datatype FP32, received None", id="no-datatype"),
    pytest.param(tensor(shape=[1, 4]), "input 'x': expected shape [-1, 3], received [1, 4]", id="other-width"),
    pytest.param(tensor(shape=[3]), "input 'x': expected shape [-1, 3], received [3]", id="other-rank"),
    pytest.param(tensor(shape=[0, 3], data=[]), "shape must be a list of whole numbers from 1", id="no-rows"),
    pytest.param(tensor(shape=[-1, 3]), "shape must be a list of whole numbers from 1", id="negative-size"),
    pytest.param(tensor(shape=[True, 3]), "shape must be a list of whole numbers from 1", id="boolean-size"),
    pytest.param(tensor(shape="1,3"), "shape must be a list of whole numbers from 1", id="shape-string"),
    pytest.param(tensor(shape=[10**12, 3]), "needs 3000000000000 values", id="shape-beyond-data"),
    pytest.param(tensor(data=[1, 2]), "shape [1, 3] needs 3 values", id="too-few-values"),
    pytest.param(tensor(shape=[3, 3], data=[[1, 2, 3]]), "data has shape [1, 3]", id="nested-otherwise"),
    pytest.param(tensor(data=[[1, 2], [3]]), "data is ragged", id="ragged"),
    pytest.param(tensor(data=["1", "2", "3"]), "expected FP32 values, received strings", id="strings"),
    pytest.param(tensor(data=[1, None, 3]), "expected FP32 values, received null", id="null"),
    pytest.param(tensor(data=[True, False, True]), "expected FP32 values, received booleans", id="booleans"),
    pytest.param(tensor(data=[[0, False, 0]]), "received booleans among them", id="a-boolean-among-numbers"),
    pytest.param(tensor(data=[1, {"a": 2}, 3]), "expected FP32 values, received null, objects", id="objects"),
    pytest.param(tensor(data=[1, 1e39, 3]), "a value is too large for FP32", id="overflow"),
    pytest.param(tensor(data=[1, 10**400, 3]), "", id="enormous-number"),
    pytest.param(tensor(data=...), "input 'x': data is missing", id="no-data"),
    pytest.param({}, "inputs: expected a list of one or more tensors, received nothing", id="no-inputs"),
    pytest.param({"inputs": []}, "inputs: expected a list of one or more tensors, received an empty list", id="empty"),
    pytest.param({"inputs": ["x"]}, "inputs[0]: expected a JSON object, received a string", id="input-string"),
    pytest.param([1, 2], "the body: expected a JSON object, received a list", id="list"),
    pytest.param(affine_body([1, 2, 3]) | {"id": 7}, "id: expected a string, received a number", id="id-number"),
    pytest.param(affine_body([1, 2, 3]) | {"outputs": [{"name": "q"}]}, "unknown output 'q'", id="unknown-output"),
    pytest.param(affine_body([1, 2, 3]) | {"outputs": "y"}, "outputs: expected a list", id="outputs-string"),
    pytest.param({"inputs": tensor()["inputs"] * 2}, "input 'x' was sent twice", id="input-twice"),
    pytest.param(
        affine_body([1, 2, 3]) | {"outputs": [{"name": "y", "parameters": {"binary_data": 1}}]},
        "output 'y': parameters.binary_data: expected a boolean, received a number",
        id="binary-number",
    ),
    pytest.param(
        affine_body([1, 2, 3]) | {"outputs": [{"name": "y", "parameters": {"classification": -1}}]},
        "output 'y': parameters.classification: expected a whole number from 0",
        id="classification",
    ),
    pytest.param(
        affine_body([1, 2, 3]) | {"parameters": {"timeout": "1s"}},
        "parameters.timeout: expected a whole number from 0, received a string",
        id="timeout",
    ),
    pytest.param(
        affine_body([1, 2, 3]) | {"parameters": {"sequence_id": 7, "sequence_start": True}},
        "parameters.sequence_id: not supported: each request stands alone",
        id="sequence",
    ),
    pytest.param(
        affine_body([1, 2, 3]) | {"parameters": {"sequence_end": True}},
        "parameters.sequence_end: not supported",
        id="sequence-end",
    ),
    pytest.param(
        affine_body([1, 2, 3]) | {"parameters": {"triton_enable_empty_final_response": True}},
        "parameters.triton_enable_empty_final_response: not supported: the name is reserved",
        id="reserved-prefix",
    ),
    pytest.param(
        affine_body([1, 2, 3]) | {"parameters": {"mine": [1]}},
        "parameters.mine: expected a string, a number or a boolean, received a list",
        id="parameter-list",
    ),
    pytest.param(
        affine_body([1, 2, 3]) | {"parameters": {"mine": None}},
        "parameters.mine: expected a string, a number or a boolean, received nothing",
        id="parameter-null",
    ),
    pytest.param(
        tensor(data=..., parameters={"shared_memory_region": "r", "shared_memory_byte_size": 12}),
        "input 'x': parameters.shared_memory_region: not supported",
        id="shared-memory-in",
    ),
    pytest.param(
        affine_body([1, 2, 3]) | {"outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]},
        "output 'y': parameters.shared_memory_region: not supported",
        id="shared-memory-out",
    ),
    pytest.param(
        tensor(parameters={"binary_data_size": 12}),
        "input 'x': binary_data_size is 12, but 0 bytes are left behind the JSON",
        id="binary-without-header",
    ),
]


@pytest.mark.parametrize(("body", "message"), BAD_REQUESTS)
def test_a_wrong_request_is_400_and_says_what_is_wrong(client: httpx.Client, body: Any, message: str) -> None:
    answer = client.post(INFER, json=body)

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b'{"inputs": NaN}', b'{"inputs":[{"name":"\\ud800"}]}', b"null", b'"x"', b"[" * 5000],
    ids=["empty", "cut-off", "not-utf8", "nan", "lone-surrogate", "null", "string", "deep"],
)
def test_a_body_that_is_not_a_json_object_is_400(client: httpx.Client, content: bytes) -> None:
    answer = client.post(INFER, content=content)

    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param([0.5], "expected INT64 values, received fractions", id="fraction"),
        pytest.param([2**70], "expected INT64 values", id="beyond-64-bits"),
        pytest.param([True], "expected INT64 values, received booleans", id="boolean"),
    ],
)
def test_integers_are_never_rounded_in_silence(client: httpx.Client, data: list[Any], message: str) -> None:
    answer = client.post("/v2/models/lookup/infer", json=infer_body("id", data, shape=[1, 1], datatype="INT64"))

    assert answer.status_code == 400
    assert message in answer.json()["error"]


@pytest.mark.parametrize("value", [-1, 256])
def test_a_pixel_outside_its_range_is_refused(client: httpx.Client, value: int) -> None:
    body = infer_body("image", [value] * 24, shape=[1, 4, 6, 1], datatype="UINT8")

    answer = client.post("/v2/models/brightness/infer", json=body)

    assert answer.status_code == 400
    assert "UINT8 holds 0 to 255" in answer.json()["error"]


def test_a_value_that_the_model_itself_refuses_is_400(client: httpx.Client) -> None:
    answer = client.post("/v2/models/lookup/infer", json=infer_body("id", [99], shape=[1, 1], datatype="INT64"))

    assert answer.status_code == 400
    assert "the model refuses this input" in answer.json()["error"]


def test_an_answer_that_json_cannot_carry_is_refused_and_says_which_row(client: httpx.Client) -> None:
    answer = client.post(INFER, json=affine_body([1, 1, 1], [3e38, 1, 1]))

    assert answer.status_code == 400
    assert "output 'y': row 1 holds NaN or Infinity" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        pytest.param("/v2/models/nobody/infer", "unknown model 'nobody'; there is: brightness", id="model"),
        pytest.param(
            "/v2/models/double/versions/7/infer", "not served in version '7'; served versions: 1", id="version"
        ),
        pytest.param("/v2/models/double/versions/x/infer", "not served in version 'x'", id="version-word"),
        pytest.param("/v2/models/..%2f..%2fetc/infer", "", id="traversal"),
        pytest.param("/v2/nowhere", "nothing at /v2/nowhere", id="path"),
    ],
)
def test_what_does_not_exist_is_404(client: httpx.Client, path: str, message: str) -> None:
    answer = client.post(path, json=affine_body([1, 2, 3]))

    assert answer.status_code == 404
    assert message in answer.json()["error"]


@pytest.mark.parametrize("path", ["/v2/models/nobody", "/v2/models/nobody/ready", "/v2/models/double/versions/9/ready"])
def test_metadata_and_readiness_of_what_does_not_exist_is_404(client: httpx.Client, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 404
    assert "error" in answer.json()


@pytest.mark.parametrize(
    ("method", "path", "right"),
    [("GET", INFER, "POST"), ("DELETE", INFER, "POST"), ("PUT", "/v2", "GET"), ("POST", "/metrics", "GET")],
)
def test_a_wrong_method_is_405_and_names_the_right_ones(
    client: httpx.Client, method: str, path: str, right: str
) -> None:
    answer = client.request(method, path)

    assert answer.status_code == 405
    assert right in answer.headers["allow"]
    assert answer.json()["error"] == f"{method} is not allowed at {path}, only {right}"


def test_a_body_over_the_limit_is_413_and_the_connection_lives_on(client: httpx.Client) -> None:
    answer = client.post(INFER, content=b" " * 300_000)

    assert answer.status_code == 413
    assert "larger than the limit of 200000 bytes" in answer.json()["error"]
    assert client.get("/v2/health/live").status_code == 200


def test_a_chunked_body_over_the_limit_is_413(client: httpx.Client) -> None:
    answer = client.post(INFER, content=iter([b" " * 50_000] * 6))

    assert answer.status_code == 413


def test_what_is_not_read_is_refused_by_name_not_ignored(client: httpx.Client) -> None:
    squeezed = client.post(INFER, content=b"x", headers={"Content-Encoding": "br"})

    assert squeezed.status_code == 415
    assert "content encoding 'br' is not supported, only gzip, deflate and identity" in squeezed.json()["error"]


@pytest.mark.parametrize("body", [b"{", b'{"ready": 1}', b"[]"])
def test_a_wrong_index_request_is_400(client: httpx.Client, body: bytes) -> None:
    assert client.post("/v2/repository/index", content=body).status_code == 400


def test_errors_are_counted_by_kind_and_strangers_make_no_series(service: RunningService, client: httpx.Client) -> None:
    wrong = service.metric("ovenbird_request_errors_total", model="double", kind="WrongTensor")
    unknown = service.metric("ovenbird_request_errors_total", model="", kind="UnknownModel")

    client.post(INFER, json=tensor(name="z"))
    client.post("/v2/models/made-up-by-a-caller/infer", json=tensor())

    assert service.metric("ovenbird_request_errors_total", model="double", kind="WrongTensor") == wrong + 1
    assert service.metric("ovenbird_request_errors_total", model="", kind="UnknownModel") == unknown + 1
    assert "made-up-by-a-caller" not in client.get("/metrics").text
