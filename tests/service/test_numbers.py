"""Numbers read without a Python object each: the same arrays as by the plain way, or none."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec import oip, tfserving
from service.codec.numbers import FROM_BYTES, MARKS, NotNumbers, cut_numbers, number_kind, read_numbers
from service.codec.oip import decode_request
from service.codec.tfserving import decode_predict
from service.errors import ServiceError
from service.runtime.bare import describe
from service.tensors import Signature, TensorSpec

LONG = "[" * FROM_BYTES


def signature(datatype: str = "FP32") -> Signature:
    return Signature((TensorSpec("x", datatype, (None, None)),), (TensorSpec("y", "FP32", (None,)),))


def body(data: str, shape: list[int], datatype: str = "FP32", **more: Any) -> bytes:
    rest = json.dumps({"inputs": [{"name": "x", "shape": shape, "datatype": datatype, "data": 0}], **more})
    return rest.replace('"data": 0', f'"data": {data}').encode()


def read(data: str, datatype: str = "FP32") -> Any:
    """Read a list as it is read that was cut out of a body; None if it is left to the plain way."""
    cut = cut_numbers(body(data, [1], datatype, id=LONG))
    try:
        if cut is None or json.loads(cut.frame)["inputs"][0]["data"] != MARKS[0]:
            return None
        return read_numbers(cut.lists[0], number_kind(datatype)).tolist()
    except (ValueError, NotNumbers):
        return None


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
        ("[[[1, 2]]]", [[[1, 2]]]),
        ("[[[1, 2], [3, 4]], [[5, 6], [7, 8]]]", [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
        ("[[[1, 2], [3]], [[4], [5, 6]]]", None),
        ("[[[1], [2]], [[3, 4]]]", None),
        ("[[[1, 2]], [[true, 2]]]", None),
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
    assert cut_numbers(body("[1]", [1])) is None


def test_what_is_around_the_numbers_is_kept() -> None:
    cut = cut_numbers(body("[1, 2]", [1, 2], id="[" * 5000, more={"data": [1.5]}))

    assert cut is not None
    assert cut.lists == (b"[1, 2]", b"[1.5]")
    assert json.loads(cut.frame)["id"] == "[" * 5000
    assert json.loads(cut.frame)["inputs"][0]["data"] == MARKS[0]


@pytest.mark.parametrize("field", ["instances", "inputs"])
def test_rows_of_v1_are_read(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    monkeypatch.setattr(tfserving, "_tensor", None)
    rows = [[float(number)] * 300 for number in range(10)]
    asked = decode_predict(
        json.dumps({"signature_name": "", field: rows}).encode(), signature(), describe(signature(), b"", {})
    )

    assert asked.by_rows == (field == "instances")
    assert asked.inputs["x"].tolist() == rows


@pytest.mark.parametrize(
    "twice",
    [
        '{"id": "%s", "inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1], "data": [2]}]}',
        '{"id": "%s", "inputs": 0, "inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [2]}]}',
        '{"id": "%s", "data": [1], "inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [2]}]}',
        '{"id": "%s", "inputs": [{"name": "x", "x\\"data": [1], "shape": [1, 1], "datatype": "FP32", "data": [2]}]}',
        '{"id": "%s", "inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "y": {"data": [1]}, "data": [2]}]}',
    ],
)
def test_of_fields_that_are_there_twice_the_last_counts(twice: str) -> None:
    request = decode_request((twice % LONG).encode(), signature())

    assert request.inputs["x"].tolist() == [[2]]


def test_numbers_that_stand_in_a_string_are_none() -> None:
    text = json.dumps({"id": LONG + '"data": [1]', "inputs": []}).encode()

    with pytest.raises(ServiceError, match="inputs: expected a list of one or more tensors"):
        decode_request(text, signature())


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

    text = json.dumps(data)
    blanks = " " * FROM_BYTES

    def outcome(data: str, **more: Any) -> Any:
        try:
            (array,) = decode_request(body(data, shape, datatype, **more), signature(datatype)).inputs.values()
        except ServiceError as error:
            return type(error), str(error)
        return array.dtype, array.shape, array.tolist()

    short = outcome(text)
    assert outcome(text, id=LONG) == short
    # With blanks in the list what is around it is short, and kept from the first time on.
    padded = re.sub(r"^(\[*)", rf"\1{blanks}", text)
    assert outcome(padded) == short
    assert outcome(padded) == short


def test_the_long_way_is_really_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oip, "tensor_from_json", None)
    rows = np.random.default_rng(1).random((3, 200), np.float32)
    text = body(json.dumps(rows.tolist()), [3, 200])

    assert np.array_equal(decode_request(text, signature()).inputs["x"], rows)


def test_what_was_said_once_is_kept_for_its_signature_alone() -> None:
    rows, others = np.random.default_rng(1).random((2, 3, 200))
    first, again, ragged = (
        body(json.dumps(values), [3, 200], "FP64")
        for values in (rows.tolist(), others.tolist(), [*rows.tolist()[1:], [1]])
    )

    assert np.array_equal(decode_request(first, signature("FP64")).inputs["x"], rows)
    assert np.array_equal(decode_request(again, signature("FP64")).inputs["x"], others)
    with pytest.raises(ServiceError, match="ragged"):
        decode_request(ragged, signature("FP64"))
    with pytest.raises(ServiceError, match="expected datatype FP32, received FP64"):
        decode_request(again, signature("FP32"))
