"""Which providers are tried, in which order, with which options; and what a session says that it got."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import onnxruntime
import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st

from model_store.providers import short_name
from service import live_model
from service.errors import InvalidSettings, ModelRefused, ProviderUnavailable
from service.runtime import providers
from service.runtime.providers import Asked, Build
from service.runtime.session import Session, check_provider
from service.settings import Settings
from service.telemetry.metrics import Metrics

CPU, CUDA, OPENVINO = "CPUExecutionProvider", "CUDAExecutionProvider", "OpenVINOExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
KNOWN = (TENSORRT, CUDA, OPENVINO, CPU)


def tried(names: str, available: list[str], *, required: bool = False) -> list[list[str]]:
    build = Build(available, KNOWN)
    return providers.tries(providers.wanted(Asked(tuple(names.split(",")), {}, required), build), build)


@pytest.mark.parametrize(
    ("names", "available", "expected"),
    [
        pytest.param("auto", [CPU], [[CPU]], id="auto-without-gpu"),
        pytest.param("auto", [CUDA, CPU], [[CUDA, CPU], [CPU]], id="auto-tries-cuda-first"),
        pytest.param("auto", [OPENVINO, CPU], [[CPU]], id="auto-leaves-openvino-to-those-who-ask"),
        pytest.param("cpu", [CUDA, CPU], [[CPU]], id="cpu"),
        pytest.param("cuda", [CUDA, CPU], [[CUDA, CPU]], id="cuda-is-strict"),
        pytest.param("cuda,cpu", [CUDA, CPU], [[CUDA, CPU], [CPU]], id="cuda-is-preferred"),
        pytest.param("cuda,cpu", [CPU], [[CPU]], id="what-the-build-lacks-is-passed-over"),
        pytest.param("openvino", [OPENVINO, CPU], [[OPENVINO, CPU]], id="openvino"),
        pytest.param("tensorrt", [TENSORRT, CUDA, CPU], [[TENSORRT, CUDA, CPU]], id="tensorrt-has-cuda-behind-it"),
        pytest.param(
            "tensorrt,cuda,cpu",
            [TENSORRT, CUDA, CPU],
            [[TENSORRT, CUDA, CPU], [CUDA, CPU], [CPU]],
            id="one-after-the-other",
        ),
        pytest.param(
            "tensorrt,cpu", [TENSORRT, CUDA, CPU], [[TENSORRT, CUDA, CPU], [CPU]], id="cuda-helps-but-is-not-wanted"
        ),
    ],
)
def test_the_preference_decides_what_is_tried(names: str, available: list[str], expected: list[list[str]]) -> None:
    assert tried(names, available) == expected


@given(st.lists(st.sampled_from(KNOWN[:-1]), unique=True), st.booleans(), st.sets(st.sampled_from(KNOWN[:-1])))
def test_each_wanted_provider_that_the_build_has_is_tried_first_once_and_only_those(
    names: list[str], ends_in_cpu: bool, available: set[str]
) -> None:
    wanted = [*names, CPU] if ends_in_cpu or not names else names
    build = Build([*available, CPU], KNOWN)
    usable = [name for name in wanted if name in build.available]
    if not usable:
        return

    choices = providers.tries(wanted, build)

    assert [choice[0] for choice in choices] == usable
    assert all(choice[-1] == CPU and set(choice) <= set(build.available) for choice in choices)


def test_when_the_first_is_required_nothing_else_is_tried() -> None:
    assert tried("cuda,cpu", [CUDA, CPU], required=True) == [[CUDA, CPU]]
    assert tried("auto", [CUDA, CPU], required=True) == [[CUDA, CPU]]
    assert tried("auto", [CPU], required=True) == [[CPU]]
    with pytest.raises(ProviderUnavailable):
        tried("cuda,cpu", [CPU], required=True)


@pytest.mark.parametrize(("name", "extra"), [("cuda", "gpu"), ("tensorrt", "gpu"), ("openvino", "openvino")])
def test_a_provider_that_this_build_lacks_is_refused_with_the_extra_that_brings_it(name: str, extra: str) -> None:
    with pytest.raises(ProviderUnavailable, match=f"which has cpu; install the extra '{extra}'"):
        tried(name, [CPU])


@pytest.mark.parametrize(
    ("asked", "problems"),
    [
        pytest.param(Asked(("gpu",)), ["'gpu': .* has cpu; did you mean cuda"], id="what-people-call-it"),
        pytest.param(Asked(("cdua", "cpu")), ["'cdua': .* has cpu; did you mean cuda"], id="typo"),
        pytest.param(Asked(("teapot",)), ["'teapot': .* has cpu$"], id="nothing-like-it"),
        pytest.param(Asked(options={"opnvino": {}}), ["did you mean openvino"], id="options-for-nobody"),
        pytest.param(Asked(("aa",), {"bb": {}}), ["'aa'", "'bb'"], id="all-of-them"),
    ],
)
def test_a_name_that_there_is_not_is_told_from_one_that_this_build_lacks(asked: Asked, problems: list[str]) -> None:
    with pytest.raises(InvalidSettings) as wrong:
        providers.wanted(asked, Build([CPU], KNOWN))

    assert len(wrong.value.problems) == len(problems)
    for problem, expected in zip(wrong.value.problems, problems, strict=True):
        assert re.search(expected, problem)


def test_any_provider_of_the_build_can_be_named_even_one_that_onnxruntime_does_not_know() -> None:
    build = Build(["MyOwnExecutionProvider", CPU], KNOWN)

    assert providers.wanted(Asked(("myown",)), build) == ("MyOwnExecutionProvider",)


def test_our_options_hold_unless_others_are_asked_for() -> None:
    asked = Asked(options={"cuda": {"use_tf32": "1", "device_id": "1"}})

    chosen = dict(providers.with_options([CUDA, OPENVINO, CPU], asked, threads=3))

    assert chosen[CUDA]["use_tf32"] == "1"
    assert chosen[CUDA]["device_id"] == "1"
    assert chosen[CUDA]["cudnn_conv_algo_search"] == "HEURISTIC"
    assert dict(providers.with_options([CUDA], Asked(), threads=1))[CUDA]["use_tf32"] == "0"
    assert chosen[OPENVINO] == {"device_type": "CPU", "num_of_threads": "3"}
    assert chosen[CPU] == {}


def test_a_session_says_what_it_got_and_why_it_is_not_what_was_wanted() -> None:
    obtained = Session(tiny_models.affine(), Asked(("cuda", "openvino", "cpu"))).obtained

    assert (obtained.first, obtained.fell_back) == (CPU, True)
    assert obtained.wanted == (CUDA, OPENVINO, CPU)
    assert obtained.reason.startswith(f"{CUDA}: not in this build of onnxruntime")
    assert f"; {OPENVINO}: not in this build" in obtained.reason
    assert not Session(tiny_models.affine()).obtained.fell_back


def test_a_session_is_not_made_on_anything_that_was_not_asked_for() -> None:
    with pytest.raises(ProviderUnavailable, match="CUDAExecutionProvider: not in this build"):
        Session(tiny_models.affine(), Asked(("cuda",)))
    with pytest.raises(ModelRefused, match=r"onnxruntime cannot load the model: CUDAExecutionProvider: not in .*; CPU"):
        Session(b"nonsense", Asked(("cuda", "cpu")))


def test_every_provider_of_the_installed_build_can_be_asked_for() -> None:
    for name in onnxruntime.get_available_providers():
        check_provider(Asked((short_name(name),), {}, required=True))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc, which only Linux has")
def test_the_settings_come_before_what_was_measured_of_threads(tmp_path: Path) -> None:
    stored = tiny_models.publish_affine(tmp_path)

    def alive() -> set[str]:
        gc.collect()
        return {task.name for task in Path("/proc/self/task").iterdir()}

    def threads_of(settings: Settings, *, processors: int) -> int:
        # Others may end meanwhile: what an earlier test has left.
        before = alive()
        model = live_model.load(stored, settings, Metrics(), processors=processors)
        started = len(alive() - before)
        model.close()
        return started

    # A run as short as this one's gains nothing by several threads; onnxruntime runs one part in the one that calls it.
    assert threads_of(Settings(), processors=3) == threads_of(Settings(), processors=1)
    assert threads_of(Settings(threads=4), processors=1) - threads_of(Settings(threads=1), processors=3) == 3
