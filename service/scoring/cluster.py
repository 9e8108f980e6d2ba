"""The same scoring on a Ray cluster: Ray Data hands the rows from the tasks that read them to the actors that score.

The model travels from here to every actor, which lets it prove itself there; the input is read where the tasks run, so
that every machine must see it under the same path. The answers come back in order and are written here. What was
finished when it is killed is done again.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import ray
import ray.data

from model_store import StoredVersion
from service.errors import InferenceFailed, ServiceError
from service.scoring import formats
from service.scoring.errors import InvalidSource
from service.scoring.job import Outcome, job_facts, open_apart, prove_for_scoring, tell_not_kept
from service.scoring.parts import Output, Whole
from service.scoring.places import FILE, ROW, consecutive, in_turn, with_place
from service.scoring.planning import Options, plan_for, sizes_for
from service.scoring.progress import Progress
from service.scoring.scorer import Plan, Scorer
from service.scoring.sources import Chunk, PictureRows, RowFile, Source, open_rows
from service.settings import Settings

# Why rows could not be read or answered.
PROBLEM = "__ovenbird_problem"
# The input is cut into so many pieces for each worker, where it can be, so that none waits long for the last one.
PIECES_EACH = 4
# A processor both reads and scores; were all of them taken by those who score, nobody could read.
CPUS_TO_SCORE, CPUS_TO_READ = 0.75, 0.25


@dataclass(frozen=True)
class Span:
    """Rows of one file that one task reads: from `start` on, `rows` of them, or all. Of pictures these `names`."""

    file: int
    path: Path
    start: int
    rows: int | None
    names: tuple[str, ...] | None = None

    def read(self, size: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Read the rows, each with its place, so many at a time; at last what went wrong, if something did."""
        try:
            yield from self._read(size, columns)
        except ServiceError as error:
            yield _told(error)

    def _read(self, size: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        opened: RowFile = open_rows(self.path) if self.names is None else PictureRows(self.path, self.names)
        left, place = self.rows, self.start
        for table, _ in opened.read(size, columns, start=self.start if self.names is None else 0):
            mine = table if left is None else table.slice(0, left)
            yield with_place(mine, self.file, place)
            place += len(mine)
            left = None if left is None else left - len(mine)
            if left == 0:
                return


def _told(error: ServiceError) -> pa.Table:
    """Put what went wrong into the stream of tables: of an exception, Ray brings back no more than its text."""
    return pa.table({PROBLEM: [str(error)]})


def _problem_in(table: pa.Table) -> str | None:
    told = table.column(PROBLEM).to_pylist() if PROBLEM in table.column_names else []
    return next((problem for problem in told if problem), None)


def spans(source: Source, *, size: int, workers: int) -> list[Span]:
    """Cut an input into pieces of whole chunks; a file whose rows are not counted is one piece."""
    total = sum(file.count or 0 for file in source.files)
    each = max(size, -(-total // (workers * PIECES_EACH * size)) * size)
    found = []
    for index, file in enumerate(source.files):
        if file.count is None:
            found.append(Span(index, file.path, 0, None))
        for start in range(0, file.count or 0, each):
            rows = min(each, (file.count or 0) - start)
            names = tuple(file.names[start : start + rows]) if isinstance(file, PictureRows) else None
            found.append(Span(index, file.path, start, rows, names))
    return found


class ScoringActor:
    """One process of the cluster: a model that was sent to it, and what it is to do with rows."""

    def __init__(self, stored: Shipped, settings: Settings, plan: Plan, paths: Sequence[Path]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._paths = paths
        version = stored.unpacked(Path(self._folder.name))
        self._scorer = Scorer(prove_for_scoring(version, settings, processors=1), plan)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Score rows, or tell what went wrong."""
        if _problem_in(table):
            return table
        try:
            return self._answered(table)
        except ServiceError as error:
            return _told(error)

    def _answered(self, table: pa.Table) -> pa.Table:
        """Score rows; those that do not follow each other in one file go by themselves, so that errors name them."""
        answered = []
        for piece in consecutive(table):
            place = piece.select([FILE, ROW])
            file, first = (place.column(name)[0].as_py() for name in (FILE, ROW))
            answers, _ = self._scorer.score(Chunk(0, self._paths[file], first, piece.drop_columns([FILE, ROW]), 0.0))
            answered.append(_beside(answers, place))
        return pa.concat_tables(answered, promote_options="permissive")


def _beside(table: pa.Table, other: pa.Table) -> pa.Table:
    for name in other.column_names:
        table = table.append_column(name, other.column(name))
    return table


@dataclass(frozen=True)
class Shipped:
    """A version's files, on their way to another machine."""

    model: str
    version: int
    files: dict[str, bytes]

    @classmethod
    def of(cls, stored: StoredVersion) -> Shipped:
        """Read what must be sent: the page about it may stay."""
        folder = stored.path
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        return cls(stored.model, stored.version, files)

    def unpacked(self, folder: Path) -> StoredVersion:
        """Write the files into a folder, as a store has them."""
        for name, content in self.files.items():
            path = folder / self.model / str(self.version) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return StoredVersion(self.model, self.version, folder / self.model / str(self.version))


def score_on_ray(
    stored: StoredVersion,
    settings: Settings,
    source: Path,
    target: Path,
    options: Options,
    *,
    address: str,
    workers: int | None,
    fresh: bool,
) -> Outcome:
    """Score every row of the input into the output, on a cluster; see `service.scoring.job.score`.

    Raises:
        ScoringError, ModelRefused: as there.
        InferenceFailed: there is no cluster at this address, or it failed.
    """
    form = formats.format_of(target)
    opened, output = open_apart(source.absolute(), target), Output(target)
    facts = job_facts(stored, opened, options, settings)
    with output.opened(facts | {"options": facts["options"] | {"ray": True}}, fresh=fresh) as noted:
        if not fresh and output.done:
            output.tidy()
            return Outcome(output.done["rows"], output.done["bad"], 0.0, already=True)
        model = prove_for_scoring(stored, settings, processors=1)
        plan = plan_for(model, opened, options, form, settings)
        sizes = sizes_for(model, opened, plan, options, processors=1)
        plan = replace(plan, batch_rows=sizes["batch_rows"])
        # Fresh: parts that another run left are not gone on with.
        with (
            output.claimed(noted, fresh=True),
            output.joined(partial(formats.join, form=form)) as whole,
            Progress() as progress,
        ):
            _connect(address)
            try:
                _write(
                    _answers(stored, settings, opened, plan, sizes["part_rows"], workers),
                    opened,
                    plan,
                    output,
                    whole,
                    progress,
                )
            except ray.exceptions.RayError as error:
                raise InferenceFailed(f"Ray: {str(error).strip().splitlines()[-1]}") from None
            finally:
                ray.shutdown()
        tell_not_kept(opened, options)
        return Outcome(whole.rows, whole.bad, progress.seconds)


def _connect(address: str) -> None:
    own: dict[str, Any] = {}
    if address == "local":
        # A Ray of our own tells nobody that it runs, and is for this machine alone.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        own = {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)
    except Exception as error:  # Ray's own has no other class where a node does not start
        reason = str(error).strip().split("\n")[0]
        raise InferenceFailed(f"--ray {address}: no cluster: {reason}") from None


def _answers(
    stored: StoredVersion, settings: Settings, source: Source, plan: Plan, size: int, workers: int | None
) -> Any:
    """Lay out the pipeline: pieces of the input → rows → answers, in order. Nothing runs before it is read."""
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    found = spans(source, size=size, workers=count)
    count = min(count, len(found))
    columns = plan.columns

    def read(item: dict[str, Any]) -> Iterator[pa.Table]:
        for number in item["span"]:
            yield from found[number].read(size, columns)

    numbers = ray.data.from_items([{"span": number} for number in range(len(found))], override_num_blocks=len(found))
    rows = numbers.map_batches(read, batch_size=1, num_cpus=CPUS_TO_READ, compute=ray.data.TaskPoolStrategy(count))
    return rows.map_batches(
        ScoringActor,
        fn_constructor_args=(Shipped.of(stored), settings, plan, [file.path for file in source.files]),
        batch_size=size,
        batch_format="pyarrow",
        zero_copy_batch=True,
        num_cpus=CPUS_TO_SCORE,
        compute=ray.data.ActorPoolStrategy(size=count),
    )


def _write(answers: Any, source: Source, plan: Plan, output: Output, whole: Whole, progress: Progress) -> None:
    """Write the answers as they come, and see to it that each row came once, in its turn."""
    form = formats.format_of(output.path)
    counts = [file.count for file in source.files if file.count is not None]
    total = sum(counts) if len(counts) == len(source.files) else None
    before, seen = (0, -1), 0
    for number, table in enumerate(answers.iter_batches(batch_size=None, batch_format="pyarrow")):
        if problem := _problem_in(table):
            raise InferenceFailed(problem)
        before = in_turn(table, before)
        seen += len(table)
        written = table.drop_columns([FILE, ROW])
        bad = len(table) - written.column("error").null_count if plan.null_errors else 0
        write = partial(_write_part, written, form=form, first=number == 0)
        whole.add(output.write(number, len(table), bad, write))
        progress.advance(len(table), seen / total if total else 0.0)
    if not seen:
        raise InvalidSource(f"{source.files[0].path}: holds no rows")
    if total is not None and seen != total:
        raise InferenceFailed(f"Ray gave {seen} rows back, of {total}: start it again")


def _write_part(table: pa.Table, file: IO[bytes], *, form: formats.Format, first: bool) -> None:
    formats.write_part(table, file, form, first=first)
