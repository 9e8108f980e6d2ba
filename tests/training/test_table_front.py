"""The front of tables: in onnxruntime it is what a few lines of NumPy say, for any table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.cells import MISSING, spellings
from training.datasets.dataset import texts
from training.tables.front import CategoryColumn, NumberColumn, TableFront, as_table

RARE_ROWS, MOST = 2, 3


def table(**columns: list[Any]) -> np.ndarray:
    arrays = {
        name: texts(values) if isinstance(values[0], str) else np.array(values, np.float32)
        for name, values in columns.items()
    }
    made = np.empty(len(next(iter(arrays.values()))), [(name, array.dtype) for name, array in arrays.items()])
    for name, array in arrays.items():
        made[name] = array
    return made


def front_for(rows: np.ndarray) -> TableFront:
    return TableFront.for_table(rows, rare_rows=RARE_ROWS, most_categories=MOST)


# The reference: what the front must compute, without ONNX.


def expected_numbers(trained: np.ndarray, asked: np.ndarray) -> list[np.ndarray]:
    present = trained[~np.isnan(trained)]
    median = np.float32(np.median(present)) if len(present) else np.float32(0)
    filled = np.where(np.isnan(trained), median, trained).astype(np.float64)
    deviation = np.float32(filled.std()) or np.float32(1)
    return [(np.where(np.isnan(asked), median, asked) - np.float32(filled.mean())) / deviation]


def expected_marks(trained: np.ndarray, asked: np.ndarray) -> list[np.ndarray]:
    return [np.isnan(asked)] if np.isnan(trained).any() else []


def expected_categories(trained: list[str], asked: list[str]) -> list[np.ndarray]:
    counts = {each: trained.count(each) for each in trained if each}
    ranked = sorted(counts, key=lambda each: (-counts[each], each))
    known = [each for each in ranked if counts[each] >= RARE_ROWS][:MOST]

    def meant(text: str) -> str | None:
        if text in known:
            return text
        if text in MISSING:
            return ""
        return next((each for each in known if text in spellings(each)), None)

    columns = [np.array([meant(text) == "" for text in asked])] if "" in trained else []
    columns += [np.array([meant(text) is None for text in asked])] if len(known) < len(counts) else []
    return columns + [np.array([meant(text) == each for text in asked]) for each in known]


def reference(trained: np.ndarray, asked: np.ndarray) -> np.ndarray:
    names = trained.dtype.names or ()
    numbers = [name for name in names if not trained[name].dtype.hasobject]
    parts = [part for name in numbers for part in expected_numbers(trained[name], asked[name])]
    parts += [part for name in numbers for part in expected_marks(trained[name], asked[name])]
    for name in names:
        if name not in numbers:
            parts += expected_categories(trained[name].tolist(), asked[name].tolist())
    return np.stack(parts, axis=1).astype(np.float32)


numbers = st.one_of(st.just(math.nan), st.floats(-1e6, 1e6, width=32).filter(lambda x: x == 0 or abs(x) > 1e-6))
category_texts = st.one_of(
    st.sampled_from(["", "1", "1.0", "true", "True", "NA", "a", "ä b", "Ω", "-3.0"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4),
)
names = st.one_of(
    st.sampled_from(["petal length (cm)", "größe", "t0", "t1", "matrix", "column_0", "numbers", "a/b:0", "next_x0"]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=5),
)


@st.composite
def two_tables(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw a table to measure and one to ask about, with the same columns."""
    kinds = {name: draw(st.booleans()) for name in draw(st.lists(names, min_size=1, max_size=4, unique=True))}

    def rows(count: int) -> np.ndarray:
        return table(**{
            name: draw(st.lists(numbers if is_number else category_texts, min_size=count, max_size=count))
            for name, is_number in kinds.items()
        })  # fmt: skip

    return rows(draw(st.integers(2, 12))), rows(draw(st.integers(1, 5)))


@settings(max_examples=60, deadline=None)
@given(two_tables())
def test_the_front_is_what_the_reference_says(tables: tuple[np.ndarray, np.ndarray]) -> None:
    trained = tables[0]
    front = front_for(trained)

    for rows in tables:
        matrix = front.encode(rows)

        assert matrix.dtype == np.float32
        assert matrix.shape == (len(rows), front.width)
        np.testing.assert_allclose(matrix, reference(trained, rows), rtol=1e-5, atol=1e-5)


def test_columns_may_have_any_names() -> None:
    names = ["matrix", "t0", "t1", "column_0", "numbers", "petal length (cm)", "größe", "a/b:0", " x", "next_x0"]
    columns = {name: [1, 2, 4] if index % 2 else ["x", "x", "y"] for index, name in enumerate(names)}
    rows = table(**columns)

    np.testing.assert_allclose(front_for(rows).encode(rows), reference(rows, rows), rtol=1e-6)


def test_numbers_are_filled_with_the_median_and_marked_where_training_lacked_some() -> None:
    front = front_for(table(a=[1, 2, 9, math.nan], b=[0, 0, 2, 2]))

    assert front.columns[0] == NumberColumn("a", 2.0, 3.5, pytest.approx(math.sqrt(10.25)), is_marked=True)
    matrix = front.encode(table(a=[math.nan, 3.5], b=[3, math.nan]))
    np.testing.assert_allclose(matrix, [[-1.5 / math.sqrt(10.25), 2, 1], [0, 0, 0]], rtol=1e-6)


def test_categories_that_are_rare_or_unknown_are_one_and_missing_is_its_own() -> None:
    front = front_for(table(job=["a", "a", "a", "b", "b", "c", "", ""]))

    assert front.columns == (CategoryColumn("job", ("a", "b"), (0, 1, 2, 3)),)
    matrix = front.encode(table(job=["", "NA", "c", "never seen", "a", "b"]))
    assert matrix.argmax(axis=1).tolist() == [0, 0, 1, 1, 2, 3]
    assert (matrix.sum(axis=1) == 1).all()


def test_what_training_never_had_is_nothing_rather_than_chance() -> None:
    front = front_for(table(job=["a", "a", "b", "b"]))

    assert front.width == 2
    assert front.encode(table(job=["", "other", "b"])).tolist() == [[0, 0], [0, 0], [0, 1]]


def test_a_number_as_a_category_is_known_with_decimals_and_without() -> None:
    front = front_for(table(code=["1", "1", "true", "true"]))

    matrix = front.encode(table(code=["1", "1.0", "True", "TRUE", "01"]))

    assert matrix.tolist() == [[1, 0], [1, 0], [0, 1], [0, 1], [0, 0]]


def test_a_row_is_encoded_alike_alone_and_among_thousands() -> None:
    rows = np.tile(table(a=[1, 2, math.nan], b=["x", "y", ""]), 2000)
    front = front_for(rows)

    together = front.encode(rows)

    assert len(together) == 6000
    for index in (0, 1, 2, 5999):
        np.testing.assert_array_equal(front.encode(rows[index : index + 1])[0], together[index])


def test_features_become_columns_of_their_names() -> None:
    made = as_table(np.array([[1, 2], [3, 4]], np.float32), ["petal length (cm)", "b"])

    assert made["petal length (cm)"].tolist() == [1, 3]
    assert as_table(made, ["ignored"]) is made
