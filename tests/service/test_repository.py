"""The repository over a real store with real ONNX models: loading, swapping, refusing, forgetting."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from repository_steps import ROW, drained, factor, states, with_repository

from model_store import Store
from model_store.manifest import Group
from service.errors import NotReady, UnknownModel, UnknownVersion
from service.repository import Repository
from service.telemetry.metrics import Metrics


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def break_manifest(store: Store, name: str, version: int = 1) -> Path:
    manifest = store.resolve(name, version).path / "manifest.json"
    manifest.write_text('{"format_version": 1}')
    return manifest


def break_model(store: Store, name: str, version: int = 1) -> Path:
    model = store.resolve(name, version).onnx_path
    model.write_bytes(model.read_bytes()[:-1] + b"\x00")
    return model


def test_an_empty_store_is_ready_and_serves_nothing(store: Store) -> None:
    async def work(repository: Repository) -> None:
        assert repository.ready
        assert repository.index() == []
        with pytest.raises(UnknownModel, match="unknown model 'double'; there is: none"):
            repository.get("double")

    with_repository(store, work)


def test_the_latest_version_is_served_and_can_be_named(store: Store) -> None:
    tiny_models.publish_affine(store, factor=2)
    tiny_models.publish_affine(store, factor=3)

    async def work(repository: Repository) -> None:
        assert states(repository) == {"double@2": "READY"}
        assert await factor(repository) == 3
        assert await factor(repository, version="2") == 3
        with pytest.raises(UnknownVersion, match="'double' is not served in version '1'; served versions: 2"):
            repository.get("double", "1")

    with_repository(store, work)


def test_a_new_version_is_swapped_in_and_the_old_one_is_let_go(store: Store) -> None:
    tiny_models.publish_affine(store, factor=2)

    async def work(repository: Repository) -> None:
        old = repository.get("double")
        tiny_models.publish_affine(store, factor=3)
        await repository.refresh()

        assert await factor(repository) == 3
        # A request that had chosen the old version before the swap is still answered by it.
        assert (await old.predict(ROW, timeout=5))["y"][0, 0] == 2
        await drained(repository)
        assert states(repository) == {"double@2": "READY"}

    with_repository(store, work)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(break_model, "model.onnx: sha256 is", id="model-differs-from-its-sha256"),
        pytest.param(break_manifest, "manifest.json: created: Field required", id="manifest-breaks-the-schema"),
    ],
)
def test_a_corrupt_version_leaves_the_old_one_in_place_with_the_reason_visible(
    store: Store, damage: Callable[..., Path], reason: str
) -> None:
    tiny_models.publish_affine(store, factor=2)
    metrics = Metrics()

    async def work(repository: Repository) -> None:
        tiny_models.publish_affine(store, factor=3)
        damage(store, "double", 2)
        await repository.refresh()

        assert await factor(repository) == 2
        assert states(repository) == {"double@1": "READY", "double@2": "UNAVAILABLE"}
        assert reason in next(status.reason for status in repository.index() if status.version == 2)
        with pytest.raises(NotReady, match="version 2 is UNAVAILABLE"):
            repository.get("double", "2")

    with_repository(store, work, metrics=metrics)
    assert b'ovenbird_model_state{model="double",state="UNAVAILABLE",version="2"} 1.0' in metrics.text()


def test_at_start_an_older_version_serves_when_the_newest_is_corrupt(store: Store) -> None:
    tiny_models.publish_affine(store, factor=2)
    tiny_models.publish_affine(store, factor=3)
    break_model(store, "double", 2)

    async def work(repository: Repository) -> None:
        assert await factor(repository) == 2

    with_repository(store, work)


def test_a_corrupt_model_beside_good_ones_harms_none_of_them(store: Store) -> None:
    tiny_models.publish_affine(store, "good")
    tiny_models.publish_affine(store, "bad")
    break_model(store, "bad")

    async def work(repository: Repository) -> None:
        assert repository.ready
        assert await factor(repository, "good") == 2
        with pytest.raises(NotReady, match="sha256"):
            repository.get("bad")

    with_repository(store, work)


def test_when_nothing_can_serve_the_service_is_not_ready(store: Store) -> None:
    tiny_models.publish_affine(store)
    break_model(store, "double")

    async def work(repository: Repository) -> None:
        assert not repository.ready

    with_repository(store, work)


def test_a_refused_version_is_tried_again_when_its_files_have_changed_and_stand_still(store: Store) -> None:
    tiny_models.publish_affine(store)
    good = store.resolve("double").onnx_path.read_bytes()
    model = break_model(store, "double")

    async def work(repository: Repository) -> None:
        loads = []
        load = repository._load
        repository._load = lambda *arguments, **options: loads.append(1) or load(*arguments, **options)
        await repository.refresh()
        assert loads == []
        model.write_bytes(good)
        await repository.refresh()
        assert loads == []
        await repository.refresh()
        assert states(repository) == {"double@1": "READY"}

    with_repository(store, work)


def test_a_version_that_is_copied_slowly_is_tried_once_and_then_when_it_is_whole(store: Store, tmp_path: Path) -> None:
    tiny_models.publish_affine(store, factor=2)
    source = tiny_models.publish_affine(tmp_path / "elsewhere", factor=3).path
    target = store.root / "double" / "2"

    async def work(repository: Repository) -> None:
        loads = []
        load = repository._load
        repository._load = lambda stored, *arguments, **options: (
            loads.append(stored.version) or load(stored, *arguments, **options)
        )
        target.mkdir()
        content = (source / "model.onnx").read_bytes()
        shutil.copy(source / "manifest.json", target)
        for size in range(0, len(content), len(content) // 10):
            (target / "model.onnx").write_bytes(content[:size])
            await repository.refresh()
            assert await factor(repository) == 2
        shutil.copytree(source, target, dirs_exist_ok=True)
        await repository.refresh()
        await repository.refresh()

        assert await factor(repository) == 3
        assert loads == [2, 2]

    with_repository(store, work)


def test_a_version_that_disagrees_with_its_golden_file_is_refused(store: Store) -> None:
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    wrong = tiny_models.Golden(inputs={"x": rows}, keras={"y": rows * 2.001}, onnx={"y": rows * 2.001})
    tiny_models.publish(store, "double", tiny_models.affine(2), golden=wrong)

    async def work(repository: Repository) -> None:
        (status,) = repository.index()
        assert status.state == "UNAVAILABLE"
        assert "golden replay disagrees with Keras on CPUExecutionProvider: output 'y'" in status.reason

    with_repository(store, work)


def test_a_version_whose_graph_is_not_what_its_manifest_promises_is_refused(store: Store) -> None:
    promised = [{"name": "pixels", "dtype": "float32", "shape": [None, 3], "kind": "vector"}]
    tiny_models.publish(store, "double", tiny_models.affine(2), inputs=promised)

    async def work(repository: Repository) -> None:
        (status,) = repository.index()
        assert (
            "the manifest's inputs (pixels FP32[-1, 3]) are not those of the ONNX file (x FP32[-1, 3])" in status.reason
        )

    with_repository(store, work)


def test_a_file_that_is_no_onnx_model_is_refused(store: Store) -> None:
    tiny_models.publish(store, "double", b"this is not protobuf")

    async def work(repository: Repository) -> None:
        (status,) = repository.index()
        assert "onnxruntime cannot load the model" in status.reason

    with_repository(store, work)


def publish_pair(store: Store, tmp_path: Path, factors: tuple[float, float], run: str) -> None:
    """Publish encoder and decoder as one group."""
    drafts = []
    for name, value in zip(("encoder", "decoder"), factors, strict=True):
        rows = np.arange(6, dtype=np.float32).reshape(2, 3)
        golden = tiny_models.Golden(inputs={"x": rows}, keras={"y": rows * value}, onnx={"y": rows * value})
        drafts.append(
            tiny_models.draft(
                tmp_path / run / name, name, tiny_models.affine(value), golden=golden,
                group=Group(id=run, members=("encoder", "decoder")),
            )
        )  # fmt: skip
    store.publish(*drafts)


def test_models_of_one_group_are_swapped_together_or_not_at_all(store: Store, tmp_path: Path) -> None:
    publish_pair(store, tmp_path, (2, 3), "first")

    async def work(repository: Repository) -> None:
        publish_pair(store, tmp_path, (4, 5), "second")
        break_model(store, "decoder", 2)
        await repository.refresh()
        assert [await factor(repository, name) for name in ("encoder", "decoder")] == [2, 3]
        refused = {status.name: status.reason for status in repository.index() if status.version == 2}
        assert "sha256" in refused["decoder"]
        assert "decoder@2 of its group was refused" in refused["encoder"]

        publish_pair(store, tmp_path, (6, 7), "third")
        await repository.refresh()
        assert [await factor(repository, name) for name in ("encoder", "decoder")] == [6, 7]

    with_repository(store, work)


def test_an_incomplete_group_is_passed_over(store: Store, tmp_path: Path) -> None:
    publish_pair(store, tmp_path, (2, 3), "first")
    publish_pair(store, tmp_path, (4, 5), "second")
    shutil.rmtree(store.root / "decoder" / "2")

    async def work(repository: Repository) -> None:
        assert [await factor(repository, name) for name in ("encoder", "decoder")] == [2, 3]

    with_repository(store, work)


def series_of(metrics: Metrics, *names: str) -> bytes:
    return b"\n".join(line for line in metrics.text().splitlines() if line.startswith(tuple(n.encode() for n in names)))


def test_a_model_that_was_removed_from_the_store_is_unloaded(store: Store) -> None:
    tiny_models.publish_affine(store, "stays")
    tiny_models.publish_affine(store, "goes")
    metrics = Metrics()

    async def work(repository: Repository) -> None:
        shutil.rmtree(store.root / "goes")
        await repository.refresh()
        await drained(repository)

        assert states(repository) == {"stays@1": "READY"}
        with pytest.raises(UnknownModel):
            repository.get("goes")

    with_repository(store, work, metrics=metrics)
    assert b'{model="goes"' not in series_of(metrics, "ovenbird_model_info", "ovenbird_expected_compute_seconds")
    assert b'ovenbird_expected_compute_seconds{model="stays",rows="1",version="1"}' in metrics.text()


def test_when_the_newest_version_is_removed_the_one_before_serves_again(store: Store) -> None:
    tiny_models.publish_affine(store, factor=2)
    tiny_models.publish_affine(store, factor=3)

    async def work(repository: Repository) -> None:
        shutil.rmtree(store.root / "double" / "2")
        await repository.refresh()

        assert await factor(repository) == 2

    with_repository(store, work)


def test_a_store_that_is_away_for_a_moment_takes_nothing_with_it(store: Store) -> None:
    tiny_models.publish_affine(store)

    async def work(repository: Repository) -> None:
        store.root.rename(store.root.with_name("elsewhere"))
        await repository.refresh()

        assert await factor(repository) == 2

    with_repository(store, work)


def test_watching_finds_new_versions_by_itself(store: Store) -> None:
    tiny_models.publish_affine(store, factor=2)

    async def work(repository: Repository) -> None:
        tiny_models.publish_affine(store, factor=3)
        async with asyncio.timeout(10):
            while await factor(repository) != 3:
                await asyncio.sleep(0.01)

    with_repository(store, work, control="poll", poll_interval=0.02)


def test_watching_survives_a_look_that_fails(store: Store) -> None:
    tiny_models.publish_affine(store, factor=2)

    async def work(repository: Repository) -> None:
        root = store.root.with_name("elsewhere")
        store.root.rename(root)
        store.root.write_text("a file where the store was")
        await asyncio.sleep(0.1)
        store.root.unlink()
        root.rename(store.root)
        tiny_models.publish_affine(store, factor=3)
        async with asyncio.timeout(10):
            while await factor(repository) != 3:
                await asyncio.sleep(0.01)

    with_repository(store, work, control="poll", poll_interval=0.02)


def test_explicit_control_loads_what_is_named_and_nothing_else(store: Store) -> None:
    for name in ("one", "two", "three"):
        tiny_models.publish_affine(store, name)

    async def names(repository: Repository) -> list[str]:
        return repository.names()

    assert with_repository(store, names, control="explicit") == []
    assert with_repository(store, names, control="explicit", load=("two", "one")) == ["one", "two"]
    assert with_repository(store, names, control="explicit", load=("*",)) == ["one", "three", "two"]
    with pytest.raises(UnknownModel, match="unknown model 'four'; there is: one, three, two"):
        with_repository(store, names, control="explicit", load=("four",))


def test_the_manifest_in_the_store_is_what_is_served(store: Store) -> None:
    stored = tiny_models.publish_affine(store)

    async def work(repository: Repository) -> None:
        written = json.loads((stored.path / "manifest.json").read_text())
        assert repository.get("double").description.digest == written["files"]["model.onnx"]

    with_repository(store, work)
