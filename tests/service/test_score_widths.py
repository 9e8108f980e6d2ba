"""How wide rows are, as files tell it, and how many of them `ovenbird score` makes a part of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from service.score_cli import score
from service.scoring.sources import open_source

WIDE = 50_000
CELL = "Wide " * (WIDE // 5)


def write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, row_group_size=50_000)


def write_csv(table: pa.Table, path: Path) -> None:
    pyarrow.csv.write_csv(table, path)


def write_json_lines(table: pa.Table, path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))


WRITERS = {"parquet": write_parquet, "csv": write_csv, "jsonl": write_json_lines}


@pytest.mark.parametrize(("suffix", "write"), WRITERS.items(), ids=WRITERS)
def test_a_part_has_as_many_rows_as_memory_holds_of_what_is_kept(
    tiny_store: Path, tmp_path: Path, suffix: str, write: Callable[[pa.Table, Path], None]
) -> None:
    # One text for all: a Parquet file has it once.
    table = pa.table({"text": ["Ab"] * 400, "note": [CELL] * 400})
    source, target = tmp_path / f"in.{suffix}", tmp_path / "out.parquet"
    write(table, source)

    asked = ["lower", "--in", str(source), "--out", str(target), "--column", "text", "--store", str(tiny_store)]
    shown = CliRunner().invoke(score, asked)

    assert shown.exit_code == 0, shown.output
    assert json.loads(Path(f"{target}.score.json").read_text())["job"]["part_rows"] * WIDE <= 8 * 2**20
    assert pq.read_table(target).select(["text", "note"]).equals(table)


@pytest.mark.parametrize(("suffix", "write"), WRITERS.items(), ids=WRITERS)
def test_rows_that_are_wide_only_later_are_seen(
    tmp_path: Path, suffix: str, write: Callable[[pa.Table, Path], None]
) -> None:
    write(pa.table({"text": ["a"] * 100_000 + [CELL] * 20}), tmp_path / f"in.{suffix}")

    width = open_source(tmp_path / f"in.{suffix}").row_bytes(["text"])

    assert width > WIDE / 2


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_columns_that_are_not_read_do_not_count(tmp_path: Path, suffix: str) -> None:
    WRITERS[suffix](pa.table({"text": ["a"] * 40, "note": [CELL] * 40}), tmp_path / f"in.{suffix}")
    source = open_source(tmp_path / f"in.{suffix}")

    assert source.row_bytes(["text"]) < 50 < WIDE <= source.row_bytes(["note"])


def test_the_width_of_arrays_is_known(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.zeros((5, 3, 4), np.float32), y=np.zeros(5, np.int64))
    source = open_source(tmp_path / "in.npz")

    assert [source.row_bytes(columns) for columns in (["x"], ["y"], ["x", "y"])] == [48, 8, 56]
