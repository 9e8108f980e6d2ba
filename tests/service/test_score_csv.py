"""The rows of CSV files: long ones, empty ones, and headers that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.score_cli import score
from service.scoring.csv_rows import CsvRows
from service.scoring.errors import InvalidSource

# Arrow reads 1 MiB at once, unless it is told otherwise.
LONG = 3 * 2**20


@pytest.fixture
def run(tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    return lambda *asked: CliRunner().invoke(score, ["lower", "--in", "in.csv", *asked, "--store", str(tiny_store)])


def cells(path: Path, column: str, *, size: int = 7, start: int = 0) -> list[list[str]]:
    return [table.column(column).to_pylist() for table, _ in CsvRows(path).read(size, [column], start=start)]


@pytest.mark.parametrize("long", [0, 1, 20, 69])
def test_a_cell_may_be_longer_than_what_is_read_at_once(tmp_path: Path, long: int) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,text\n" + "".join(f'{row},"{"x" * (LONG if row == long else 30_000)}"\n' for row in range(70)))

    assert cells(path, "id") == [[str(row) for row in range(first, first + 7)] for first in range(0, 70, 7)]
    assert cells(path, "id", start=63) == [[str(row) for row in range(63, 70)]]
    assert max(len(text) for part in cells(path, "text") for text in part) == LONG


def test_a_row_that_does_not_fit_at_all_is_said_in_our_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.scoring.csv_rows.BLOCKS", (2**20,))
    path = tmp_path / "in.csv"
    path.write_text("text\n" + "a\n" * 2**20 + "x" * LONG + "\n")

    with pytest.raises(InvalidSource, match=r"in\.csv after row \d+: a row is longer than 1 MiB, or a quoted cell"):
        cells(path, "text", size=1000)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("text\nA\n\nB\n", ["A", "", "B"], id="within"),
        pytest.param("text\r\nA\r\n\r\nB\r\n", ["A", "", "B"], id="lines-of-windows"),
        pytest.param("text\nA\n\nB", ["A", "", "B"], id="no-newline-at-the-end"),
        pytest.param("text\nA\n\n", ["A", ""], id="at-the-end"),
        pytest.param("\ntext\nA\n", ["A"], id="before-the-header"),
        pytest.param("id,text\n1,A\n\n2,B\n", ["A", "B"], id="where-a-row-has-two-cells"),
    ],
)
def test_an_empty_line_is_an_empty_text_where_a_row_is_one_cell(
    tmp_path: Path, written: str, expected: list[str]
) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(written.encode())

    assert cells(path, "text") == [expected]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_cells_between_other_separators_are_not_taken_for_one_text(run: Callable[..., Result], separator: str) -> None:
    header = f"id{separator}text"
    Path("in.csv").write_text(f"{header}\n1{separator}A\n")

    refused = run("--out", "no.csv")
    meant = run("--out", "out.jsonl", "--column", header)

    assert refused.exit_code == 2
    assert f"in.csv: its header is the one column {header!r}, cells have commas between them; " in refused.output
    assert refused.output.rstrip().endswith(f"or say --column {header!r} if one column is meant")
    assert meant.exit_code == 0, meant.output
    assert json.loads(Path("out.jsonl").read_text()) == {header: f"1{separator}A", "lower": f"1{separator}a"}
