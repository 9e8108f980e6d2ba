"""`ovenbird predict` against a real service."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from PIL import Image
from service_process import OVENBIRD, RunningService, running


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Seventy pictures, brighter and brighter, with names that a form must escape among them."""
    names = [f"{number}.png" for number in range(70)]
    names[3] = 'ü"q.png'
    for value, name in enumerate(names):
        Image.new("L", (6, 4), 3 * value).save(tmp_path / name)
    return [str(tmp_path / name) for name in names]


def predict(service: RunningService, *words: str, stdin: bytes = b"") -> Any:
    return subprocess.run([*OVENBIRD, "predict", *words, "--url", service.url], input=stdin, capture_output=True,
                          check=False)  # fmt: skip


def brightness(line: str) -> float:
    (prediction,) = json.loads(line)["predictions"]
    return next(entry["probability"] for entry in prediction["probabilities"] if entry["label"] == "bright")


def test_pictures_are_asked_about_together_and_answered_in_their_order(
    service: RunningService, pictures: list[str]
) -> None:
    before = service.metric("ovenbird_requests_total", model="brightness")

    shown = predict(service, "brightness", *pictures, "--json")

    lines = shown.stdout.decode().splitlines()
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert [json.loads(line)["file"] for line in lines] == pictures
    assert [brightness(line) for line in lines] == pytest.approx([3 * value / 255 for value in range(70)])
    assert service.metric("ovenbird_requests_total", model="brightness") == before + 3


def test_a_file_that_is_no_picture_is_named_and_the_others_are_answered(
    service: RunningService, pictures: list[str], tmp_path: Path
) -> None:
    (tmp_path / "torn.png").write_bytes(b"no picture")
    files = [pictures[0], str(tmp_path / "torn.png"), str(tmp_path / "absent.png"), pictures[69]]

    shown = predict(service, "brightness", *files)

    assert shown.returncode == 1
    assert shown.stdout.decode().splitlines() == [f"{pictures[0]}: dark  (100.0%)", f"{pictures[69]}: bright  (81.2%)"]
    first, second, last = shown.stderr.decode().splitlines()
    assert first.startswith(f"{files[1]}: the body is not a picture")
    assert second == f"{files[2]}: No such file or directory"
    assert last == "Error: 2 files were not answered, of 4"


def test_standard_input_stands_among_files(service: RunningService, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("ONE\nTWO\n")

    shown = predict(service, "lower", str(tmp_path / "a.txt"), "-", stdin=b"THREE")

    assert shown.stdout.decode().splitlines() == [
        f'{tmp_path}/a.txt row 1: lower "one"',
        f'{tmp_path}/a.txt row 2: lower "two"',
        'standard input: lower "three"',
    ]


def test_an_output_that_is_called_label_is_shown_as_any_other(service: RunningService, tmp_path: Path) -> None:
    (tmp_path / "iris.csv").write_text("0.25,0.5,0.25\n")

    shown = predict(service, "named", str(tmp_path / "iris.csv"))

    assert shown.stderr == b""
    assert shown.stdout.decode() == f"{tmp_path}/iris.csv: label 1  probabilities [0.25, 0.5, 0.25]\n"


@pytest.mark.parametrize("chosen", ["table", "table@1", "table@stable"])
def test_a_version_is_named_by_its_number_or_its_label(service: RunningService, chosen: str) -> None:
    assert predict(service, chosen, "-", stdin=b"1,2,3").stdout == b"standard input: y [2.0, 4.0, 6.0]\n"


@pytest.mark.parametrize("name", ["a.py", "a.md", "a.html", "a.sh", "a.pdf", "a"])
def test_a_text_may_be_called_as_its_language_is(service: RunningService, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("ONE")

    assert predict(service, "lower", str(tmp_path / name)).stdout.decode() == f'{tmp_path / name}: lower "one"\n'


def test_of_a_long_row_of_numbers_the_first_are_shown(tmp_path: Path) -> None:
    tiny_models.put(tmp_path / "store", "wide", tiny_models.affine(width=20))
    row = ",".join(["1"] * 20).encode()

    with running(tmp_path / "store") as service:
        shown = predict(service, "wide", "-", stdin=row)
        whole = predict(service, "wide", "-", "--json", stdin=row)

    assert shown.stdout.decode() == "standard input: y [2.0, 2.0, 2.0, 2.0, 2.0, 2.0, … 20 in all]\n"
    assert json.loads(whole.stdout)["predictions"] == [{"y": [2.0] * 20}]
