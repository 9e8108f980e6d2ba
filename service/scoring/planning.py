"""What the caller chose, the input's columns and the model, fitted to each other before the work begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import click
import pyarrow as pa

from service.live_model import Proven
from service.scoring import formats
from service.scoring.answers import Answers
from service.scoring.binding import bind, is_list
from service.scoring.errors import InvalidColumns
from service.scoring.formats import Format
from service.scoring.picture_cells import PicturePaths
from service.scoring.scorer import ERROR, Plan, best_batch, best_part
from service.scoring.sources import Source
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


def sizes_for(model: Proven, source: Source, plan: Plan, options: Options, processors: int) -> dict[str, int]:
    """Choose the rows of a batch and of a part: as asked, else as measured."""
    batch_rows = best_batch(model)
    if options.batch_size and model.signature.batched:
        batch_rows = options.batch_size
    part_rows = options.part_rows or best_part(
        model, batch_rows, source.row_bytes(plan.columns), in_flight=processors + 1
    )
    return {"batch_rows": batch_rows, "part_rows": part_rows}


def plan_for(model: Proven, source: Source, options: Options, form: Format, settings: Settings) -> Plan:
    """Fit a model to an input's columns, its rows one by one; raises `InvalidColumns`."""
    inputs, schema = model.description.inputs, source.schema
    _check_separator(source, options)
    bound = bind(inputs, schema, options.columns)
    answers = Answers(inputs, model.description.outputs, options.all_probabilities, options.prefix)
    fed = {name for one in bound for name in one.columns}
    keep = _kept(options.keep, source, fed, form)
    answers.check([*keep, *([ERROR] if options.null_errors else [])])
    return Plan(
        bound=bound,
        answers=answers,
        keep=keep,
        batch_rows=1,
        passes_json=source.is_json,
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


def _kept(asked: tuple[str, ...] | None, source: Source, fed: set[str], form: Format) -> tuple[str, ...]:
    """Name the columns that pass through: those asked for, else all but the pictures and vectors that were scored."""
    schema = source.schema
    unfit = {column.name for column in schema if not source.is_json and not formats.can_hold(form, column.type)}
    if asked is not None:
        missing = [name for name in asked if name not in schema.names]
        if missing:
            raise InvalidColumns(f"--keep {', '.join(missing)}: the input has: {', '.join(schema.names)}")
        for name in asked:
            if name in unfit:
                said = f"--keep {name}: {schema.field(name).type} cannot be written as {form}"
                raise InvalidColumns(f"{said}; leave it out, or write .{'jsonl' if form == 'parquet' else 'parquet'}")
        return asked
    wanted = [column for column in schema if not (column.name in fed and _is_bulky(column.type))]
    for column in wanted:
        if column.name in unfit:
            click.echo(f"{column.name}: left out, {column.type} cannot be written as {form}", err=True)
    return tuple(column.name for column in wanted if column.name not in unfit)


def _is_bulky(kind: pa.DataType) -> bool:
    kinds = (pa.types.is_struct, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return is_list(kind) or any(is_of(kind) for is_of in kinds)
