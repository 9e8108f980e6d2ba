"""Tables of numbers and categories, from files: what columns are taken for, what is left out, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training import datasets
from training.datasets import Dataset
from training.datasets.suspicions import suspicions
from training.errors import InvalidParameter, UnusableData
from training.job import prepare
from training.options import FileOptions

Write = Callable[..., Path]


def load(path: Path, **options: Any) -> Dataset:
    return datasets.load(str(path), FileOptions(**options), form="mixed table")


def everything(dataset: Dataset) -> np.ndarray:
    return np.concatenate([dataset.train.inputs, dataset.test.inputs])


def people(count: int = 40) -> dict[str, list[Any]]:
    """A table in which each column has a meaning of its own."""
    random = np.random.default_rng(1)
    return {
        "id": [f"p{row}" for row in range(count)],
        "age": [None if row % 7 == 6 else int(random.integers(18, 70)) for row in range(count)],
        "job": [["clerk", "baker", None, " smith "][row % 4] for row in range(count)],
        "zip": [["01234", "99999"][row // 2 % 2] for row in range(count)],
        "member": [bool(row // 3 % 2) for row in range(count)],
        "since": [date(2024, 1, 1 + row % 28) for row in range(count)],
        "size": [Decimal(int(random.integers(100))) / 4 for row in range(count)],
        "constant": [1] * count,
        "nothing": [None] * count,
        "answer": [None if row == 3 else ["no", "yes"][int(random.integers(2))] for row in range(count)],
    }


def as_csv(folder: Path, columns: dict[str, list[Any]], write_csv: Write) -> Path:
    return write_csv(folder / "people.csv", list(columns), [list(row) for row in zip(*columns.values(), strict=True)])


def as_json_lines(folder: Path, columns: dict[str, list[Any]], _: Write) -> Path:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    lines = [
        json.dumps({name: value for name, value in row.items() if value is not None}, default=_plain) for row in rows
    ]
    (folder / "people.jsonl").write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    return folder / "people.jsonl"


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value.isoformat()


def as_parquet(folder: Path, columns: dict[str, list[Any]], _: Write) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), folder / "people.parquet")
    return folder / "people.parquet"


@pytest.mark.parametrize("write", [as_csv, as_json_lines, as_parquet])
def test_every_format_is_read_alike(write: Any, tmp_path: Path, write_csv: Write) -> None:
    dataset = load(write(tmp_path, people(), write_csv), target="answer")
    rows = everything(dataset)

    assert (dataset.kind, dataset.name, dataset.labels) == ("table", "people", ("no", "yes"))
    assert dataset.columns == rows.dtype.names == ("age", "job", "zip", "member", "size")
    assert [rows.dtype[name].kind for name in rows.dtype.names] == ["f", "O", "O", "O", "f"]
    assert sum(np.isnan(rows["age"])) == 5
    assert set(rows["job"]) == {"clerk", "baker", "smith", ""}
    assert set(rows["zip"]) == {"01234", "99999"}
    assert set(rows["member"]) == {"true", "false"}
    assert len(rows) == 39


def test_what_was_left_out_is_said(tmp_path: Path, write_csv: Write) -> None:
    notes = load(as_csv(tmp_path, people(), write_csv), target="answer").notes

    assert notes[0] == "left out 1 row without a target, the first at line 5"
    assert notes[1].startswith("column 'id' is left out: each row has another text, as an identifier has")
    assert notes[2].startswith("column 'since' is left out: it holds dates, which are not read")
    assert notes[3] == "column 'constant' is left out: it is '1' in every row"
    assert notes[4] == "column 'nothing' is left out: it is empty"


def test_options_say_what_columns_are(tmp_path: Path, write_csv: Write) -> None:
    path = as_csv(tmp_path, people(), write_csv)

    dataset = load(path, target="answer", categories=("age", "since", "id"), numbers=("zip",), drop=("job", "size"))

    assert dataset.columns == ("id", "age", "zip", "member", "since")
    rows = everything(dataset)
    assert rows["zip"].dtype == np.float32
    assert "" in rows["age"]
    assert all(value.isdigit() for value in rows["age"] if value)


def test_a_column_that_is_nearly_numbers_names_what_is_not(tmp_path: Path, write_csv: Write) -> None:
    columns = {
        "x": ["unknown" if row == 8 else row % 9 for row in range(40)],
        "target": [0.5 * row for row in range(40)],
    }
    path = as_csv(tmp_path, columns, write_csv)

    assert load(path).notes == (
        "column 'x' is read as categories for 'unknown' at line 10, though 39 of 40 cells are numbers or empty",
    )
    with pytest.raises(UnusableData, match="column 'x', line 10: 'unknown' is not a finite number"):
        load(path, numbers=("x",))


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        pytest.param({"drop": ("ages",)}, InvalidParameter, "drop=ages: expected columns of .*: x, y$", id="unknown"),
        pytest.param({"drop": ("x",), "numbers": ("x",)}, InvalidParameter, "that no other option names", id="twice"),
        pytest.param({"drop": ("x", "y")}, UnusableData, "no column to learn from", id="all-dropped"),
        pytest.param({"target": "z"}, UnusableData, "no column 'z'; it has: x, y, target; name the one", id="target"),
        pytest.param({"task": "regression"}, UnusableData, "column 'target', line 2: 'a' is not a", id="regression"),
    ],
)
def test_wrong_options_are_refused(
    tmp_path: Path, write_csv: Write, options: dict[str, Any], error: type[Exception], complaint: str
) -> None:
    columns = {"x": list(range(20)), "y": [row * row for row in range(20)], "target": ["a", "b"] * 10}

    with pytest.raises(error, match=complaint):
        load(as_csv(tmp_path, columns, write_csv), **options)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        pytest.param("t.csv", "x,target\n1\n", "line 2 has 1 fields, the header has 2", id="ragged"),
        pytest.param("t.csv", "x, x,target\n1,2,3\n", "a name of its own, received x, x, target", id="same-names"),
        pytest.param("t.csv", "x;target\n1;2\n", "separated by commas, not semicolons", id="semicolons"),
        pytest.param("t.jsonl", '{"x": 1, "target": 2}\n{"x": \n', "line 2: not JSON", id="no-json"),
        pytest.param("t.jsonl", "\n[1, 2]\n", r"line 2: expected an object .* received \[1, 2\]", id="no-object"),
        pytest.param("t.jsonl", '{"x": {"y": 1}}\n', "column 'x', line 1: expected a number, a text", id="nested"),
        pytest.param("t.jsonl", "", "each column needs a name of its own, received none|no column", id="empty"),
        pytest.param("t.parquet", "x,target\n", "not a Parquet file", id="no-parquet"),
    ],
)
def test_a_damaged_file_is_refused_with_its_place(tmp_path: Path, name: str, content: str, complaint: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")

    with pytest.raises(UnusableData, match=complaint):
        load(tmp_path / name)


def test_other_recipes_refuse_what_they_would_ignore(tmp_path: Path, write_csv: Write) -> None:
    path = as_csv(tmp_path, {"x": [1, 2], "target": [1, 2]}, write_csv)
    (tmp_path / "t.jsonl").write_text("{}")

    with pytest.raises(InvalidParameter, match="drop=x: expected a table as data, and the recipe tabular"):
        prepare("dnn", str(path), store=tmp_path / "store", name=None, parameters={"drop": "x"})
    with pytest.raises(UnusableData, match=r"a \.jsonl file is read by the recipe tabular alone"):
        datasets.load(str(tmp_path / "t.jsonl"), FileOptions(), form="numbers")


# Suspicions


def objects(*values: str) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


RANDOM = np.random.default_rng(0)
CLASSES = RANDOM.integers(0, 2, 200)
VALUES = RANDOM.random(200).astype(np.float32)


@pytest.mark.parametrize(
    ("column", "targets", "is_suspicious"),
    [
        pytest.param(CLASSES + RANDOM.random(200) / 2, CLASSES, True, id="a-number-parts-the-classes"),
        pytest.param(RANDOM.random(200), CLASSES, False, id="a-number-does-not"),
        pytest.param(objects(*np.array(["no", "yes"])[CLASSES]), CLASSES, True, id="a-category-is-the-class"),
        pytest.param(
            objects(*np.array(["a", "b"])[RANDOM.integers(0, 2, 200)]), CLASSES, False, id="a-category-is-not"
        ),
        pytest.param(VALUES * 3 + 1, VALUES, True, id="the-value-in-another-unit"),
        pytest.param(VALUES + RANDOM.random(200), VALUES, False, id="a-number-beside-values"),
        pytest.param(np.where(VALUES > 0.5, np.nan, VALUES), VALUES, False, id="with-gaps"),
    ],
)
def test_a_column_that_tells_the_target_is_noticed(
    column: np.ndarray, targets: np.ndarray, is_suspicious: bool
) -> None:
    said = suspicions({"c": column.astype(np.float32) if column.dtype.kind == "f" else column}, targets)

    assert (said == ["column 'c' tells the target alone: is it known beforehand? --set drop=c"]) == is_suspicious
    assert bool(said) == is_suspicious


def test_a_counter_is_noticed() -> None:
    counter = RANDOM.permutation(200).astype(np.float32) + 1000

    assert suspicions({"no": counter, "x": VALUES}, CLASSES) == [
        "column 'no' numbers the rows: does it mean anything? --set drop=no"
    ]


@pytest.mark.system
@pytest.mark.parametrize(("name", "rows", "columns"), [("california-housing", 20640, 8), ("boston-housing", 506, 13)])
def test_houses_are_read_from_kerass_cache(cached_dataset, name: str, rows: int, columns: int) -> None:
    dataset = cached_dataset(name)

    assert sum(dataset.sizes.values()) == rows
    assert dataset.columns is not None
    assert dataset.train.inputs.shape[1] == len(dataset.columns) == columns
    assert dataset.labels is None
