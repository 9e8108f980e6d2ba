"""Which size a batch is padded to, what stands in the rows over, and how more rows are cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service import tensors
from service.runtime import padding

SIZES = st.lists(st.integers(1, 2000), min_size=1, unique=True).map(sorted)


@given(st.integers(1, 2100), SIZES)
def test_a_batch_is_padded_to_the_smallest_size_that_holds_it(rows: int, sizes: list[int]) -> None:
    assert padding.padded_rows(rows, sizes) == min((size for size in sizes if size >= rows), default=None)


@given(st.integers(1, 9), st.integers(0, 9), st.sampled_from([np.float16, np.float32, np.int64, np.uint8, np.bool_]))
def test_rows_stand_at_the_front_of_a_buffer_and_the_last_one_fills_it(count: int, over: int, dtype: type) -> None:
    rows = np.arange(count * 2).reshape(count, 2).astype(dtype)
    buffer = np.full((count + over, 2), 77).astype(dtype)

    padding.fill(buffer, rows)

    assert np.array_equal(buffer, np.concatenate([rows, *[rows[-1:]] * over]))


@given(st.integers(1, 300), SIZES)
def test_more_rows_are_cut_into_pieces_that_the_largest_size_holds(rows: int, sizes: list[int]) -> None:
    pieces = tensors.pieces(rows, sizes[-1])

    assert np.array_equal(np.concatenate([np.arange(rows)[piece] for piece in pieces]), np.arange(rows))
    assert all(0 < piece.stop - piece.start <= sizes[-1] for piece in pieces)
