"""One scoring from its input to its output, on the processors of this machine.

    main thread    reads chunks in their order, and waits while enough of them are in the works
    worker threads decode a chunk, run the model, write the part: one for each processor
    join thread    puts the parts together behind them

A run takes one thread, so that no thread waits for another: this computes most rows in a second.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from model_store import Store, StoredVersion
from model_store.errors import UnknownModel
from model_store.manifest import sha256_of
from model_store.store import LATEST
from service.errors import UnknownLabel
from service.live_model import Proven, prove
from service.runtime.bound import BoundSession
from service.runtime.processors import usable_processors
from service.scoring import formats
from service.scoring.errors import InvalidSource, NothingChosen, OutputIsInput
from service.scoring.parts import Output, Part, Whole
from service.scoring.planning import Options, plan_for, sizes_for
from service.scoring.progress import Progress
from service.scoring.scorer import IN_FLIGHT_BYTES, Scorer
from service.scoring.sources import Chunk, Source, open_source
from service.settings import Settings


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
        with (
            output.claimed(noted, fresh=fresh),
            output.joined(partial(formats.join, form=form)) as whole,
            Progress() as progress,
        ):
            _run(Scorer(model, plan), opened, output, whole, noted["part_rows"], processors, progress)
        tell_not_kept(opened, options)
        return Outcome(whole.rows, whole.bad, progress.seconds)


def tell_not_kept(source: Source, options: Options) -> None:
    """Name what does not pass through though nobody chose what does."""
    for line in source.not_kept() if options.keep is None else ():
        click.echo(line, err=True)


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


def _run(
    scorer: Scorer, source: Source, output: Output, whole: Whole, part_rows: int, processors: int, progress: Progress
) -> None:
    form = formats.format_of(output.path)
    finished = output.parts()
    leading = next(number for number in range(len(finished) + 1) if number not in finished)
    pending: deque[tuple[Chunk, Future[Part]]] = deque()

    def work(chunk: Chunk) -> Part:
        if chunk.number in finished:
            return finished[chunk.number]
        table, bad = scorer.score(chunk)
        return output.write(
            chunk.number, len(table), bad, lambda file: formats.write_part(table, file, form, first=chunk.number == 0)
        )

    def settle_oldest() -> None:
        chunk, future = pending.popleft()
        whole.add(future.result())
        progress.advance(0 if chunk.number in finished else chunk.table.num_rows, chunk.progress)

    executor = ThreadPoolExecutor(processors, thread_name_prefix="score")
    try:
        for number in range(leading):
            whole.add(finished[number])
        for chunk in source.chunks(part_rows, scorer.plan.columns, skip=leading):
            pending.append((chunk, executor.submit(work, chunk)))
            # Rows may be wider here than those that told how many make a part.
            while len(pending) > processors or sum(one.table.nbytes for one, _ in pending) > IN_FLIGHT_BYTES:
                settle_oldest()
        while pending:
            settle_oldest()
    finally:
        executor.shutdown(cancel_futures=True)
    if not whole.parts:
        raise InvalidSource(f"{source.files[0].path}: holds no rows")
