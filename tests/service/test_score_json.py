"""Cells of JSON Lines that pass through: the same whatever stands beside them, and however the input is cut."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from service.score_cli import score
from service.scoring import formats, json_cells

Keep = Callable[[list[dict[str, Any]], str, int], Path]

ROWS: list[dict[str, Any]] = [
    {"n": 1, "mixed": 13.2, "deep": {"a": 1}, "made": {}, "large": 2**53 + 1, "late": None},
    {"n": 2.5, "mixed": "x", "deep": {"b": [1]}, "made": {}, "large": 0.5, "late": None},
    {"n": None, "mixed": [1, "y"], "deep": None, "made": None, "large": 2**63, "late": True},
    {"n": -3, "mixed": None, "deep": {}, "made": {}, "large": None, "late": "no"},
]


@pytest.fixture
def keep(tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keep:
    """Score lines in parts of so many rows into out.SUFFIX, every column kept."""
    monkeypatch.chdir(tmp_path)

    def keep(rows: list[dict[str, Any]], suffix: str, part_rows: int) -> Path:
        Path("in.jsonl").write_text("".join(json.dumps({"text": "A"} | row) + "\n" for row in rows))
        asked = ["lower", "--in", "in.jsonl", "--out", f"out.{suffix}", "--column", "text", "--fresh"]
        shown = CliRunner().invoke(score, [*asked, "--part-rows", str(part_rows), "--store", str(tiny_store)])
        assert shown.exit_code == 0, shown.output
        return Path(f"out.{suffix}")

    return keep


@pytest.mark.parametrize("part_rows", [1, 2, 3, 100])
def test_cells_stay_what_they_are_in_json_lines(keep: Keep, part_rows: int) -> None:
    lines = keep(ROWS, "jsonl", part_rows).read_text().splitlines()

    assert lines == [json.dumps({"text": "A"} | row | {"lower": "a"}, separators=(",", ":")) for row in ROWS]


@pytest.mark.parametrize("part_rows", [1, 2, 3, 100])
def test_cells_are_their_json_in_a_csv_and_texts_without_quotes(keep: Keep, part_rows: int) -> None:
    rows = list(csv.DictReader(io.StringIO(keep(ROWS, "csv", part_rows).read_text())))

    assert [row["n"] for row in rows] == ["1", "2.5", "", "-3"]
    assert [row["mixed"] for row in rows] == ["13.2", "x", '[1,"y"]', ""]
    assert [row["deep"] for row in rows] == ['{"a":1}', '{"b":[1]}', "", "{}"]
    assert [row["late"] for row in rows] == ["", "", "true", "no"]


@pytest.mark.parametrize("part_rows", [1, 2, 3, 100])
def test_a_parquet_file_has_the_type_that_all_have_or_texts(keep: Keep, part_rows: int) -> None:
    table = pq.read_table(keep(ROWS, "parquet", part_rows))

    assert table.column("n").to_pylist() == [1.0, 2.5, None, -3.0]
    assert table.column("mixed").to_pylist() == ["13.2", "x", '[1,"y"]', None]
    assert table.column("deep").to_pylist() == [
        {"a": 1, "b": None}, {"a": None, "b": [1]}, None, {"a": None, "b": None},
    ]  # fmt: skip
    assert table.column("made").to_pylist() == ["{}", "{}", None, "{}"]
    assert table.column("large").to_pylist() == ["9007199254740993", "0.5", "9223372036854775808", None]
    assert table.column("late").to_pylist() == [None, None, "true", "no"]


CELLS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
    lambda cells: st.lists(cells, max_size=2) | st.dictionaries(st.sampled_from("ab"), cells, max_size=2),
    max_leaves=4,
)  # fmt: skip


@given(st.lists(CELLS, min_size=1, max_size=6), st.integers(1, 3))
def test_any_cells_have_a_common_type_that_does_not_depend_on_the_parts(cells: list[Any], size: int) -> None:
    parts = [cells[start : start + size] for start in range(0, len(cells), size)]
    columns = [pa.table({"cell": json_cells.column_of(part)}) for part in parts]

    kind = json_cells.common_types(lambda: [pa.concat_tables(columns)])["cell"]
    written = [json_cells.typed(table.column("cell"), kind) for table in columns]

    assert {column.type for column in written} == {kind}
    together = json_cells.typed(pa.concat_tables(columns).column("cell"), kind)
    assert [cell for column in written for cell in column.to_pylist()] == together.to_pylist()
    assert together.null_count == cells.count(None)
    if pa.types.is_string(kind):
        assert together.to_pylist() == json_cells.as_texts(cells).to_pylist()
    assert formats.can_hold("csv", kind)


def test_keys_that_come_late_are_named(tiny_store: Path, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": "A"}] * 1000 + [{"text": "B", "note": 1, "when": 2}]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ["lower", "--in", str(path), "--out", str(tmp_path / "out.jsonl"), "--store", str(tiny_store), "--fresh"]

    shown = CliRunner().invoke(score, asked)
    chosen = CliRunner().invoke(score, [*asked, "--keep", "text"])

    assert "in.jsonl: not kept, as none of the first 1,000 lines has them: note, when" in shown.output
    assert "not kept" not in chosen.output
