"""What types of columns `ovenbird score` takes in and writes: what cannot be written is said before the work begins."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from service.score_cli import score
from service.scoring import formats, json_cells, json_values
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


NEAR = [0.1, None, 1 / 3]
NEAREST = {"score": 0.1, "box": [1 / 3]}


def test_floats_have_the_digits_that_they_have(run: Callable[..., Result]) -> None:
    columns = {"near": pa.array(NEAR, pa.float32()), "half": pa.array(np.array(NEAR, np.float16)),
               "list": pa.array([NEAR, None, []], pa.list_(pa.float32())), "double": NEAR,
               "deep": pa.array([[NEAREST], [None], None],
                                pa.list_(pa.struct([("score", pa.float32()), ("box", pa.list_(pa.float32()))]))),
               }  # fmt: skip
    pq.write_table(pa.table({"text": ["A", "B", "C"]} | columns), "in.parquet")
    names = ",".join(columns)

    shown = run("--in", "in.parquet", "--out", "out.jsonl", "--keep", names)
    as_csv = run("--in", "in.parquet", "--out", "out.csv", "--keep", names)

    assert (shown.exit_code, as_csv.exit_code) == (0, 0), shown.output + as_csv.output
    assert Path("out.jsonl").read_text().splitlines() == [
        '{"near":0.1,"half":0.099975586,"list":[0.1,null,0.33333334],"double":0.1,'
        '"deep":[{"score":0.1,"box":[0.33333334]}],"lower":"a"}',
        '{"near":null,"half":null,"list":null,"double":null,"deep":[null],"lower":"b"}',
        '{"near":0.33333334,"half":0.33325195,"list":[],"double":0.3333333333333333,"deep":null,"lower":"c"}',
    ]
    assert '"[0.1,null,0.33333334]"' in Path("out.csv").read_text().splitlines()[1]


KINDS = st.recursive(
    st.sampled_from([pa.float32(), pa.float64(), pa.int8(), pa.string()]),
    lambda kinds: kinds.map(pa.list_) | kinds.map(lambda kind: pa.list_(kind, 2)) | kinds.map(pa.large_list)
    | st.dictionaries(st.sampled_from("ab"), kinds, min_size=1).map(pa.struct),
    max_leaves=4,
)  # fmt: skip


def cells_of(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_struct(kind):
        return st.none() | st.fixed_dictionaries({field.name: cells_of(field.type) for field in kind})
    if pa.types.is_fixed_size_list(kind):
        return st.none() | st.lists(cells_of(kind.value_type), min_size=2, max_size=2)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return st.none() | st.lists(cells_of(kind.value_type), max_size=3)
    width = 32 if pa.types.is_float32(kind) else 64
    plain = {pa.int8(): st.integers(-128, 127), pa.string(): st.sampled_from("xy")}
    return st.none() | plain.get(kind, st.floats(allow_nan=False, allow_infinity=False, width=width))


@given(st.data())
def test_values_of_any_type_are_the_cells_in_json(data: st.DataObject) -> None:
    kind = data.draw(KINDS)
    cells = data.draw(st.lists(cells_of(kind), max_size=5))
    start = data.draw(st.integers(0, len(cells)))
    column = pa.chunked_array([pa.array(cells, kind)]).slice(start)

    texts = [json_cells.as_json(value) for value in json_values.values_of(column)]

    assert pa.array(map(json.loads, texts), kind).to_pylist() == column.to_pylist()


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
