"""Every datatype of the protocol at its extremes: as JSON, as binary tensors, as raw bodies, through both routes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tiny_models
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto
from service_process import FRONTS, RunningService, running

from service.codec.oip import decode_request
from service.codec.oip_response import encode_response
from service.tensors import DATATYPES, NUMPY_DTYPES, Signature, TensorSpec

ONNX_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}

FLOATS = ("FP16", "FP32", "FP64")
NUMBERS = [name for name in ONNX_TYPES if name != "BYTES"]
TEXTS = ["", "plain", "Ünï ☃ 𝄞", "a\0b", "line\nend", '"quoted" \\']


def extremes(datatype: str) -> np.ndarray[Any, Any]:
    """The values of a datatype that are lost first where it is not carried exactly, as one row."""
    dtype = NUMPY_DTYPES[datatype]
    if datatype == "BYTES":
        values: list[Any] = TEXTS
    elif datatype == "BOOL":
        values = [True, False]
    elif datatype in FLOATS:
        of = np.finfo(dtype)
        values = [of.max, of.min, of.tiny, of.smallest_subnormal, -of.smallest_subnormal, 0.0, -0.0, of.eps, 0.1]
    else:
        limits = np.iinfo(dtype)
        values = [limits.min, limits.max, 0, 1, limits.max - 1]
    return np.array([values], dtype)


def same(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bool:
    """Whether two arrays are the same bit for bit: -0.0 is not 0.0, and NaN is itself."""
    if left.dtype == object:
        return left.tolist() == right.tolist()
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datatypes") / "store"
    for name, datatype in ONNX_TYPES.items():
        tiny_models.put(folder, name.lower(), tiny_models.identity(datatype))
    tiny_models.put(folder, "cube", tiny_models.identity(rank=3))
    tiny_models.put(folder, "brain", tiny_models.identity(TensorProto.BFLOAT16))
    return folder


@pytest.fixture(scope="module", params=list(FRONTS))
def service(request: pytest.FixtureRequest, store: Path) -> Iterator[RunningService]:
    with running(store, command=FRONTS[request.param]) as service:
        yield service


def infer(client: httpx.Client, name: str, entry: dict[str, Any], **more: Any) -> httpx.Response:
    return client.post(f"/v2/models/{name.lower()}/infer", json={"inputs": [{"name": "x"} | entry]} | more)


def test_every_datatype_of_the_service_is_tried_here() -> None:
    assert set(ONNX_TYPES) == set(DATATYPES.values())


@pytest.mark.parametrize("datatype", [name for name in ONNX_TYPES if name != "FP16"])
@pytest.mark.parametrize("flat", [True, False], ids=["flat", "nested"])
def test_json_carries_the_extremes(client: httpx.Client, datatype: str, flat: bool) -> None:
    sent = extremes(datatype)
    data = sent.ravel().tolist() if flat else sent.tolist()

    (output,) = infer(client, datatype, {"shape": list(sent.shape), "datatype": datatype, "data": data}).json()[
        "outputs"
    ]

    assert (output["datatype"], output["shape"]) == (datatype, list(sent.shape))
    assert same(np.array(output["data"], NUMPY_DTYPES[datatype]).reshape(sent.shape), sent)


@pytest.mark.parametrize("datatype", ONNX_TYPES)
def test_the_triton_client_carries_the_extremes_as_bytes(service: RunningService, datatype: str) -> None:
    sent = extremes(datatype)
    if datatype in FLOATS:
        sent = np.append(sent, np.array([[np.nan, np.inf, -np.inf]], sent.dtype), axis=1)
    tensor = triton.InferInput("x", list(sent.shape), datatype)
    tensor.set_data_from_numpy(sent, binary_data=True)

    with triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        back = client.infer(datatype.lower(), [tensor]).as_numpy("y")

    if datatype == "BYTES":
        back = np.array([[text.decode() for text in back[0]]], object)
    assert same(back, sent)


@pytest.mark.parametrize("datatype", NUMBERS)
def test_a_raw_body_is_a_row_of_any_datatype(client: httpx.Client, datatype: str) -> None:
    sent = extremes(datatype)

    answer = client.post(
        f"/v2/models/{datatype.lower()}/infer",
        content=sent.tobytes(),
        headers={"Inference-Header-Content-Length": "0"},
    )

    length = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.content[:length])["outputs"]
    assert (output["datatype"], output["shape"]) == (datatype, list(sent.shape))
    assert answer.content[length:] == sent.tobytes()


@pytest.mark.parametrize("body", [b"", b"123"])
def test_a_raw_body_that_holds_no_whole_value_is_400(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/v2/models/fp32/infer", content=body, headers={"Inference-Header-Content-Length": "0"})

    assert answer.status_code == 400
    assert answer.json() == {"error": f"input 'x': shape [1, 1] of FP32 is 4 bytes, received {len(body)}"}


@pytest.mark.parametrize("datatype", NUMBERS)
def test_v1_carries_the_extremes(client: httpx.Client, datatype: str) -> None:
    sent = extremes(datatype)

    answer = client.post(f"/v1/models/{datatype.lower()}:predict", json={"instances": sent.tolist()})

    assert same(np.array(answer.json()["predictions"], NUMPY_DTYPES[datatype]), sent)


def test_half_precision_is_refused_as_json_both_ways(client: httpx.Client) -> None:
    entry = {"shape": [1, 1], "datatype": "FP16"}
    sent = infer(client, "FP16", entry | {"data": [1]})
    head = json.dumps({"inputs": [entry | {"name": "x", "parameters": {"binary_data_size": 2}}]}).encode()
    asked = client.post(
        "/v2/models/fp16/infer",
        content=head + b"\0\0",
        headers={"Inference-Header-Content-Length": str(len(head))},
    )

    assert (sent.status_code, asked.status_code) == (400, 400)
    assert sent.json() == {"error": "input 'x': datatype FP16 cannot be sent as JSON, send binary data"}
    assert "output 'y'" in asked.json()["error"]
    assert "binary" in asked.json()["error"]


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_json_has_no_word_for_is_refused_both_ways(client: httpx.Client, datatype: str, word: str) -> None:
    value = np.array([[float(word)]], NUMPY_DTYPES[datatype])
    described = {"name": "x", "shape": [1, 1], "datatype": datatype}
    head = json.dumps({"inputs": [described | {"parameters": {"binary_data_size": value.nbytes}}]}).encode()

    sent = client.post(
        f"/v2/models/{datatype.lower()}/infer",
        content=json.dumps({"inputs": [described | {"data": [float(word)]}]}),
    )
    asked = client.post(
        f"/v2/models/{datatype.lower()}/infer",
        content=head + value.tobytes(),
        headers={"Inference-Header-Content-Length": str(len(head))},
    )

    assert (sent.status_code, asked.status_code) == (400, 400)
    assert "the body is not JSON" in sent.json()["error"]
    assert "NaN or Infinity" in asked.json()["error"]


@pytest.mark.parametrize("datatype", [name for name in NUMBERS if name.startswith(("INT", "UINT"))])
def test_a_number_beyond_the_datatype_is_400(client: httpx.Client, datatype: str) -> None:
    limits = np.iinfo(NUMPY_DTYPES[datatype])
    for value in (int(limits.min) - 1, int(limits.max) + 1):
        body = f'{{"inputs":[{{"name":"x","shape":[1,1],"datatype":"{datatype}","data":[{value}]}}]}}'
        answer = client.post(f"/v2/models/{datatype.lower()}/infer", content=body)

        assert answer.status_code == 400
        assert datatype in answer.json()["error"]


@pytest.mark.parametrize("values", [[-1, 2**63], [2**63, 0], [2**64 - 1, -(2**63)]])
@pytest.mark.parametrize("datatype", ["UINT64", "INT64"])
def test_whole_numbers_of_which_one_is_beyond_the_datatype_are_named(
    client: httpx.Client, datatype: str, values: list[int]
) -> None:
    answer = infer(client, datatype, {"shape": [1, 2], "datatype": datatype, "data": values})

    if datatype == "UINT64" and min(values) >= 0:
        assert answer.json()["outputs"][0]["data"] == values
    else:
        assert answer.status_code == 400
        assert f"received {min(values)} to {max(values)}" in answer.json()["error"]


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("BOOL", 1), ("BOOL", "true"), ("INT32", 1.5), ("INT32", True), ("FP32", "1"), ("BYTES", 1), ("INT8", None)],
)
def test_a_value_of_another_kind_is_400(client: httpx.Client, datatype: str, value: Any) -> None:
    answer = infer(client, datatype, {"shape": [1, 1], "datatype": datatype, "data": [value]})

    assert answer.status_code == 400
    assert "input 'x'" in answer.json()["error"]


def test_every_open_dimension_may_be_of_any_size(client: httpx.Client) -> None:
    for shape in ([1, 1, 1], [2, 3, 4], [7, 1, 2]):
        data = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
        (output,) = infer(client, "cube", {"shape": shape, "datatype": "FP32", "data": data.tolist()}).json()["outputs"]

        assert (output["shape"], output["data"]) == (shape, data.ravel().tolist())


@pytest.mark.parametrize("shape", [[0, 1], [1, 0], [1, 1, 1], [1], [], [-1, 1], [1, 2**70]])
def test_a_shape_that_holds_nothing_or_is_another_is_400(client: httpx.Client, shape: list[int]) -> None:
    answer = infer(client, "FP32", {"shape": shape, "datatype": "FP32", "data": []})

    assert answer.status_code == 400
    assert "input 'x'" in answer.json()["error"]


def test_bytes_that_are_no_text_are_400(client: httpx.Client) -> None:
    blob = b"\x02\0\0\0\xff\xfe"
    entry = {"name": "x", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(blob)}}
    head = json.dumps({"inputs": [entry]}).encode()

    answer = client.post(
        "/v2/models/bytes/infer", content=head + blob, headers={"Inference-Header-Content-Length": str(len(head))}
    )

    assert answer.status_code == 400
    assert "input 'x': string 0 is not UTF-8" in answer.json()["error"]


def test_a_model_of_a_datatype_that_is_not_supported_says_so(client: httpx.Client) -> None:
    served = client.get("/v2/models/brain/ready")
    sent = infer(client, "FP32", {"shape": [1, 1], "datatype": "BF16", "data": [1]})

    assert served.status_code == 503
    assert "has type tensor(bfloat16)" in served.json()["error"]
    assert sent.status_code == 400
    assert sent.json() == {"error": "input 'x': expected datatype FP32, received BF16"}


def values_of(datatype: str) -> st.SearchStrategy[Any]:
    """Values that JSON can carry in a datatype."""
    dtype = NUMPY_DTYPES[datatype]
    if datatype == "BYTES":
        return st.text()
    if datatype == "BOOL":
        return st.booleans()
    if datatype in FLOATS:
        return st.floats(width=dtype.itemsize * 8, allow_nan=False, allow_infinity=False)  # type: ignore[call-overload, no-any-return]
    limits = np.iinfo(dtype)
    return st.integers(int(limits.min), int(limits.max))


@given(st.data(), st.sampled_from([name for name in ONNX_TYPES if name != "FP16"]), st.booleans(), st.booleans())
def test_any_values_survive_the_codec(data: st.DataObject, datatype: str, nested: bool, binary_out: bool) -> None:
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    count = math.prod(shape)
    values = data.draw(st.lists(values_of(datatype), min_size=count, max_size=count))
    sent = np.empty(count, NUMPY_DTYPES[datatype])
    sent[:] = values
    sent = sent.reshape(shape)
    signature = Signature(
        (TensorSpec("x", datatype, (None,) * len(shape)),), (TensorSpec("y", datatype, (None,) * len(shape)),)
    )
    entry = {"name": "x", "shape": shape, "datatype": datatype, "data": sent.tolist() if nested else values}
    body = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": binary_out}}).encode()

    request = decode_request(body, signature)
    response = encode_response(
        {"y": request.inputs["x"]}, signature, request=request, model_name="m", model_version=1, labels={}
    )

    length = response.header_length or len(response.body)
    read = triton.InferResult.from_response_body(response.body, header_length=response.header_length)
    assert same(request.inputs["x"], sent)
    assert json.loads(response.body[:length])["outputs"][0]["shape"] == shape
    if datatype == "BYTES":
        texts = [text.decode() if isinstance(text, bytes) else text for text in read.as_numpy("y").ravel()]
        assert texts == sent.ravel().tolist()
    else:
        assert same(read.as_numpy("y"), sent)
