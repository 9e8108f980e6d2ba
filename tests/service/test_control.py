"""What workers agree on, seen with two of them in one process: two repositories over two stores, one run directory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models

from model_store import Store
from model_store.serving import Selection
from service import run_dir as files
from service.control import Control, Desired, merged
from service.errors import ControlRefused, UnknownModel
from service.repository import Repository, VersionStatus
from service.settings import Settings
from service.telemetry.metrics import Metrics


@pytest.fixture
def stores(tmp_path: Path) -> list[Store]:
    """Each with double@1, and triple@1, which is corrupt in the second."""
    both = [Store(tmp_path / "first"), Store(tmp_path / "second")]
    for store in both:
        tiny_models.publish_affine(store, "double")
        tiny_models.publish_affine(store, "triple", factor=3)
    both[1].resolve("triple").onnx_path.write_bytes(b"overwritten")
    return both


def with_workers(
    stores: list[Store], run_dir: Path, work: Callable[[list[Control], list[Repository]], Awaitable[Any]]
) -> Any:
    async def main() -> Any:
        files.prepare(run_dir)
        settings = Settings(control="explicit", load=("double",))
        repositories = [Repository(store, settings, Metrics()) for store in stores]
        controls = []
        for number, repository in enumerate(repositories, 1):
            controls.append(Control(repository, explicit=True, run_dir=run_dir, worker=number))
            await controls[-1].start()
        try:
            return await work(controls, repositories)
        finally:
            for one, repository in zip(controls, repositories, strict=True):
                await one.stop()
                await repository.stop()

    return asyncio.run(main())


def versions(repository: Repository) -> dict[str, tuple[int, ...]]:
    return {name: selected.versions for name, selected in repository.served().items()}


def test_what_one_worker_refuses_no_worker_keeps(stores: list[Store], tmp_path: Path) -> None:
    async def work(controls: list[Control], repositories: list[Repository]) -> None:
        with pytest.raises(ControlRefused, match=r"worker 2: version 1 of model 'triple' cannot serve.*sha256"):
            await controls[0].load("triple")

        assert [repository.names() for repository in repositories] == [["double"], ["double"]]

    with_workers(stores, tmp_path / "run", work)


def test_any_worker_may_be_called_and_all_follow(stores: list[Store], tmp_path: Path) -> None:
    for store in stores:
        tiny_models.publish_affine(store, "triple", factor=3)

    async def work(controls: list[Control], repositories: list[Repository]) -> None:
        await controls[1].load("triple")
        await controls[0].unload("double")

        assert [repository.names() for repository in repositories] == [["triple"], ["triple"]]
        # Once more changes nothing: scripts may repeat it.
        await controls[1].unload("double")
        with pytest.raises(UnknownModel):
            await controls[1].unload("nobody")

    with_workers(stores, tmp_path / "run", work)


def test_calls_at_the_same_time_take_turns(stores: list[Store], tmp_path: Path) -> None:
    for store in stores:
        tiny_models.publish_affine(store, "triple", factor=3)

    async def work(controls: list[Control], repositories: list[Repository]) -> None:
        await asyncio.gather(controls[0].load("triple"), controls[1].load("double"), controls[0].load("double"))

        assert [repository.names() for repository in repositories] == [["double", "triple"]] * 2

    with_workers(stores, tmp_path / "run", work)


def test_a_worker_that_went_is_not_waited_for(stores: list[Store], tmp_path: Path) -> None:
    async def work(controls: list[Control], repositories: list[Repository]) -> None:
        await controls[1].stop()
        files.worker_went(tmp_path / "run", 2)

        await controls[0].load("triple")

        assert repositories[0].names() == ["double", "triple"]

    with_workers(stores, tmp_path / "run", work)


def test_the_index_shows_the_least_ready_of_all_workers(stores: list[Store], tmp_path: Path) -> None:
    async def work(controls: list[Control], repositories: list[Repository]) -> None:
        with pytest.raises(ControlRefused):
            await controls[0].load("triple")
        async with asyncio.timeout(10):
            for control in controls:
                while [(s.name, s.state) for s in control.index()] != [("double", "READY"), ("triple", "UNAVAILABLE")]:
                    await asyncio.sleep(0.01)

    with_workers(stores, tmp_path / "run", work)


def test_a_worker_that_starts_later_loads_the_versions_that_the_first_one_did(
    stores: list[Store], tmp_path: Path
) -> None:
    async def main() -> None:
        run_dir = tmp_path / "run"
        files.prepare(run_dir)
        settings = Settings(control="explicit", load=("double",))
        repositories = [Repository(stores[0], settings, Metrics()) for _ in range(2)]
        controls = [
            Control(repository, explicit=True, run_dir=run_dir, worker=number)
            for number, repository in enumerate(repositories, 1)
        ]
        await controls[0].start()
        tiny_models.publish_affine(stores[0], "double", factor=5)
        await controls[1].start()
        served = [versions(repository) for repository in repositories]
        for one, repository in zip(controls, repositories, strict=True):
            await one.stop()
            await repository.stop()

        assert served == [{"double": (1,)}, {"double": (1,)}]

    asyncio.run(main())


def test_what_one_worker_refuses_is_given_back_by_those_that_had_it(stores: list[Store], tmp_path: Path) -> None:
    for store in stores:
        tiny_models.publish_affine(store, "double", factor=5)

    async def work(controls: list[Control], repositories: list[Repository]) -> None:
        for store in stores:
            tiny_models.publish_affine(store, "double", factor=7)
        stores[1].resolve("double").onnx_path.write_bytes(b"overwritten")

        with pytest.raises(ControlRefused, match="worker 2: version 3"):
            await controls[0].load("double")

        assert [versions(repository) for repository in repositories] == [{"double": (2,)}, {"double": (2,)}]

    with_workers(stores, tmp_path / "run", work)


def test_desired_states_follow_each_other() -> None:
    three, one = Selection((3,), {"stable": 3}), Selection((1,))
    first = Desired().with_model("a", three)
    second = first.with_model("b", one).without_model("a")

    assert first == Desired(1, {"a": three})
    assert second == Desired(3, {"b": one})
    assert first.restored(second) == Desired(4, {"a": three})


def test_a_desired_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    files.prepare(tmp_path)
    assert Desired.read(tmp_path) is None

    desired = Desired(2, {"a": Selection((1, 3), {"stable": 1})})
    desired.write(tmp_path)

    assert Desired.read(tmp_path) == desired


def test_of_several_statuses_the_least_ready_counts() -> None:
    ready, loading = VersionStatus("m", 1, "READY"), VersionStatus("m", 1, "LOADING")
    refused = VersionStatus("m", 2, "UNAVAILABLE", "why")

    assert merged([ready, refused, loading, ready]) == [loading, refused]
