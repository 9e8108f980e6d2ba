"""Forms sent by hand: files and fields, many in one request, through both routes."""

from __future__ import annotations

import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image


def picture(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (6, 4), value).save(file, "PNG")
    return file.getvalue()


def brightness(prediction: dict[str, Any]) -> float:
    return next(entry["probability"] for entry in prediction["probabilities"] if entry["label"] == "bright")


def post(client: httpx.Client, model: str, parts: list[tuple[str, Any]], **options: Any) -> httpx.Response:
    return client.post(f"/v2/models/{model}/predict", files=parts, **options)


def raw(client: httpx.Client, model: str, body: bytes, *, kind: str = "multipart/form-data; boundary=x") -> Any:
    return client.post(f"/v2/models/{model}/predict", content=body, headers={"Content-Type": kind})


def test_one_picture_says_which_file_it_was(client: httpx.Client) -> None:
    answer = post(client, "brightness", [("image", ("digit.png", picture(255), "image/png"))])

    (prediction,) = answer.json()["predictions"]
    assert next(iter(prediction.items())) == ("file", "digit.png")
    assert (prediction["label"], prediction["probability"]) == ("bright", 1.0)


def test_pictures_of_several_fields_are_answered_in_their_order_as_one_batch(
    client: httpx.Client, service: Any
) -> None:
    values = [0, 51, 102, 153, 204]
    parts = [
        (field, (f"{value}.png", picture(value), "image/png")) for field, value in zip("abacb", values, strict=True)
    ]
    batches = service.metric("ovenbird_batch_rows_count", model="brightness")

    answer = post(client, "brightness", parts)

    predictions = answer.json()["predictions"]
    assert [prediction["file"] for prediction in predictions] == [f"{value}.png" for value in values]
    assert [brightness(prediction) for prediction in predictions] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert service.metric("ovenbird_batch_rows_count", model="brightness") == batches + 1


def test_one_bad_picture_among_good_ones_is_named_and_nothing_is_answered(client: httpx.Client) -> None:
    parts = [("image", (name, body, "image/png")) for name, body in [
        ("good.png", picture(1)), ("holiday.png", b"no picture"), ("fine.png", picture(2))]]  # fmt: skip

    answer = post(client, "brightness", parts)

    assert answer.status_code == 400
    assert (
        answer.json()["error"] == "file 'holiday.png': the body is not a picture in one of the formats PNG, JPEG, WEBP"
    )


def test_a_picture_in_a_plain_field_is_read_too_and_has_no_file(client: httpx.Client) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + picture(255) + b"\r\n--x--\r\n"

    (prediction,) = raw(client, "brightness", body).json()["predictions"]

    assert "file" not in prediction
    assert prediction["label"] == "bright"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("rows.csv", "application/octet-stream"), ("rows.csv", "application/vnd.ms-excel"), ("rows", "text/csv"),
     ("rows.txt", "text/plain")],
)  # fmt: skip
def test_a_file_of_rows_is_told_by_its_type_or_its_name(client: httpx.Client, name: str, kind: str) -> None:
    answer = post(client, "double", [("table", (name, b"1,2,3\n4,5,6\n", kind))])

    assert answer.json()["predictions"] == [{"file": name, "y": [2, 4, 6]}, {"file": name, "y": [8, 10, 12]}]


def test_files_of_several_kinds_make_one_batch(client: httpx.Client) -> None:
    parts = [
        ("a", ("rows.csv", b"1,2,3\n", "text/csv")),
        ("b", ("more.json", b'{"inputs": [[4, 5, 6]]}', "application/json")),
        ("c", (None, b"7,8,9")),
        ("d", (None, b'{"inputs": [10, 11, 12]}')),
    ]

    answer = post(client, "double", parts)

    assert answer.json()["predictions"] == [
        {"file": "rows.csv", "y": [2, 4, 6]},
        {"file": "more.json", "y": [8, 10, 12]},
        {"y": [14, 16, 18]},
        {"y": [20, 22, 24]},
    ]


def test_a_field_is_one_text_and_a_file_has_one_a_line(client: httpx.Client) -> None:
    parts = [("text", (None, b"ONE\r\nSTILL ONE")), ("file", ("lines.txt", b"TWO\nTHREE\n", "text/plain")),
             ("text", (None, b"{FOUR}"))]  # fmt: skip

    answer = post(client, "lower", parts)

    assert [(row.get("file"), row["lower"]) for row in answer.json()["predictions"]] == [
        (None, "one\nstill one"),
        ("lines.txt", "two"),
        ("lines.txt", "three"),
        (None, "{four}"),
    ]


@pytest.mark.parametrize(
    "files", [None, [("nothing", ("", b"", "application/octet-stream"))]], ids=["url", "multipart"]
)
def test_fields_named_as_the_columns_are_one_row(client: httpx.Client, files: Any) -> None:
    fields = {"height": "3", "send": "Ask", "width": "1.5", "depth": "-2e1"}

    answer = client.post("/v2/models/table/predict", data=fields, files=files)

    assert answer.json()["predictions"] == [{"y": [3.0, 6.0, -40.0]}]


def test_what_curl_calls_a_form_stays_what_the_model_takes(client: httpx.Client) -> None:
    """`curl -d` says application/x-www-form-urlencoded of every body."""
    form = "application/x-www-form-urlencoded"

    texts = raw(client, "lower", b"IF A = 1 & B: text=C", kind=form)
    rows = raw(client, "table", b"1,2,3", kind=form)
    json = raw(client, "table", b'{"inputs": [[1, 2, 3]]}', kind=form)

    assert texts.json()["predictions"] == [{"lower": "if a = 1 & b: text=c"}]
    assert rows.json()["predictions"] == json.json()["predictions"] == [{"y": [2, 4, 6]}]


@pytest.mark.parametrize("model", ["one-row", "one-picture"])
def test_a_model_that_takes_one_row_at_a_time_answers_several(client: httpx.Client, model: str) -> None:
    files = {
        "one-row": [("f", ("rows.csv", b"1,2,3\n4,5,6\n7,8,9\n", "text/csv"))],
        "one-picture": [("f", (f"{value}.png", picture(value), "image/png")) for value in (0, 51, 255)],
    }

    predictions = post(client, model, files[model]).json()["predictions"]

    expected = {
        "one-row": [[-1, -2, -3], [-4, -5, -6], [-7, -8, -9]],
        "one-picture": [[1.0, 0.0], [0.8, 0.2], [0.0, 1.0]],
    }
    answers = [list(prediction.values())[1] for prediction in predictions]
    assert np.array(answers) == pytest.approx(np.array(expected[model]))
    assert [prediction["file"] for prediction in predictions] == (
        ["rows.csv"] * 3 if model == "one-row" else ["0.png", "51.png", "255.png"]
    )


@pytest.mark.parametrize(
    ("model", "inputs", "predictions"),
    [
        pytest.param("one-row", [[1, 2, 3]], [{"y": [-1, -2, -3]}], id="batch-of-1"),
        pytest.param("one-row", [1, 2, 3], [{"y": [-1, -2, -3]}], id="batch-of-1-left-out"),
        pytest.param("no-rows", [1, 2, 3], [{"y": [-1, -2, -3]}], id="no-batch"),
        pytest.param("scalar", 5, [{"y": -5}], id="scalar"),
        pytest.param("turned", [[1, 2, 3], [4, 5, 6]], [{"y": [[1, 4], [2, 5], [3, 6]]}], id="rows-out-are-none-in"),
    ],
)
def test_a_model_without_rows_gives_one_prediction(
    client: httpx.Client, model: str, inputs: Any, predictions: Any
) -> None:
    answer = client.post(f"/v2/models/{model}/predict", json={"inputs": inputs})

    assert answer.json().get("predictions") == predictions


PART = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.csv"\r\n\r\n1,2,3\r\n'
WIDE = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.csv"\r\n\r\n%b\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("model", "body", "kind", "status", "message"),
    [
        pytest.param("double", PART + b"--x--", "multipart/form-data", 400, "needs a boundary", id="no-boundary"),
        pytest.param("double", PART, None, 400, "not a whole multipart form", id="cut-off"),
        pytest.param("double", b"nothing of it", None, 400, "not a whole multipart form", id="no-form"),
        pytest.param("double", b"--x\r\nA: b\r\n\r\n1\r\n--x--", None, 400, "Content-Disposition", id="no-name"),
        pytest.param("double", b"--x--\r\n", None, 400, "the form is empty", id="empty"),
        pytest.param("double", b"", None, 400, "not a whole multipart form", id="no-body"),
        pytest.param("double", PART.replace(b"a.csv", b"\xff.csv") + b"--x--", None, 400, "multipart", id="latin-1"),
        pytest.param("double", PART * 1001 + b"--x--", None, 400, "more than 1000 parts", id="parts"),
        pytest.param("double", b"--x\r\nA: " + b"b" * 150_000 + b"\r\n\r\n1\r\n--x--", None, 400,
                     "headers of more than 65536 bytes", id="headers"),
        pytest.param("double", WIDE % b"1,2", None, 400, "file 'a.csv': row 1 of the CSV has 2 values", id="row"),
        pytest.param("double", WIDE % b"1,2,1e39", None, 400, "file 'a.csv': 1e+39 is no value of type", id="large"),
        pytest.param("double", WIDE % b"\xff", None, 400, "file 'a.csv': the body is not UTF-8", id="utf8"),
        pytest.param("lower", PART + b"--x--", None, 415, "file 'a.csv': content type '' does not fit input 'text'",
                     id="csv-to-text"),
        pytest.param("double", WIDE % (b"1,2,3\n" * 40_000), None, 413, "limit of 200000 bytes", id="text-too-large"),
        pytest.param("brightness", WIDE.replace(b".csv", b".json") % (b" " * 250_000), None, 413, "limit of 200000",
                     id="json-too-large-among-pictures"),
        pytest.param("table", b"width=1&height=2", "application/x-www-form-urlencoded", 400,
                     "the form lacks the fields depth", id="field-missing"),
        pytest.param("table", b"width=1&height=2&depth=x", "application/x-www-form-urlencoded", 400,
                     "field 'depth': 'x' is not a finite number", id="field-word"),
        pytest.param("table", b"width=1&height=2&depth=3&depth=4", "application/x-www-form-urlencoded", 400,
                     "sent twice", id="field-twice"),
        pytest.param("double", b"1,2\r3", "text/csv", 400, "the body is not CSV", id="bare-carriage-return"),
        pytest.param("double", b"1" * 140_000, "text/csv", 400, "the body is not CSV", id="endless-value"),
        pytest.param("one-row", b"1,2\n", "text/csv", 400, "row 1 of the CSV has 2 values", id="unbatched-short"),
    ],
)  # fmt: skip
def test_a_form_that_cannot_be_read_is_refused_with_the_reason(
    client: httpx.Client, model: str, body: bytes, kind: str | None, status: int, message: str
) -> None:
    answer = raw(client, model, body, kind=kind or "multipart/form-data; boundary=x")

    assert (answer.status_code, message in answer.json()["error"]) == (status, True), answer.text


def test_parts_whose_rows_differ_are_refused(client: httpx.Client) -> None:
    parts = [("a", ("a.csv", b"1,2,3\n", "text/csv")), ("b", ("b.json", b'{"inputs": [[1, 2]]}', "application/json"))]

    answer = post(client, "double", parts)

    assert answer.status_code == 400
    assert "file 'b.json': its rows do not fit under those of file 'a.csv'" in answer.json()["error"]


def test_pictures_of_too_many_pixels_together_are_refused_before_they_are_decoded(client: httpx.Client) -> None:
    file = io.BytesIO()
    Image.new("1", (8192, 8192)).save(file, "PNG")

    answer = post(client, "brightness", [("f", (f"{n}.png", file.getvalue(), "image/png")) for n in range(17)])

    assert answer.status_code == 400
    assert "the pictures have 1140850688 pixels together; at most 1073741824" in answer.json()["error"]


def test_a_compressed_form_is_read(client: httpx.Client) -> None:
    import gzip

    answer = client.post(
        "/v2/models/double/predict",
        content=gzip.compress(PART + b"--x--\r\n"),
        headers={"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": "gzip"},
    )

    assert answer.json()["predictions"] == [{"file": "a.csv", "y": [2, 4, 6]}]
