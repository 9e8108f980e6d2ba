"""Numbers read without a Python object each: the same arrays as by the plain way, or none."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec import oip
from service.codec.numbers import FROM_BYTES, parse_with_arrays, v1_reader, v2_reader
from service.codec.oip import decode_request
from service.errors import ServiceError
from service.tensors import Signature, TensorSpec

LONG = "[" * FROM_BYTES


def signature(datatype: str = "FP32") -> Signature:
    return Signature((TensorSpec("x", datatype, (None, None)),), (TensorSpec("y", "FP32", (None,)),))


def body(data: str, shape: list[int], datatype: str = "FP32", **more: Any) -> bytes:
    rest = json.dumps({"inputs": [{"name": "x", "shape": shape, "datatype": datatype, "data": 0}], **more})
    return rest.replace('"data": 0', f'"data": {data}').encode()


def read(data: str, datatype: str = "FP32") -> Any:
    parsed = parse_with_arrays(body(data, [1], datatype, id=LONG), v2_reader(signature(datatype)))
    return None if parsed is None else parsed["inputs"][0]["data"].tolist()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("[1.5, 2, -3e2]", [1.5, 2, -300]),
        ("[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
        ("[[1], [2], [3]]", [[1], [2], [3]]),
        ("[1, true]", None),
        ("[1, null]", None),
        ('["1"]', None),
        ("[1, [2]]", None),
        ("[[1, 2], 3]", None),
        ("[[1, 2], [3]]", None),
        ("[[1, [2]], [3, 4]]", None),
        ("[[1], [[2]]]", None),
        ("[[[1, 2]]]", None),
        ("[[1, 2], []]", None),
        ("[]", None),
        ("[[]]", None),
        ("3", None),
        ('{"a": [1]}', None),
        ("[1e999]", None),
        ("[NaN]", None),
        ("[1, 2", None),
        ("[1] , \"data\": [2]", None),
    ],
)  # fmt: skip
def test_only_flat_and_rectangular_numbers_are_read(data: str, expected: Any) -> None:
    assert read(data) == expected


@pytest.mark.parametrize(
    ("data", "datatype", "expected"),
    [
        ("[9223372036854775807, -9223372036854775808]", "INT64", [2**63 - 1, -(2**63)]),
        ("[18446744073709551615, 0]", "UINT64", [2**64 - 1, 0]),
        ("[9223372036854775808]", "INT64", None),
        ("[1.5]", "INT32", None),
        ("[1.0]", "INT32", None),
        ("[-1]", "UINT64", None),
        ("[true]", "BOOL", None),
        ('["a"]', "BYTES", None),
    ],
)
def test_whole_numbers_stay_whole(data: str, datatype: str, expected: Any) -> None:
    assert read(data, datatype) == expected


def test_short_bodies_are_left_to_the_plain_way() -> None:
    assert parse_with_arrays(body("[1]", [1]), v2_reader(signature())) is None


def test_brackets_in_strings_are_no_lists() -> None:
    parsed = parse_with_arrays(body("[1, 2]", [1, 2], id="[" * 5000), v2_reader(signature()))

    assert parsed is not None
    assert parsed["id"] == "[" * 5000


def test_rows_of_v1_are_read() -> None:
    rows = [[float(number)] * 300 for number in range(10)]
    parsed = parse_with_arrays(json.dumps({"instances": rows}).encode(), v1_reader(signature()))

    assert parsed is not None
    assert parsed["instances"].tolist() == rows


# Beyond 2**53 the two ways may round FP32 in different directions, but for powers of two.
whole = st.one_of(
    st.integers(-(2**53), 2**53), st.sampled_from([2**63 - 1, 2**63, -(2**63), 2**64 - 1, 2**64, -(2**65)])
)
fractions = st.floats(allow_nan=False, allow_infinity=False, width=32)
values = st.recursive(
    st.one_of(whole, fractions, st.booleans(), st.none(), st.just("a")),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)
rectangles = st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda shape: st.lists(
        st.lists(st.one_of(st.integers(-300, 300), st.floats(-1e3, 1e3)), min_size=shape[1], max_size=shape[1]),
        min_size=shape[0],
        max_size=shape[0],
    )
)


@given(
    st.one_of(values, rectangles),
    st.sampled_from(["FP32", "FP64", "INT8", "INT64", "UINT8", "UINT64"]),
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
)
def test_a_long_body_is_answered_as_a_short_one(data: Any, datatype: str, shape: list[int]) -> None:
    """The two ways of reading give the same array, or refuse with the same words."""

    def outcome(**more: Any) -> Any:
        try:
            (array,) = decode_request(
                body(json.dumps(data), shape, datatype, **more), signature(datatype)
            ).inputs.values()
        except ServiceError as error:
            return type(error), str(error)
        return array.dtype, array.shape, array.tolist()

    assert outcome(id=LONG) == outcome(id="")


def test_the_long_way_is_really_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oip, "parse", None)
    rows = np.random.default_rng(1).random((3, 200), np.float32)

    request = decode_request(body(json.dumps(rows.tolist()), [3, 200]), signature())

    assert np.array_equal(request.inputs["x"], rows)
