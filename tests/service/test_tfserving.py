"""TensorFlow Serving's REST API, as its users know it, through both routes; and KServe's first protocol beside it."""

from __future__ import annotations

import base64
import gzip
import io
import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from service_process import RunningService, running

from model_store import Golden, Manifest
from service.codec import tfserving
from service.errors import MalformedBody, UnrepresentableOutput, WrongTensor
from service.tensors import DATATYPES, NUMPY_DTYPES, Signature, TensorSpec

DOUBLE = "/v1/models/double"
LOWER = "/v1/models/lower"


def b64(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


def png(value: int, *, size: tuple[int, int] = (6, 4), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("L", size, value).save(file, kind)
    return file.getvalue()


# Predict -------------------------------------------------------------------------------------------------------------

PREDICTIONS = [
    pytest.param("double", {"instances": [[1, 2, 3], [4, 5, 6.5]]}, {"predictions": [[2, 4, 6], [8, 10, 13]]},
                 id="rows"),
    pytest.param("double", {"instances": [{"x": [1, 2, 3]}, {"x": [0, 0, 1]}]},
                 {"predictions": [[2, 4, 6], [0, 0, 2]]}, id="rows-by-name"),
    pytest.param("double", {"inputs": [[1, 2, 3], [4, 5, 6.5]]}, {"outputs": [[2, 4, 6], [8, 10, 13]]}, id="columns"),
    pytest.param("double", {"inputs": {"x": [[1, 2, 3]]}}, {"outputs": [[2, 4, 6]]}, id="columns-by-name"),
    pytest.param("lower", {"instances": ["Ab", "ÉCLAIR 🔥"]}, {"predictions": ["ab", "éclair 🔥"]}, id="text-rows"),
    pytest.param("lower", {"instances": "Ab"}, {"predictions": ["ab"]}, id="one-value-as-row"),
    pytest.param("lower", {"inputs": "Ab"}, {"outputs": ["ab"]}, id="one-value-as-column"),
    pytest.param("lower", {"instances": [{"text": "Ab"}]}, {"predictions": ["ab"]}, id="text-by-name"),
    pytest.param("lower", {"instances": [b64("ÉCLAIR".encode()), "B"]}, {"predictions": ["éclair", "b"]},
                 id="text-in-base64"),
    pytest.param("lower", {"inputs": b64(b"AB")}, {"outputs": ["ab"]}, id="one-text-in-base64"),
    pytest.param("lookup", {"instances": [[3], [1]]}, {"predictions": [[30.0], [10.0]]}, id="integers"),
    pytest.param("brightness", {"instances": [[[[51]] * 6] * 4]}, {"predictions": [[0.8, 0.2]]}, id="pixels"),
    pytest.param("brightness", {"instances": [b64(png(51)), b64(png(204, size=(60, 40)))]},
                 {"predictions": [[0.8, 0.2], [0.2, 0.8]]}, id="pictures"),
    pytest.param("brightness", {"instances": [{"image": b64(png(51, kind="JPEG"))}]}, {"predictions": [[0.8, 0.2]]},
                 id="jpeg-by-name"),
    pytest.param("brightness", {"inputs": b64(png(51, kind="WEBP"))}, {"outputs": [[0.8, 0.2]]}, id="one-picture"),
    pytest.param("brightness", {"instances": [b64(png(51)), [[[204]] * 6] * 4]},
                 {"predictions": [[0.8, 0.2], [0.2, 0.8]]}, id="picture-and-pixels"),
    pytest.param("colour", {"instances": [b64(png(255))]}, {"predictions": [[0, 1]]}, id="grey-picture-for-colours"),
    pytest.param("double", {"instances": [[1, 2, 3]], "signature_name": "serving_default"},
                 {"predictions": [[2, 4, 6]]}, id="signature"),
    pytest.param("double", {"instances": [[1, 2, 3]], "signature_name": ""}, {"predictions": [[2, 4, 6]]},
                 id="empty-signature"),
    pytest.param("double", {"instances": [[1, 2, 3]], "what": "ever"}, {"predictions": [[2, 4, 6]]},
                 id="unknown-fields-are-passed-over"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "body", "answer"), PREDICTIONS)
def test_predict_answers_in_the_form_it_was_asked_in(
    client: httpx.Client, model: str, body: dict[str, Any], answer: dict[str, Any]
) -> None:
    response = client.post(f"/v1/models/{model}:predict", json=body)

    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    ((form, received),) = response.json().items()
    ((wanted_form, wanted),) = answer.items()
    assert form == wanted_form
    assert type(received) is type(wanted)
    if isinstance(wanted[0], str):
        assert received == wanted
    else:
        np.testing.assert_allclose(received, wanted, atol=0.01)


@pytest.mark.parametrize(
    "path",
    [
        f"{DOUBLE}:predict",
        f"{DOUBLE}/versions/1:predict",
        "/V1/MODELS/double:PREDICT",
        "/v1/Models/double/Versions/1:Predict",
    ],
)
def test_the_paths_words_are_found_in_any_case(client: httpx.Client, path: str) -> None:
    assert client.post(path, json={"instances": [[1, 2, 3]]}).json() == {"predictions": [[2, 4, 6]]}


def test_a_models_name_is_never_written_in_another_case(client: httpx.Client) -> None:
    answer = client.post("/V1/MODELS/Double:PREDICT", json={"instances": [[1, 2, 3]]})

    assert answer.status_code == 404
    assert "unknown model 'Double'" in answer.json()["error"]


def test_numbers_are_written_as_short_as_their_type_allows(client: httpx.Client) -> None:
    answer = client.post(f"{DOUBLE}:predict", json={"instances": [[0.05, 1e-30, 1]]})

    assert answer.text == '{"predictions":[[0.1,2e-30,2.0]]}'


def test_nan_and_infinity_go_in_and_out_as_bare_tokens(client: httpx.Client) -> None:
    answer = client.post(f"{DOUBLE}:predict", content=b'{"instances": [[NaN, Infinity, -Infinity], [0.05, 1, 2]]}')

    assert answer.status_code == 200
    assert answer.text == '{"predictions":[[NaN,Infinity,-Infinity],[0.1,2.0,4.0]]}'


def test_an_overflow_is_answered_infinity(client: httpx.Client) -> None:
    answer = client.post(f"{DOUBLE}:predict", json={"inputs": [[3e38, 0, 0]]})

    assert answer.text == '{"outputs":[[Infinity,0.0,0.0]]}'


def test_the_rows_of_a_request_run_as_one_batch_and_are_counted(service: RunningService, client: httpx.Client) -> None:
    labels = {"model": "double", "version": "1"}
    names = ("ovenbird_requests_total", "ovenbird_request_seconds_count", "ovenbird_compute_seconds_count",
             "ovenbird_batch_rows_sum")  # fmt: skip
    before = {name: service.metric(name, **labels) for name in names}

    client.post(f"{DOUBLE}:predict", json={"instances": [[1, 2, 3]] * 5})

    grown = {name: service.metric(name, **labels) - before[name] for name in names}
    assert list(grown.values()) == [1, 1, 1, 5]


def test_a_request_larger_than_a_batch_is_answered_whole_and_in_order(client: httpx.Client) -> None:
    rows = np.arange(3 * 500, dtype=np.float32).reshape(500, 3)

    answer = client.post(f"{DOUBLE}:predict", json={"instances": rows.tolist()})

    assert answer.json()["predictions"] == (rows * 2).tolist()


def test_bodies_and_answers_may_be_compressed(client: httpx.Client) -> None:
    body = gzip.compress(json.dumps({"instances": [[1, 2, 3]] * 100}).encode())

    answer = client.post(
        f"{DOUBLE}:predict", content=body, headers={"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
    )

    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json() == {"predictions": [[2, 4, 6]] * 100}


@pytest.mark.parametrize("headers", [{}, {"Inference-Header-Content-Length": "10"}], ids=["plain", "as-if-binary"])
def test_a_body_over_the_limit_is_413(client: httpx.Client, headers: dict[str, str]) -> None:
    answer = client.post(f"{DOUBLE}:predict", content=b" " * 300_000, headers=headers)

    assert answer.status_code == 413
    assert answer.json() == {"error": "the body is larger than the limit of 200000 bytes"}


# What is wrong with a request ----------------------------------------------------------------------------------------

BOTH = {"instances": [[1, 2, 3]], "inputs": [[1, 2, 3]]}

BAD_REQUESTS = [
    pytest.param("double", BOTH, "expected either", id="both-forms"),
    pytest.param("double", {}, 'expected either "instances" (rows) or "inputs" (columns), received neither',
                 id="neither-form"),
    pytest.param("double", [1], "the body: expected a JSON object, received [1]", id="list"),
    pytest.param("double", {"instances": []}, "instances: expected one or more rows, received an empty", id="no-rows"),
    pytest.param("double", {"instances": [[]]}, "input 'x': expected one value or more", id="empty-row"),
    pytest.param("double", {"inputs": []}, "input 'x': expected one value or more", id="empty-column"),
    pytest.param("double", {"instances": [[1, 2]]}, "input 'x': expected shape [-1, 3], received [1, 2]", id="width"),
    pytest.param("double", {"instances": [1, 2, 3]}, "input 'x': expected shape [-1, 3], received [3]", id="rank"),
    pytest.param("double", {"inputs": 1}, "input 'x': expected shape [-1, 3], received [1]", id="lone-value"),
    pytest.param("double", {"instances": [[1, 2, 3], [1, 2]]}, "input 'x': data is ragged", id="ragged"),
    pytest.param("double", {"instances": [["1", "2", "3"]]}, "expected FP32 values, received strings", id="strings"),
    pytest.param("double", {"instances": [[1, None, 3]]}, "expected FP32 values, received null", id="null"),
    pytest.param("double", {"instances": [[True, False, True]]}, "FP32 values, received booleans", id="booleans"),
    pytest.param("double", {"instances": [[1, 1e39, 3]]}, "a value is too large for FP32", id="overflow"),
    pytest.param("double", {"instances": [{"z": [1, 2, 3]}]}, "instances[0]: the model takes x; received z",
                 id="unknown-input-in-row"),
    pytest.param("double", {"instances": [{"x": [1, 2, 3]}, {}]}, "instances[1]: the model takes x; received ",
                 id="missing-input-in-row"),
    pytest.param("double", {"instances": [{"x": [1, 2, 3]}, [1, 2, 3]]}, "instances[1]: some rows are objects",
                 id="objects-and-lists"),
    pytest.param("double", {"inputs": {"z": [[1, 2, 3]]}}, "inputs: the model takes x; received z",
                 id="unknown-input"),
    pytest.param("double", {"inputs": {}}, "inputs: the model takes x; received none", id="no-input"),
    pytest.param("double", {"instances": [b64(b"1")]}, 'input \'x\': {"b64": …} is a text or a whole picture',
                 id="base64-for-numbers"),
    pytest.param("double", {"instances": [[b64(b"1"), 2, 3]]}, 'input \'x\': {"b64": …} is a text or a whole picture',
                 id="base64-among-numbers"),
    pytest.param("lower", {"instances": ["a", b64(b"\xff")]}, "input 'text': string 1 is not UTF-8", id="not-utf8"),
    pytest.param("lower", {"instances": [{"b64": "YWJj$$$$"}]}, "input 'text': b64 value 0: not base64",
                 id="not-base64"),
    pytest.param("lower", {"instances": [{"b64": "a"}]}, "input 'text': b64 value 0: not base64", id="half-base64"),
    pytest.param("lower", {"instances": [7]}, "input 'text': expected strings", id="number-for-text"),
    pytest.param("lower", {"inputs": []}, "input 'text': expected one value or more", id="no-texts"),
    pytest.param("brightness", {"instances": [b64(png(1)), b64(b"GIF89a")]},
                 "input 'image': b64 value 1: the body is not a picture", id="not-a-picture"),
    pytest.param("brightness", {"instances": [b64(png(1)[:45])]}, "input 'image': b64 value 0: the picture cannot",
                 id="picture-cut-off"),
    pytest.param("brightness", {"instances": [[[[256]] * 6] * 4]}, "UINT8 holds 0 to 255", id="pixel-out-of-range"),
    pytest.param("lookup", {"instances": [[0.5]]}, "expected INT64 values, received fractions", id="fraction"),
    pytest.param("lookup", {"instances": [[1.0]]}, "expected INT64 values, received fractions", id="whole-fraction"),
    pytest.param("lookup", {"instances": [[99]]}, "the model refuses this input", id="outside-the-table"),
    pytest.param("double", {"instances": [[1, 2, 3]], "signature_name": "training"},
                 "signature_name: there is only 'serving_default', received 'training'", id="other-signature"),
    pytest.param("double", {"instances": [[1, 2, 3]], "signature_name": None},
                 "signature_name: there is only 'serving_default', received None", id="null-signature"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "body", "message"), BAD_REQUESTS)
def test_a_wrong_predict_request_is_400_and_says_what_is_wrong(
    client: httpx.Client, model: str, body: Any, message: str
) -> None:
    answer = client.post(f"/v1/models/{model}:predict", json=body)

    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "the body is not JSON", id="empty"),
        pytest.param(b'{"instances": [[1, 2, 3]', "the body is not JSON", id="cut-off"),
        pytest.param(b'{"instances": [[NaN, 2, 3]', "the body is not JSON", id="cut-off-after-nan"),
        pytest.param(b'{"instances": [[nan, 2, 3]]}', "the body is not JSON", id="nan-in-small-letters"),
        pytest.param(b'{"instances": [[NaN, 1e999, 3]]}', "the number 1e999 is too large", id="beyond-a-double"),
        pytest.param(b'{"instances": [[NaN, 1' + b"0" * 5000 + b", 3]]}", "the body is not JSON", id="endless-number"),
        pytest.param(b'{"instances": [[NaN, 1e39, 3]]}', "a value is too large for FP32", id="overflow-beside-nan"),
        pytest.param(b'{"instances": [[NaN, "1", 3]]}', "expected FP32 values, received strings", id="text-beside-nan"),
        pytest.param(b'{"instances": ["\\ud800"], "x": NaN}', "the body is not JSON", id="lone-surrogate-beside-nan"),
        pytest.param(b'{"instances": ["\xff"], "x": NaN}', "the body is not JSON", id="not-utf8-beside-nan"),
        pytest.param(b"[" * 100_000, "the body is not JSON", id="deep"),
        pytest.param(b"[NaN," * 30_000, "the body is not JSON", id="deep-with-nan"),
    ],
)
def test_a_body_that_is_not_what_tensorflow_serving_reads_is_400(
    client: httpx.Client, content: bytes, message: str
) -> None:
    answer = client.post(f"{DOUBLE}:predict", content=content)

    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_nan_for_an_integer_is_400(client: httpx.Client) -> None:
    answer = client.post("/v1/models/lookup:predict", content=b'{"instances": [[NaN]]}')

    assert answer.status_code == 400
    assert "expected INT64 values, received fractions" in answer.json()["error"]


@pytest.mark.parametrize("kind", ["predict", "classify", "regress"])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        pytest.param("/v1/models/nobody", "unknown model 'nobody'", id="model"),
        pytest.param(f"{DOUBLE}/versions/7", "'double' is not served in version '7'", id="version"),
        pytest.param(f"{DOUBLE}/labels/stable", "model 'double' has no label 'stable'", id="label"),
        pytest.param("/v1/models/nobody/labels/stable", "unknown model 'nobody'", id="label-of-nobody"),
    ],
)
def test_asking_what_does_not_exist_is_404(client: httpx.Client, path: str, kind: str, message: str) -> None:
    answer = client.post(f"{path}:{kind}", json={"instances": [[1, 2, 3]]})

    assert answer.status_code == 404
    assert message in answer.json()["error"]


@pytest.mark.parametrize("tail", ["", "/metadata"])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        pytest.param("/v1/models/nobody", "unknown model 'nobody'", id="model"),
        pytest.param(f"{DOUBLE}/versions/7", "'double' is not served in version '7'", id="version"),
        pytest.param(f"{DOUBLE}/labels/stable", "model 'double' has no label 'stable'", id="label"),
        pytest.param("/V1/MODELS/double/LABELS/Stable", "model 'double' has no label 'Stable'", id="label-in-its-case"),
    ],
)
def test_looking_at_what_does_not_exist_is_404(client: httpx.Client, path: str, tail: str, message: str) -> None:
    answer = client.get(path + tail)

    assert answer.status_code == 404
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        pytest.param("GET", f"{DOUBLE}:predict", "POST", id="get-predict"),
        pytest.param("GET", f"{DOUBLE}/versions/1:predict", "POST", id="get-predict-of-version"),
        pytest.param("DELETE", f"{DOUBLE}:predict", "POST", id="delete-predict"),
        pytest.param("POST", DOUBLE, "GET", id="post-status"),
        pytest.param("POST", f"{DOUBLE}/metadata", "GET", id="post-metadata"),
        pytest.param("POST", "/v1/models", "GET", id="post-models"),
    ],
)
def test_a_wrong_method_is_405_and_names_the_right_one(
    client: httpx.Client, method: str, path: str, allowed: str
) -> None:
    answer = client.request(method, path)

    assert answer.status_code == 405
    assert allowed in answer.headers["allow"]
    error = answer.json()["error"]
    assert error.startswith(f"{method} is not allowed at {path}, only ")
    assert error.endswith(allowed)


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        pytest.param(
            "POST", f"{DOUBLE}:explain", "a model is asked to :classify, :predict, :regress, and not to :explain",
            id="verb",
        ),
        pytest.param("POST", f"{DOUBLE}/versions/HELLO:predict", "versions/HELLO: expected a whole number", id="word"),
        pytest.param("GET", f"{DOUBLE}/versions/HELLO", "versions/HELLO: expected a whole number", id="status-of-word"),
        pytest.param("POST", f"{DOUBLE}/versions/-1:predict", "versions/-1: expected a whole number", id="negative"),
        pytest.param("POST", f"{DOUBLE}/versions/{2**64 - 1}:predict", "expected a whole number below", id="too-large"),
        pytest.param("GET", f"{DOUBLE}/versions/{'9' * 500}", "expected a whole number below", id="endless"),
        pytest.param("POST", f"{DOUBLE}/version/50:predict", "nothing at /v1/models/double/version/50", id="path"),
        pytest.param("GET", "/v1/foo", "nothing at /v1/foo", id="another-path"),
        pytest.param("POST", "/V1/foo", "nothing at /V1/foo", id="another-path-in-capitals"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_below_v1_is_400_as_tensorflow_serving_has_it(
    client: httpx.Client, method: str, path: str, message: str
) -> None:
    answer = client.request(method, path, json={"instances": [[1, 2, 3]]})

    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_failures_are_counted_by_kind_and_strangers_make_no_series(
    service: RunningService, client: httpx.Client
) -> None:
    def counts() -> list[float]:
        return [
            service.metric("ovenbird_request_errors_total", model="double", kind="WrongTensor"),
            service.metric("ovenbird_request_errors_total", model="", kind="UnknownModel"),
            service.metric("ovenbird_request_errors_total", model="", kind="UnknownLabel"),
        ]

    before = counts()

    client.post(f"{DOUBLE}:predict", json={"instances": [[1, 2]]})
    client.post("/v1/models/made-up-for-tfserving:predict", json={})
    client.post(f"{DOUBLE}/labels/made-up-for-tfserving:predict", json={})

    assert [now - then for now, then in zip(counts(), before, strict=True)] == [1, 1, 1]
    assert "made-up-for-tfserving" not in client.get("/metrics").text


# Classify and regress ------------------------------------------------------------------------------------------------


def test_classify_gives_every_class_with_label_and_score(client: httpx.Client) -> None:
    examples = [{"image": b64(png(51))}, {"image": [b64(png(255))]}]

    answer = client.post("/v1/models/brightness:classify", json={"examples": examples})

    ((key, (first, second)),) = answer.json().items()
    assert key == "results"
    assert [label for label, _ in first] == ["dark", "bright"]
    assert [score for _, score in first] == pytest.approx([0.8, 0.2])
    assert second == [["dark", 0], ["bright", 1]]


def test_an_example_may_give_an_inputs_values_as_one_list(client: httpx.Client) -> None:
    answer = client.post("/v1/models/brightness:classify", json={"examples": [{"image": [0, 255] * 12}]})

    assert answer.json() == {"results": [[["dark", 0.5], ["bright", 0.5]]]}


@pytest.mark.parametrize("value", [3, [3]], ids=["value", "list"])
def test_regress_gives_one_value_for_each_example(client: httpx.Client, value: int | list[int]) -> None:
    answer = client.post("/v1/models/lookup:regress", json={"examples": [{"id": value}, {"id": 1}]})

    assert answer.json() == {"results": [30.0, 10.0]}


def test_context_holds_for_every_example_that_does_not_say_otherwise(client: httpx.Client) -> None:
    body = {"context": {"id": 2}, "examples": [{}, {"id": 4}, {"who": "cares"}]}

    assert client.post("/v1/models/lookup:regress", json=body).json() == {"results": [20.0, 40.0, 20.0]}


BAD_EXAMPLES = [
    pytest.param("double:classify", {"examples": [{"x": [1, 2, 3]}]},
                 "an output of kind 'probabilities'; the model gives: y (tensor); use :predict", id="no-classes"),
    pytest.param("brightness:regress", {"examples": [{"image": b64(png(0))}]},
                 "an output of kind 'value'; the model gives: probabilities (probabilities)", id="no-value"),
    pytest.param("lookup:regress", {}, "examples: expected a list of one or more objects, received None",
                 id="no-examples"),
    pytest.param("lookup:regress", {"examples": []}, "examples: expected a list of one or more", id="empty"),
    pytest.param("lookup:regress", {"examples": {"id": 1}}, "examples: expected a list of one or more", id="object"),
    pytest.param("lookup:regress", {"examples": [{"id": 1}, 2]}, "examples[1]: expected a JSON object, received 2",
                 id="example-number"),
    pytest.param("lookup:regress", {"examples": [{"id": 1}], "context": [1]}, "context: expected a JSON object",
                 id="context-list"),
    pytest.param("lookup:regress", {"examples": [{"id": 1}, {"di": 2}]}, "examples[1]: missing feature 'id'",
                 id="missing"),
    pytest.param("lookup:regress", {"examples": [{"id": [1, 2]}]}, "input 'id': expected shape [-1, 1], received",
                 id="too-many-values"),
    pytest.param("lookup:regress", {"examples": [{"id": 1}, {"id": [1, 2]}]}, "input 'id': data is ragged",
                 id="ragged"),
    pytest.param("lookup:regress", {"examples": [{"id": "1"}]}, "expected INT64 values, received strings",
                 id="string"),
    pytest.param("lookup:regress", {"examples": [{"id": []}]}, "expected INT64 values, received none",
                 id="empty-feature"),
    pytest.param("brightness:classify", {"examples": [{"image": [1, 2]}]},
                 "input 'image': expected shape [-1, 4, 6, 1], received [1, 2]", id="too-few-pixels"),
    pytest.param("lookup:regress", {"examples": [{"id": 1}], "signature_name": "tensorflow/serving/regress"},
                 "signature_name: there is only 'serving_default'", id="other-signature"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "body", "message"), BAD_EXAMPLES)
def test_a_wrong_request_with_examples_is_400_and_says_what_is_wrong(
    client: httpx.Client, asked: str, body: Any, message: str
) -> None:
    answer = client.post(f"/v1/models/{asked}", json=body)

    assert answer.status_code == 400
    assert message in answer.json()["error"]


# Status and metadata -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [DOUBLE, f"{DOUBLE}/versions/1", "/V1/Models/double/VERSIONS/1"])
def test_the_status_of_a_model_serves_clients_of_both_servers(client: httpx.Client, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 200
    assert answer.json() == {
        "model_version_status": [
            {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ],
        "name": "double",
        "ready": True,
    }


@pytest.mark.parametrize("path", [f"{DOUBLE}:predict", f"{DOUBLE}/versions/1:predict"])
def test_what_is_asked_by_post_does_not_claim_to_take_get(client: httpx.Client, path: str) -> None:
    answer = client.options(path)

    assert set(answer.headers["allow"].split(", ")) == {"OPTIONS", "POST"}


def test_the_models_are_listed_as_kserve_does(client: httpx.Client, tiny_store: Path) -> None:
    listed = client.get("/v1/models").json()

    assert listed == {"models": sorted(folder.name for folder in tiny_store.iterdir() if folder.is_dir())}


@pytest.mark.parametrize("path", [f"{DOUBLE}/metadata", f"{DOUBLE}/versions/1/metadata", "/v1/models/double/METADATA"])
def test_metadata_is_written_as_tensorflow_serving_does(client: httpx.Client, path: str) -> None:
    rows_of_three = {"dim": [{"size": "-1", "name": ""}, {"size": "3", "name": ""}], "unknown_rank": False}

    assert client.get(path).json() == {
        "model_spec": {"name": "double", "signature_name": "", "version": "1"},
        "metadata": {
            "signature_def": {
                "signature_def": {
                    "serving_default": {
                        "inputs": {"x": {"dtype": "DT_FLOAT", "tensor_shape": rows_of_three, "name": "x"}},
                        "outputs": {"y": {"dtype": "DT_FLOAT", "tensor_shape": rows_of_three, "name": "y"}},
                        "method_name": "tensorflow/serving/predict",
                    }
                }
            }
        },
    }


@pytest.mark.parametrize(
    ("model", "dtype"), [("lower", "DT_STRING"), ("lookup", "DT_INT64"), ("brightness", "DT_UINT8")]
)
def test_metadata_names_tensorflows_types(client: httpx.Client, model: str, dtype: str) -> None:
    described = client.get(f"/v1/models/{model}/metadata").json()

    signature = described["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert [tensor["dtype"] for tensor in signature["inputs"].values()] == [dtype]


# Models of other shapes ----------------------------------------------------------------------------------------------


def publish_pair(store: Path) -> None:
    """Two inputs, three outputs, one of them bytes: x + 1, note, and note again as note_bytes."""
    x, notes = np.array([[1.0, 2.0]], np.float32), np.array(["é"], object)
    outputs = {"more": x + 1, "note_bytes": notes, "said": notes}
    nodes = [
        helper.make_node("Add", ["x", "one"], ["more"]),
        helper.make_node("Identity", ["note"], ["note_bytes"]),
        helper.make_node("Identity", ["note"], ["said"]),
    ]
    text = TensorProto.STRING
    model = tiny_models._model(
        nodes,
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info("note", text, ["batch"]),
        ],
        [
            helper.make_tensor_value_info("more", TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info("note_bytes", text, ["batch"]),
            helper.make_tensor_value_info("said", text, ["batch"]),
        ],
        (numpy_helper.from_array(np.float32(1), "one"),),
    )
    tiny_models.publish(
        store,
        "pair",
        model,
        inputs=[
            {"name": "x", "dtype": "float32", "shape": [None, 2], "kind": "features", "columns": ["width", "height"]},
            {"name": "note", "dtype": "string", "shape": [None], "kind": "text"},
        ],
        outputs=[
            {"name": "more", "dtype": "float32", "shape": [None, 2], "kind": "probabilities"},
            {"name": "note_bytes", "dtype": "string", "shape": [None], "kind": "tensor"},
            {"name": "said", "dtype": "string", "shape": [None], "kind": "tensor"},
        ],
        golden=Golden(inputs={"x": x, "note": notes}, keras=outputs, onnx=outputs),
    )


def publish_total(store: Path) -> None:
    """The rows, and beside them one number for all of them: outputs with no rows in common."""
    x = np.array([[1.0, 2.0, 3.0]], np.float32)
    model = tiny_models._model(
        [helper.make_node("Identity", ["x"], ["same"]), helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0)],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [
            helper.make_tensor_value_info("same", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("total", TensorProto.FLOAT, []),
        ],
    )
    answers = {"same": x, "total": x.sum()}
    tiny_models.publish(
        store,
        "total",
        model,
        outputs=[
            {"name": "same", "dtype": "float32", "shape": [None, 3], "kind": "value"},
            {"name": "total", "dtype": "float32", "shape": [], "kind": "tensor"},
        ],
        golden=Golden(inputs={"x": x}, keras=answers, onnx=answers),
    )


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """pair@1, total@1, and broken@1, which is refused."""
    store = tmp_path_factory.mktemp("other") / "store"
    publish_pair(store)
    publish_total(store)
    (tiny_models.publish_affine(store, "broken").path / "model.onnx").write_bytes(b"not a model")
    with running(store) as service, service.client() as client:
        yield client


PAIR_ROWS = [{"x": [1, 2], "note": "a"}, {"x": [3, 4], "note": b64("é".encode())}]


def test_several_outputs_of_rows_are_objects(other: httpx.Client) -> None:
    answer = other.post("/v1/models/pair:predict", json={"instances": PAIR_ROWS})

    assert answer.json() == {
        "predictions": [
            {"more": [2, 3], "note_bytes": b64(b"a"), "said": "a"},
            {"more": [4, 5], "note_bytes": b64("é".encode()), "said": "é"},
        ]
    }


def test_several_outputs_of_columns_are_an_object(other: httpx.Client) -> None:
    answer = other.post("/v1/models/pair:predict", json={"inputs": {"x": [[1, 2], [3, 4]], "note": ["a", "b"]}})

    assert answer.json() == {
        "outputs": {"more": [[2, 3], [4, 5]], "note_bytes": [b64(b"a"), b64(b"b")], "said": ["a", "b"]}
    }


def test_several_outputs_with_nan_in_one_are_written_whole(other: httpx.Client) -> None:
    answer = other.post("/v1/models/pair:predict", content=b'{"instances": [{"x": [NaN, 0.5], "note": "\xc3\xa9"}]}')

    assert answer.text == '{"predictions":[{"more":[NaN,1.5],"note_bytes":{"b64":"w6k="},"said":"é"}]}'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param({"instances": [[1, 2]]}, "instances: the model takes x, note: send objects", id="plain-rows"),
        pytest.param({"inputs": [[1, 2]]}, "inputs: the model takes x, note: send objects", id="plain-column"),
        pytest.param({"instances": [{"x": [1, 2]}]}, "instances[0]: the model takes x, note; received x", id="one-row"),
        pytest.param({"inputs": {"x": [[1, 2]]}}, "inputs: the model takes x, note; received x", id="one-column"),
        pytest.param({"inputs": {"x": [[1, 2]], "note": ["a", "b"]}}, "the inputs differ in their number of rows",
                     id="rows-differ"),
    ],
)  # fmt: skip
def test_a_model_of_several_inputs_needs_all_by_name(other: httpx.Client, body: Any, message: str) -> None:
    answer = other.post("/v1/models/pair:predict", json=body)

    assert answer.status_code == 400
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    "example",
    [
        pytest.param({"width": 1, "height": [2], "note": "a"}, id="columns"),
        pytest.param({"x": [1, 2], "note": ["a"]}, id="whole-input"),
        pytest.param({"x": [1, 2], "width": 7, "note": b64(b"a"), "number": 12}, id="more-than-is-needed"),
    ],
)
def test_an_example_gives_columns_by_name_or_the_whole_input(other: httpx.Client, example: dict[str, Any]) -> None:
    answer = other.post("/v1/models/pair:classify", json={"examples": [example, example]})

    assert answer.json() == {"results": [[["0", 2.0], ["1", 3.0]]] * 2}


def test_an_example_without_a_column_is_told_both_ways(other: httpx.Client) -> None:
    answer = other.post("/v1/models/pair:classify", json={"examples": [{"width": 1, "note": "a"}]})

    assert answer.status_code == 400
    assert answer.json() == {"error": "examples[0]: missing feature 'height' (or all of them as 'x')"}


def test_outputs_without_rows_in_common_are_answered_in_columns_only(other: httpx.Client) -> None:
    in_columns = other.post("/v1/models/total:predict", json={"inputs": [[1, 2, 3]]})
    in_rows = other.post("/v1/models/total:predict", json={"instances": [[1, 2, 3]]})

    assert in_columns.json() == {"outputs": {"same": [[1, 2, 3]], "total": 6}}
    assert in_rows.status_code == 400
    assert "no rows in common: same [1, 3], total []; ask in column form" in in_rows.json()["error"]


def test_a_column_of_one_number_may_be_nan(other: httpx.Client) -> None:
    answer = other.post("/v1/models/total:predict", content=b'{"inputs": [[NaN, 2, 3]]}')

    assert answer.text == '{"outputs":{"same":[[NaN,2.0,3.0]],"total":NaN}}'


def test_regress_needs_one_value_a_row(other: httpx.Client) -> None:
    answer = other.post("/v1/models/total:regress", json={"examples": [{"x": [1, 2, 3]}]})

    assert answer.status_code == 400
    assert "output 'same' of shape [1, 3] is not one value a row" in answer.json()["error"]


def test_a_refused_version_is_at_its_end_with_the_reason(other: httpx.Client) -> None:
    answer = other.get("/v1/models/broken")

    ((line,), name, ready) = answer.json().values()
    assert (answer.status_code, name, ready) == (200, "broken", False)
    assert (line["version"], line["state"], line["status"]["error_code"]) == ("1", "END", "INTERNAL")
    assert "model.onnx" in line["status"]["error_message"]


@pytest.mark.parametrize(("method", "tail"), [("POST", ":predict"), ("POST", ":classify"), ("GET", "/metadata")])
def test_a_refused_version_answers_503(other: httpx.Client, method: str, tail: str) -> None:
    answer = other.request(method, f"/v1/models/broken{tail}")

    assert answer.status_code == 503
    assert "model 'broken' version 1 is UNAVAILABLE" in answer.json()["error"]


def test_too_much_at_once_is_429_with_retry_after(tiny_store: Path) -> None:
    limits = {"max_queue_rows": 1, "max_batch_size": 1}
    with running(tiny_store, **limits) as service, service.client() as client, ThreadPoolExecutor(12) as pool:
        answers = list(
            pool.map(
                lambda _: client.post("/v1/models/slow:predict", json={"instances": [[1, 2, 3]]}),
                range(24),
            )
        )

    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) < len(answers)
    assert {answer.status_code for answer in refused} == {429}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)


def test_an_answer_that_comes_too_late_is_504(tiny_store: Path) -> None:
    with running(tiny_store, request_timeout=1e-6) as service, service.client() as client:
        answer = client.post("/v1/models/double:predict", json={"instances": [[1, 2, 3]]})

    assert answer.status_code == 504
    assert set(answer.json()) == {"error"}


# The codec alone -----------------------------------------------------------------------------------------------------


def described(dtype: str, shape: tuple[int | None, ...], *, name: str = "x") -> tuple[Signature, Manifest]:
    """A model whose only output is its only input."""
    spec = {"name": name, "dtype": dtype, "shape": list(shape), "kind": "tensor"}
    manifest = Manifest.from_facts(
        created="2026-01-01T00:00:00Z",
        recipe="none",
        parameters={},
        seed=0,
        dataset={"name": "none", "sha256": "0" * 64, "license": "none", "sizes": {}},
        inputs=[spec],
        outputs=[spec],
        metrics={},
        parity={"batch_sizes": [1], "max_abs_difference": {}},
        libraries={},
        files={"model.onnx": "0" * 64, "golden.npz": "0" * 64},
    )
    tensor = TensorSpec(name, DATATYPES[dtype], shape)
    return Signature((tensor,), (tensor,)), manifest


def is_same(first: np.ndarray, second: np.ndarray) -> bool:
    equal_nan = first.dtype.kind == "f"
    return first.dtype == second.dtype and np.array_equal(first, second, equal_nan=equal_nan)


NUMBERS = sorted(dtype for dtype in DATATYPES if dtype != "string")


@st.composite
def number_arrays(draw: st.DrawFn) -> tuple[str, np.ndarray]:
    dtype = draw(st.sampled_from(NUMBERS))
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=3, max_side=4))
    return dtype, draw(arrays.arrays(np.dtype(dtype), shape))


@settings(deadline=None)
@given(number_arrays(), st.booleans())
def test_every_number_comes_back_as_it_went(drawn: tuple[str, np.ndarray], by_rows: bool) -> None:
    """NaN, Infinity and the largest and smallest of each type among them."""
    dtype, array = drawn
    signature, manifest = described(dtype, (None,) * array.ndim)

    written = tfserving.encode_predict({"x": array}, signature, by_rows=by_rows)
    values = json.loads(written)["predictions" if by_rows else "outputs"]
    asked = tfserving.decode_predict(
        json.dumps({"instances" if by_rows else "inputs": values}).encode(), signature, manifest
    )

    assert asked.by_rows == by_rows
    assert is_same(asked.inputs["x"], array)


@settings(deadline=None)
@given(
    arrays.arrays(object, arrays.array_shapes(max_dims=3, max_side=3), elements=st.text()),
    st.sampled_from(["x", "x_bytes"]),
)
def test_every_text_comes_back_as_it_went(texts: np.ndarray, name: str) -> None:
    signature, manifest = described("string", (None,) * texts.ndim, name=name)

    written = tfserving.encode_predict({name: texts}, signature, by_rows=True)
    rows = json.loads(written)["predictions"]
    asked = tfserving.decode_predict(json.dumps({"instances": rows}).encode(), signature, manifest)

    assert (b'{"b64":' in written) == (name == "x_bytes")
    assert is_same(asked.inputs[name], texts)


@settings(deadline=None)
@given(st.binary(max_size=80), st.sampled_from(["", "\n", "\r\n  "]), st.booleans())
def test_base64_may_have_line_breaks_and_lack_padding(content: bytes, blank: str, padded: bool) -> None:
    signature, manifest = described("string", (None,))
    text = base64.b64encode(content.hex().encode()).decode()
    broken = blank.join(text[start : start + 10] for start in range(0, len(text), 10))
    body = {"instances": [{"b64": broken if padded else broken.rstrip("=")}]}

    asked = tfserving.decode_predict(json.dumps(body).encode(), signature, manifest)

    assert asked.inputs["x"].tolist() == [content.hex()]


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(b64(b"x")),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "b64", "z"]), inner),
        max_leaves=8,
    ),
    st.sampled_from(["instances", "inputs", "examples"]),
    st.sampled_from(["string", "float32", "int64", "bool"]),
)
def test_whatever_comes_is_decoded_into_what_the_model_takes_or_refused(value: Any, field: str, dtype: str) -> None:
    signature, manifest = described(dtype, (None, 2))
    body = json.dumps({field: value}).encode()

    try:
        if field == "examples":
            inputs = tfserving.decode_examples(body, signature, manifest)
        else:
            inputs = tfserving.decode_predict(body, signature, manifest).inputs
    except (MalformedBody, WrongTensor):
        return

    assert inputs["x"].dtype == NUMPY_DTYPES[DATATYPES[dtype]]
    assert signature.inputs[0].accepts(inputs["x"].shape)
    assert inputs["x"].size > 0


def test_an_input_without_dimensions_takes_a_value() -> None:
    signature, manifest = described("float32", ())

    asked = tfserving.decode_predict(b'{"inputs": 2.5}', signature, manifest)

    assert is_same(asked.inputs["x"], np.array(2.5, np.float32))
    assert tfserving.encode_predict({"x": asked.inputs["x"]}, signature, by_rows=False) == b'{"outputs":2.5}'


@pytest.mark.parametrize("value", [[2.5], [[2.5]]])
def test_an_input_without_dimensions_refuses_a_list(value: list[Any]) -> None:
    signature, manifest = described("float32", ())

    with pytest.raises(WrongTensor, match="expected shape"):
        tfserving.decode_predict(json.dumps({"inputs": value}).encode(), signature, manifest)


def test_flat_features_take_the_inputs_shape_row_by_row() -> None:
    signature, manifest = described("float32", (None, 2, None))
    body = {"examples": [{"x": [1, 2, 3, 4]}, {"x": [5, 6, 7, 8]}]}

    inputs = tfserving.decode_examples(json.dumps(body).encode(), signature, manifest)

    assert inputs["x"].tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]


def test_classes_beyond_the_labels_are_named_by_number() -> None:
    scores = np.array([[0.5, math.nan, 0.25]], np.float32)

    assert tfserving.encode_classes(scores, ["a"]) == b'{"results":[[["a",0.5],["1",NaN],["2",0.25]]]}'


def test_several_values_a_row_are_no_answer_to_regress() -> None:
    with pytest.raises(UnrepresentableOutput, match=r"output 'y' of shape \[1, 2\]"):
        tfserving.encode_values(np.ones((1, 2), np.float32), "y")
