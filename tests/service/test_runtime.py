"""Builds, processors, sessions, warm-up. Providers have a file of their own."""

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

from model_store.onnxruntime_builds import installed_builds
from service.errors import InputRejected, ModelRefused, ProviderUnavailable
from service.runtime import onnxruntime_build, warmup
from service.runtime.processors import processors_of_own, usable_processors
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


def test_a_build_whose_files_went_with_another_one_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = tmp_path / "onnxruntime_openvino-1.0.dist-info"
    noted.mkdir()
    (noted / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-openvino\nVersion: 1.0\n")
    (tmp_path / "onnxruntime" / "capi").mkdir(parents=True)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    with pytest.raises(ProviderUnavailable, match=r"its files are gone.*pip install 'ovenbird\[openvino\]'"):
        onnxruntime_build.check_builds(installed_builds())


def test_the_one_build_that_is_installed_is_found() -> None:
    (build,) = installed_builds()

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


def test_of_cores_of_its_own_a_worker_takes_all_and_of_the_quota_its_part(tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0))

    assert processors_of_own(3, tmp_path) == cores
    (tmp_path / "cpu.max").write_text(f"{cores * 100000} 100000\n")
    assert processors_of_own(1, tmp_path) == cores
    assert processors_of_own(cores, tmp_path) == 1


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

    curve = warmup.measure(Session(tiny_models.affine()), {"x": rows}, max_batch_size=50)

    assert [size for size, _ in curve.points] == [1, 2, 4, 8, 16, 32, 50]
    assert all(seconds > 0 for _, seconds in curve.points)


@pytest.mark.parametrize(
    ("width", "largest"),
    [pytest.param(3, 256, id="rows"), pytest.param(2**19, 4, id="bytes"), pytest.param(2**23, 1, id="one-row")],
)
def test_warm_up_without_a_largest_batch_is_bounded_in_rows_and_in_bytes(width: int, largest: int) -> None:
    curve = warmup.measure(Session(tiny_models.affine(width=None)), {"x": np.ones((1, width), np.float32)})

    sizes = [rows for rows, _ in curve.points]
    assert sizes[0] == 1
    assert sizes[-1] == largest or (curve.has_ceased_to_pay and sizes[-1] < largest)


def test_warm_up_ends_before_a_batch_that_cannot_run() -> None:
    session = Session(tiny_models.added_to_four_rows())

    curve = warmup.measure(session, {"x": np.ones((1, 3), np.float32)})

    assert [rows for rows, _ in curve.points] == [1]


def test_warm_up_ends_within_its_time_when_runs_are_long() -> None:
    ticks = iter(range(1000))

    curve = warmup.measure(Session(tiny_models.affine()), {"x": np.ones((1, 3), np.float32)}, max_batch_size=64,
                           clock=lambda: float(next(ticks)))  # fmt: skip

    assert len(curve.points) == 1


def test_predicted_time_is_linear_between_and_beyond_what_was_measured() -> None:
    curve = warmup.CostCurve(((1, 1.0), (5, 3.0)))

    assert [curve.seconds(rows) for rows in (1, 3, 5, 7)] == [1.0, 2.0, 3.0, 4.0]
    assert warmup.CostCurve(()).seconds(1) == float("inf")


# The networks of bench/models.py on one core of a server: seconds by rows.
SMALL = warmup.CostCurve(((1, 12e-6), (4, 15e-6), (16, 37e-6), (64, 124e-6), (256, 472e-6), (1024, 1865e-6)))
LARGE = warmup.CostCurve(
    ((1, 99e-6), (4, 145e-6), (8, 282e-6), (16, 566e-6), (32, 1126e-6), (64, 2248e-6), (128, 4530e-6))
)
FLAT = warmup.CostCurve(tuple((2**power, 200e-6) for power in range(11)))


@pytest.mark.parametrize(
    ("curve", "useful"),
    [
        pytest.param(SMALL, 1024, id="small"),
        pytest.param(LARGE, 64, id="large"),
        pytest.param(FLAT, 1024, id="flat"),
        pytest.param(warmup.CostCurve(((1, 0.1), (2, 0.2), (4, 0.4))), 1, id="linear"),
        pytest.param(warmup.CostCurve(()), 64, id="nothing-measured"),
        pytest.param(warmup.CostCurve(((1, 0.3),)), 64, id="no-time-for-more"),
    ],
)
def test_the_largest_useful_batch_is_where_rows_per_second_cease_to_grow(curve: warmup.CostCurve, useful: int) -> None:
    assert curve.useful_rows() == useful


def test_measuring_goes_on_as_long_as_larger_batches_pay() -> None:
    def linear(row_seconds: float, largest: int) -> warmup.CostCurve:
        return warmup.CostCurve(tuple((rows, rows * row_seconds) for rows in (1, 2, 4) if rows <= largest))

    assert not FLAT.has_ceased_to_pay
    assert [linear(1e-2, largest).has_ceased_to_pay for largest in (0, 1, 2, 4)] == [False, False, False, True]


curves = st.lists(
    st.tuples(st.integers(1, 1000), st.floats(1e-6, 10)), min_size=1, unique_by=lambda point: point[0]
).map(lambda points: warmup.CostCurve(tuple(sorted(points))))


@given(curves, st.floats(1e-6, 100), st.integers(1, 2000))
def test_the_rows_that_run_within_a_time_do(curve: warmup.CostCurve, seconds: float, most: int) -> None:
    growing = warmup.CostCurve(
        tuple(zip((rows for rows, _ in curve.points), sorted(took for _, took in curve.points), strict=True))
    )

    rows = growing.rows_within(seconds, most=most)

    assert rows == 1 or growing.seconds(rows) <= seconds
    assert rows == most or growing.seconds(rows + 1) > seconds
    assert 1 <= rows <= most


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(1e-6, 10)), min_size=1, unique_by=lambda point: point[0]))
def test_a_curve_never_predicts_less_than_nothing(points: list[tuple[int, float]]) -> None:
    curve = warmup.CostCurve(tuple(sorted(points)))

    assert all(curve.seconds(rows) > 0 for rows in (1, 2, 10, 100, 5000))


def test_what_large_batches_of_the_warm_up_took_is_given_back() -> None:
    """Measured in a process of its own: what it holds after the warm-up is far less than its largest batch needed."""
    script = """
import numpy as np, tiny_models
from pathlib import Path
from service.runtime.providers import Asked
from service.runtime.session import Session
from service.settings import Settings

def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

session = Session(tiny_models.affine(2, None), Asked.of(Settings(provider=("cpu",))))
row = {"x": np.zeros((1, 1_000_000), np.float32)}
session.run(row)
before = held()
session.run({"x": np.zeros((64, 1_000_000), np.float32)})
after = held()
session.give_memory_back(row)
print(before, after, held())
"""
    support = Path(__file__).parent.parent / "support"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(support)},
    )
    before, after, given_back = map(int, done.stdout.split())

    assert after - before > 100 * 2**20
    assert given_back - before < (after - before) / 2
