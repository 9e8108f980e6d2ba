"""Binary tensors, classification, compression, priorities: Triton's extensions, through both routes."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st
from service_process import RunningService, affine_body

from service.codec.binary import tensor_from_bytes, tensor_to_bytes
from service.codec.compression import accepted, compress, decompress
from service.errors import BodyTooLarge, MalformedBody, WrongTensor
from service.tensors import NUMPY_DTYPES, TensorSpec

INFER = "/v2/models/double/infer"
ROW = np.array([[1, 2, 3]], "<f4")


def binary(header: dict[str, Any], *blobs: bytes) -> dict[str, Any]:
    """The body and headers of a request with binary tensors, as keyword arguments for a client."""
    text = json.dumps(header).encode()
    return {"content": text + b"".join(blobs), "headers": {"Inference-Header-Content-Length": str(len(text))}}


def tensor(size: int = 12, **changes: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": size}} | changes


def read_binary(answer: httpx.Response) -> tuple[dict[str, Any], bytes]:
    length = int(answer.headers["inference-header-content-length"])
    return json.loads(answer.content[:length]), answer.content[length:]


def test_binary_in_json_out(client: httpx.Client) -> None:
    answer = client.post(INFER, **binary({"inputs": [tensor()]}, ROW.tobytes()))

    assert answer.json()["outputs"][0]["data"] == [2, 4, 6]


@pytest.mark.parametrize(
    "asked",
    [
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "y", "parameters": {"binary_data": True}}]},
        {"parameters": {"binary_data_output": True}, "outputs": [{"name": "y"}]},
    ],
    ids=["all", "this-one", "all-named"],
)
def test_binary_out_comes_behind_its_json(client: httpx.Client, asked: dict[str, Any]) -> None:
    answer = client.post(INFER, json=affine_body([1, 2, 3]) | asked)

    header, blob = read_binary(answer)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert header["outputs"] == [
        {"name": "y", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}
    ]
    assert np.frombuffer(blob, "<f4").tolist() == [2, 4, 6]


def test_one_output_may_be_json_though_all_others_are_binary(client: httpx.Client) -> None:
    asked = {
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "y", "parameters": {"binary_data": False}}],
    }

    answer = client.post(INFER, json=affine_body([1, 2, 3]) | asked)

    assert answer.json()["outputs"][0]["data"] == [2, 4, 6]


def test_binary_carries_nan_and_infinity(client: httpx.Client) -> None:
    row = np.array([[np.nan, np.inf, -np.inf]], "<f4")

    answer = client.post(
        INFER, **binary({"inputs": [tensor()], "parameters": {"binary_data_output": True}}, row.tobytes())
    )

    _, blob = read_binary(answer)
    np.testing.assert_array_equal(np.frombuffer(blob, "<f4"), row[0])


def test_strings_are_framed_by_their_lengths(client: httpx.Client) -> None:
    texts = ["Ünï", "", "A\0B"]
    blob = tensor_to_bytes(np.array(texts, object))
    entry = {"name": "text", "shape": [3], "datatype": "BYTES", "parameters": {"binary_data_size": len(blob)}}

    answer = client.post(
        "/v2/models/lower/infer", **binary({"inputs": [entry], "parameters": {"binary_data_output": True}}, bytes(blob))
    )

    _, out = read_binary(answer)
    assert out == bytes(tensor_to_bytes(np.array([text.lower() for text in texts], object)))


def test_a_raw_body_is_one_row(client: httpx.Client) -> None:
    answer = client.post(INFER, content=ROW.tobytes(), headers={"Inference-Header-Content-Length": "0"})

    _, blob = read_binary(answer)
    assert np.frombuffer(blob, "<f4").tolist() == [2, 4, 6]


def test_a_raw_body_is_one_string(client: httpx.Client) -> None:
    answer = client.post(
        "/v2/models/lower/infer", content="ÜBER".encode(), headers={"Inference-Header-Content-Length": "0"}
    )

    _, blob = read_binary(answer)
    assert blob == b"\x05\0\0\0" + "über".encode()


@pytest.mark.parametrize(
    ("entry", "blobs", "message"),
    [
        pytest.param(tensor(), b"\0" * 8, "binary_data_size is 12, but 8 bytes are left", id="cut-off"),
        pytest.param(tensor(8), b"\0" * 8, "shape [1, 3] of FP32 is 12 bytes, received 8", id="other-size"),
        pytest.param(tensor(), b"\0" * 16, "4 bytes follow the binary tensors", id="left-over"),
        pytest.param(tensor(-1), b"", "expected a whole number from 0", id="negative"),
        pytest.param(tensor("12"), b"\0" * 12, "expected a whole number from 0, received a string", id="string"),
        pytest.param(tensor(12, datatype="FP16"), b"\0" * 12, "expected datatype FP32, received FP16", id="datatype"),
    ],
)
def test_wrong_binary_is_400(client: httpx.Client, entry: dict[str, Any], blobs: bytes, message: str) -> None:
    answer = client.post(INFER, **binary({"inputs": [entry]}, blobs))

    assert answer.status_code == 400
    assert message in answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "99999", "9" * 30, "٣"])
def test_a_wrong_header_length_is_400(service: RunningService, length: str) -> None:
    headers = {b"Inference-Header-Content-Length": length.encode()}

    answer = httpx.post(service.url + INFER, content=b"{}", headers=headers)

    assert answer.status_code == 400
    assert "error" in answer.json()


def test_binary_strings_that_are_not_utf8_name_their_element(client: httpx.Client) -> None:
    blob = b"\x01\0\0\0a" + b"\x02\0\0\0\xff\xfe"
    entry = {"name": "text", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(blob)}}

    answer = client.post("/v2/models/lower/infer", **binary({"inputs": [entry]}, blob))

    assert answer.status_code == 400
    assert "input 'text': string 1 is not UTF-8" in answer.json()["error"]


@pytest.mark.parametrize("binary_out", [False, True])
def test_classification_gives_the_best_classes_with_their_labels(client: httpx.Client, binary_out: bool) -> None:
    pictures = {"name": "image", "shape": [2, 4, 6, 1], "datatype": "UINT8", "data": [0] * 24 + [204] * 24}
    parameters = {"classification": 2, "binary_data": binary_out}

    answer = client.post(
        "/v2/models/brightness/infer",
        json={"inputs": [pictures], "outputs": [{"name": "probabilities", "parameters": parameters}]},
    )

    expected = ["1.000000:0:dark", "0.000000:1:bright", "0.800000:1:bright", "0.200000:0:dark"]
    if binary_out:
        header, blob = read_binary(answer)
        assert blob == bytes(tensor_to_bytes(np.array(expected, object)))
        assert (header["outputs"][0]["datatype"], header["outputs"][0]["shape"]) == ("BYTES", [2, 2])
    else:
        assert answer.json()["outputs"] == [
            {"name": "probabilities", "datatype": "BYTES", "shape": [2, 2], "data": expected}
        ]


@pytest.mark.parametrize(("encoding", "squeeze"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_bodies_are_read(client: httpx.Client, encoding: str, squeeze: Any) -> None:
    body = squeeze(json.dumps(affine_body([1, 2, 3])).encode())

    answer = client.post(INFER, content=body, headers={"Content-Encoding": encoding})

    assert answer.json()["outputs"][0]["data"] == [2, 4, 6]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(gzip.compress(b" " * 2_000_000), 413, id="bomb"),
        pytest.param(gzip.compress(b"{}")[:-4], 400, id="cut-off"),
        pytest.param(b"not gzip", 400, id="not-gzip"),
    ],
)
def test_wrong_compressed_bodies_are_refused(client: httpx.Client, body: bytes, status: int) -> None:
    assert client.post(INFER, content=body, headers={"Content-Encoding": "gzip"}).status_code == status


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_long_answers_are_compressed_for_who_accepts_it(client: httpx.Client, encoding: str) -> None:
    rows = affine_body(*[[n, n, n] for n in range(200)])

    squeezed = client.post(INFER, json=rows, headers={"Accept-Encoding": encoding})
    plain = client.post(INFER, json=rows, headers={"Accept-Encoding": "identity"})

    assert squeezed.headers["content-encoding"] == encoding
    assert "content-encoding" not in plain.headers
    assert squeezed.json() == plain.json()


def test_a_request_may_ask_for_less_time_than_the_service_allows(client: httpx.Client) -> None:
    answer = client.post(INFER, json=affine_body([1, 2, 3]) | {"parameters": {"timeout": 1}})

    assert answer.status_code == 504
    assert "was not answered within 1e-06 seconds" in answer.json()["error"]


@pytest.mark.parametrize("binary_data", [True, False])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_the_triton_client_asks_as_it_asks_triton(
    service: RunningService, binary_data: bool, compression: str | None
) -> None:
    rows = np.arange(600, dtype=np.float32).reshape(200, 3)
    given = triton.InferInput("x", list(rows.shape), "FP32")
    given.set_data_from_numpy(rows, binary_data=binary_data)
    with triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("double")
        assert client.get_model_metadata("double")["inputs"][0]["name"] == "x"

        answer = client.infer(
            "double", [given], outputs=[triton.InferRequestedOutput("y", binary_data=binary_data)], request_id="7",
            request_compression_algorithm=compression, response_compression_algorithm=compression,
        )  # fmt: skip
        unnamed = client.infer("double", [given])

    np.testing.assert_array_equal(answer.as_numpy("y"), rows * 2)
    np.testing.assert_array_equal(unnamed.as_numpy("y"), rows * 2)
    assert answer.get_response()["id"] == "7"


def test_the_triton_client_sends_strings_and_asks_for_classes(service: RunningService) -> None:
    texts = triton.InferInput("text", [2], "BYTES")
    texts.set_data_from_numpy(np.array(["ÄB", "C"], object))
    picture = triton.InferInput("image", [1, 4, 6, 1], "UINT8")
    picture.set_data_from_numpy(np.full((1, 4, 6, 1), 255, np.uint8))
    with triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        lowered = client.infer("lower", [texts]).as_numpy("lower")
        asked = [triton.InferRequestedOutput("probabilities", class_count=1)]
        classes = client.infer("brightness", [picture], outputs=asked).as_numpy("probabilities")
        with pytest.raises(triton.InferenceServerException, match="unknown model 'nobody'"):
            client.infer("nobody", [texts])

    assert [text.decode() for text in lowered] == ["äb", "c"]
    assert classes.tolist() == [[b"1.000000:1:bright"]]


numeric = st.sampled_from([name for name in NUMPY_DTYPES if name not in ("BYTES", "BOOL")])


@given(numeric, st.lists(st.integers(0, 4), min_size=1, max_size=3), st.randoms())
def test_numbers_survive_the_way_through_bytes(datatype: str, shape: list[int], random: Any) -> None:
    spec = TensorSpec("x", datatype, tuple(shape))
    raw = random.randbytes(int(np.prod(shape)) * NUMPY_DTYPES[datatype].itemsize)

    array = tensor_from_bytes(memoryview(raw), tuple(shape), spec)

    assert array.shape == tuple(shape)
    assert bytes(tensor_to_bytes(array)) == raw


@given(st.lists(st.text(), max_size=20))
def test_strings_survive_the_way_through_bytes(texts: list[str]) -> None:
    array = np.empty(len(texts), object)
    array[:] = texts

    back = tensor_from_bytes(memoryview(tensor_to_bytes(array)), (len(texts),), TensorSpec("t", "BYTES", (None,)))

    assert back.tolist() == texts


@given(st.binary(max_size=60), st.integers(0, 5))
def test_any_bytes_are_strings_or_refused(raw: bytes, count: int) -> None:
    try:
        array = tensor_from_bytes(memoryview(raw), (count,), TensorSpec("t", "BYTES", (None,)))
    except WrongTensor:
        return
    assert bytes(tensor_to_bytes(array)) == raw


@given(st.binary(max_size=2000), st.sampled_from(["gzip", "deflate"]))
def test_what_is_compressed_can_be_read_within_its_limit_and_not_beyond(body: bytes, encoding: str) -> None:
    squeezed = compress(body, encoding)

    assert decompress(squeezed, encoding, limit=len(body)) == body
    if body:
        with pytest.raises(BodyTooLarge):
            decompress(squeezed, encoding, limit=len(body) - 1)
        with pytest.raises(MalformedBody):
            decompress(squeezed[:-1], encoding, limit=len(body))


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("gzip, deflate", "gzip"),
        ("deflate;q=0.5", "deflate"),
        ("gzip;q=0, deflate", "deflate"),
        ("*", "gzip"),
        ("identity", None),
        ("br", None),
        ("", None),
        ("gzip;q=x", None),
    ],
)
def test_the_answers_encoding_is_one_that_the_client_accepts(header: str, chosen: str | None) -> None:
    assert accepted(header) == chosen
