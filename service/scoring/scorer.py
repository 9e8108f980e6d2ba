"""One model over chunks of rows: decode, run, answer. Several threads may score at once.

The rows of a chunk run in batches of a fixed size, so that a chunk is answered alike however often it is scored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from service.codec import detections
from service.errors import InputRejected
from service.live_model import Proven
from service.scoring.answers import Answers
from service.scoring.binding import Bound
from service.scoring.decoding import Decoded, Problems, decode
from service.scoring.errors import BadRow, InvalidColumns
from service.scoring.json_cells import PASSING
from service.scoring.picture_cells import PicturePaths
from service.scoring.sources import Chunk
from service.scoring.tables import unreadable
from service.tensors import NUMPY_DTYPES, Array, Arrays, Signature, pieces

ERROR = "error"
# A part is to hold no more than this of a model's inputs and of the file's rows, nor more rows, nor to run for longer.
PART_BYTES = 8 * 2**20
PART_ROWS = 2**15
PART_SECONDS = 0.5
# All parts that are in memory together are to hold no more of the file's rows than this.
IN_FLIGHT_BYTES = 64 * 2**20
# What a text is taken to have, and an open dimension.
USUAL_TEXT = 512
USUAL_SIZE = 64
USUAL_BATCH = 64
# A model whose best batch runs for less gets larger ones.
SHORT_RUN_SECONDS = 1e-3
LARGEST_BATCH = 4096


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The columns that feed a model, those that pass through, and those that it fills.

    `passes_json`: what passes through is read as JSON, cell by cell. `null_errors`: a row with a problem gets nulls and
    says so in a column. `paths` of pictures are read.
    """

    bound: tuple[Bound, ...]
    answers: Answers
    keep: tuple[str, ...]
    batch_rows: int
    passes_json: bool
    null_errors: bool
    paths: PicturePaths

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        fed = (name for bound in self.bound for name in bound.columns)
        return list(dict.fromkeys([*fed, *map(self.read_as, self.keep)]))

    def read_as(self, name: str) -> str:
        """Name the column that is read where this one passes through."""
        return PASSING + name if self.passes_json else name


@dataclass(frozen=True)
class Scorer:
    """A proven model that does what is planned."""

    model: Proven
    plan: Plan

    def score(self, chunk: Chunk) -> tuple[pa.Table, int]:
        """Answer a chunk's rows, in their order; count those that have a problem instead.

        Raises:
            BadRow: a row has a problem, unless `null_errors`; names the first of the chunk.
        """
        decoded = [self._decode(chunk.table, bound) for bound in self.plan.bound]
        problems = {row: reason for one in reversed(decoded) for row, reason in one.problems.items()}
        problems |= unreadable(chunk.table)
        self._refuse(problems, chunk)
        parts = [
            (rows, self.plan.answers.columns(outputs, _of(rows, decoded)))
            for rows, outputs in self._outputs(decoded, problems, chunk.table.num_rows)
        ]
        self._refuse(problems, chunk)
        return self._table(chunk.table, parts, problems), len(problems)

    def _decode(self, table: pa.Table, bound: Bound) -> Decoded:
        return decode(table, bound, self.plan.paths, with_sizes=detections.has_boxes(self.plan.answers.outputs))

    def _refuse(self, problems: Problems, chunk: Chunk) -> None:
        if problems and not self.plan.null_errors:
            row = min(problems)
            raise BadRow(chunk.place(row), problems[row])

    def _outputs(
        self, decoded: Sequence[Decoded], problems: Problems, count: int
    ) -> Iterator[tuple[Array, dict[str, Array]]]:
        """Run the rows that have no problem, those of one shape together; say of each run which rows they were."""
        good = np.delete(np.arange(count), list(problems))
        for rows in _by_shape(good, decoded):
            for piece in pieces(len(rows), PART_ROWS):
                yield from self._group(rows[piece], decoded, problems)

    def _group(
        self, rows: Array, decoded: Sequence[Decoded], problems: Problems
    ) -> Iterator[tuple[Array, dict[str, Array]]]:
        inputs = {
            bound.spec.name: _taken(one.values, rows) for bound, one in zip(self.plan.bound, decoded, strict=True)
        }
        ran: list[tuple[Array, dict[str, Array]]] = []
        for piece in pieces(len(rows), self.plan.batch_rows):
            ran += self._batch(rows[piece], {name: array[piece] for name, array in inputs.items()}, problems)
        # Outputs of open dimensions may differ in shape from batch to batch.
        for same in _runs_of_one_shape(ran):
            together = {name: np.concatenate([outputs[name] for _, outputs in same]) for name in same[0][1]}
            yield np.concatenate([rows for rows, _ in same]), together

    def _batch(self, rows: Array, inputs: Arrays, problems: Problems) -> list[tuple[Array, dict[str, Array]]]:
        """Run a batch; if the model refuses it, each row alone, so that only the bad ones have a problem."""
        try:
            return [(rows, self._run(inputs))]
        except InputRejected as error:
            if len(rows) == 1:
                problems[int(rows[0])] = str(error)
                return []
        alone = [
            (rows[i : i + 1], {name: array[i : i + 1] for name, array in inputs.items()}) for i in range(len(rows))
        ]
        return [answer for row, one in alone for answer in self._batch(row, one, problems)]

    def _run(self, inputs: Arrays) -> dict[str, Array]:
        outputs = self.model.settled.runner.run(inputs)
        if self.model.signature.batched:
            return outputs
        # A run is one row; what has no dimension for it gets one.
        return {name: array if array.shape[:1] == (1,) else array[None] for name, array in outputs.items()}

    def _table(
        self, table: pa.Table, parts: Sequence[tuple[Array, dict[str, pa.Array]]], problems: Problems
    ) -> pa.Table:
        kept = {name: table.column(self.plan.read_as(name)) for name in self.plan.keep}
        error = {ERROR: _reasons(problems, table.num_rows)} if self.plan.null_errors else {}
        if len(parts) == 1 and not problems and bool(np.all(parts[0][0][1:] > parts[0][0][:-1])):
            return pa.table(kept | parts[0][1] | error)
        return pa.table(kept | self._in_order(parts, table.num_rows) | error)

    def _in_order(self, parts: Sequence[tuple[Array, dict[str, pa.Array]]], count: int) -> dict[str, pa.Array]:
        """Bring answers of several runs into the order of their rows; a row without one gets nulls."""
        if not parts:
            return {name: pa.nulls(count) for name in self.plan.answers.names}
        places = np.full(count, -1)
        rows = np.concatenate([rows for rows, _ in parts])
        places[rows] = np.arange(len(rows))
        order = pa.array(places, mask=places < 0)
        whole = pa.concat_tables([pa.table(columns) for _, columns in parts], promote_options="permissive")
        ordered = whole.take(order)
        return {name: ordered.column(name) for name in ordered.column_names}


def _reasons(problems: Problems, count: int) -> pa.Array:
    return (
        pa.array([problems.get(row) for row in range(count)], pa.string()) if problems else pa.nulls(count, pa.string())
    )


def _of(rows: Array, decoded: Sequence[Decoded]) -> list[detections.Size | None]:
    sizes = next((one.sizes for one in decoded if one.sizes), [])
    return [sizes[row] for row in rows] if sizes else []


def _taken(values: Array | list[Array], rows: Array) -> Array:
    if isinstance(values, list):
        return np.stack([values[row] for row in rows])
    return values if len(rows) == len(values) else values[rows]


def _by_shape(rows: Array, decoded: Sequence[Decoded]) -> list[Array]:
    ragged = [one.values for one in decoded if isinstance(one.values, list)]
    if not ragged:
        return [rows] if len(rows) else []
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for row in rows.tolist():
        groups.setdefault(tuple(values[row].shape for values in ragged), []).append(row)
    return [np.array(group) for group in groups.values()]


def _runs_of_one_shape(
    ran: Sequence[tuple[Array, dict[str, Array]]],
) -> list[list[tuple[Array, dict[str, Array]]]]:
    groups: dict[tuple[tuple[int, ...], ...], list[tuple[Array, dict[str, Array]]]] = {}
    for rows, outputs in ran:
        groups.setdefault(tuple(array.shape[1:] for array in outputs.values()), []).append((rows, outputs))
    return list(groups.values())


def best_batch(model: Proven) -> int:
    """Find how many rows to run together: so many that each takes the least time, or 1 if rows may not run together.

    Raises:
        InvalidColumns: the model takes a number of rows that is fixed, and not 1.
    """
    signature = model.signature
    if not signature.batched:
        _check_one_by_one(signature)
        return 1
    cost = model.settled.cost
    if not cost.points:
        return USUAL_BATCH
    best = min(cost.points, key=lambda point: point[1] / point[0])[0]
    # Warm-up ends where a request would not gain; what is written in Python around each run is still to be spread.
    while best >= cost.points[-1][0] and 2 * best <= LARGEST_BATCH and cost.seconds(2 * best) <= SHORT_RUN_SECONDS:
        best *= 2
    return best


def _check_one_by_one(signature: Signature) -> None:
    for spec in signature.inputs:
        if not spec.shape or spec.shape[0] not in (None, 1):
            raise InvalidColumns(
                f"{spec.name!r} has shape {spec.wire_shape}: only a model that answers row by row can be scored"
            )


def best_part(model: Proven, batch_rows: int, row_bytes: float, *, in_flight: int) -> int:
    """Find how many rows a part of the output should have: whole batches, which are soon done and fit into memory.

    Args:
        model: what answers them.
        batch_rows: the rows of a batch.
        row_bytes: what a row of the input takes in memory.
        in_flight: how many parts are in memory at once.

    Rows so wide that a batch does not fit make parts of less than one.
    """
    rows = _rows_for(model, batch_rows)
    fitting = int(min(PART_BYTES, IN_FLIGHT_BYTES / in_flight) / max(1.0, row_bytes))
    if fitting >= rows:
        return rows
    return fitting // batch_rows * batch_rows or max(1, fitting)


def _rows_for(model: Proven, batch_rows: int) -> int:
    """Find how many rows suit a model, however much of the input they are."""
    row_bytes = sum(
        math.prod(size or USUAL_SIZE for size in spec.shape[1:]) * _item_bytes(spec.datatype)
        for spec in model.signature.inputs
    )
    seconds = model.settled.cost.seconds(batch_rows)
    in_time = batch_rows * PART_SECONDS / seconds if 0 < seconds < math.inf else PART_ROWS
    rows = int(min(PART_ROWS, PART_BYTES / max(1, row_bytes), in_time))
    return max(1, rows // batch_rows) * batch_rows


def _item_bytes(datatype: str) -> int:
    return USUAL_TEXT if datatype == "BYTES" else NUMPY_DTYPES[datatype].itemsize
