"""One scoring from its input to its output, on the processors of this machine.

    main thread    reads chunks in their order, and waits while enough of them are in the works
    worker threads decode a chunk, run the model, write the part: one for each processor, and one more for the disk

A run takes one thread, so that no thread waits for another: this computes most rows in a second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import pyarrow as pa

from model_store import Store, StoredVersion
from model_store.errors import UnknownModel
from model_store.manifest import sha256_of
from model_store.store import LATEST
from service.errors import UnknownLabel
from service.live_model import Proven, prove
from service.runtime.bound import BoundSession
from service.runtime.processors import usable_processors
from service.scoring import formats
from service.scoring.answers import Answers
from service.scoring.binding import bind, is_list
from service.scoring.errors import InvalidColumns, InvalidSource, NothingChosen, OutputIsInput
from service.scoring.formats import Format
from service.scoring.parts import Output
from service.scoring.picture_cells import PicturePaths
from service.scoring.progress import Progress
from service.scoring.scorer import ERROR, IN_FLIGHT_BYTES, Plan, Scorer, best_batch, best_part
from service.scoring.sources import Chunk, Source, open_source
from service.settings import Settings

# What stands between the cells of files that are called CSV, too.
SEPARATORS = (";", "\t", "|")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the caller may choose; see the command's help. None and 0: as is best."""

    columns: Mapping[str, str] = field(default_factory=dict)
    keep: tuple[str, ...] | None = None
    all_probabilities: bool = False
    prefix: str = ""
    null_errors: bool = False
    batch_size: int = 0
    part_rows: int = 0

    def facts(self) -> dict[str, Any]:
        """Write them as JSON knows them."""
        return asdict(self) | {"columns": dict(self.columns), "keep": None if self.keep is None else list(self.keep)}


@dataclass(frozen=True)
class Outcome:
    """What a scoring came to. `already`: it was done before."""

    rows: int
    bad: int
    seconds: float
    already: bool = False


def find_version(store: Store, asked: str) -> StoredVersion:
    """Find MODEL, MODEL@VERSION or MODEL@LABEL in a store; of MODEL alone the newest version that would be served.

    Raises:
        StoreError: there is no such model or version.
        NothingChosen: no version of the model would be served.
        UnknownLabel: the model has no version of this name.
    """
    name, _, version = asked.partition("@")
    if not version or version == LATEST:
        return _newest_served(store, name)
    if version.isdecimal():
        return store.resolve(name, version)
    if not store.versions(name):
        raise UnknownModel(name, known=store.models())
    labels = store.labels(name)
    if version not in labels:
        raise UnknownLabel(name, version, known=labels)
    return store.resolve(name, labels[version])


def _newest_served(store: Store, name: str) -> StoredVersion:
    known = store.versions(name)
    if not known:
        raise UnknownModel(name, known=store.models())
    selected = store.select(name, known=known)
    if not selected.versions:
        raise NothingChosen(name, policy=selected.policy, known=known, withdrawn=store.serving(name).withdrawn)
    return store.resolve(name, selected.versions[-1])


def open_apart(source: Path, target: Path) -> Source:
    """Open an input that the output leaves alone.

    Raises:
        OutputIsInput: the output is an input, lies in the input's folder, or keeps its parts where the input is.
        InvalidSource: see `open_source`.
    """
    given, written, parts = source.resolve(), target.resolve(), Output(target).folder.resolve()
    if written == given or given in written.parents or parts in (given, *given.parents):
        raise OutputIsInput(f"--out {target}: would overwrite or join the input, --in {source}; write it elsewhere")
    opened = open_source(source)
    if written in {file.path.resolve() for file in opened.files}:
        raise OutputIsInput(f"--out {target}: is one of the files of --in {source}; write it elsewhere")
    return opened


def prove_for_scoring(stored: StoredVersion, settings: Settings, processors: int) -> Proven:
    """Prove a version with runs of one thread each."""
    return prove(stored, replace(settings, threads=1, instances=processors), processors=processors)


def score(
    stored: StoredVersion, settings: Settings, source: Path, target: Path, options: Options, *, fresh: bool
) -> Outcome:
    """Score every row of the input into the output, or what is left of them to score.

    Raises:
        ScoringError: the input, its columns, a row or the output; says which and what to do.
        ModelRefused: the version may not be used.
        KeyboardInterrupt: stopped; what was finished is kept.
    """
    form = formats.format_of(target)
    opened = open_apart(source, target)
    output = Output(target)
    # The model is read once the output is known to be this one's: a scoring that is done says so at once.
    with output.opened(job_facts(stored, opened, options, settings), fresh=fresh) as noted:
        if not fresh and output.done:
            output.tidy()
            return Outcome(output.done["rows"], output.done["bad"], 0.0, already=True)
        processors = usable_processors()
        model = prove_for_scoring(stored, settings, processors)
        plan = plan_for(model, opened, options, form, settings)
        noted = sizes_for(model, opened, plan, options, processors) | noted
        plan = replace(plan, batch_rows=noted["batch_rows"])
        if isinstance(model.settled.runner, BoundSession):
            model.settled.runner.settle(plan.batch_rows)
        with output.claimed(noted, fresh=fresh):
            with Progress() as progress:
                _run(Scorer(model, plan), opened, output, form, noted["part_rows"], processors, progress)
            done = output.finish(lambda file, parts: formats.join(parts, file, form))
        return Outcome(done["rows"], done["bad"], progress.seconds)


def job_facts(stored: StoredVersion, source: Source, options: Options, settings: Settings) -> dict[str, Any]:
    """Say what is scored, by what and how, so that a scoring can be told from others."""
    return {
        "input": source.fingerprint,
        "model": {"name": str(stored), "sha256": _digest(stored)},
        "options": options.facts() | {"provider": list(settings.provider)},
    }


def _digest(stored: StoredVersion) -> str:
    if stored.is_bare:
        return sha256_of(stored.onnx_path)
    return stored.manifest.digest


def sizes_for(model: Proven, source: Source, plan: Plan, options: Options, processors: int) -> dict[str, int]:
    """Choose the rows of a batch and of a part: as asked, else as measured."""
    batch_rows = best_batch(model)
    if options.batch_size and model.signature.batched:
        batch_rows = options.batch_size
    part_rows = options.part_rows or best_part(
        model, batch_rows, source.row_bytes(plan.columns), in_flight=_queued(processors) + 1
    )
    return {"batch_rows": batch_rows, "part_rows": part_rows}


def _queued(processors: int) -> int:
    """Tell how many parts are in the works at most, beside the one that is read: one for each worker."""
    return processors + 1


def plan_for(model: Proven, source: Source, options: Options, form: Format, settings: Settings) -> Plan:
    """Fit a model to an input's columns, its rows one by one; raises `InvalidColumns`."""
    inputs, schema = model.description.inputs, source.schema
    _check_separator(source, options)
    bound = bind(inputs, schema, options.columns)
    answers = Answers(inputs, model.description.outputs, options.all_probabilities, options.prefix)
    fed = {name for one in bound for name in one.columns}
    keep = _kept(options.keep, schema, fed, form)
    answers.check([*keep, *([ERROR] if options.null_errors else [])])
    return Plan(
        bound=bound,
        answers=answers,
        keep=keep,
        batch_rows=1,
        null_errors=options.null_errors,
        paths=PicturePaths(source.folder, settings.max_binary_bytes),
    )


def _check_separator(source: Source, options: Options) -> None:
    """Raise `InvalidColumns` of a CSV whose cells have something else than commas between them, or seem to."""
    path, names = source.files[0].path, source.schema.names
    if path.suffix.lower() != ".csv" or len(names) > 1 or names[0] in options.columns.values():
        return
    if any(separator in names[0] for separator in SEPARATORS):
        raise InvalidColumns(
            f"{path}: its header is the one column {names[0]!r}, cells have commas between them; write it so, "
            f"or say --column {names[0]!r} if one column is meant"
        )


def _kept(asked: tuple[str, ...] | None, schema: pa.Schema, fed: set[str], form: Format) -> tuple[str, ...]:
    """Name the columns that pass through: those asked for, else all but the pictures and vectors that were scored."""
    if asked is not None:
        missing = [name for name in asked if name not in schema.names]
        if missing:
            raise InvalidColumns(f"--keep {', '.join(missing)}: the input has: {', '.join(schema.names)}")
        unfit = [name for name in asked if not formats.can_hold(form, schema.field(name).type)]
        if unfit:
            other = "jsonl" if form == "parquet" else "parquet"
            kind = schema.field(unfit[0]).type
            raise InvalidColumns(
                f"--keep {unfit[0]}: {kind} cannot be written as {form}; leave it out, or write .{other}"
            )
        return asked
    wanted = [column for column in schema if not (column.name in fed and _is_bulky(column.type))]
    for column in wanted:
        if not formats.can_hold(form, column.type):
            click.echo(f"{column.name}: left out, {column.type} cannot be written as {form}", err=True)
    return tuple(column.name for column in wanted if formats.can_hold(form, column.type))


def _is_bulky(kind: pa.DataType) -> bool:
    kinds = (pa.types.is_struct, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return is_list(kind) or any(is_of(kind) for is_of in kinds)


def _run(
    scorer: Scorer, source: Source, output: Output, form: Format, part_rows: int, processors: int, progress: Progress
) -> None:
    finished = output.parts()
    leading = next(number for number in range(len(finished) + 1) if number not in finished)
    workers = _queued(processors)
    pending: deque[tuple[Chunk, Future[None]]] = deque()

    def work(chunk: Chunk) -> None:
        table, bad = scorer.score(chunk)
        output.write(
            chunk.number, len(table), bad, lambda file: formats.write_part(table, file, form, first=chunk.number == 0)
        )

    def settle_oldest() -> None:
        chunk, future = pending.popleft()
        future.result()
        progress.advance(chunk.table.num_rows, chunk.progress)

    executor = ThreadPoolExecutor(workers, thread_name_prefix="score")
    try:
        for chunk in source.chunks(part_rows, scorer.plan.columns, skip=leading):
            if chunk.number in finished:
                progress.advance(0, chunk.progress)
                continue
            pending.append((chunk, executor.submit(work, chunk)))
            # Rows may be wider here than those that told how many make a part.
            while len(pending) > workers or sum(one.table.nbytes for one, _ in pending) > IN_FLIGHT_BYTES:
                settle_oldest()
        while pending:
            settle_oldest()
    finally:
        executor.shutdown(cancel_futures=True)
    if not output.parts():
        raise InvalidSource(f"{source.files[0].path}: holds no rows")
