"""`ovenbird score`, from files of every kind to files of every kind, in this process."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import tiny_models
from click.testing import CliRunner, Result
from PIL import Image

from model_store import Store, steering
from model_store.serving import Serving, VersionPolicy
from service.score_cli import score

Scored = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def run(tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(score, [*arguments, "--store", str(tiny_store)])

    return run


@pytest.fixture
def scored(run: Callable[..., Result]) -> Scored:
    """Score into out.jsonl; the rows there."""

    def scored(*arguments: str) -> list[dict[str, Any]]:
        shown = run(*arguments, "--out", "out.jsonl", "--fresh")
        assert shown.exit_code == 0, shown.output
        return [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]

    return scored


def picture(level: int, size: tuple[int, int] = (6, 4)) -> bytes:
    file = io.BytesIO()
    Image.new("L", size, level).save(file, "png")
    return file.getvalue()


def test_scores_a_folder_of_pictures_in_the_order_of_their_paths(scored: Scored) -> None:
    for name, level in {"b.png": 255, "a/2.png": 0, "a/10.png": 204}.items():
        Path("in", name).parent.mkdir(parents=True, exist_ok=True)
        Path("in", name).write_bytes(picture(level))

    rows = scored("brightness", "--in", "in", "--all")

    assert [(row["path"], row["label"]) for row in rows] == [
        ("a/10.png", "bright"), ("a/2.png", "dark"), ("b.png", "bright"),
    ]  # fmt: skip
    assert rows[0]["probabilities"] == pytest.approx([0.2, 0.8])
    assert rows[0]["probability"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param(pa.array(["0.png", "255.png"]), id="paths"),
        pytest.param(pa.array([picture(0), picture(255)]), id="bytes"),
        pytest.param(pa.array([{"bytes": picture(0), "path": "x"}, {"bytes": picture(255)}]), id="bytes-in-a-struct"),
        pytest.param(pa.array([[0] * 24, [255] * 24]), id="flat-pixels"),
        pytest.param(pa.array([[[[level]] * 6] * 4 for level in (0, 255)]), id="nested-pixels"),
        pytest.param(pa.array([bytes(24), b"\xff" * 24], pa.binary(24)), id="raw-pixels"),
    ],
)
def test_takes_a_picture_as_a_path_as_bytes_or_as_pixels(scored: Scored, cells: pa.Array) -> None:
    for level in (0, 255):
        Path(f"{level}.png").write_bytes(picture(level))
    pq.write_table(pa.table({"id": [7, 8], "scan": cells}), "in.parquet")

    rows = scored("brightness", "--in", "in.parquet", "--column", "scan", "--keep", "id")

    assert rows == [{"id": 7, "label": "dark", "probability": 1.0}, {"id": 8, "label": "bright", "probability": 1.0}]


def test_pixels_and_bytes_that_were_scored_are_not_written_again(scored: Scored) -> None:
    pq.write_table(pa.table({"id": [1], "image": [picture(0)], "note": ["x"]}), "in.parquet")

    (row,) = scored("brightness", "--in", "in.parquet")

    assert list(row) == ["id", "note", "label", "probability"]


def test_cells_of_a_csv_pass_through_as_the_text_they_are(run: Callable[..., Result]) -> None:
    Path("in.csv").write_text('id,depth,width,height,note\n007,3,1,2,"a, b"\n008, 6 ,4,5e0,\n')

    shown = run("table", "--in", "in.csv", "--out", "out.csv")

    assert shown.exit_code == 0, shown.output
    table = pyarrow.csv.read_csv("out.csv", convert_options=pyarrow.csv.ConvertOptions(column_types={"id": "string"}))
    assert table.column("id").to_pylist() == ["007", "008"]
    assert table.column("note").to_pylist() == ["a, b", ""]
    assert [json.loads(cell) for cell in table.column("y").to_pylist()] == [[2.0, 4.0, 6.0], [8.0, 10.0, 12.0]]


def test_reads_the_columns_of_a_table_as_the_service_does(scored: Scored) -> None:
    Path("in.jsonl").write_text(
        '{"years": 39, "job title": "clerk"}\n\n{"years": null, "job title": " bäcker "}\n{"years": "41.5"}\n'
    )

    rows = scored("people", "--in", "in.jsonl", "--column", "age (years)=years", "--keep", "")

    assert rows == [{"cells": [39.0, 2.0]}, {"cells": [-1.0, 3.0]}, {"cells": [41.5, 0.0]}]


def test_a_text_needs_no_name_where_only_one_column_can_be_meant(scored: Scored) -> None:
    pq.write_table(pa.table({"id": [1, 2], "review": ["Ab", "ÉCLAIR"]}), "in.parquet")

    rows = scored("lower", "--in", "in.parquet")

    assert [row["lower"] for row in rows] == ["ab", "éclair"]


@pytest.mark.parametrize("suffix", ["npy", "npz", "parquet"])
def test_takes_vectors_from_arrays_and_lists(scored: Scored, suffix: str) -> None:
    vectors = np.arange(300, dtype=np.float32).reshape(100, 3)
    if suffix == "npy":
        np.save("x.npy", vectors)
    elif suffix == "npz":
        np.savez_compressed("x.npz", x=vectors, truth=np.arange(100))
    else:
        pq.write_table(pa.table({"x": vectors.tolist()}), "x.parquet", row_group_size=7)

    rows = scored("double", "--in", f"x.{suffix}", "--part-rows", "9")

    assert [row["y"] for row in rows] == (vectors * 2).tolist()
    assert suffix != "npz" or [row["truth"] for row in rows] == list(range(100))


def test_a_model_whose_rows_may_not_run_together_runs_them_one_by_one(scored: Scored) -> None:
    pq.write_table(pa.table({"a": [1.0, 4.0], "b": [2.0, 5.0], "c": [3.0, 6.0]}), "in.parquet")

    rows = scored("one-row", "--in", "in.parquet", "--column", "x=a,b,c", "--keep", "")

    assert rows == [{"y": [-1.0, -2.0, -3.0]}, {"y": [-4.0, -5.0, -6.0]}]


def test_rows_of_several_lengths_come_back_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_models.put(tmp_path / "store", "open", tiny_models.identity())
    Path("in.jsonl").write_text("".join(f'{{"x": {[1.5] * length}}}\n' for length in (1, 3, 1, 2, 3)))

    shown = CliRunner().invoke(score, ["open", "--in", "in.jsonl", "--out", "out.parquet", "--store", "store"])

    assert shown.exit_code == 0, shown.output
    assert [len(row) for row in pq.read_table("out.parquet").column("y").to_pylist()] == [1, 3, 1, 2, 3]


def test_boxes_count_the_pixels_of_the_picture_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_models.publish_detector(tmp_path / "store")
    Path("in").mkdir()
    Path("in/1.png").write_bytes(picture(255, (12, 8)))
    Path("in/2.png").write_bytes(picture(0))

    shown = CliRunner().invoke(score, ["cats", "--in", "in", "--out", "out.parquet", "--store", "store"])

    assert shown.exit_code == 0, shown.output
    found = pq.read_table("out.parquet").column("detections").to_pylist()
    assert found == [[{"label": "cat", "score": 1.0, "box": [2.0, 0.0, 9.0, 4.0]}], []]


def test_files_of_a_folder_are_one_table_in_the_order_of_their_names(scored: Scored) -> None:
    Path("in").mkdir()
    for name, ids in {"b.csv": (3, 4), "a.csv": (1, 2)}.items():
        Path("in", name).write_text("id,text\n" + "".join(f"{number},T{number}\n" for number in ids))

    rows = scored("lower", "--in", "in", "--column", "text", "--part-rows", "1")

    assert [(row["id"], row["lower"]) for row in rows] == [(str(i), f"t{i}") for i in (1, 2, 3, 4)]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_columns_that_only_later_files_have_are_named(run: Callable[..., Result], suffix: str) -> None:
    Path("in").mkdir()
    for name in ("a", "b", "c", "d"):
        row = {"text": "A"} | ({} if name == "a" else {"note": 1, "when": 2}) | ({"other": 3} if name == "d" else {})
        written = f"{','.join(row)}\n{','.join(map(str, row.values()))}\n" if suffix == "csv" else json.dumps(row)
        Path("in", f"{name}.{suffix}").write_text(written)

    shown = run("lower", "--in", "in", "--out", "out.csv")
    chosen = run("lower", "--in", "in", "--out", "chosen.csv", "--keep", "text")

    assert f"in/b.{suffix} and 1 more: not kept, as a.{suffix} lacks them: note, when\n" in shown.output
    assert f"in/d.{suffix}: not kept, as a.{suffix} lacks them: note, when, other\n" in shown.output
    assert "not kept" not in chosen.output


def test_what_is_hidden_in_a_folder_is_not_scored(scored: Scored) -> None:
    for name in ("a.csv", ".ipynb_checkpoints/a-checkpoint.csv", "deeper/.trash/b.csv", "._a.csv"):
        Path(".in", name).parent.mkdir(parents=True, exist_ok=True)
        Path(".in", name).write_bytes(b"text\nA\n" if "._" not in name else b"\x00\x05\x16\x07")

    assert scored("lower", "--in", ".in") == [{"text": "A", "lower": "a"}]


def test_a_picture_is_read_from_a_file_that_is_one_and_not_too_large(
    scored: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVENBIRD_MAX_BINARY_BYTES", "1000")
    Path("large.png").write_bytes(picture(255) + bytes(1000))
    Path("small.png").write_bytes(picture(255))
    os.mkfifo("pipe.png")
    Path("in.csv").write_text("path\n/dev/zero\npipe.png\n.\nlarge.png\nsmall.png\n")

    rows = scored("brightness", "--in", "in.csv", "--errors", "null")

    assert [row["label"] for row in rows] == [None, None, None, None, "bright"]
    assert rows[0]["error"] == "/dev/zero: is no file of a picture"
    assert rows[1]["error"] == "pipe.png: is no file of a picture"
    assert rows[3]["error"] == "large.png: is larger than 1000 bytes (OVENBIRD_MAX_BINARY_BYTES)"


def test_a_file_whose_name_is_no_text_is_a_file_like_any_other(scored: Scored, run: Callable[..., Result]) -> None:
    for folder, name, body in (("in", b"\xe9.csv", b"text\nA\n"), ("pictures", b"\xe9.png", picture(0))):
        Path(folder).mkdir()
        Path(folder, os.fsdecode(name)).write_bytes(body)

    rows = scored("lower", "--in", "in")
    refused = run("brightness", "--in", "pictures", "--out", "no.csv")

    assert rows == [{"text": "A", "lower": "a"}]
    assert refused.exit_code == 1
    assert "is no UTF-8: rename it" in refused.output


def test_types_that_change_in_mid_file_become_one(run: Callable[..., Result]) -> None:
    Path("in.jsonl").write_text('{"text": "A", "n": 1}\n{"text": "B", "n": 2.5}\n{"text": "C", "n": null}\n')

    run("lower", "--in", "in.jsonl", "--out", "out.parquet", "--part-rows", "1")

    assert pq.read_table("out.parquet").column("n").to_pylist() == [1.0, 2.5, None]


BAD = {
    "broken picture": ("brightness", {"image": [picture(0), b"no picture", None]}, [1, 2]),
    "no number": ("table", {"width": ["1", "x", "3"], "height": [1, 2, 3], "depth": [1.0, None, float("nan")]}, [1, 2]),
    "null text": ("lower", {"text": ["A", None, "B"]}, [1]),
    "wrong length": ("double", {"x": [[1.0, 2.0, 3.0], [1.0], None]}, [1, 2]),
    "refused by the model": ("lookup", {"id": [0, 99, 3]}, [1]),
}


@pytest.mark.parametrize(("model", "columns", "bad"), BAD.values(), ids=BAD)
def test_a_bad_row_ends_the_scoring_or_becomes_nulls(
    run: Callable[..., Result], scored: Scored, model: str, columns: dict[str, Any], bad: list[int]
) -> None:
    pq.write_table(pa.table(columns), "in.parquet")

    shown = run(model, "--in", "in.parquet", "--out", "no.jsonl")
    rows = scored(model, "--in", "in.parquet", "--errors", "null", "--keep", "")

    assert shown.exit_code == 1
    assert f"in.parquet row {bad[0] + 1}: " in shown.output
    assert [index for index, row in enumerate(rows) if row["error"]] == bad
    assert all((value is None) == (index in bad) for index, row in enumerate(rows) for name, value in row.items()
               if name != "error")  # fmt: skip


NO_OBJECTS = {"B": "not JSON: ", "[1]": "expected an object", '{"x": [1, 2': "not JSON: ", "\udcff": "not JSON: "}


@pytest.mark.parametrize("part_rows", ["1", "100"])
@pytest.mark.parametrize(
    ("model", "good"),
    [("double", {"x": [1.0, 2.0, 3.0]}), ("lower", {"text": "A"}), ("table", {"width": 1, "height": 2, "depth": 3})],
)
def test_a_line_that_is_no_object_becomes_nulls_like_any_other_bad_row(
    run: Callable[..., Result], model: str, good: dict[str, Any], part_rows: str
) -> None:
    lines = [json.dumps(good), *NO_OBJECTS, "", json.dumps(good)]
    Path("in.jsonl").write_text("\n".join(lines) + "\n", errors="surrogateescape")

    shown = run(model, "--in", "in.jsonl", "--out", "out.jsonl", "--errors", "null", "--part-rows", part_rows)
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]

    assert "out.jsonl: 6 rows by" in shown.output
    assert "4 of them with an error" in shown.output
    reasons = [row.pop("error") for row in rows]
    assert [reasons[0], reasons[5]] == [None, None]
    assert all(reason.startswith(said) for reason, said in zip(reasons[1:5], NO_OBJECTS.values(), strict=True))
    assert rows[0] == rows[5]
    assert None not in rows[0].values()
    assert {value for row in rows[1:5] for value in row.values()} == {None}


def test_a_file_without_any_object_is_no_input_whatever_becomes_of_errors(run: Callable[..., Result]) -> None:
    Path("in.jsonl").write_text("text\nA\n")

    shown = run("lower", "--in", "in.jsonl", "--out", "out.jsonl", "--errors", "null")

    assert shown.exit_code == 1
    assert shown.output.splitlines()[-1].startswith("Error: in.jsonl row 1: not JSON: ")


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["table", "--in", "in.csv"], "lacks the columns height, depth (of kind features); it has: id, text, width", 2),
        (
            ["lower", "--in", "in.csv", "--column", "missing"],
            "--column missing: the table has no column 'missing'; it has: id, text, width. Write --column text=NAME",
            2,
        ),
        (
            ["table", "--in", "in.csv", "--column", "width=broad"],
            "--column width=broad: the table has no column 'broad'; it has: id, text, width. Write --column width=NAME",
            2,
        ),
        (
            ["people", "--in", "in.csv", "--column", "years"],
            "--column years: the table has no column 'years'; it has: id, text, width. "
            "Write --column INPUT=NAME, INPUT one of: age (years), job title",
            2,
        ),
        (
            ["people", "--in", "in.csv", "--column", "width"],
            "--column width: the model has 2 inputs. Write --column INPUT=width, INPUT one of: age (years), job title",
            2,
        ),
        (
            ["lower", "--in", "in.csv", "--column", "x=text"],
            "--column x=text: the model has no input 'x'; it has: text",
            2,
        ),
        (["lower", "--in", "in.csv", "--keep", "id,nobody"], "--keep nobody: the input has: id, text, width", 2),
        (["lower", "--in", "nowhere.csv"], "nowhere.csv: no such file or folder", 2),
        (["lower", "--in", "in.xlsx"], "in.xlsx: cannot tell its format", 2),
        (["lower", "--in", "ragged.csv"], "ragged.csv: CSV parse error: Row #3", 1),
        (["lower", "--in", "no.jsonl"], "no.jsonl row 2: not JSON", 1),
        (["lower", "--in", "no.parquet"], "no.parquet: not a Parquet file", 1),
        (["lower", "--in", "empty.csv"], "empty.csv: ", 1),
        (["lower", "--in", "empty.jsonl"], "empty.jsonl: holds no rows", 1),
        (["nobody", "--in", "in.csv"], "unknown model 'nobody'", 2),
        (["table@canary", "--in", "in.csv"], "model 'table' has no label 'canary'; it has: stable", 2),
        (["turned", "--in", "in.csv"], "lacks the columns x", 2),
        (["table@7", "--in", "in.csv"], "model 'table' has no version 7", 2),
        (["lower", "--in", "in.csv", "--out", "out.txt"], "out.txt: cannot tell the format", 2),
    ],
)
def test_says_in_one_line_what_is_wrong_and_leaves_nothing_behind(
    run: Callable[..., Result], arguments: list[str], said: str, code: int
) -> None:
    Path("in.csv").write_text("id,text,width\n1,A,2\n")
    Path("ragged.csv").write_text("id,text\n1,A\n2\n")
    Path("no.jsonl").write_text('{"text": "A"}\nB\n')
    for name in ("in.xlsx", "no.parquet", "empty.csv", "empty.jsonl"):
        Path(name).write_text("")

    shown = run(arguments[0], "--out", "out.csv", *arguments[1:])

    assert shown.exit_code == code, shown.output
    assert said in shown.output
    assert not [*Path().glob("*out.*")]


def test_an_answer_does_not_take_the_place_of_a_column_of_its_name(run: Callable[..., Result]) -> None:
    pq.write_table(pa.table({"label": ["bright"], "image": [picture(0)]}), "in.parquet")

    refused = run("brightness", "--in", "in.parquet", "--out", "out.parquet")
    renamed = run("brightness", "--in", "in.parquet", "--out", "out.parquet", "--prefix", "predicted_")

    assert "--prefix predicted_ renames the answers" in refused.output
    assert renamed.exit_code == 0, renamed.output
    assert pq.read_table("out.parquet").to_pylist() == [
        {"label": "bright", "predicted_label": "dark", "predicted_probability": 1.0}
    ]


@pytest.mark.parametrize("keep", ["", "id"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_column_that_stands_twice_is_named(run: Callable[..., Result], suffix: str, keep: str) -> None:
    names = ["id", "text", "id"]
    if suffix == "csv":
        Path("in.csv").write_text(",".join(names) + "\n1,A,2\n")
    else:
        pq.write_table(pa.table([["1"], ["A"], ["2"]], names=names), "in.parquet")

    shown = run("lower", "--in", f"in.{suffix}", "--out", "out.csv", "--column", "text", "--keep", keep)

    assert shown.exit_code == 1
    said = shown.output.splitlines()[-1]
    assert said == f"Error: in.{suffix}: the column 'id' stands there 2 times: rename all but one"


def test_a_column_that_is_kept_twice_is_kept_once(scored: Scored) -> None:
    Path("in.csv").write_text("id,text\n1,A\n")

    assert scored("lower", "--in", "in.csv", "--column", "text", "--keep", "id,id") == [{"id": "1", "lower": "a"}]


def test_a_label_chooses_the_version(run: Callable[..., Result]) -> None:
    Path("in.csv").write_text("width,height,depth\n1,2,3\n")

    shown = run("table@stable", "--in", "in.csv", "--out", "out.csv")

    assert shown.exit_code == 0, shown.output
    assert "out.csv: 1 rows by table@1, in " in shown.output
    assert json.loads(Path("out.csv.score.json").read_text())["job"]["model"]["name"] == "table@1"


@pytest.fixture
def two_versions(tmp_path: Path) -> Store:
    """Model `double`: version 1 doubles, version 2 triples."""
    store = Store(tmp_path / "store")
    tiny_models.publish_affine(store)
    tiny_models.publish_affine(store, factor=3.0)
    return store


@pytest.fixture
def answer(two_versions: Store, tmp_path: Path) -> Callable[[str], Any]:
    """Score a row of ones: the first number of the answer, or what is said instead of one."""
    (tmp_path / "in.jsonl").write_text('{"x": [1.0, 1.0, 1.0]}\n')

    def answer(model: str) -> Any:
        target = tmp_path / "out.jsonl"
        asked = [model, "--in", str(tmp_path / "in.jsonl"), "--out", str(target), "--fresh"]
        shown = CliRunner().invoke(score, [*asked, "--store", str(two_versions.root)])
        return json.loads(target.read_text())["y"][0] if shown.exit_code == 0 else (shown.exit_code, shown.output)

    return answer


def test_a_model_alone_is_the_newest_version_that_is_served(two_versions: Store, answer: Callable[[str], Any]) -> None:
    newest = answer("double")
    steering.roll_back(two_versions, "double")
    rolled_back, by_latest, by_number = answer("double"), answer("double@latest"), answer("double@2")

    assert (newest, rolled_back, by_latest, by_number) == (3.0, 2.0, 2.0, 3.0)


def test_a_model_alone_is_the_version_that_the_policy_names(two_versions: Store, answer: Callable[[str], Any]) -> None:
    steering.set_policy(two_versions, "double", VersionPolicy.parse("specific:1"))

    assert answer("double") == 2.0


def test_a_model_without_a_version_that_is_served_must_be_asked_for_by_version(
    two_versions: Store, answer: Callable[[str], Any]
) -> None:
    serving = Serving(withdrawn=(1, 2))
    two_versions.replace_file("double", "serving.json", serving.to_json())

    code, said = answer("double")

    assert code == 2
    assert "no version that would be served (policy latest:1; it has: 1, 2, withdrawn: 1, 2)" in said
    assert answer("double@1") == 2.0


@pytest.mark.parametrize("fresh", [[], ["--fresh"]], ids=["", "fresh"])
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("in/a.csv", "in/a.csv"),
        ("in/a.csv", "link.csv"),
        ("link.csv", "in/a.csv"),
        ("in", "in/out.csv"),
        ("linked", "in/deeper/out.csv"),
        ("in", "elsewhere.csv"),
        ("kept.csv.parts", "kept.csv"),
    ],
)
def test_never_writes_over_its_input_or_into_it(
    run: Callable[..., Result], source: str, target: str, fresh: list[str]
) -> None:
    for folder in ("in/deeper", "kept.csv.parts"):
        Path(folder).mkdir(parents=True)
        Path(folder.split("/")[0], "a.csv").write_text("text\nA\n")
    Path("elsewhere.csv").write_text("text\nA\n")
    Path("in/b.csv").symlink_to(Path("elsewhere.csv").absolute())
    Path("link.csv").symlink_to("in/a.csv")
    Path("linked").symlink_to("in")
    before = sorted(Path().rglob("*"))

    shown = run("lower", "--in", source, "--out", target, *fresh)

    assert shown.exit_code == 2, shown.output
    assert f"--out {target}: " in shown.output
    assert f"--in {source}; write it elsewhere" in shown.output
    assert sorted(Path().rglob("*")) == before
    assert Path("in/a.csv").read_text() == Path("elsewhere.csv").read_text() == "text\nA\n"


def test_a_row_that_ended_it_at_once_does_not_stand_in_the_way_of_other_options(run: Callable[..., Result]) -> None:
    Path("in.jsonl").write_text('{"text": null}\n{"text": "A"}\n')

    ended = run("lower", "--in", "in.jsonl", "--out", "out.jsonl")
    left = sorted(path.name for path in Path().glob("*out.*"))
    corrected = run("lower", "--in", "in.jsonl", "--out", "out.jsonl", "--errors", "null")

    assert (ended.exit_code, left) == (1, [])
    assert corrected.exit_code == 0, corrected.output
