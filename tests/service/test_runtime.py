"""Builds, processors, sessions, warm-up. Providers have a file of their own."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InputRejected, ModelRefused, ProviderUnavailable
from service.runtime import onnxruntime_build, warmup
from service.runtime.processors import usable_processors
from service.runtime.session import Session
from service.tensors import TensorSpec


@pytest.mark.parametrize(
    ("builds", "message"),
    [
        pytest.param([], r"not installed; install one of the extras cpu, gpu and openvino", id="none"),
        pytest.param(["onnxruntime", "onnxruntime-gpu"], "onnxruntime and onnxruntime-gpu are installed", id="two"),
    ],
)
def test_none_or_two_builds_of_onnxruntime_are_refused_with_the_way_out(builds: list[str], message: str) -> None:
    with pytest.raises(ProviderUnavailable, match=message):
        onnxruntime_build.check_builds(builds)


def test_the_one_build_that_is_installed_is_found() -> None:
    (build,) = onnxruntime_build.installed_builds()

    assert importlib.metadata.version(build)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, None, id="no-quota"),
        pytest.param({"cpu.max": "max 100000"}, None, id="v2-unlimited"),
        pytest.param({"cpu.max": "100000 100000"}, 1, id="v2-one"),
        pytest.param({"cpu.max": "50000 100000"}, 1, id="v2-half-is-one"),
        pytest.param({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1, id="v1-one"),
        pytest.param({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, id="v1-unlimited"),
    ],
)
def test_the_containers_quota_bounds_the_threads(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")

    assert usable_processors(tmp_path) == (expected or len(os.sched_getaffinity(0)))


def test_the_signature_is_read_from_the_file() -> None:
    signature = Session(tiny_models.brightness()).signature

    assert signature.inputs == (TensorSpec("image", "UINT8", (None, 4, 6, 1)),)
    assert signature.outputs == (TensorSpec("probabilities", "FP32", (None, 2)),)
    assert signature.batched
    assert signature.fixed_but_batch


def test_an_open_dimension_beside_the_batch_is_seen() -> None:
    assert not Session(tiny_models.affine(width=None)).signature.fixed_but_batch


def test_values_that_the_model_refuses_are_the_callers_fault() -> None:
    with pytest.raises(InputRejected, match="the model refuses this input"):
        Session(tiny_models.lookup()).run({"id": np.array([[77]])})


def test_bytes_that_are_no_model_are_refused_in_one_line() -> None:
    with pytest.raises(ModelRefused) as refused:
        Session(b"nonsense")

    assert "\n" not in str(refused.value)


def test_warm_up_measures_up_to_the_largest_batch() -> None:
    rows = np.ones((2, 3), np.float32)

    curve = warmup.measure(Session(tiny_models.affine()), {"x": rows}, max_batch_size=64)

    assert [size for size, _ in curve.points] == [1, 4, 16, 64]
    assert all(seconds > 0 for _, seconds in curve.points)


def test_warm_up_ends_within_its_time_when_runs_are_long() -> None:
    ticks = iter(range(1000))

    curve = warmup.measure(Session(tiny_models.affine()), {"x": np.ones((1, 3), np.float32)}, max_batch_size=64,
                           clock=lambda: float(next(ticks)))  # fmt: skip

    assert len(curve.points) == 1


def test_predicted_time_is_linear_between_and_beyond_what_was_measured() -> None:
    curve = warmup.CostCurve(((1, 1.0), (5, 3.0)))

    assert [curve.seconds(rows) for rows in (1, 3, 5, 7)] == [1.0, 2.0, 3.0, 4.0]
    assert warmup.CostCurve(()).seconds(1) == float("inf")


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(1e-6, 10)), min_size=1, unique_by=lambda point: point[0]))
def test_a_curve_never_predicts_less_than_nothing(points: list[tuple[int, float]]) -> None:
    curve = warmup.CostCurve(tuple(sorted(points)))

    assert all(curve.seconds(rows) > 0 for rows in (1, 2, 10, 100, 5000))
