from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model_store import Golden, InvalidGolden
from model_store.golden import compare, max_abs_difference
from model_store.manifest import Tolerance

TOLERANCE = Tolerance(rtol=1e-4, atol=1e-5)


def golden(**parts: Any) -> Golden:
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    return Golden(**{"inputs": {"x": rows}, "keras": {"y": rows * 2}, "onnx": {"y": rows * 2}} | parts)


def as_lists(found: Golden) -> dict[str, Any]:
    parts = {"inputs": found.inputs, "keras": found.keras, "onnx": found.onnx}
    listed = {
        part: {name: (array.dtype, array.tolist()) for name, array in group.items()} for part, group in parts.items()
    }
    return listed | {"truth": None if found.truth is None else found.truth.tolist()}


def test_numbers_come_back_with_their_types(tmp_path: Path) -> None:
    written = golden(
        inputs={"image": np.zeros((2, 4, 4, 1), np.uint8), "id": np.array([[1], [2**40]])},
        keras={"y": np.array([1.5, np.nan], np.float16), "sure": np.array([True, False])},
        truth=np.array([3, 7]),
    )

    written.write(tmp_path / "golden.npz")

    assert repr(as_lists(Golden.read(tmp_path / "golden.npz"))) == repr(as_lists(written))


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=5))
@example(["Éclair", "영화가 재미있다", "🐦", "", " two  spaces ", "two\nlines"])
def test_texts_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("texts") / "golden.npz"
    written = golden(inputs={"text": np.array(texts, object)})

    written.write(path)
    read = Golden.read(path).inputs["text"]

    assert (read.dtype, read.tolist()) == (np.dtype(object), texts)


def test_a_name_may_hold_a_slash(tmp_path: Path) -> None:
    written = golden(keras={"dense/bias": np.zeros(2)})

    written.write(tmp_path / "golden.npz")

    assert list(Golden.read(tmp_path / "golden.npz").keras) == ["dense/bias"]


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    trap = np.array([{"would": "be unpickled"}], object)
    np.savez(tmp_path / "golden.npz", **{"inputs/x": trap, "keras/y": trap, "onnx/y": trap})

    with pytest.raises(InvalidGolden, match="Object arrays cannot be loaded"):
        Golden.read(tmp_path / "golden.npz")


def _single_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def _zip_of_text() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("inputs/x", "hello")
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"PK\x03\x04", id="only-a-beginning"),
        pytest.param(b"not a zip file at all", id="text"),
        pytest.param(_single_array(), id="a-single-array"),
        pytest.param(_zip_of_text(), id="a-zip-of-text"),
    ],
)
def test_another_kind_of_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "golden.npz").write_bytes(content)

    with pytest.raises(InvalidGolden, match=r"golden\.npz: "):
        Golden.read(tmp_path / "golden.npz")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidGolden, match="No such file"):
        Golden.read(tmp_path / "golden.npz")


def test_a_file_without_expected_outputs_is_refused(tmp_path: Path) -> None:
    golden(keras={}, onnx={}).write(tmp_path / "golden.npz")

    with pytest.raises(InvalidGolden, match="holds no keras and no onnx"):
        Golden.read(tmp_path / "golden.npz")


def test_a_file_that_was_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    golden().write(path)
    whole = path.read_bytes()

    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InvalidGolden):
            Golden.read(path)


def test_any_damage_is_refused_or_harmless_but_never_a_surprise(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    golden(inputs={"text": np.array(["a", "ü"], object)}).write(path)
    whole = path.read_bytes()

    for place in range(len(whole)):
        for flipped in (0x01, 0x80, 0xFF):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flipped]) + whole[place + 1 :])
            with contextlib.suppress(InvalidGolden):
                Golden.read(path)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 5e5], ids=["tiny", "probabilities", "house-prices"])
def test_the_tolerance_follows_the_scale_of_the_output(scale: float) -> None:
    expected = np.array([0.0, 0.5, 1.0]) * scale
    allowed = TOLERANCE.atol * scale

    within = compare({"y": expected}, {"y": expected + 0.9 * allowed}, TOLERANCE)
    beyond = compare({"y": expected}, {"y": expected + np.array([1.1 * allowed, 0, 0])}, TOLERANCE)

    assert within == []
    assert beyond == [f"output 'y': 1 of 3 values are off, by up to {1.1 * allowed:.3g} at a scale of {scale:.3g}"]


@pytest.mark.parametrize(
    ("expected", "received", "problem"),
    [
        pytest.param([1.0, np.nan], [1.0, 2.0], "1 of 2 values are off, by up to inf", id="nan-expected"),
        pytest.param([1.0, 2.0], [1.0, np.nan], "1 of 2 values are off, by up to inf", id="nan-received"),
        pytest.param([1.0, 2.0], [1.0, np.inf], "1 of 2 values are off, by up to inf", id="infinity-received"),
        pytest.param([1.0, np.inf], [1.0, 1e30], "1 of 2 values are off, by up to inf", id="infinity-expected"),
        pytest.param([1.0, np.inf], [1.0, -np.inf], "1 of 2 values are off, by up to inf", id="the-other-infinity"),
        pytest.param([0.0, 0.0], [0.0, 1e-9], "1 of 2 values are off, by up to 1e-09", id="all-zero-expected"),
        pytest.param([1, 2], [1, 3], "1 of 2 values differ", id="integers-differ"),
        pytest.param([True, False], [True, True], "1 of 2 values differ", id="truth-differs"),
        pytest.param(["a", "b"], ["a", "B"], "1 of 2 values differ", id="texts-differ"),
        pytest.param([1.0, 2.0], [[1.0], [2.0]], "expected shape [2], received [2, 1]", id="shape"),
        pytest.param([1.0, 2.0], [1, 2], "expected float64, received int64", id="dtype"),
    ],
)
def test_says_how_an_output_differs(expected: list[Any], received: list[Any], problem: str) -> None:
    wanted, got = (np.array(each, object if isinstance(each[0], str) else None) for each in (expected, received))

    problems = compare({"y": wanted}, {"y": got}, TOLERANCE)

    assert len(problems) == 1
    assert problems[0].startswith(f"output 'y': {problem}")


def test_says_which_outputs_are_missing() -> None:
    expected = {"label": np.array([1]), "score": np.array([1.0])}

    assert compare(expected, {"label": np.array([1])}, TOLERANCE) == ["output 'score' is missing"]


def test_an_output_that_nobody_expects_is_no_problem() -> None:
    assert compare({}, {"debug": np.zeros(2)}, TOLERANCE) == []


def test_large_integers_are_compared_exactly() -> None:
    assert compare({"id": np.array([2**60])}, {"id": np.array([2**60 + 1])}, TOLERANCE) != []


def test_no_rows_agree_with_no_rows() -> None:
    assert compare({"y": np.zeros((0, 3))}, {"y": np.zeros((0, 3))}, TOLERANCE) == []


outputs = arrays.arrays(
    st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.bool_]),
    arrays.array_shapes(min_dims=1, max_dims=3, max_side=4),
)


@given(outputs)
def test_an_output_agrees_with_itself(output: Any) -> None:
    assert compare({"y": output}, {"y": output.copy()}, TOLERANCE) == []
    assert max_abs_difference(output, output.copy()) == 0


@settings(max_examples=300)
@given(
    arrays.arrays(np.float32, 5, elements=st.floats(-1e6, 1e6, width=32)),
    st.integers(0, 4),
    st.floats(0.0, 1e6).filter(lambda size: size == 0 or size > 1e-12),
)
def test_an_output_is_off_exactly_when_a_value_leaves_its_tolerance(expected: Any, place: int, error: float) -> None:
    wanted = expected.astype(np.float64)
    got = wanted.copy()
    got[place] += error
    allowed = TOLERANCE.rtol * abs(wanted[place]) + TOLERANCE.atol * np.abs(wanted).max()

    problems = compare({"y": wanted}, {"y": got}, TOLERANCE)

    if not np.isclose(error, allowed, rtol=1e-6):
        assert bool(problems) == (abs(got[place] - wanted[place]) > allowed)


@given(
    arrays.arrays(np.float64, 4, elements=st.floats(-1e3, 1e3)),
    arrays.arrays(np.float64, 4, elements=st.floats(-1e3, 1e3)),
)
def test_the_largest_difference_is_symmetric(one: Any, other: Any) -> None:
    assert max_abs_difference(one, other) == max_abs_difference(other, one) == np.abs(one - other).max()
