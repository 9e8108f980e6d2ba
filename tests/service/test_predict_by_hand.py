"""What people send by hand: pictures, CSV, text lines, simple JSON; through both routes."""

from __future__ import annotations

import gzip
import io
import json

import httpx
import numpy as np
import pytest
from PIL import Image
from service_process import affine_body


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


BRIGHT = np.full((4, 6), 204, np.uint8)


def bright_probability(answer: httpx.Response) -> float:
    classes = answer.json()["predictions"][0]["probabilities"]
    return next(entry["probability"] for entry in classes if entry["label"] == "bright")


def test_a_picture_is_answered_with_labels_and_sorted_probabilities(client: httpx.Client) -> None:
    answer = client.post(
        "/v2/models/brightness/predict", content=encoded(BRIGHT), headers={"Content-Type": "image/png"}
    )

    body = answer.json()
    assert (body["model"], body["version"], len(body["digest"])) == ("brightness", 1, 71)
    assert body["digest"] == answer.headers["Ovenbird-Digest"]
    prediction = body["predictions"][0]
    assert prediction["label"] == "bright"
    assert prediction["probability"] == pytest.approx(0.8)
    assert [entry["label"] for entry in prediction["probabilities"]] == ["bright", "dark"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("content_type", ["", "application/x-www-form-urlencoded", "image/whatever"])
def test_pictures_are_told_by_their_bytes(client: httpx.Client, kind: str, content_type: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}

    answer = client.post("/v2/models/brightness/predict", content=encoded(BRIGHT, kind), headers=headers)

    assert bright_probability(answer) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "LA"])
@pytest.mark.parametrize("model", ["brightness", "colour"])
def test_pictures_are_turned_to_the_models_size_and_channels(client: httpx.Client, mode: str, model: str) -> None:
    file = io.BytesIO()
    Image.new("L", (50, 31), 255).convert(mode).save(file, "PNG")

    answer = client.post(f"/v2/models/{model}/predict", content=file.getvalue())

    assert bright_probability(answer) == pytest.approx(1.0, abs=0.01)


def test_a_picture_on_its_side_is_turned_upright_as_its_camera_says(client: httpx.Client) -> None:
    # 4 rows x 6 columns with a white left half, stored turned by 90 degrees with the EXIF orientation that says so.
    upright = np.zeros((4, 6), np.uint8)
    upright[:, :3] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    on_its_side = encoded(np.rot90(upright), exif=exif)

    echoed = [client.post("/v2/models/brightness/predict", content=body) for body in (encoded(upright), on_its_side)]

    assert echoed[0].json()["predictions"] == echoed[1].json()["predictions"]


def test_rows_of_csv_are_answered_one_by_one(client: httpx.Client) -> None:
    answer = client.post("/v2/models/double/predict", content="1,2,3\n4,5,6\n", headers={"Content-Type": "text/csv"})

    assert [row["y"] for row in answer.json()["predictions"]] == [[2, 4, 6], [8, 10, 12]]


@pytest.mark.parametrize("content_type", ["text/plain", "text/x-python", "text/markdown; charset=utf-8"])
def test_lines_of_text_are_answered_one_by_one(client: httpx.Client, content_type: str) -> None:
    answer = client.post("/v2/models/lower/predict", content="ONE\r\nZWEI Ü\n", headers={"Content-Type": content_type})

    assert [row["lower"] for row in answer.json()["predictions"]] == ["one", "zwei ü"]


def test_numbers_have_the_digits_of_their_type_and_no_more(client: httpx.Client) -> None:
    answer = client.post("/v2/models/double/predict", content="0.1,0.7,1e-3")

    assert b'"y":[0.2,1.4,0.002]' in answer.content


@pytest.mark.parametrize("inputs", [[[1, 2, 3]], [1, 2, 3], {"x": [[1, 2, 3]]}])
def test_simple_json_rows(client: httpx.Client, inputs: object) -> None:
    answer = client.post("/v2/models/double/predict", json={"inputs": inputs})

    assert answer.json()["predictions"] == [{"y": [2, 4, 6]}]


@pytest.mark.parametrize("shape", [(1, 4, 6, 1), (4, 6, 1), (1, 4, 6), (4, 6), (3, 4, 6, 1), (3, 4, 6)])
@pytest.mark.parametrize("model", ["brightness", "one-picture"])
def test_pixels_may_come_without_their_channel_and_a_single_picture_without_its_row(
    client: httpx.Client, model: str, shape: tuple[int, ...]
) -> None:
    answer = client.post(f"/v2/models/{model}/predict", json={"inputs": np.zeros(shape, int).tolist()})

    assert len(answer.json()["predictions"]) == (3 if shape[0] == 3 else 1)


@pytest.mark.parametrize("shape", [[28, 28], [1, 28, 28], [1, 1, 4, 6, 1], [4, 6, 3], [24]])
def test_pixels_that_do_not_fit_are_refused_with_the_shape_that_was_sent(
    client: httpx.Client, shape: list[int]
) -> None:
    answer = client.post("/v2/models/brightness/predict", json={"inputs": np.zeros(shape, int).tolist()})

    assert answer.json() == {"error": f"input 'image': expected shape [-1, 4, 6, 1], received {shape}"}


def test_one_version_can_be_named(client: httpx.Client) -> None:
    assert client.post("/v2/models/double/versions/1/predict", json={"inputs": [[1, 2, 3]]}).status_code == 200
    assert client.post("/v2/models/double/versions/2/predict", json={"inputs": [[1, 2, 3]]}).status_code == 404


def test_a_label_may_stand_for_a_version(client: httpx.Client) -> None:
    by_hand = client.post("/v2/models/table/labels/stable/predict", json={"inputs": [[1, 2, 3]]})
    by_protocol = client.post("/v2/models/table/labels/stable/infer", json=affine_body([1, 2, 3]))
    unknown = [
        client.post(f"/v2/models/table/labels/canary/{verb}", json=affine_body([1, 2, 3]))
        for verb in ("predict", "infer")
    ]

    assert by_hand.json()["predictions"] == [{"y": [2, 4, 6]}]
    assert by_protocol.json()["outputs"][0]["data"] == [2, 4, 6]
    assert [(answer.status_code, answer.json()["error"]) for answer in unknown] == [
        (404, "model 'table' has no label 'canary'; it has: stable")
    ] * 2


def test_a_large_picture_may_be_larger_than_a_text(client: httpx.Client) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (500, 550), np.uint8)

    answer = client.post("/v2/models/brightness/predict", content=encoded(noise))

    assert answer.status_code == 200


def bomb() -> bytes:
    """A PNG of a few hundred bytes that claims 100 000 x 100 000 pixels."""
    plain = bytearray(encoded(BRIGHT))
    plain[16:24] = (100_000).to_bytes(4, "big") * 2
    return bytes(plain)


@pytest.mark.parametrize(
    ("model", "content", "content_type", "status", "message"),
    [
        pytest.param("brightness", b"GIF89a...", "image/gif", 400, "not a picture in one of the formats", id="gif"),
        pytest.param("brightness", encoded(BRIGHT)[:40], "image/png", 400, "picture", id="cut-off"),
        pytest.param("brightness", bomb(), "image/png", 400, "picture", id="bomb"),
        pytest.param("brightness", b"1,2", "text/csv", 415, "it takes image/png", id="csv-to-picture"),
        pytest.param("lower", encoded(BRIGHT), "image/png", 415, "it takes text/plain", id="picture-to-text"),
        pytest.param("lower", b"\xff\xfe", "text/plain", 400, "not UTF-8", id="text-not-utf8"),
        pytest.param("double", b"", "text/csv", 400, "no rows", id="csv-empty"),
        pytest.param("double", b"1,2", "text/csv", 400, "row 1 of the CSV has 2 values, expected 3", id="csv-short"),
        pytest.param("double", b"1,2,x", "text/csv", 400, "row 1, column '3': 'x' is not a finite", id="csv-word"),
        pytest.param("double", b"1,,3", "text/csv", 400, "row 1, column '2': empty; expected a number", id="csv-gap"),
        pytest.param("double", b'{"instances": []}', "application/json", 400, "/v1/models/MODEL:predict", id="v1"),
        pytest.param("double", gzip.compress(b"1,2,3"), "", 400, "say so with Content-Encoding: gzip", id="gzip-csv"),
        pytest.param("lower", gzip.compress(b"A"), "", 400, "say so with Content-Encoding: gzip", id="gzip-text"),
        pytest.param("double", gzip.compress(b"{}"), "application/json", 400, "Content-Encoding: gzip", id="gzip-json"),
        pytest.param("brightness", gzip.compress(b""), "", 400, "Content-Encoding: gzip", id="gzip-picture"),
        pytest.param("double", b"1,2,nan", "text/csv", 400, "is not a finite number", id="csv-nan"),
        pytest.param("double", b"<a/>", "application/xml", 415, "it takes text/csv", id="xml"),
        pytest.param("double", b"{}", "application/json", 400, '"inputs"', id="json-without-inputs"),
        pytest.param("double", b'{"inputs": {"z": [1]}}', "application/json", 400, "unknown input 'z'", id="input"),
        pytest.param("double", b'{"inputs": [[1, 2]]}', "application/json", 400, "expected shape [-1, 3]", id="shape"),
        pytest.param("nobody", b"{}", "application/json", 404, "unknown model", id="model"),
        pytest.param("double", b" " * 500_000, "text/csv", 413, "larger than the limit", id="too-large"),
        pytest.param("double", b"1,2,3\n" * 40_000, "text/csv", 413, "limit of 200000 bytes", id="text-too-large"),
        pytest.param("brightness", b" " * 300_000, "application/json", 413, "200000 bytes", id="json-too-large"),
        pytest.param("brightness", b"", "image/png", 400, "the body is empty", id="no-picture"),
        pytest.param("lower", b"", "text/plain", 400, "the body is empty", id="no-text"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(
    client: httpx.Client, model: str, content: bytes, content_type: str, status: int, message: str
) -> None:
    answer = client.post(f"/v2/models/{model}/predict", content=content, headers={"Content-Type": content_type})

    assert answer.status_code == status
    assert message in json.loads(answer.content)["error"]
