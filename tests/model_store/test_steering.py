"""Labels, version policy and rollback: what stands in the store afterwards, and what may serve."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models

from model_store import Store, StoreError, UnknownModel, UnknownVersion, steering
from model_store.manifest import Group
from model_store.serving import Selection, VersionPolicy


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """double@1, double@2, double@3."""
    opened = Store(tmp_path / "store")
    for factor in (1, 2, 3):
        tiny_models.publish_affine(opened, factor=factor)
    return opened


def publish_pair(store: Store, tmp_path: Path, run: str) -> int:
    group = Group(id=run, members=("encoder", "decoder"))
    drafts = [
        tiny_models.draft(tmp_path / run / name, name, tiny_models.affine(), group=group) for name in group.members
    ]
    return store.publish(*drafts)[0].version


def test_rolling_back_serves_the_version_before(store: Store) -> None:
    assert store.select("double") == Selection((3,))

    done = steering.roll_back(store, "double")

    assert (done.version, done.withdrawn) == (2, {"double": (3,)})
    assert store.select("double") == Selection((2,))


def test_rolling_back_again_goes_one_further_and_then_no_further(store: Store) -> None:
    steering.roll_back(store, "double")
    steering.roll_back(store, "double")
    assert store.select("double") == Selection((1,))

    with pytest.raises(StoreError, match="'double' has no version before 1"):
        steering.roll_back(store, "double")
    assert store.select("double") == Selection((1,))


def test_what_is_published_after_a_rollback_serves(store: Store) -> None:
    steering.roll_back(store, "double")
    tiny_models.publish_affine(store, factor=4)

    assert store.select("double") == Selection((4,))


def test_a_version_that_was_withdrawn_comes_back_when_it_is_named(store: Store) -> None:
    steering.roll_back(store, "double", to=1)
    assert store.select("double") == Selection((1,))

    assert steering.roll_back(store, "double", to=3).withdrawn == {}
    assert store.select("double") == Selection((3,))
    assert store.serving("double").withdrawn == (2,)


def test_labels_move_with_a_rollback(store: Store) -> None:
    steering.set_label(store, "double", "stable", 3)
    steering.set_label(store, "double", "old", 1)

    done = steering.roll_back(store, "double")

    assert done.moved_labels == ("stable",)
    assert store.labels("double") == {"stable": 2, "old": 1}


def test_a_group_goes_back_together(store: Store, tmp_path: Path) -> None:
    publish_pair(store, tmp_path, "first")
    publish_pair(store, tmp_path, "second")

    done = steering.roll_back(store, "encoder")

    assert done.withdrawn == {"decoder": (2,), "encoder": (2,)}
    assert store.select("encoder") == store.select("decoder") == Selection((1,))


def test_a_version_that_one_member_withdraws_serves_in_none(store: Store, tmp_path: Path) -> None:
    publish_pair(store, tmp_path, "first")
    publish_pair(store, tmp_path, "second")
    (store.root / "encoder" / "serving.json").write_text('{"withdrawn": [2]}')

    assert store.select("decoder") == Selection((1,))


def test_a_policy_of_specific_versions_gets_the_one_that_is_gone_back_to(store: Store) -> None:
    steering.set_policy(store, "double", VersionPolicy.parse("specific:1,3"))

    steering.roll_back(store, "double", to=2)

    assert str(store.serving("double").version_policy) == "specific:1,2"
    assert store.select("double") == Selection((1, 2), policy="specific:1,2")


@pytest.mark.parametrize(
    ("policy", "versions"), [("latest:1", (3,)), ("latest:2", (2, 3)), ("all", (1, 2, 3)), ("specific:1,3", (1, 3))]
)
def test_a_policy_chooses_versions(store: Store, policy: str, versions: tuple[int, ...]) -> None:
    steering.set_policy(store, "double", VersionPolicy.parse(policy))

    assert store.select("double").versions == versions


def test_a_labelled_version_serves_whatever_the_policy(store: Store) -> None:
    steering.set_label(store, "double", "stable", 1)

    assert store.select("double") == Selection((1, 3), {"stable": 1})

    steering.remove_label(store, "double", "stable")
    assert store.select("double") == Selection((3,))


def test_what_else_stands_in_serving_json_stays(store: Store) -> None:
    (store.root / "double" / "serving.json").write_text('{"threads": 2, "max_batch_size": 8}')

    steering.set_policy(store, "double", VersionPolicy.parse("all"))
    steering.roll_back(store, "double")

    serving = store.serving("double")
    assert (serving.threads, serving.max_batch_size, serving.withdrawn) == (2, 8, (3,))


def test_what_does_not_exist_is_refused_and_nothing_is_written(store: Store) -> None:
    with pytest.raises(UnknownVersion):
        steering.set_label(store, "double", "stable", 9)
    with pytest.raises(UnknownModel):
        steering.set_label(store, "nobody", "stable", 1)
    with pytest.raises(UnknownVersion):
        steering.set_policy(store, "double", VersionPolicy.parse("specific:1,9"))
    with pytest.raises(UnknownModel):
        steering.set_policy(store, "nobody", VersionPolicy.parse("all"))
    with pytest.raises(UnknownVersion):
        steering.roll_back(store, "double", to=9)
    with pytest.raises(StoreError, match="has no label 'canary'; it has: none"):
        steering.remove_label(store, "double", "canary")
    with pytest.raises(StoreError, match="should match pattern"):
        steering.set_label(store, "double", "not a label", 1)

    assert {path.name for path in (store.root / "double").iterdir()} == {"1", "2", "3"}


def test_a_withdrawn_version_gets_no_label(store: Store) -> None:
    steering.roll_back(store, "double")

    with pytest.raises(
        StoreError, match="double@3 is withdrawn; `ovenbird store rollback double --to 3` brings it back"
    ):
        steering.set_label(store, "double", "stable", 3)
