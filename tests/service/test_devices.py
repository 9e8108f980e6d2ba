"""Devices: how they are written, which of them a new worker gets, and what contradicts them."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from service import placement
from service.devices import Cores, Device, Gpu, free_slot, parse, written
from service.errors import InvalidSettings
from service.settings import Settings

USABLE = sorted(os.sched_getaffinity(0))
ONE_CORE = Cores(((USABLE[0], USABLE[0]),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("0,1", (Gpu(0), Gpu(1))),
        (" gpu:0 , 3", (Gpu(0), Gpu(3))),
        ("gpu:0,gpu:0", (Gpu(0), Gpu(0))),
        ("cpu:0-3,cpu:4", (Cores(((0, 3),)), Cores(((4, 4),)))),
        ("cpu:0-3+8+10-11", (Cores(((0, 3), (8, 8), (10, 11))),)),
        ("gpu:2,cpu:0", (Gpu(2), Cores(((0, 0),)))),
    ],
)
def test_a_list_of_devices_is_read_and_written(text: str, expected: tuple[Device, ...]) -> None:
    devices = parse(text)

    assert devices == expected
    assert parse(",".join(map(str, devices))) == expected


def test_a_group_has_each_core_of_its_ranges_once() -> None:
    (group,) = parse("cpu:0-2+2-3+8")

    assert isinstance(group, Cores)
    assert group.numbers == {0, 1, 2, 3, 8}
    assert written(group.numbers) == "0-3+8"


@pytest.mark.parametrize(
    "text",
    ["gpu", "gpu:", "gpu:a", "-1", "0-3", "cuda:0", "0,,1", "0,", "²", "cpu", "cpu:", "cpu:3-0", "cpu:0-", "cpu:0+"],
)
def test_what_is_no_device_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no device; expected GPUs such as 0,1 or groups of cores such as cpu:0-3"):
        parse(text)


def test_a_bare_number_beside_cores_is_asked_back() -> None:
    with pytest.raises(
        ValueError, match=r"^1 beside cpu:0: write gpu:1 for the GPU, or cpu:0\+1 for one group of cores"
    ):
        parse("cpu:0,1")


def test_workers_get_the_slots_in_order_and_a_replacement_the_one_that_came_free() -> None:
    assert [free_slot(range(workers), 3) for workers in range(3)] == [0, 1, 2]
    assert free_slot([2, 0], 3) == 1
    assert free_slot([], 1) == 0


def test_new_workers_beside_the_old_ones_get_every_slot_once_more() -> None:
    taken = [0, 1, 2]
    for _ in range(3):
        taken.append(free_slot(taken, 3))

    assert taken == [0, 1, 2, 0, 1, 2]


def test_whichever_workers_die_each_slot_has_one_when_all_are_replaced() -> None:
    chance, taken = random.Random(1), [0, 1, 2, 3]
    for _ in range(200):
        taken = chance.sample(taken, chance.randrange(5))
        while len(taken) < 4:
            taken.append(free_slot(taken, 4))

        assert sorted(taken) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "environ", "problem"),
    [
        pytest.param(
            {"devices": (Cores(((9998, 9999),)),)},
            {},
            f"devices=cpu:9998-9999: this process may not use 9998-9999; it may use the cores {written(USABLE)}",
            id="cores",
        ),
        pytest.param(
            {"devices": (Gpu(2),)},
            {"CUDA_VISIBLE_DEVICES": "4,5"},
            "devices=gpu:2: CUDA_VISIBLE_DEVICES='4,5' leaves 2, counted from 0; choose one of them, or unset it",
            id="gpu",
        ),
        pytest.param(
            {"devices": (Gpu(0),)},
            {"CUDA_VISIBLE_DEVICES": ""},
            "devices=gpu:0: CUDA_VISIBLE_DEVICES='' leaves 0, counted from 0; choose one of them, or unset it",
            id="no-gpu",
        ),
        pytest.param(
            {"devices": (Gpu(0), ONE_CORE), "provider": ("tensorrt", "cuda")},
            {},
            f"devices={ONE_CORE}: a worker on cores has no GPU for provider tensorrt,cuda; name GPUs, such as 0,1",
            id="cores-for-cuda",
        ),
        pytest.param(
            {"devices": (ONE_CORE,), "provider": ("cuda", "cpu"), "require_provider": True},
            {},
            f"devices={ONE_CORE}: a worker on cores has no GPU for provider cuda; name GPUs, such as 0,1",
            id="cores-for-cuda-alone",
        ),
        pytest.param(
            {"devices": (Gpu(0),), "provider": ("cpu",)},
            {},
            "devices=gpu:0: provider cpu runs on none of CUDA's GPUs; ask for cuda, or name cores",
            id="gpu-for-the-cpu",
        ),
        pytest.param(
            {"devices": (Gpu(0),), "provider_options": {"cuda": {"device_id": "1"}}},
            {},
            "devices=gpu:0: a worker sees its GPU alone, as number 0; take device_id=1 out of provider_options",
            id="device-id",
        ),
    ],
)
def test_devices_that_cannot_be_had_are_refused_with_the_way_out(
    settings: dict[str, Any], environ: dict[str, str], problem: str
) -> None:
    with pytest.raises(InvalidSettings) as wrong:
        placement.check(Settings(**settings), environ)

    assert wrong.value.problems == (problem,)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"devices": (Gpu(0), Gpu(7), ONE_CORE)},
        {"devices": (Gpu(0), ONE_CORE), "provider": ("cuda", "cpu")},
        {"devices": (Gpu(0),), "provider_options": {"cuda": {"device_id": "0"}}},
        {"devices": (ONE_CORE,), "provider": ("openvino",)},
    ],
)
def test_devices_that_may_be_there_are_not_refused(settings: dict[str, Any]) -> None:
    placement.check(Settings(**settings), {})


def test_a_gpu_has_nvidia_smis_number_or_counts_within_what_is_visible() -> None:
    assert placement.visible(Gpu(1), {}) == {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert placement.visible(Gpu(1), {"CUDA_VISIBLE_DEVICES": "2, GPU-8f6a"}) == {"CUDA_VISIBLE_DEVICES": "GPU-8f6a"}
