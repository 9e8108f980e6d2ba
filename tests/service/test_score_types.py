"""What types of columns `ovenbird score` takes in and writes: what cannot be written is said before the work begins."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from service.score_cli import score
from service.scoring import formats
from service.scoring.formats import Format, can_hold


@pytest.fixture
def run(tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Make what `lower` does of in.FORMAT."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(score, ["lower", "--column", "text", *arguments, "--store", str(tiny_store)])

    return run


def test_views_are_texts_and_bytes(run: Callable[..., Result]) -> None:
    views = {"text": pa.array(["Ab", None], pa.string_view()), "note": pa.array(["x", "y"], pa.string_view()),
             "body": pa.array([b"x", b"y"], pa.binary_view())}  # fmt: skip
    pq.write_table(pa.table(views), "in.parquet")

    as_text = run("--in", "in.parquet", "--out", "out.csv", "--errors", "null", "--keep", "note")
    as_it_is = run("--in", "in.parquet", "--out", "out.parquet", "--errors", "null")

    assert (as_text.exit_code, as_it_is.exit_code) == (0, 0), as_text.output + as_it_is.output
    assert pyarrow.csv.read_csv("out.csv").column("note").to_pylist() == ["x", "y"]
    assert pq.read_table("out.parquet").select(["note", "body", "lower"]).to_pylist() == [
        {"note": "x", "body": b"x", "lower": "ab"}, {"note": "y", "body": b"y", "lower": None},
    ]  # fmt: skip


@pytest.mark.parametrize("texts", [["A", None, "B"], [None, "A", "B"], ["A", "B", None]])
def test_a_part_without_any_answer_has_the_type_of_the_others(
    run: Callable[..., Result], texts: list[str | None]
) -> None:
    pq.write_table(pa.table({"text": texts}), "in.parquet")

    run("--in", "in.parquet", "--out", "out.parquet", "--errors", "null", "--part-rows", "1")

    assert pq.read_table("out.parquet").column("lower").to_pylist() == [text and text.lower() for text in texts]


def test_a_column_has_a_dictionary_if_its_values_repeat(run: Callable[..., Result]) -> None:
    rows = 10_000
    columns = {
        "text": ["A", "B"] * (rows // 2),
        "id": list(range(rows)),
        "few": [[{"deep.er": row % 3}] for row in range(rows)],
        "many": [[{"deep.er": row / 7}] for row in range(rows)],
    }
    pq.write_table(pa.table(columns), "in.parquet")

    run("--in", "in.parquet", "--out", "out.parquet", "--part-rows", "5000")

    written = pq.ParquetFile("out.parquet")
    group = written.metadata.row_group(0)
    chunks = [group.column(index) for index in range(group.num_columns)]
    coded = {chunk.path_in_schema.split(".")[0] for chunk in chunks if "RLE_DICTIONARY" in chunk.encodings}
    assert coded == {"text", "few", "lower"}
    assert written.read().select(["id", "few", "many"]).to_pydict() == {
        name: columns[name] for name in columns if name != "text"
    }


@pytest.mark.parametrize("part_rows", [1, 5000])
def test_a_column_has_a_dictionary_unless_the_first_part_tells_that_it_needs_none(
    run: Callable[..., Result], part_rows: int
) -> None:
    columns = {"text": ["A"] * 10_000, "site": [None] * 5000 + ["https://example.org/", "https://example.com/"] * 2500}
    pq.write_table(pa.table(columns).slice(0, None if part_rows > 1 else 20), "in.parquet")

    run("--in", "in.parquet", "--out", "out.parquet", "--part-rows", str(part_rows))

    group = pq.ParquetFile("out.parquet").metadata.row_group(0)
    chunks = {chunk.path_in_schema: chunk for chunk in map(group.column, range(group.num_columns))}
    assert all("RLE_DICTIONARY" in chunks[name].encodings for name in ("text", "site", "lower"))


def test_types_that_change_after_rows_were_written_leave_nothing_of_them(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "GROUP_ROWS", 2)
    texts: list[str | None] = ["A" * 50_000 + str(row) for row in range(9)] + [None]
    pq.write_table(pa.table({"text": texts}), "in.parquet")

    run("--in", "in.parquet", "--out", "out.parquet", "--errors", "null", "--part-rows", "1", "--keep", "")

    written = pq.ParquetFile("out.parquet")
    assert written.metadata.num_row_groups == 5
    assert written.read().column("lower").to_pylist() == [text and text.lower() for text in texts]
    assert Path("out.parquet").read_bytes().count(b"PAR1") == 2


HELD: dict[str, tuple[pa.DataType, set[Format]]] = {
    "bytes": (pa.binary(), {"parquet"}),
    "bytes in a list": (pa.list_(pa.binary()), {"parquet"}),
    "bytes in a struct": (pa.struct([("a", pa.list_(pa.large_binary()))]), {"parquet"}),
    "bytes in a dictionary": (pa.dictionary(pa.int32(), pa.binary()), {"parquet"}),
    "texts in a struct": (pa.struct([("a", pa.string())]), {"parquet", "csv", "jsonl"}),
    "an empty struct": (pa.struct([]), {"csv", "jsonl"}),
    "an empty struct in a list": (pa.list_(pa.struct([])), {"csv", "jsonl"}),
    "nothing": (pa.null(), {"parquet", "csv", "jsonl"}),
    "times": (pa.timestamp("ns", "UTC"), {"parquet", "csv", "jsonl"}),
}


@pytest.mark.parametrize(("kind", "forms"), HELD.values(), ids=HELD)
def test_it_is_known_what_each_format_holds(kind: pa.DataType, forms: set[Format]) -> None:
    known: tuple[Format, ...] = ("parquet", "csv", "jsonl")

    assert {form for form in known if can_hold(form, kind)} == forms


def test_a_column_that_cannot_be_written_is_left_out_with_a_line_or_refused_if_asked_for(
    run: Callable[..., Result],
) -> None:
    cells: dict[str, Any] = {"text": ["Ab"], "scans": pa.array([{"raw": b"\xff"}])}
    pq.write_table(pa.table(cells), "in.parquet")

    shown = run("--in", "in.parquet", "--out", "out.jsonl")
    refused = run("--in", "in.parquet", "--out", "no.jsonl", "--keep", "scans")

    assert shown.exit_code == 0, shown.output
    assert "scans: left out, struct<raw: binary> cannot be written as jsonl" in shown.output
    assert json.loads(Path("out.jsonl").read_text()) == {"text": "Ab", "lower": "ab"}
    assert refused.exit_code == 2
    assert (
        "--keep scans: struct<raw: binary> cannot be written as jsonl; leave it out, or write .parquet"
        in refused.output
    )
    assert not [*Path().glob("no.*")]
