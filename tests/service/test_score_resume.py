"""What is left of a scoring that was killed, stopped or refused, and how it goes on: real processes, real signals."""

from __future__ import annotations

import errno
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from service.score_cli import score
from service.scoring.errors import AnotherScoring, CannotWrite, InvalidSource
from service.scoring.parts import Join, Output, Part, Parts, Whole

ROOT = Path(__file__).parents[2]
ROWS = 2000


def command(store: Path, *arguments: object) -> list[str]:
    return [str(Path(sys.executable).with_name("ovenbird")), "score", *map(str, arguments), "--store", str(store)]


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """Lines of which every seventh is no JSON object."""
    path = tmp_path / "in.jsonl"
    rows = [json.dumps({"id": row, "x": [row, 1, 2]}) if row % 7 else "torn" for row in range(ROWS)]
    path.write_text("\n".join(rows))
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.parquet"
    vectors = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)
    pq.write_table(pa.table({"id": np.arange(ROWS), "x": vectors.tolist()}), path, row_group_size=170)
    return path


@pytest.mark.parametrize(("given", "suffix", "seed"), [("source", "parquet", 1), ("lines", "csv", 2)])
def test_killed_at_any_moment_it_loses_no_row_and_doubles_none(
    tiny_store: Path, request: pytest.FixtureRequest, tmp_path: Path, given: str, suffix: str, seed: int
) -> None:
    source = request.getfixturevalue(given)
    script = ROOT / "tests/support/score_until_done.py"
    killed, undisturbed = tmp_path / f"killed.{suffix}", tmp_path / f"undisturbed.{suffix}"

    shown = subprocess.run(
        [sys.executable, script, tiny_store, source, killed, str(seed)], cwd=ROOT, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    batch = json.loads(Path(f"{killed}.score.json").read_text())["job"]["batch_rows"]
    subprocess.run(
        command(tiny_store, "double", "--in", source, "--out", undisturbed, "--batch-size", batch, "--part-rows", 5,
                "--errors", "null"),
        check=True, capture_output=True,
    )  # fmt: skip

    assert int(shown.stdout) >= 3
    assert killed.read_bytes() == undisturbed.read_bytes()
    left = {path.name for path in tmp_path.iterdir() if path.name.startswith(("killed", ".killed"))}
    assert left == {killed.name, f"{killed.name}.score.json"}


def test_stopped_by_ctrl_c_it_says_how_to_go_on_and_then_says_that_it_is_done(
    tiny_store: Path, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.parquet"
    asked = command(tiny_store, "double", "--in", source, "--out", target, "--part-rows", 2)
    process = subprocess.Popen(asked, stderr=subprocess.PIPE, text=True, preexec_fn=default_sigint)
    while not list(tmp_path.glob("out.parquet.parts/part-*-2-0.parquet")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)

    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    kept = len(list(tmp_path.glob("out.parquet.parts/part-*-2-0.parquet")))
    again = subprocess.run(asked, capture_output=True, text=True, check=True)
    once_more = subprocess.run(asked, capture_output=True, text=True, check=True)

    assert process.returncode == 130
    assert f"stopped; the same command goes on with what is left of {target}" in said
    assert 1 <= kept < ROWS // 2
    assert f"{target}: {ROWS:,} rows" in again.stdout
    assert f"{target} is done already: {ROWS:,} rows" in once_more.stdout
    assert pq.read_table(target).column("id").to_pylist() == list(range(ROWS))


def default_sigint() -> None:
    # Where the tests run in the background, a child would ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_full_disk_is_said_in_one_line_and_what_was_written_is_used(
    tiny_store: Path, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.csv"
    asked = command(tiny_store, "double", "--in", source, "--out", target, "--part-rows", 50)

    # The parts fit, the joined file does not.
    full = subprocess.run(
        asked, capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)),
    )  # fmt: skip
    parts = list(tmp_path.glob("out.csv.parts/part-*-50-0.csv"))
    again = subprocess.run(asked, capture_output=True, text=True)

    assert full.returncode == 1
    assert full.stderr.splitlines()[-1].startswith(f"Error: {target}: cannot be written: {os.strerror(errno.EFBIG)}")
    assert "the same command goes on from here" in full.stderr
    assert len(parts) == ROWS // 50
    assert again.returncode == 0, again.stderr


def test_memory_does_not_grow_with_the_file(tiny_store: Path, tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.parquet"
        notes = pa.Array.from_buffers(pa.binary(500), rows, [None, pa.py_buffer(os.urandom(500 * rows))])
        vectors = pa.array([bytes(12)] * rows, pa.binary(12))
        pq.write_table(pa.table({"x": vectors, "note": notes}), path, compression="none", row_group_size=20_000)
        target = tmp_path / f"{rows}.out.parquet"
        script = "import resource, sys, subprocess; subprocess.run(sys.argv[1:], check=True, capture_output=True); "
        script += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        asked = command(tiny_store, "double", "--in", path, "--out", target, "--part-rows", 5000, "--keep", "note")
        shown = subprocess.run([sys.executable, "-c", script, *asked], capture_output=True, text=True, check=True)
        assert pq.ParquetFile(target).metadata.num_rows == rows
        return int(shown.stdout) * 1024

    grown = peak(600_000) - peak(20_000)

    # The larger file holds 290 MB more.
    assert grown < 150e6


JOB = {"input": {"sha256": "a"}, "model": {"name": "m@1", "sha256": "b"}, "options": {"keep": None}}


@contextmanager
def done(path: Path) -> Iterator[Output]:
    output = Output(path)
    with output.opened(JOB, fresh=False) as job, output.claimed(job, fresh=False):
        with output.joined(join) as whole:
            whole.add(output.write(0, 1, 0, lambda file: file.write(b"one\n") and None))
        yield output


@pytest.mark.parametrize("changed", ["input", "model", "options"])
def test_an_output_of_something_else_is_not_touched_without_fresh(tmp_path: Path, changed: str) -> None:
    path = tmp_path / "out.csv"
    with done(path):
        pass
    other = JOB | {changed: {"sha256": "c"}}

    with pytest.raises(AnotherScoring, match="--fresh starts anew"), Output(path).opened(other, fresh=False):
        pass
    assert path.read_text() == "one\n"
    with Output(path).opened(other, fresh=True) as job, Output(path).claimed(job, fresh=True):
        assert Output(path).done is None
        assert Output(path).parts() == {}


def test_a_file_that_no_scoring_made_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("mine")

    with pytest.raises(AnotherScoring, match="was not made by a scoring"), Output(path).opened(JOB, fresh=False):
        pass
    assert path.read_text() == "mine"


def test_a_file_that_was_changed_or_taken_away_is_not_called_done(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with done(path):
        pass

    path.write_text("changed")
    with pytest.raises(AnotherScoring, match="was changed since"), Output(path).opened(JOB, fresh=False):
        pass
    path.unlink()
    with Output(path).opened(JOB, fresh=False):
        assert Output(path).done is None


def test_two_do_not_write_one_output_at_once(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"

    with done(path), pytest.raises(AnotherScoring, match="another process"), Output(path).opened(JOB, fresh=False):
        pass
    with Output(path).opened(JOB, fresh=False):
        assert Output(path).done == {"rows": 1, "bad": 0, "bytes": 4}


def test_a_part_that_could_not_be_written_is_not_there(tmp_path: Path) -> None:
    output = Output(tmp_path / "out.csv")

    def fail(file: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with output.opened(JOB, fresh=False) as job, output.claimed(job, fresh=False):
        with pytest.raises(CannotWrite, match="No space left on device; make room"):
            output.write(0, 1, 0, fail)
        assert output.parts() == {}


@contextmanager
def joined(path: Path, join: Join) -> Iterator[tuple[Output, Whole]]:
    output = Output(path)
    with output.opened(JOB, fresh=False) as job, output.claimed(job, fresh=False), output.joined(join) as whole:
        yield output, whole


def add(output: Output, whole: Whole, number: int) -> None:
    whole.add(output.write(number, 1, 0, lambda file: file.write(b"%d\n" % number) and None))


def make(path: Path, join: Join, numbers: Iterable[int]) -> None:
    with joined(path, join) as (output, whole):
        for number in numbers:
            add(output, whole, number)


def join(parts: Parts, file: IO[bytes]) -> None:
    for part in parts():
        file.write(part.read_bytes())


def test_parts_are_joined_while_others_are_made(tmp_path: Path) -> None:
    taken = SimpleQueue[str]()

    def join_and_tell(parts: Parts, file: IO[bytes]) -> None:
        for part in parts():
            taken.put(part.read_text())
            file.write(part.read_bytes())

    with joined(tmp_path / "out.csv", join_and_tell) as (output, whole):
        for number in range(20):
            add(output, whole, number)
            assert taken.get(timeout=20) == f"{number}\n"
            assert not output.path.exists()

    assert output.path.read_text().splitlines() == [str(number) for number in range(20)]
    assert output.done == {"rows": 20, "bad": 0, "bytes": 50}


@pytest.mark.parametrize("after", [0, 1, 7])
def test_where_they_cannot_be_joined_all_parts_are_made_nonetheless(tmp_path: Path, after: int) -> None:
    def fail(parts: Parts, file: IO[bytes]) -> None:
        for _ in itertools.islice(parts(), after):
            pass
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(CannotWrite, match=r"out\.csv: cannot be written: No space left on device; make room"):
        make(tmp_path / "out.csv", fail, range(20))

    output = Output(tmp_path / "out.csv")
    assert len(output.parts()) == 20
    assert output.done is None
    assert {path.name for path in tmp_path.iterdir()} == {"out.csv.parts", "out.csv.score.json"}


def test_parts_are_gone_through_as_often_as_they_are_asked_for_until_it_is_over(tmp_path: Path) -> None:
    whole = Whole()
    paths = [tmp_path / str(number) for number in range(3)]
    for number, path in enumerate(paths):
        whole.add(Part(path, number, 1, 0))
    whole.end()
    once, again = list(whole.paths()), whole.paths()
    first = next(again)

    whole.give_up()

    assert (once, first) == (paths, paths[0])
    with pytest.raises(CannotWrite, match="not all parts were made"):
        next(again)


@pytest.mark.parametrize("made", [1, 20])
def test_nothing_is_joined_of_what_was_refused_in_the_middle(tmp_path: Path, made: int) -> None:
    def numbers() -> Iterator[int]:
        yield from range(made)
        refuse()

    with pytest.raises(InvalidSource):
        make(tmp_path / "out.csv", join, numbers())

    assert {path.name for path in tmp_path.iterdir()} == {"out.csv.parts", "out.csv.score.json"}


def refuse() -> None:
    raise InvalidSource("row 1")


def test_what_ended_before_its_first_part_was_not_begun(tmp_path: Path) -> None:
    output = Output(tmp_path / "out.csv")

    with pytest.raises(InvalidSource), output.opened(JOB, fresh=False) as job, output.claimed(job, fresh=False):
        refuse()

    assert list(tmp_path.iterdir()) == []


def test_what_was_killed_before_its_first_part_gives_way_to_another_job(tmp_path: Path) -> None:
    (tmp_path / "out.csv.score.json").write_text(json.dumps({"job": JOB, "done": None}))
    (tmp_path / "out.csv.parts").mkdir()
    other = JOB | {"options": {"keep": ["id"]}}

    with Output(tmp_path / "out.csv").opened(other, fresh=False) as job:
        assert job == other


def test_fresh_leaves_what_is_done_alone_if_nothing_comes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with done(path):
        pass
    other = JOB | {"model": {"name": "m@2"}}

    output = Output(path)
    with pytest.raises(InvalidSource), output.opened(other, fresh=True) as job, output.claimed(job, fresh=True):
        refuse()

    with Output(path).opened(JOB, fresh=False):
        assert Output(path).done == {"rows": 1, "bad": 0, "bytes": 4}


DAMAGED = {"half": b'{"job": {"in', "no note": b"[]", "empty": b"", "no counts": b'{"job": {}, "done": {}}'}


@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED)
def test_fresh_is_the_way_out_of_a_note_that_cannot_be_read(tiny_store: Path, tmp_path: Path, damaged: bytes) -> None:
    source, target, note = (tmp_path / name for name in ("in.csv", "out.csv", "out.csv.score.json"))
    source.write_text("text\nAb\n")
    asked = ["lower", "--in", str(source), "--out", str(target), "--keep", "", "--store", str(tiny_store)]
    assert CliRunner().invoke(score, asked).exit_code == 0
    note.write_bytes(damaged)

    refused = CliRunner().invoke(score, asked)
    fresh = CliRunner().invoke(score, [*asked, "--fresh"])
    again = CliRunner().invoke(score, asked)

    assert refused.exit_code == 1
    assert refused.output.splitlines()[-1].startswith(f"Error: {note}: ")
    assert refused.output.endswith("--fresh starts anew and replaces it\n")
    assert (fresh.exit_code, again.exit_code) == (0, 0), fresh.output
    assert "is done already: 1 rows" in again.output
    assert target.read_text() == '"lower"\n"ab"\n'
