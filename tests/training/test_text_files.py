"""The user's texts: JSON Lines, Parquet, and folders of .txt files; CSV stands in test_datasets.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from click.testing import Result
from pyarrow import parquet

from training.datasets import Dataset, load
from training.datasets.user_files import form_of
from training.errors import UnusableData
from training.options import FileOptions

TEXTS = [f"text {index} 영화" for index in range(20)]
LABELS = ["up" if index % 2 else "down" for index in range(20)]


def read(path: Path, **options: str) -> Dataset:
    return load(str(path), FileOptions(**options), form=form_of(path, ("text",)))


def write_lines(path: Path, rows: list[object]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    return path


def write_parquet(path: Path, **columns: list[object]) -> Path:
    parquet.write_table(pyarrow.table(columns), path)
    return path


def write_folder(path: Path, part: str = ".") -> Path:
    for index, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True)):
        file = path / part / label / f"{index:02}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return path


def pairs(*parts: object) -> set[tuple[str, int]]:
    return {(str(text), int(label)) for rows in parts for text, label in zip(rows.inputs, rows.targets, strict=True)}  # type: ignore[attr-defined]


EXPECTED = {(text, int(label == "up")) for text, label in zip(TEXTS, LABELS, strict=True)}


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "folder"])
def test_texts_are_read_and_parted(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"mails.{kind}"
    if kind == "jsonl":
        write_lines(path, [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)])
    elif kind == "parquet":
        write_parquet(path, text=list(TEXTS), label=list(LABELS), other=[1.5] * 20)
    else:
        path = write_folder(tmp_path / "mails")

    dataset = read(path)

    assert (dataset.name, dataset.kind, dataset.labels) == ("mails", "text", ("down", "up"))
    assert dataset.sizes == {"train": 16, "test": 4}
    assert pairs(dataset.train, dataset.test) == EXPECTED
    assert len(dataset.sha256) == 64


def test_a_folder_that_is_split_stays_split(tmp_path: Path) -> None:
    write_folder(tmp_path / "mails", "train")
    write_folder(tmp_path / "mails", "test")

    dataset = read(tmp_path / "mails")

    assert pairs(dataset.train) == pairs(dataset.test) == EXPECTED


def test_columns_are_chosen_and_labels_may_be_numbers(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", body=list(TEXTS), stars=[float(index % 11) for index in range(20)])

    assert read(path, text="body", target="stars").labels == tuple(str(star) for star in range(11))


ROW = {"text": "good", "label": "up"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param([1], "line 2: expected an object", id="no-object"),
        pytest.param({"text": "a"}, "line 2: no column 'label'; it has: text; .*--set target=COLUMN", id="no-label"),
        pytest.param({"text": None, "label": "up"}, "line 2: column 'text': expected a text, received null", id="null"),
        pytest.param({"text": "a", "label": " "}, "line 2: column 'label': expected a name or a", id="blank-label"),
        pytest.param({"text": "a", "label": 1.5}, "line 2: column 'label': .*received 1.5", id="half"),
        pytest.param({"text": "a\ud83d", "label": "up"}, "line 2: .*lone surrogate", id="surrogate"),
    ],
)
def test_a_bad_line_is_named(row: object, message: str, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [ROW, row])

    with pytest.raises(UnusableData, match=f"a.jsonl: {message}"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("a.jsonl", b'{"text"\n', "line 1: not JSON", id="broken-json"),
        pytest.param("a.jsonl", b"\xff\xfe", "not a text in UTF-8", id="other-encoding"),
        pytest.param("a.jsonl", b"", "0 rows are too few", id="nothing"),
        pytest.param("a.parquet", b"PAR1", "not a Parquet file", id="broken-parquet"),
        pytest.param("a.txt", b"x", r"expected a \.csv, \.jsonl or \.parquet file, or a folder", id="other-kind"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(UnusableData, match=message):
        read(tmp_path / name)


def test_parquet_without_the_column_says_what_it_has(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", body=["x"], label=["y"])

    with pytest.raises(UnusableData, match=r"no column 'text'; it has: body, label; .*--set text=COLUMN"):
        read(path)


def test_a_folder_without_texts_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match=r"no texts there; expected .*folder of \.txt files for each class"):
        read(tmp_path)


def test_a_choice_of_columns_is_refused_for_a_folder(tmp_path: Path, command: Callable[..., Result]) -> None:
    result = command("text", "--data", str(write_folder(tmp_path / "mails")), "--set", "text=body")

    assert result.exit_code == 2
    assert "parameter text=body: expected a table as data" in result.output
