"""The Open Inference Protocol V2 over JSON, as a client sees it, through both routes."""

from __future__ import annotations

import importlib.metadata

import httpx
import numpy as np
import pytest
from service_process import affine_body, infer_body


def test_live_and_ready_answer_with_the_bodies_that_clients_read(client: httpx.Client) -> None:
    live, ready = client.get("/v2/health/live"), client.get("/v2/health/ready")

    assert (live.status_code, live.json()) == (200, {"live": True})
    assert (ready.status_code, ready.json()) == (200, {"ready": True})
    assert live.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_server_metadata_names_the_server_and_the_extensions_that_it_has(client: httpx.Client, path: str) -> None:
    assert client.get(path).json() == {
        "name": "ovenbird",
        "version": importlib.metadata.version("ovenbird"),
        "extensions": [
            "binary_tensor_data",
            "classification",
            "logging",
            "model_configuration",
            "model_repository",
            "parameters",
            "schedule_policy",
            "statistics",
        ],
    }


@pytest.mark.parametrize("path", ["/v2/models/double", "/v2/models/double/versions/1"])
def test_model_metadata_gives_signature_and_the_provider_really_obtained(client: httpx.Client, path: str) -> None:
    metadata = client.get(path).json()

    properties = metadata.pop("properties")
    assert metadata == {
        "name": "double",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}],
    }
    assert properties["provider"] == "CPUExecutionProvider"
    assert properties["digest"].startswith("sha256:")
    assert properties["dataset"] == "made-up"


@pytest.mark.parametrize("path", ["/v2/models/double/ready", "/v2/models/double/versions/1/ready"])
def test_a_served_model_is_ready(client: httpx.Client, path: str) -> None:
    answer = client.get(path)

    assert (answer.status_code, answer.json()) == (200, {"name": "double", "ready": True})


@pytest.mark.parametrize("path", ["/v2/models/double/infer", "/v2/models/double/versions/1/infer"])
def test_infer_answers_each_row(client: httpx.Client, path: str) -> None:
    answer = client.post(path, json=affine_body([1, 2, 3], [4, 5, 6.5]))

    assert answer.json() == {
        "model_name": "double",
        "model_version": "1",
        "outputs": [{"name": "y", "shape": [2, 3], "datatype": "FP32", "data": [2, 4, 6, 8, 10, 13]}],
    }


@pytest.mark.parametrize("route", ["infer", "predict"])
def test_each_answer_says_which_file_computed_it(client: httpx.Client, route: str) -> None:
    body = affine_body([1, 2, 3]) if route == "infer" else {"inputs": [[1, 2, 3]]}

    answer = client.post(f"/v2/models/double/{route}", json=body)

    digest = client.get("/v2/models/double").json()["properties"]["digest"]
    assert (answer.headers["ovenbird-model"], answer.headers["ovenbird-version"]) == ("double", "1")
    assert answer.headers["ovenbird-digest"] == digest


def test_the_request_id_comes_back(client: httpx.Client) -> None:
    answer = client.post("/v2/models/double/infer", json=affine_body([1, 2, 3]) | {"id": "ünïque-7"})

    assert answer.json()["id"] == "ünïque-7"


def test_nested_data_is_the_same_as_flat(client: httpx.Client) -> None:
    nested = infer_body("x", [[1, 2, 3], [4, 5, 6]], shape=[2, 3])

    answer = client.post("/v2/models/double/infer", json=nested)

    assert answer.json()["outputs"][0]["data"] == [2, 4, 6, 8, 10, 12]


def test_requested_outputs_are_sent(client: httpx.Client) -> None:
    answer = client.post("/v2/models/double/infer", json=affine_body([1, 2, 3]) | {"outputs": [{"name": "y"}]})

    assert [output["name"] for output in answer.json()["outputs"]] == ["y"]


def test_a_request_larger_than_a_batch_is_answered_whole_and_in_order(client: httpx.Client) -> None:
    rows = np.arange(3 * 500, dtype=np.float32).reshape(500, 3)

    answer = client.post("/v2/models/double/infer", json=affine_body(*rows.tolist()))

    output = answer.json()["outputs"][0]
    assert output["shape"] == [500, 3]
    assert output["data"] == (rows * 2).ravel().tolist()


@pytest.mark.parametrize("text", ["Hello", "", "ÉÀ", "안녕 ABC", "🐦🔥 A", "a\nB", 'quote " and \\', "x" * 10_000])
def test_strings_go_in_and_out_unchanged_but_for_what_the_model_does(client: httpx.Client, text: str) -> None:
    body = infer_body("text", [text, "OTHER"], shape=[2], datatype="BYTES")

    output = client.post("/v2/models/lower/infer", json=body).json()["outputs"][0]

    assert output == {"name": "lower", "shape": [2], "datatype": "BYTES", "data": [text.lower(), "other"]}


def test_the_index_lists_every_version_with_its_state(client: httpx.Client) -> None:
    entries = client.post("/v2/repository/index").json()

    assert {"name": "double", "version": "1", "state": "READY", "reason": ""} in entries
    assert [entry["name"] for entry in entries] == sorted(entry["name"] for entry in entries)


def test_the_index_of_what_is_ready(client: httpx.Client) -> None:
    entries = client.post("/v2/repository/index", json={"ready": True}).json()

    assert {entry["state"] for entry in entries} == {"READY"}


def test_metrics_count_requests_rows_batches_and_seconds_by_model_and_version(service, client: httpx.Client) -> None:
    labels = {"model": "double", "version": "1"}
    names = ("ovenbird_requests_total", "ovenbird_rows_total", "ovenbird_request_seconds_count",
             "ovenbird_queue_seconds_count", "ovenbird_compute_seconds_count", "ovenbird_batch_rows_sum")  # fmt: skip
    before = {name: service.metric(name, **labels) for name in names}

    client.post("/v2/models/double/infer", json=affine_body([1, 2, 3], [4, 5, 6]))

    grown = {name: service.metric(name, **labels) - before[name] for name in names}
    assert grown == {
        "ovenbird_requests_total": 1,
        "ovenbird_rows_total": 2,
        "ovenbird_request_seconds_count": 1,
        "ovenbird_queue_seconds_count": 1,
        "ovenbird_compute_seconds_count": 1,
        "ovenbird_batch_rows_sum": 2,
    }
    assert service.metric("ovenbird_queue_rows", **labels) == 0
    assert service.metric("ovenbird_model_state", state="READY", **labels) == 1
    assert service.metric("ovenbird_model_info", provider="CPUExecutionProvider", **labels) == 1
    assert service.metric("ovenbird_expected_compute_seconds", rows="1", **labels) > 0


def test_the_page_for_people_lists_the_models(client: httpx.Client) -> None:
    page = client.get("/", headers={"Accept": "text/html"})

    assert page.headers["content-type"].startswith("text/html")
    for name in ("double", "lower", "brightness"):
        assert f"/v2/models/{name}/predict" in page.text


def test_keep_alive_serves_many_requests_on_one_connection(client: httpx.Client) -> None:
    answers = [client.post("/v2/models/double/infer", json=affine_body([n, n, n])) for n in range(20)]

    assert [answer.json()["outputs"][0]["data"] for answer in answers] == [[2.0 * n] * 3 for n in range(20)]


def test_a_chunked_body_is_read(client: httpx.Client) -> None:
    body = b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}'

    answer = client.post("/v2/models/double/infer", content=iter([body[:10], body[10:30], body[30:]]))

    assert answer.json()["outputs"][0]["data"] == [2, 4, 6]


def test_null_stands_for_a_field_that_is_left_out_as_clients_made_from_a_schema_write_it(client: httpx.Client) -> None:
    (given,) = affine_body([1, 2, 3])["inputs"]
    asked = {"name": "y", "parameters": None}

    bare = client.post(
        "/v2/models/double/infer",
        json={"id": None, "parameters": None, "inputs": [given | {"parameters": None}], "outputs": None},
    )
    named = client.post("/v2/models/double/infer", json={"inputs": [given], "outputs": [asked]})

    assert bare.json()["outputs"][0]["data"] == named.json()["outputs"][0]["data"] == [2, 4, 6]
    assert "id" not in bare.json()


@pytest.mark.parametrize("path", ["/v2/models/double%2F/infer", "/v2/models/double//infer", "/v2//models/double"])
def test_an_empty_step_in_a_path_leads_nowhere(client: httpx.Client, path: str) -> None:
    answer = client.post(path, json=affine_body([1, 2, 3]))

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"
