"""Batches that are padded and run from bound buffers: on the CPU here, and on a GPU where there is one."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store import Golden, Store
from service import live_model
from service.errors import InferenceFailed, InputRejected, ModelRefused
from service.runtime import bound, providers, replay, warmup
from service.runtime.bound import BoundSession
from service.runtime.providers import Asked
from service.runtime.session import Session
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.tensors import Array, Arrays

SIZES = (1, 2, 4, 8)
LONG = 60

needs_cuda = pytest.mark.skipif(
    "CUDAExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="needs a GPU and the extra gpu: this build of onnxruntime has no CUDA provider",
)


def rows(count: int, start: float = 0.0) -> dict[str, Array]:
    return {"x": np.arange(start, start + 3 * count, dtype=np.float32).reshape(count, 3)}


def bound_to(session: Session, examples: Arrays, *, device: str = "cpu", graphs: bool | None = None) -> BoundSession:
    """A session in buffers of some sizes, all of their sets made."""
    runner = BoundSession(session, device=device, graphs=graphs)
    for size in SIZES:
        runner.prepare(warmup.repeat_rows(examples, size))
    runner.settle(SIZES[-1])
    return runner


@pytest.fixture(params=[False, True], ids=["plain", "in-the-thread-of-the-graphs"])
def doubling(request: pytest.FixtureRequest) -> BoundSession:
    return bound_to(Session(tiny_models.affine()), rows(1), graphs=request.param)


@pytest.mark.parametrize("count", range(1, 2 * SIZES[-1] + 2))
def test_any_number_of_rows_gives_what_the_session_gives(doubling: BoundSession, count: int) -> None:
    inputs = rows(count, 0.25)

    outputs = doubling.run(inputs)

    assert list(outputs) == ["y"]
    assert np.array_equal(outputs["y"], inputs["x"] * 2)


MODELS = {
    "pictures": (tiny_models.brightness(), {"image": np.zeros((1, 4, 6, 1), np.uint8)}),
    "two-outputs": (tiny_models.named(), rows(1)),
    "table": (tiny_models.lookup(), {"id": np.zeros((1, 1), np.int64)}),
}
SESSIONS = {name: (Session(model), bound_to(Session(model), example)) for name, (model, example) in MODELS.items()}


@settings(deadline=None)
@given(st.sampled_from(sorted(MODELS)), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_random_rows_give_what_the_session_gives(model: str, count: int, seed: int) -> None:
    plain, runner = SESSIONS[model]
    (name, example), random = next(iter(MODELS[model][1].items())), np.random.default_rng(seed)
    inputs = {name: random.integers(0, 5, (count, *example.shape[1:])).astype(example.dtype)}

    outputs, expected = runner.run(inputs), plain.run(inputs)

    assert outputs.keys() == expected.keys()
    for output, array in expected.items():
        assert (outputs[output].dtype, outputs[output].dtype.name) == (array.dtype, array.dtype.name)
        assert np.array_equal(outputs[output], array)


def test_rows_of_several_threads_never_mix_and_answers_stay_as_they_were_given(doubling: BoundSession) -> None:
    begin = threading.Barrier(6)

    def ask(thread: int) -> list[tuple[Array, Array]]:
        random = np.random.default_rng(thread)
        begin.wait(LONG)
        asked = [rows(int(random.integers(1, 2 * SIZES[-1])), start=1000.0 * thread) for _ in range(200)]
        return [(inputs["x"], doubling.run(inputs)["y"]) for inputs in asked]

    with ThreadPoolExecutor(6) as threads:
        answers = [pair for pairs in threads.map(ask, range(6)) for pair in pairs]

    assert len(answers) == 1200
    assert all(np.array_equal(given * 2, answered) for given, answered in answers)


def addresses(runner: BoundSession) -> set[tuple[int, int]]:
    """Where the buffers of all sets lie, by size."""
    found = set()
    for size, free in runner._free.items():
        sets = [free.get() for _ in range(free.qsize())]
        for buffers in sets:
            free.put(buffers)
            found |= {(size, array.ctypes.data) for array in buffers._on_host.values()}
            found |= {(size, value.data_ptr()) for value in buffers._binding.get_outputs()}
    return found


@pytest.mark.parametrize(("graphs", "sets"), [(False, bound.SETS), (True, 1)])
def test_buffers_are_made_once(graphs: bool, sets: int) -> None:
    runner = bound_to(Session(tiny_models.affine()), rows(1), graphs=graphs)
    for count in SIZES * sets:
        runner.run(rows(count))
    before = addresses(runner)

    for count in range(1, 30):
        runner.run(rows(count))

    assert addresses(runner) == before
    assert len(before) == 2 * sets * len(SIZES)


class Recorded(Session):
    """A session that notes the thread of each of its runs, and the number of the graph of a bound one."""

    seen: list[tuple[int, str | None]]

    def run(self, inputs: Arrays) -> dict[str, Array]:
        self.seen.append((threading.get_ident(), None))
        return super().run(inputs)

    def run_bound(self, binding: Any, options: Any = None) -> dict[str, Array]:
        self.seen.append((threading.get_ident(), options.get_run_config_entry("gpu_graph_id")))
        return super().run_bound(binding, options)


def test_graphs_are_captured_and_run_in_one_thread_each_under_a_number_of_its_own() -> None:
    session = Recorded(tiny_models.affine())
    session.seen = []
    runner = bound_to(session, rows(1), graphs=True)
    captures = [graph for _, graph in session.seen]

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda count: runner.run(rows(count)), [0, 1, 2, 3, 8] * 3))

    assert captures == [number for number in ("1", "2", "3", "4") for _ in range(bound.RUNS_TO_CAPTURE)]
    assert sorted(str(graph) for _, graph in session.seen[len(captures) :]) == sorted(["None", "1", "2", "3", "4"] * 3)
    assert len({thread for thread, _ in session.seen}) == 1
    assert threading.get_ident() not in {thread for thread, _ in session.seen}


def test_an_answer_is_neither_the_buffer_nor_the_input(doubling: BoundSession) -> None:
    inputs = rows(2)
    first = doubling.run(inputs)["y"]

    for _ in range(bound.SETS):
        doubling.run(rows(2, 500.0))

    assert np.array_equal(inputs["x"], rows(2)["x"])
    assert np.array_equal(first, inputs["x"] * 2)


@pytest.mark.parametrize("graphs", [False, True])
def test_values_that_the_model_refuses_are_refused_as_by_the_session_and_the_next_run_goes_on(graphs: bool) -> None:
    session = Session(tiny_models.lookup())
    runner = bound_to(session, {"id": np.zeros((1, 1), np.int64)}, graphs=graphs)
    bad = {"id": np.array([[1], [77], [2]])}
    with pytest.raises(InputRejected) as expected:
        session.run(bad)

    for _ in range(3):
        with pytest.raises(InputRejected) as refused:
            runner.run(bad)
        assert str(refused.value) == str(expected.value)

    assert runner.run({"id": np.array([[1], [3], [2]])})["y"].ravel().tolist() == [10, 30, 20]


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param({"x": np.ones((2, 4), np.float32)}, id="columns"),
        pytest.param({"x": np.ones((2, 1), np.float32)}, id="a-column-that-numpy-would-repeat"),
        pytest.param({"x": np.ones((2, 3), np.float64)}, id="datatype-that-numpy-would-convert"),
        pytest.param({"x": np.ones(3, np.float32)}, id="dimensions"),
        pytest.param({"x": np.float32(1) + np.zeros(())}, id="no-dimensions"),
        pytest.param({"z": np.ones((2, 3), np.float32)}, id="name"),
        pytest.param({}, id="nothing"),
    ],
)
def test_what_does_not_fit_the_buffers_is_refused_as_by_the_session(doubling: BoundSession, inputs: Arrays) -> None:
    with pytest.raises((InputRejected, InferenceFailed)) as expected:
        Session(tiny_models.affine()).run(inputs)

    with pytest.raises(type(expected.value)) as refused:
        doubling.run(inputs)

    assert str(refused.value) == str(expected.value)


def test_no_rows_give_no_rows(doubling: BoundSession) -> None:
    assert doubling.run(rows(0))["y"].shape == (0, 3)


def test_sizes_beyond_the_batches_that_will_come_are_let_go() -> None:
    runner = BoundSession(Session(tiny_models.affine()), device="cpu")
    for size in SIZES:
        runner.prepare(rows(size))

    runner.settle(3)

    assert runner.sizes == (1, 2, 4)
    assert np.array_equal(runner.run(rows(9))["y"], rows(9)["x"] * 2)


def test_a_size_that_cannot_be_run_is_an_error_and_is_not_there() -> None:
    runner = BoundSession(Session(tiny_models.affine()), device="cpu", graphs=True)

    with pytest.raises(InferenceFailed):
        BoundSession(Session(tiny_models.affine()), device="cuda").prepare(rows(1))
    with pytest.raises(InputRejected):
        BoundSession(Session(tiny_models.lookup()), device="cpu", graphs=True).prepare({"id": np.array([[77]])})

    assert runner.sizes == ()
    assert np.array_equal(runner.run(rows(3))["y"], rows(3)["x"] * 2)


@pytest.mark.parametrize(
    ("model", "bindable"),
    [
        pytest.param(tiny_models.affine(), True, id="numbers"),
        pytest.param(tiny_models.brightness(), True, id="pictures"),
        pytest.param(tiny_models.affine(width=None), False, id="an-open-dimension"),
        pytest.param(tiny_models.echo_text(), False, id="text"),
        pytest.param(tiny_models.negative([1, 3]), False, id="one-row"),
        pytest.param(tiny_models.negative([]), False, id="scalar"),
    ],
)
def test_numbers_of_a_fixed_shape_but_for_the_batch_can_be_bound(model: bytes, bindable: bool) -> None:
    assert bound.can_be_bound(Session(model).signature) == bindable


def test_on_the_cpu_a_session_runs_its_batches_itself() -> None:
    session = Session(tiny_models.affine())

    assert bound.runner_for(session, session.signature) is session


@pytest.mark.parametrize(
    ("options", "obtained", "cuda"),
    [
        pytest.param({}, (providers.CPU,), None, id="cpu"),
        pytest.param({"cuda": {"enable_cuda_graph": "1"}}, (providers.CPU,), None, id="fell-back"),
        pytest.param({}, (providers.CUDA, providers.CPU), providers.Cuda(0, False), id="cuda"),
        pytest.param(
            {"cuda": {"enable_cuda_graph": "1", "device_id": "2"}}, (providers.CUDA,), providers.Cuda(2, True), id="one"
        ),
        pytest.param({"cuda": {"enable_cuda_graph": "true"}}, (providers.CUDA,), providers.Cuda(0, True), id="true"),
        pytest.param({"cuda": {"enable_cuda_graph": "0"}}, (providers.CUDA,), providers.Cuda(0, False), id="zero"),
        pytest.param({}, (providers.TENSORRT, providers.CUDA), providers.Cuda(0, False), id="behind-tensorrt"),
    ],
)
def test_what_was_asked_of_cuda_is_read_for_a_session_that_got_it(
    options: dict[str, dict[str, str]], obtained: tuple[str, ...], cuda: providers.Cuda | None
) -> None:
    assert providers.cuda_of(Asked(("cuda",), options), providers.Obtained(obtained, obtained)) == cuda


def test_a_padded_batch_is_predicted_to_run_as_long_as_the_size_that_it_is_padded_to() -> None:
    curve = warmup.CostCurve(((1, 1.0), (4, 2.0), (8, 3.0)), padded=True)

    assert [curve.seconds(count) for count in (1, 2, 4, 5, 8, 12)] == [1, 2, 2, 3, 3, 4]
    assert [curve.rows_within(seconds, most=8) for seconds in (1.5, 2.5, 3.0)] == [1, 4, 8]


# The way of a model through the service, with what runs on a GPU elsewhere run on the CPU.


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bound, "DEVICES", {providers.CPU: "cpu"})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def load(store: Store, model: str, **settings: int) -> live_model.LiveModel:
    return live_model.load(store.resolve(model), Settings(**settings), Metrics(), processors=1)


async def answers(model: live_model.LiveModel, counts: list[int]) -> list[Arrays]:
    asked = [model.predict(rows(count, 100.0 * count), timeout=LONG) for count in counts]
    return await asyncio.gather(*asked)


@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_model_is_warmed_proved_and_served_from_bound_buffers(store: Store) -> None:
    tiny_models.publish_affine(store)
    model = load(store, "double", max_batch_size=12)
    counts = [1, 3, 12, 5, 30, 2]

    answered = asyncio.run(answers(model, counts))

    assert repr(model.batcher._run.__self__) == "<BoundSession: buffers of 1, 2, 4, 8, 12 rows on cpu>"
    assert model.cost.padded
    for count, outputs in zip(counts, answered, strict=True):
        assert np.array_equal(outputs["y"], rows(count, 100.0 * count)["x"] * 2)


@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_model_without_a_manifest_is_served_from_bound_buffers_and_others_as_ever(store: Store) -> None:
    tiny_models.put(store.root, "negative", tiny_models.negative(["n", 3]))
    tiny_models.put(store.root, "four", tiny_models.added_to_four_rows())
    tiny_models.publish_text(store)

    runners = {name: load(store, name).batcher._run.__self__ for name in ("negative", "four", "lower")}

    assert {name: type(runner) for name, runner in runners.items()} == {
        "negative": BoundSession, "four": Session, "lower": Session,
    }  # fmt: skip


@pytest.mark.usefixtures("as_on_a_gpu")
def test_each_size_is_replayed(store: Store) -> None:
    stored = tiny_models.publish_affine(store)
    runner = bound_to(Session(tiny_models.affine(3.0)), rows(1))
    golden = stored.golden()

    with pytest.raises(ModelRefused, match="golden replay disagrees with Keras"):
        replay.replay_padded(runner, stored.manifest, golden)

    tripled = {"y": golden.inputs["x"] * 3}
    replay.replay_padded(runner, stored.manifest, Golden(inputs=golden.inputs, keras=tripled, onnx=tripled))


def test_a_model_that_does_not_run_from_bound_buffers_is_served_without_and_the_log_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bound, "DEVICES", {providers.CPU: "cuda"})
    tiny_models.publish_affine(store)

    with caplog.at_level(logging.WARNING):
        model = load(store, "double")

    assert isinstance(model.batcher._run.__self__, Session)
    assert not model.cost.padded
    assert "double@1 runs without bound buffers on CPUExecutionProvider: " in caplog.text
    assert np.array_equal(asyncio.run(answers(model, [3]))[0]["y"], rows(3, 300.0)["x"] * 2)


@pytest.fixture(params=[{}, {"enable_cuda_graph": "1"}], ids=["plain", "graphs"])
def on_cuda(request: pytest.FixtureRequest) -> Asked:
    return Asked(("cuda",), {"cuda": request.param}, required=True)


@needs_cuda
def test_on_cuda_bound_buffers_give_what_the_session_gives(on_cuda: Asked) -> None:
    session = Session(tiny_models.affine(), on_cuda)
    runner = bound_to(session, rows(1), device="cuda")

    def ask(thread: int) -> None:
        for count in range(1, 2 * SIZES[-1] + 2):
            inputs = rows(count, 1000.0 * thread)
            assert np.array_equal(runner.run(inputs)["y"], inputs["x"] * 2)

    ask(0)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, range(1, 5)))

    assert bound.runner_for(session, session.signature) is not session
    assert np.array_equal(session.run(rows(5))["y"], rows(5)["x"] * 2)
    assert {size for size, _ in addresses(runner)} == set(SIZES)


@needs_cuda
def test_on_cuda_a_model_is_served_from_bound_buffers(store: Store, on_cuda: Asked) -> None:
    tiny_models.publish_affine(store)
    options = Settings(provider=on_cuda.names, provider_options=on_cuda.options, require_provider=True)
    model = live_model.load(store.resolve("double"), options, Metrics(), processors=1)

    answered = asyncio.run(answers(model, [1, 3, 30]))

    assert isinstance(model.batcher._run.__self__, BoundSession)
    assert all(
        np.array_equal(outputs["y"], rows(count, 100.0 * count)["x"] * 2)
        for count, outputs in zip([1, 3, 30], answered, strict=True)
    )
