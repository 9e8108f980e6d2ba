"""The places of rows that come back from other processes, against the same rules said row by row."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InferenceFailed
from service.scoring.places import FILE, ROW, consecutive, in_turn, with_place

Place = tuple[int, int]


def table_of(places: list[Place], *, chunk: int = 3) -> pa.Table:
    """A table in several chunks, as Ray hands them on."""
    cut = [places[start : start + chunk] for start in range(0, len(places), chunk)] or [[]]
    columns = {name: pa.chunked_array([[place[of] for place in part] for part in cut], pa.int64())
               for of, name in enumerate((FILE, ROW))}  # fmt: skip
    return pa.table(columns)


def places_of(table: pa.Table) -> list[Place]:
    return list(zip(table.column(FILE).to_pylist(), table.column(ROW).to_pylist(), strict=True))


@st.composite
def runs_of_rows(draw: st.DrawFn) -> list[Place]:
    """Rows as they may come: mostly in their order, so that what follows and what does not are both seen."""
    runs = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(1, 4)), max_size=5))
    return [(file, row) for file, first, count in runs for row in range(first, first + count)]


def follows(place: Place, before: Place) -> bool:
    return place == (before[0], before[1] + 1) or (place[0] > before[0] and place[1] == 0)


@given(runs_of_rows())
def test_pieces_are_as_long_as_rows_follow_each_other_in_one_file(places: list[Place]) -> None:
    expected: list[list[Place]] = [[]]
    for place in places:
        if expected[-1] and place != (expected[-1][-1][0], expected[-1][-1][1] + 1):
            expected.append([])
        expected[-1].append(place)

    assert [places_of(piece) for piece in consecutive(table_of(places))] == expected


@given(runs_of_rows(), st.sampled_from([(0, -1), (0, 0), (0, 3), (1, 2)]))
def test_the_first_row_that_is_out_of_turn_is_named(places: list[Place], before: Place) -> None:
    wrong = [place for place, last in zip(places, [before, *places], strict=False) if not follows(place, last)]

    if not wrong:
        assert in_turn(table_of(places), before) == (places or [before])[-1]
    else:
        file, row = wrong[0]
        with pytest.raises(InferenceFailed, match=f"row {row + 1} of file {file + 1} back out of turn"):
            in_turn(table_of(places), before)


def test_a_file_counts_on_from_where_it_was_read() -> None:
    table = with_place(pa.table({"x": [1.0, 2.0, 3.0]}), 1, 40)

    assert places_of(table) == [(1, 40), (1, 41), (1, 42)]
    assert in_turn(table, (1, 39)) == (1, 42)
