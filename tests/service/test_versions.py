"""Several versions of a model at once: policy, labels, rollback, and serving.json, as a watching service sees them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from repository_steps import drained, factor, states, with_repository

from model_store import Store, steering
from model_store.manifest import Group
from model_store.serving import VersionPolicy
from service.errors import ControlRefused, NotReady, UnknownLabel, UnknownVersion
from service.repository import Repository


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """double@1, double@2, double@3, which multiply by their number."""
    opened = Store(tmp_path / "store")
    for number in (1, 2, 3):
        tiny_models.publish_affine(opened, factor=number)
    return opened


def served(repository: Repository, name: str = "double") -> tuple[int, ...]:
    return repository.served()[name].versions


def write_serving(store: Store, name: str = "double", **fields: object) -> None:
    (store.root / name / "serving.json").write_text(json.dumps(fields))


def test_every_version_that_the_policy_names_serves_and_the_newest_is_the_default(store: Store) -> None:
    steering.set_policy(store, "double", VersionPolicy.parse("latest:2"))

    async def work(repository: Repository) -> None:
        assert served(repository) == (2, 3)
        assert [await factor(repository, version=version) for version in ("2", "3", None)] == [2, 3, 3]
        with pytest.raises(UnknownVersion, match="'double' is not served in version '1'; served versions: 2, 3"):
            repository.get("double", "1")

        tiny_models.publish_affine(store, factor=4)
        await repository.refresh()
        assert served(repository) == (3, 4)
        assert await factor(repository) == 4

        steering.set_policy(store, "double", VersionPolicy.parse("specific:1"))
        await repository.refresh()
        await drained(repository)
        assert states(repository) == {"double@1": "READY"}

    with_repository(store, work)


def test_a_label_leads_to_its_version_and_moves_when_that_serves(store: Store) -> None:
    steering.set_label(store, "double", "stable", 1)

    async def work(repository: Repository) -> None:
        assert repository.get("double", label="stable").version == 1
        assert repository.get("double").version == 3
        with pytest.raises(UnknownLabel, match="model 'double' has no label 'canary'; it has: stable"):
            repository.get("double", label="canary")
        with pytest.raises(UnknownLabel):
            repository.get("double", label="3")

        steering.set_label(store, "double", "stable", 2)
        await repository.refresh()
        assert repository.get("double", label="stable").version == 2
        assert served(repository) == (2, 3)

        steering.remove_label(store, "double", "stable")
        await repository.refresh()
        assert served(repository) == (3,)
        with pytest.raises(UnknownLabel):
            repository.get("double", label="stable")

    with_repository(store, work)


def test_a_label_stays_where_it_was_when_its_new_version_is_refused(store: Store) -> None:
    steering.set_label(store, "double", "stable", 1)

    async def work(repository: Repository) -> None:
        store.resolve("double", 2).onnx_path.write_bytes(b"overwritten")
        steering.set_label(store, "double", "stable", 2)
        await repository.refresh()
        assert "sha256" in next(status.reason for status in repository.index() if status.version == 2)
        await repository.refresh()

        assert repository.get("double", label="stable").version == 1
        assert served(repository) == (1, 3)

    with_repository(store, work)


def test_a_rollback_is_served_at_the_next_look_and_undone_by_the_next_version(store: Store) -> None:
    async def work(repository: Repository) -> None:
        steering.roll_back(store, "double")
        await repository.refresh()
        assert await factor(repository) == 2
        await drained(repository)
        assert states(repository) == {"double@2": "READY"}

        tiny_models.publish_affine(store, factor=4)
        await repository.refresh()
        assert await factor(repository) == 4

    with_repository(store, work)


def test_the_old_versions_serve_until_all_new_ones_are_there(store: Store) -> None:
    steering.set_policy(store, "double", VersionPolicy.parse("specific:3"))

    async def work(repository: Repository) -> None:
        store.resolve("double", 2).onnx_path.write_bytes(b"overwritten")
        steering.set_policy(store, "double", VersionPolicy.parse("specific:2"))
        await repository.refresh()
        await repository.refresh()

        assert await factor(repository) == 3

    with_repository(store, work)


def test_a_group_rolls_back_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for run, value in (("first", 2.0), ("second", 5.0)):
        rows = np.arange(6, dtype=np.float32).reshape(2, 3)
        golden = tiny_models.Golden(inputs={"x": rows}, keras={"y": rows * value}, onnx={"y": rows * value})
        group = Group(id=run, members=("encoder", "decoder"))
        store.publish(
            *(
                tiny_models.draft(tmp_path / run / name, name, tiny_models.affine(value), golden=golden, group=group)
                for name in group.members
            )
        )

    async def work(repository: Repository) -> None:
        assert [await factor(repository, name) for name in ("encoder", "decoder")] == [5, 5]

        # Half of a rollback, as a look between its two files would see it.
        write_serving(store, "decoder", withdrawn=[2])
        await repository.refresh()
        assert [await factor(repository, name) for name in ("encoder", "decoder")] == [2, 2]

    with_repository(store, work)


def test_a_model_is_run_anew_when_its_serving_json_changes(store: Store) -> None:
    async def work(repository: Repository) -> None:
        before = repository.get("double")
        write_serving(store, max_batch_size=7)
        await repository.refresh()

        after = repository.get("double")
        assert (after.version, after.serving.max_batch_size) == (3, 7)
        assert after is not before
        await drained(repository)
        assert states(repository) == {"double@3": "READY"}

        await repository.refresh()
        assert repository.get("double") is after

    with_repository(store, work)


def test_a_serving_json_that_cannot_be_used_leaves_what_serves_and_says_why(store: Store) -> None:
    async def work(repository: Repository) -> None:
        write_serving(store, max_batch_sice=7)
        tiny_models.publish_affine(store, factor=4)
        await repository.refresh()
        (status,) = repository.index()
        assert (status.version, status.state) == (3, "READY")
        assert "max_batch_sice: Extra inputs are not permitted" in status.reason
        assert await factor(repository) == 3

        write_serving(store, max_batch_size=7)
        await repository.refresh()
        await drained(repository)
        assert [(status.version, status.reason) for status in repository.index()] == [(4, "")]

    with_repository(store, work)


def test_a_model_that_never_served_shows_what_is_wrong_with_its_serving_json(store: Store) -> None:
    (store.root / "double" / "labels.json").write_text('{"stable": "three"}')

    async def work(repository: Repository) -> None:
        with pytest.raises(
            NotReady, match=r"double' version 3 is UNAVAILABLE: .*labels.json: stable: Input should be a"
        ):
            repository.get("double")

        (store.root / "double" / "labels.json").unlink()
        await repository.refresh()
        assert states(repository) == {"double@3": "READY"}

    with_repository(store, work)


def test_on_request_a_model_is_loaded_as_the_store_has_it_then(store: Store) -> None:
    async def work(repository: Repository) -> None:
        await repository.load("double", await repository.selection("double"))
        steering.roll_back(store, "double", to=1)
        await repository.refresh(())
        assert served(repository) == (3,)

        await repository.load("double", await repository.selection("double"))
        assert served(repository) == (1,)

        await repository.load("double", await repository.selection("double", VersionPolicy.parse("specific:1")))
        with pytest.raises(ControlRefused, match="no version of model 'double' may serve: specific:3 names none"):
            await repository.selection("double", VersionPolicy.parse("specific:3"))

    with_repository(store, work, control="explicit")


def test_of_several_versions_that_are_loaded_on_request_all_come_or_none(store: Store) -> None:
    async def work(repository: Repository) -> None:
        store.resolve("double", 2).onnx_path.write_bytes(b"overwritten")
        wanted = await repository.selection("double", VersionPolicy.parse("specific:1,2"))
        with pytest.raises(ControlRefused, match="version 2 of model 'double' cannot serve"):
            await repository.load("double", wanted)

        assert served(repository) == (3,)
        assert states(repository) == {"double@2": "UNAVAILABLE", "double@3": "READY"}

    with_repository(store, work, control="explicit", load=("double",))


def test_a_bare_model_whose_file_was_replaced_is_loaded_anew_on_request(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    model = store.root / "bare" / "1" / "model.onnx"
    model.parent.mkdir(parents=True)
    model.write_bytes(tiny_models.affine(2))

    async def work(repository: Repository) -> None:
        await repository.load("bare", await repository.selection("bare"))
        assert await factor(repository, "bare") == 2

        model.write_bytes(tiny_models.affine(5))
        await repository.load("bare", await repository.selection("bare"))
        assert await factor(repository, "bare") == 5

    with_repository(store, work, control="explicit")


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        (
            "serving.json",
            {"withdrawn": [1, 2, 3]},
            "chooses none of the versions 1, 2, 3: latest:1, with 1, 2, 3 withdrawn",
        ),
        (
            "serving.json",
            {"version_policy": {"specific": {"versions": [7]}}},
            "the version policy names 7; the store has versions 1, 2, 3; serving.json chooses none",
        ),
        ("labels.json", {"stable": 9}, "label 'stable' names version 9; the store has versions 1, 2, 3"),
    ],
)
def test_what_is_asked_for_in_vain_is_said_and_what_serves_serves_on(
    store: Store, file: str, content: dict[str, object], reason: str
) -> None:
    async def work(repository: Repository) -> None:
        (store.root / "double" / file).write_text(json.dumps(content))
        await repository.refresh()
        (status,) = repository.index()
        assert (status.version, status.state) == (3, "READY")
        assert reason in status.reason

        (store.root / "double" / file).unlink()
        await repository.refresh()
        assert [status.reason for status in repository.index()] == [""]

    with_repository(store, work)


def test_a_model_of_which_no_version_is_chosen_says_so_from_the_start(store: Store) -> None:
    write_serving(store, withdrawn=[1, 2, 3])

    async def work(repository: Repository) -> None:
        assert not repository.ready
        with pytest.raises(NotReady, match=r"serving\.json chooses none of the versions 1, 2, 3"):
            repository.get("double")

    with_repository(store, work)


def test_the_other_versions_are_listed_with_the_reason_that_they_do_not_serve(store: Store) -> None:
    write_serving(store, withdrawn=[2])

    async def work(repository: Repository) -> None:
        assert {status.version: status.reason for status in repository.others()} == {
            1: "not chosen by the version policy latest:1",
            2: "withdrawn",
        }

    with_repository(store, work)
