"""How much of raw onnxruntime's speed `ovenbird score` keeps: `python -m bench.scoring`.

The same rows three times. Raw: arrays that lie in memory already, as a loop of `session.run` takes them, with the batch
size and the threads that turned out best; the answers are dropped. Bare: the same from a Parquet file to a Parquet
file, as a script of a few lines with pyarrow and onnxruntime does it that knows the file: each row's label and
probability beside the columns that the command keeps. Scored: the command, in a process of its own. They take turns,
and the medians count. Start-up is left out of the rates (imports, digests, golden rows, warm-up: the same command over
one row) and shown by itself.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq

from model_store import STARTER_MODELS, Store
from service.runtime.processors import usable_processors
from service.scoring.arrays import column_of
from service.tensors import Array

BATCHES = (16, 32, 64, 128, 256, 512, 1024)
TRY_SECONDS = 0.3
# What the script reads at once, and writes as a row group: as pyarrow does unless told otherwise; of pictures fewer.
BARE_ROWS, BARE_PICTURES = 2**16, 2**13
COMMAND = [str(Path(sys.executable).with_name("ovenbird")), "score"]


@dataclass(frozen=True)
class Case:
    """A starter model, how many rows it scores, and what its file holds."""

    model: str
    rows: int
    holds: str


RAW, LISTS, NESTED = "raw pixels", "lists of 784 pixels", "nested lists of pixels"
TEXTS = "a column of texts"
ALIKE, DIFFERENT = "13 columns of numbers, few of them different", "13 columns of numbers, nearly all different"
COLUMNS = (ALIKE, DIFFERENT)
CASES = (
    Case("mnist-dnn", 200_000, RAW),
    Case("mnist-dnn", 200_000, LISTS),
    Case("mnist-dnn", 200_000, NESTED),
    Case("mnist-cnn", 30_000, RAW),
    Case("mnist-cnn", 30_000, LISTS),
    Case("code-or-prose", 200_000, TEXTS),
    Case("nsmc-text", 100_000, TEXTS),
    Case("wine-dnn", 4_000_000, DIFFERENT),
    Case("wine-dnn", 4_000_000, ALIKE),
)


@dataclass(frozen=True)
class Cost:
    """Seconds on the wall, and of all processors together."""

    wall: float
    cpu: float

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.wall - other.wall, self.cpu - other.cpu)


@click.command()
@click.option("--only", default="", help="Models, with commas between.")
@click.option("--rounds", default=3, show_default=True, help="How often each of the two takes its turn.")
@click.option("--scale", default=1.0, show_default=True, help="Of the rows.")
def main(only: str, rounds: int, scale: float) -> None:
    """Measure the cases, and print a row of the table for each."""
    click.echo(
        "| model | file of | rows | rows/s: raw, bare, scored | of raw: wall, CPU | of bare: the same | start s |"
    )
    click.echo("|---|---|--:|--:|--:|--:|--:|")
    for case in CASES:
        if not only or case.model in only.split(","):
            with tempfile.TemporaryDirectory() as folder:
                click.echo(_measured(case, int(case.rows * scale), rounds, Path(folder)))


def _measured(case: Case, rows: int, rounds: int, folder: Path) -> str:
    stored = Store(STARTER_MODELS).resolve(case.model)
    ((name, golden),) = stored.golden().inputs.items()
    inputs = np.resize(golden, (rows, *golden.shape[1:]))
    if case.holds == DIFFERENT:
        inputs *= 0.9 + 0.2 * np.random.default_rng(0).random(inputs.shape, np.float32)
    columns = stored.manifest.inputs[0].columns or (name,)
    _write(inputs, columns, folder / "in.parquet", case.holds)
    _write(inputs[:1], columns, folder / "one.parquet", case.holds)
    way = _best_way(stored.onnx_path.read_bytes(), name, inputs)
    labels = stored.manifest.outputs[0].labels or ()
    script = Script(name, columns, inputs[:1], pa.array(labels), keeps=case.holds in (TEXTS, *COLUMNS))
    taken: list[tuple[Cost, Cost, Cost, Cost]] = []
    for _ in range(rounds):
        raw = _cost(resource.RUSAGE_SELF, lambda: way.run_all(name, inputs))
        bare = _cost(resource.RUSAGE_SELF, lambda: script.run(way, folder / "in.parquet", folder / "bare.parquet"))
        start = _score(case.model, folder / "one.parquet", folder)
        taken.append((raw, bare, _score(case.model, folder / "in.parquet", folder) - start, start))
    rates = ", ".join(f"{rows / statistics.median(costs[index].wall for costs in taken):,.0f}" for index in range(3))
    kept = " | ".join(f"{wall:.2f}, {cpu:.2f}" for wall, cpu in (_ratio(taken, index) for index in range(2)))
    start_seconds = statistics.median(start.wall for *_, start in taken)
    return f"| {case.model} | {case.holds} | {rows:,} | {rates} | {kept} | {start_seconds:.1f} |"


def _ratio(taken: list[tuple[Cost, Cost, Cost, Cost]], reference: int) -> tuple[float, float]:
    """The medians, over the rounds, of how much of a reference's speed and processor time scoring keeps."""
    pairs = [(costs[reference], costs[2]) for costs in taken]
    return (
        statistics.median(base.wall / scored.wall for base, scored in pairs),
        statistics.median(base.cpu / scored.cpu for base, scored in pairs),
    )


def _write(inputs: Array, columns: Sequence[str], path: Path, holds: str) -> None:
    cells: list[Any]
    if holds == RAW:
        cells = [pa.Array.from_buffers(pa.binary(inputs[0].nbytes), len(inputs), [None, pa.py_buffer(inputs)])]
    elif holds == TEXTS:
        cells = [pa.array(inputs)]
    elif holds in COLUMNS:
        cells = list(inputs.T)
    else:
        cells = [column_of(inputs if holds == NESTED else inputs.reshape(len(inputs), -1))]
    table = pa.table(cells, names=columns)
    pq.write_table(table.append_column("id", pa.array(np.arange(len(table)))), path)


@dataclass(frozen=True)
class Way:
    """How rows are run: `loops` threads, each with batches of so many rows."""

    session: Any
    batch: int
    loops: int

    def run_all(self, name: str, inputs: Array) -> None:
        """Run rows that lie in memory."""

        def loop(number: int) -> None:
            for start in range(number * self.batch, len(inputs), self.loops * self.batch):
                self.session.run(None, {name: inputs[start : start + self.batch]})

        with ThreadPoolExecutor(self.loops) as threads:
            list(threads.map(loop, range(self.loops)))


@dataclass(frozen=True)
class Script:
    """Reads, runs and writes what it knows: the input made of these columns, of the shape and type of `like`."""

    name: str
    columns: Sequence[str]
    like: Array
    labels: pa.Array
    keeps: bool

    def run(self, way: Way, source: Path, target: Path) -> None:
        """Answer the rows of one file into another; the next rows are read while some run."""
        size = BARE_ROWS if self.keeps else BARE_PICTURES
        waiting: deque[Future[pa.Table]] = deque()
        kept = pa.schema([field for field in pq.read_schema(source) if self.keeps or field.name not in self.columns])
        schema = kept.append(pa.field("label", pa.string())).append(pa.field("probability", pa.float32()))
        with ThreadPoolExecutor(way.loops) as threads, pq.ParquetWriter(target, schema) as writer:
            for batch in pq.ParquetFile(source).iter_batches(size):
                waiting.append(threads.submit(self._answered, way, batch, kept.names))
                if len(waiting) > 2 * way.loops:
                    writer.write_table(waiting.popleft().result())
            while waiting:
                writer.write_table(waiting.popleft().result())

    def _answered(self, way: Way, batch: pa.RecordBatch, kept: Sequence[str]) -> pa.Table:
        rows = _array(batch.select(list(self.columns)), self.like)
        starts = range(0, len(rows), way.batch)
        runs = [way.session.run(None, {self.name: rows[start : start + way.batch]})[0] for start in starts]
        probabilities = np.concatenate(runs)
        answers = [self.labels.take(pa.array(probabilities.argmax(axis=1))), pa.array(probabilities.max(axis=1))]
        return pa.table([*(batch.column(name) for name in kept), *answers], names=[*kept, "label", "probability"])


def _array(batch: pa.RecordBatch, like: Array) -> Array:
    """Make rows of what was read, without a look at what may be wrong with it."""
    if batch.num_columns > 1:
        return np.stack([column.to_numpy() for column in batch.columns], axis=1).astype(like.dtype, copy=False)
    (column,) = batch.columns
    if like.dtype == object:
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if pa.types.is_fixed_size_binary(column.type):
        rows = np.frombuffer(
            column.buffers()[1], like.dtype, len(column) * like[0].size, column.offset * like[0].nbytes
        )
    else:
        while pa.types.is_fixed_size_list(column.type):
            column = column.flatten()
        rows = column.to_numpy()
    return rows.reshape(-1, *like.shape[1:])


def _best_way(model: bytes, name: str, inputs: Array) -> Way:
    """Find the fastest way to run all rows: threads within a run, or runs side by side; and the batch size."""
    processors = usable_processors()
    ways = [
        Way(session, batch, processors // threads)
        for threads in {1, processors}
        for session in [_session(model, threads)]
        for batch in BATCHES
    ]
    best = max(ways, key=lambda way: _rate(way, name, inputs))
    click.echo(f"raw: batches of {best.batch}, {best.loops} loops", err=True)
    return best


def _session(model: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _rate(way: Way, name: str, inputs: Array) -> float:
    rows = way.loops * way.batch
    way.run_all(name, inputs[:rows])
    began, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < TRY_SECONDS:
        way.run_all(name, inputs[: 8 * rows])
        done += min(len(inputs), 8 * rows)
    return done / spent


def _score(model: str, source: Path, folder: Path) -> Cost:
    command = [
        *COMMAND,
        model,
        "--in",
        str(source),
        "--out",
        str(folder / "out.parquet"),
        "--fresh",
        "--store",
        str(STARTER_MODELS),
    ]
    return _cost(resource.RUSAGE_CHILDREN, lambda: subprocess.run(command, check=True, capture_output=True))


def _cost(who: int, work: Callable[[], object]) -> Cost:
    wall, before = time.perf_counter(), resource.getrusage(who)
    work()
    after = resource.getrusage(who)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(time.perf_counter() - wall, cpu)


if __name__ == "__main__":
    main()
