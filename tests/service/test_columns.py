"""Raw columns by name: every way in which a table's rows are sent, through both routes."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from click.testing import CliRunner
from service_process import RunningService
from tiny_models import AGE, JOB

from service.bench_cli import bench
from service.predict_cli import predict

PREDICT = "/v2/models/people/predict"
ROWS = [{AGE: 39, JOB: "clerk"}, {AGE: None, JOB: "bäcker"}, {AGE: 7.5, JOB: ""}, {AGE: 1, JOB: "pilot"}]
CELLS = [[39, 2], [-1, 3], [7.5, 0], [1, 1]]


def ask(client: httpx.Client, body: str | bytes, kind: str) -> httpx.Response:
    content = body.encode() if isinstance(body, str) else body
    return client.post(PREDICT, content=content, headers={"Content-Type": kind} if kind else {})


def cells(answer: httpx.Response) -> list[list[float]]:
    assert answer.status_code == 200, answer.text
    return [prediction["cells"] for prediction in answer.json()["predictions"]]


@pytest.mark.parametrize("kind", ["text/csv", "", "application/x-www-form-urlencoded"])
def test_csv_in_any_order_with_further_columns_and_gaps(client: httpx.Client, kind: str) -> None:
    body = f'\ufeff{JOB},id, {AGE} \nclerk,1,39\r\n"bäcker",2,\n,3,7.5\npilot,4,1.0\n NA ,5,NaN\n'

    assert cells(ask(client, body, kind)) == [*CELLS, [-1, 0]]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        pytest.param(
            f"{AGE}\n39\n", f"the CSV header lacks the columns {JOB}; it has {AGE}; leave a cell", id="column"
        ),
        pytest.param("39,clerk\n", "the CSV header lacks the columns", id="no-header"),
        pytest.param(f"{AGE},{JOB}\n", "no rows of data", id="no-rows"),
        pytest.param("", "the CSV header lacks", id="nothing"),
        pytest.param(f"{AGE},{JOB}\n1,clerk\nold,clerk\n", f"row 2, column '{AGE}': 'old' is not a finite", id="text"),
        pytest.param(f"{AGE},{JOB}\ninf,clerk\n", "'inf' is not a finite number", id="infinite"),
        pytest.param(f"{AGE},{JOB}\n1e39,clerk\n", "of type float32", id="too-large"),
        pytest.param(f"{AGE},{JOB}\n1\n", "row 1 of the CSV has 1 cells, the header has 2", id="short-row"),
    ],
)
def test_csv_is_refused_with_row_and_column(client: httpx.Client, body: str, complaint: str) -> None:
    answer = ask(client, body, "text/csv")

    assert answer.status_code == 400
    assert complaint in answer.json()["error"]


def by_column() -> dict[str, list[Any]]:
    return {name: [row[name] for row in ROWS] for name in (JOB, AGE)}


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        pytest.param(ROWS, CELLS, id="rows"),
        pytest.param(by_column(), CELLS, id="columns"),
        pytest.param({AGE: 39, JOB: "clerk"}, CELLS[:1], id="one-row"),
        pytest.param([{}, {AGE: 3}], [[-1, 0], [3, 0]], id="left-out"),
        pytest.param({JOB: ["clerk", None]}, [[-1, 2], [-1, 0]], id="column-left-out"),
        pytest.param([{AGE: "39", JOB: 1.0}, {JOB: True}], [[39, 1], [-1, 1]], id="other-types"),
    ],
)
def test_json_by_row_and_by_column(client: httpx.Client, inputs: Any, expected: list[list[float]]) -> None:
    assert cells(ask(client, json.dumps({"inputs": inputs}), "application/json")) == expected


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        pytest.param([{AGE: 1}, {"Age": 1}], "inputs: row 2: unknown column 'Age'; the model takes", id="slip"),
        pytest.param({"Age": [1]}, "inputs: unknown column 'Age'", id="slip-in-columns"),
        pytest.param([{AGE: 1}, {AGE: "old"}], f"row 2, column '{AGE}': 'old' is not a finite number", id="text"),
        pytest.param([{AGE: True}], "True is not a finite number", id="boolean"),
        pytest.param([{AGE: [1]}], "expected one value, received a list", id="list"),
        pytest.param({AGE: [1, 2], JOB: ["clerk"]}, f"lists of one length, received {AGE} 2, {JOB} 1", id="lengths"),
        pytest.param({AGE: [1], JOB: "clerk"}, f"received {AGE} 1, {JOB} 0", id="list-and-value"),
        pytest.param([], "a list of one or more rows", id="no-rows"),
        pytest.param({}, "received no column", id="no-columns"),
        pytest.param([[1, "clerk"]], "row 1: expected an object", id="unnamed"),
        pytest.param(7, "a list of one or more rows", id="number"),
    ],
)
def test_json_is_refused_with_row_and_column(client: httpx.Client, inputs: Any, complaint: str) -> None:
    answer = ask(client, json.dumps({"inputs": inputs}), "application/json")

    assert answer.status_code == 400
    assert complaint in answer.json()["error"]


def test_fields_of_both_kinds_of_forms_are_a_row(client: httpx.Client) -> None:
    fields = {JOB: "bäcker", AGE: "", "csrf": "token"}

    assert cells(client.post(PREDICT, data=fields)) == [[-1, 3]]
    assert cells(client.post(PREDICT, files={name: (None, value) for name, value in fields.items()})) == [[-1, 3]]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        pytest.param([(JOB, "clerk")], f"the form lacks the fields {AGE}; leave a field empty", id="missing"),
        pytest.param([(JOB, "clerk"), (AGE, "1"), (AGE, "2")], f"the field '{AGE}' was sent twice", id="twice"),
        pytest.param([(JOB, "clerk"), (AGE, "old")], f"column '{AGE}': 'old' is not a finite number", id="text"),
    ],
)
def test_a_form_is_refused_with_its_field(client: httpx.Client, fields: list[tuple[str, str]], complaint: str) -> None:
    answer = client.post(PREDICT, files=[(name, (None, value)) for name, value in fields])

    assert answer.status_code == 400
    assert complaint in answer.json()["error"]


def test_files_are_put_one_under_another(client: httpx.Client) -> None:
    parts = [
        ("file", ("one.csv", f"{AGE},{JOB}\n39,clerk\n,bäcker\n")),
        ("file", ("two.json", json.dumps({"inputs": [{AGE: 7.5}]}))),
    ]

    answer = client.post(PREDICT, files=parts)

    assert cells(answer) == CELLS[:3]
    assert [each["file"] for each in answer.json()["predictions"]] == ["one.csv", "one.csv", "two.json"]


@pytest.mark.parametrize("kind", ["text/plain", "image/png"])
def test_what_is_no_table_is_not_taken_for_one(client: httpx.Client, kind: str) -> None:
    answer = ask(client, "clerk", kind)

    assert answer.status_code == 415
    assert "the columns of a table; it takes text/csv or application/json" in answer.json()["error"]


def test_the_protocol_takes_a_tensor_for_each_column(client: httpx.Client) -> None:
    tensors = [
        {"name": JOB, "shape": [2], "datatype": "BYTES", "data": ["clerk", "pilot"]},
        {"name": AGE, "shape": [2], "datatype": "FP32", "data": [39, 1]},
    ]

    (output,) = client.post("/v2/models/people/infer", json={"inputs": tensors}).json()["outputs"]

    assert output["data"] == [39, 2, 1, 1]


def test_binary_tensors_may_be_nan_for_missing(client: httpx.Client) -> None:
    ages = np.array([np.nan, 5], np.float32).tobytes()
    tensors = [
        {"name": AGE, "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": len(ages)}},
        {"name": JOB, "shape": [2], "datatype": "BYTES", "data": ["", "clerk"]},
    ]
    header = orjson.dumps({"inputs": tensors})

    answer = client.post(
        "/v2/models/people/infer", content=header + ages, headers={"Inference-Header-Content-Length": str(len(header))}
    )

    assert answer.json()["outputs"][0]["data"] == [-1, 0, 5, 2]


def infer(client: httpx.Client, ages: Any, jobs: list[Any], model: str = "people") -> httpx.Response:
    count = len(jobs)
    tensors = [
        {"name": AGE, "shape": [count], "datatype": "FP32", "data": ages},
        {"name": JOB, "shape": [count], "datatype": "BYTES", "data": jobs},
    ]
    return client.post(f"/v2/models/{model}/infer", json={"inputs": tensors})


@pytest.mark.parametrize(
    ("ages", "expected"),
    [
        pytest.param([39, None, 7.5], [39, -1, 7.5], id="among-numbers"),
        pytest.param([None, None, None], [-1, -1, -1], id="alone"),
        pytest.param([1, None, 2**63], [1, -1, 9.223372e18], id="beside-a-large-one"),
    ],
)
def test_null_is_a_missing_number_in_the_protocol(client: httpx.Client, ages: list[Any], expected: list[Any]) -> None:
    (output,) = infer(client, ages, ["clerk"] * 3).json()["outputs"]

    assert output["data"][::2] == expected


@pytest.mark.parametrize("first", [None, 0])
def test_null_is_taken_among_many_numbers_too(client: httpx.Client, first: int | None) -> None:
    """A body so long is read by another way, if it holds numbers alone."""
    ages = [first, *range(1, 2999), None]

    for _ in range(2):
        (output,) = infer(client, ages, ["clerk"] * 3000).json()["outputs"]

        assert output["data"][::2] == [-1 if age is None else age for age in ages]
        (output,) = infer(client, list(range(3000)), ["clerk"] * 3000).json()["outputs"]
        assert output["data"][::2] == list(range(3000))


@pytest.mark.parametrize(
    ("ages", "complaint"),
    [
        pytest.param([1, None, True], "booleans", id="boolean"),
        pytest.param([1, None, "2"], "strings", id="string"),
        pytest.param([1, None, {}], "objects", id="object"),
        pytest.param([1, None, [2]], "ragged", id="ragged"),
        pytest.param([1, None, 1e39], "a value is too large for FP32", id="too-large"),
    ],
)
def test_what_is_neither_null_nor_a_number_is_refused(client: httpx.Client, ages: list[Any], complaint: str) -> None:
    answer = infer(client, ages, ["clerk"] * 3)

    assert answer.status_code == 400
    assert complaint in answer.json()["error"]


def test_a_category_is_no_null_in_the_protocol(client: httpx.Client) -> None:
    answer = infer(client, [1, 2], ["clerk", None])

    assert answer.status_code == 400
    assert "expected strings" in answer.json()["error"]


def test_the_description_allows_null_where_a_number_may_be_missing(client: httpx.Client) -> None:
    posted = client.get("/openapi.json").json()["paths"]["/v2/models/people/infer"]["post"]
    tensors = posted["requestBody"]["content"]["application/json"]["schema"]["properties"]["inputs"]["items"]["oneOf"]
    data = {tensor["properties"]["name"]["const"]: tensor["properties"]["data"]["anyOf"][0] for tensor in tensors}

    assert data[AGE] == {"type": ["number", "null"]}
    assert data[JOB] == {"type": "string"}


def test_tensorflow_servings_rows_and_columns(client: httpx.Client) -> None:
    rows = [{AGE: 39, JOB: "clerk"}, {AGE: 1, JOB: "pilot"}]
    columns = {name: [row[name] for row in rows] for name in (AGE, JOB)}
    path = "/v1/models/people:predict"

    assert client.post(path, json={"instances": rows}).json() == {"predictions": [[39, 2], [1, 1]]}
    assert client.post(path, json={"inputs": columns}).json() == {"outputs": [[39, 2], [1, 1]]}
    with_nan = client.post(path, content=f'{{"instances": [{{"{AGE}": NaN, "{JOB}": ""}}]}}')
    assert with_nan.json() == {"predictions": [[-1, 0]]}
    with_null = client.post(path, json={"instances": [{AGE: None, JOB: "clerk"}, {AGE: 2, JOB: ""}]})
    assert with_null.json() == {"predictions": [[-1, 2], [2, 0]]}


def test_metadata_lists_the_columns_and_the_categories(client: httpx.Client) -> None:
    described = client.get("/v2/models/people").json()

    assert [(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in described["inputs"]] == [
        (AGE, "FP32", [-1]),
        (JOB, "BYTES", [-1]),
    ]
    assert json.loads(described["properties"]["columns"]) == [AGE, JOB]
    assert json.loads(described["properties"][f"categories.{JOB}"]) == ["clerk", "bäcker"]


def test_pages_have_a_field_for_each_column(client: httpx.Client) -> None:
    docs = client.get("/docs").text
    overview = client.get("/", headers={"Accept": "text/html"}).text

    assert f'<input type="number" step="any" name="{AGE}">' in docs
    assert f'<input name="{JOB}" list=' in docs
    assert '<option value="bäcker">' in docs
    assert f"<dd>{AGE}, {JOB} (category)</dd>" in overview


def test_the_description_takes_rows_fields_and_json(client: httpx.Client) -> None:
    body = client.get("/openapi.json").json()["paths"][PREDICT]["post"]["requestBody"]["content"]

    assert body["text/csv"]["example"] == f"{AGE},{JOB}\n0.5,clerk\n"
    assert body["application/json"]["example"] == {"inputs": [{AGE: 0.5, JOB: "clerk"}]}
    assert body["application/x-www-form-urlencoded"]["schema"]["required"] == [AGE, JOB]


def test_predict_and_bench_ask_with_columns(service: RunningService, tmp_path: Any) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text(f"{JOB},{AGE}\nclerk,39\n,\n", encoding="utf-8")

    asked = CliRunner().invoke(predict, ["people", str(rows), "--url", service.url])
    benched = CliRunner().invoke(
        bench, ["people", "--url", service.url, "--seconds", "0.1", "--clients", "1", "--json"]
    )

    assert asked.output == f"{rows} row 1: cells [39.0, 2.0]\n{rows} row 2: cells [-1.0, 0.0]\n"
    assert benched.exit_code == 0, benched.output
