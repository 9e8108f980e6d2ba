"""Providers, builds, processors, golden replay, warm-up."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InputRejected, ModelRefused, ProviderUnavailable
from service.runtime import onnxruntime_build, providers, warmup
from service.runtime.processors import usable_processors
from service.runtime.session import Session
from service.tensors import TensorSpec

CPU, CUDA, OPENVINO = "CPUExecutionProvider", "CUDAExecutionProvider", "OpenVINOExecutionProvider"


@pytest.mark.parametrize(
    ("setting", "available", "tried"),
    [
        pytest.param("auto", [CPU], [[CPU]], id="auto-without-gpu"),
        pytest.param("auto", [CUDA, CPU], [[CUDA, CPU], [CPU]], id="auto-tries-cuda-first"),
        pytest.param("auto", [OPENVINO, CPU], [[CPU]], id="auto-leaves-openvino-to-those-who-ask"),
        pytest.param("cpu", [CUDA, CPU], [[CPU]], id="cpu"),
        pytest.param("cuda", [CUDA, CPU], [[CUDA, CPU]], id="cuda-is-strict"),
        pytest.param("openvino", [OPENVINO, CPU], [[OPENVINO, CPU]], id="openvino"),
    ],
)
def test_the_setting_decides_what_is_tried(setting: str, available: list[str], tried: list[list[str]]) -> None:
    candidates = providers.candidates(setting, available)

    assert [[name for name, _ in candidate] for candidate in candidates] == tried


@pytest.mark.parametrize(("setting", "extra"), [("cuda", "gpu"), ("tensorrt", "gpu"), ("openvino", "openvino")])
def test_a_provider_that_this_build_lacks_is_refused_with_the_extra_that_brings_it(setting: str, extra: str) -> None:
    with pytest.raises(ProviderUnavailable, match=f"install the extra '{extra}'"):
        providers.candidates(setting, [CPU])


def test_tf32_is_off_on_cuda_unless_asked_for() -> None:
    (_, options), *_ = providers.candidates("cuda", [CUDA, CPU])[0]

    assert options["use_tf32"] == "0"


def test_a_session_that_fell_back_in_silence_is_found_out() -> None:
    wanted = providers.candidates("cuda", [CUDA, CPU])[0]

    with pytest.raises(ProviderUnavailable, match="CUDAExecutionProvider was asked for, but the session got CPU"):
        providers.check_obtained(wanted, [CPU])
    assert providers.check_obtained(wanted, [CUDA, CPU]) == CUDA


def test_a_session_knows_the_provider_it_really_got() -> None:
    assert Session(tiny_models.affine(), provider="auto").provider == CPU


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


def test_telemetry_is_off_before_onnxruntime_is_imported() -> None:
    program = (
        "import os; from service.runtime import onnxruntime_build; onnxruntime_build.load(); "
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}

    shown = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "1"


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
