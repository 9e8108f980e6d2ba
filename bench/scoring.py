"""How much of raw onnxruntime's speed `ovenbird score` keeps: `python -m bench.scoring`.

The same rows twice. Raw: arrays that lie in memory already, as a loop of `session.run` takes them, with the batch size
and the threads that turned out best; the answers are dropped. Scored: the command, from a Parquet file to a Parquet
file, in a process of its own. Both take turns, and the medians count. Start-up is left out of the rates (imports,
digests, golden rows, warm-up: the same command over one row) and shown by itself.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
COMMAND = [str(Path(sys.executable).with_name("ovenbird")), "score"]


@dataclass(frozen=True)
class Case:
    """A starter model, how many rows it scores, and what its file holds."""

    model: str
    rows: int
    holds: str
    raw: bool = False


CASES = (
    Case("mnist-dnn", 200_000, "pictures as raw pixels", raw=True),
    Case("mnist-dnn", 200_000, "pictures as lists of pixels"),
    Case("mnist-cnn", 30_000, "pictures as raw pixels", raw=True),
    Case("code-or-prose", 200_000, "a column of texts"),
    Case("nsmc-text", 100_000, "a column of texts"),
    Case("wine-dnn", 4_000_000, "13 columns of numbers"),
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
    click.echo("| model | the file holds | rows | raw rows/s | scored rows/s | wall | processor time | start-up s |")
    click.echo("|---|---|--:|--:|--:|--:|--:|--:|")
    for case in CASES:
        if not only or case.model in only.split(","):
            with tempfile.TemporaryDirectory() as folder:
                click.echo(_measured(case, int(case.rows * scale), rounds, Path(folder)))


def _measured(case: Case, rows: int, rounds: int, folder: Path) -> str:
    stored = Store(STARTER_MODELS).resolve(case.model)
    ((name, golden),) = stored.golden().inputs.items()
    inputs = np.resize(golden, (rows, *golden.shape[1:]))
    columns = stored.manifest.inputs[0].columns
    _write(inputs, name, columns, folder / "in.parquet", raw=case.raw)
    _write(inputs[:1], name, columns, folder / "one.parquet", raw=case.raw)
    raw = _best_loop(stored.onnx_path.read_bytes(), name, inputs)
    taken: list[tuple[Cost, Cost, Cost]] = []
    for _ in range(rounds):
        loop, start = _cost(resource.RUSAGE_SELF, raw), _score(case.model, folder / "one.parquet", folder)
        taken.append((loop, _score(case.model, folder / "in.parquet", folder) - start, start))
    loop, scored, start = (_median([costs[index] for costs in taken]) for index in range(3))
    ratios = [(raw.wall / score.wall, raw.cpu / score.cpu) for raw, score, _ in taken]
    wall, cpu = (statistics.median(ratio[index] for ratio in ratios) for index in range(2))
    return (
        f"| {case.model} | {case.holds} | {rows:,} | {rows / loop.wall:,.0f} | {rows / scored.wall:,.0f} "
        f"| {wall:.2f} | {cpu:.2f} | {start.wall:.1f} |"
    )


def _median(costs: list[Cost]) -> Cost:
    return Cost(statistics.median(cost.wall for cost in costs), statistics.median(cost.cpu for cost in costs))


def _write(inputs: Array, name: str, columns: tuple[str, ...] | None, path: Path, *, raw: bool) -> None:
    if raw:
        cells = pa.Array.from_buffers(pa.binary(inputs[0].nbytes), len(inputs), [None, pa.py_buffer(inputs)])
        table = pa.table({name: cells})
    elif columns is None:
        table = pa.table({name: column_of(inputs) if inputs.dtype != object else pa.array(inputs)})
    else:
        table = pa.table({column: inputs[:, index] for index, column in enumerate(columns)})
    pq.write_table(table.append_column("id", pa.array(np.arange(len(table)))), path)


def _best_loop(model: bytes, name: str, inputs: Array) -> Callable[[], None]:
    """Find the fastest way to run all rows: threads within a run, or runs side by side; and the batch size."""
    processors = usable_processors()
    ways = {(threads, processors // threads): _session(model, threads) for threads in {1, processors}}
    best = max(
        ((way, batch) for way in ways for batch in BATCHES),
        key=lambda choice: _rate(ways[choice[0]], name, inputs, choice[1], loops=choice[0][1]),
    )
    (threads, loops), batch = best
    click.echo(f"raw: batches of {batch}, {loops} loops, {threads} threads a run", err=True)
    return lambda: _loops(ways[threads, loops], name, inputs, batch, loops=loops)


def _session(model: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _rate(session: Any, name: str, inputs: Array, batch: int, *, loops: int) -> float:
    rows = loops * batch
    _loops(session, name, inputs[:rows], batch, loops=loops)
    began, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < TRY_SECONDS:
        _loops(session, name, inputs[: 8 * rows], batch, loops=loops)
        done += min(len(inputs), 8 * rows)
    return done / spent


def _loops(session: Any, name: str, inputs: Array, batch: int, *, loops: int) -> None:
    def loop(number: int) -> None:
        for start in range(number * batch, len(inputs), loops * batch):
            session.run(None, {name: inputs[start : start + batch]})

    with ThreadPoolExecutor(loops) as threads:
        list(threads.map(loop, range(loops)))


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
