from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_models import publish_affine

from model_store import (
    CorruptVersion,
    IncompleteDraft,
    InvalidManifest,
    InvalidName,
    ReadOnlyStore,
    Store,
    StoreBusy,
    StoredVersion,
    StoreError,
    UnknownModel,
    UnknownVersion,
)


def files_of(store: Store) -> list[str]:
    return sorted(path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file())


# Looking


def test_a_store_that_is_not_there_is_empty(store: Store) -> None:
    assert (store.models(), store.versions("double"), list(store.all_versions())) == ([], [], [])


def test_looking_into_a_store_does_not_make_it(store: Store) -> None:
    store.models()

    assert not store.root.exists()


def test_models_are_listed_by_name_and_versions_by_age(store: Store, drafts: Any) -> None:
    for model in ["b", "a", *["c"] * 10]:
        store.publish(drafts.one(model))

    assert store.models() == ["a", "b", "c"]
    assert store.versions("c") == list(range(1, 11))
    assert [str(stored) for stored in store.all_versions()][:3] == ["a@1", "b@1", "c@1"]


@pytest.mark.parametrize("asked", [2, "2"])
def test_a_version_is_found_by_its_number(store: Store, asked: str | int) -> None:
    for _ in range(3):
        publish_affine(store)

    assert store.resolve("double", asked) == StoredVersion("double", 2, store.root / "double" / "2")


def test_latest_is_the_highest_number_and_the_default(store: Store) -> None:
    for _ in range(11):
        publish_affine(store)

    assert store.resolve("double", "latest") == store.resolve("double") == store.resolve("double", 11)


@pytest.mark.parametrize("asked", ["01", "0", "x", "", "-1", "1.0", " 1", "1\n", "²", "٣", 0, -1])
def test_what_is_no_version_is_refused_by_name(store: Store, asked: str | int) -> None:
    publish_affine(store)

    with pytest.raises(InvalidName, match="expected a whole number from 1, or 'latest'"):
        store.resolve("double", asked)


def test_an_unknown_version_is_answered_with_those_there_are(store: Store) -> None:
    publish_affine(store)
    publish_affine(store)

    with pytest.raises(UnknownVersion, match="model 'double' has no version 7; it has: 1, 2"):
        store.resolve("double", 7)


def test_an_unknown_model_is_answered_with_those_there_are(store: Store) -> None:
    publish_affine(store)

    with pytest.raises(UnknownModel, match="unknown model 'duoble'; the store has: double"):
        store.resolve("duoble")


def test_an_empty_store_knows_no_model(store: Store) -> None:
    with pytest.raises(UnknownModel, match="the store has: none"):
        store.resolve("double")


BAD_NAMES = ["../x", "", "a\n", "a/b", ".hidden", "-flag", "a b", "ü", "x" * 129, "..", "a\0"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=[repr(name)[:12] for name in BAD_NAMES])
def test_a_name_that_no_store_could_hold_is_refused_everywhere(store: Store, drafts: Any, name: str) -> None:
    publish_affine(store)
    draft = type(drafts.one())(name, drafts.folder / "double", drafts.one().manifest)

    for use in (lambda: store.versions(name), lambda: store.resolve(name), lambda: store.publish(draft)):
        with pytest.raises(InvalidName, match="expected letters, digits"):
            use()

    assert store.models() == ["double"]


def test_the_longest_name_is_128_characters(store: Store, drafts: Any) -> None:
    assert store.publish(drafts.one("x" * 128))[0].model == "x" * 128


def _hide(store: Store) -> None:
    (store.root / "double" / "2").rename(store.root / "double" / ".2")


def _mark(store: Store) -> None:
    (store.root / "double" / "2" / ".publishing").touch()


@pytest.mark.parametrize("withdraw", [_hide, _mark], ids=["hidden", "marked-as-publishing"])
def test_a_folder_that_is_not_published_yet_is_passed_over(store: Store, withdraw: Callable[[Store], None]) -> None:
    publish_affine(store)
    publish_affine(store)

    withdraw(store)

    assert store.versions("double") == [1]
    assert store.resolve("double").version == 1


def test_a_model_appears_when_the_mark_of_its_only_version_is_removed(store: Store) -> None:
    mark = publish_affine(store).path / ".publishing"
    mark.touch()
    before = store.models()

    mark.unlink()

    assert (before, store.models()) == ([], ["double"])


def test_what_else_lies_in_a_store_is_no_model_and_no_version(store: Store) -> None:
    publish_affine(store)
    for folder in (
        "lost+found",
        ".git/1",
        "notes",
        "double/01",
        "double/v2",
        "double/report",
        "double/9" * 30,
        "x\n/1",
    ):
        (store.root / folder).mkdir(parents=True)
    for file in ("README.md", "double/labels.json", "double/7"):
        (store.root / file).write_text("{}")

    assert [str(stored) for stored in store.all_versions()] == ["double@1"]


def test_a_file_in_the_place_of_the_store_is_named(tmp_path: Path, drafts: Any) -> None:
    store = Store(tmp_path / "file")
    store.root.write_text("not a folder")

    for use in (store.models, lambda: store.publish(drafts.one())):
        with pytest.raises(StoreError, match=f"store '{store.root}'"):
            use()


@contextlib.contextmanager
def as_another_user() -> Iterator[None]:
    """Give up root's right to read everything, as the service's user in a container has none."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_read_hides_no_other_model(
    store: Store, drafts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_affine(store)
    store.publish(drafts.one("secret"))
    (store.root / "secret").chmod(0)
    # From inside, since the folders above are closed to others too.
    monkeypatch.chdir(store.root)

    with as_another_user():
        models = Store(".").models()
        with pytest.raises(StoreError, match="model 'secret': Permission denied"):
            Store(".").resolve("secret")

    assert models == ["double"]


def test_a_version_that_may_not_be_read_is_found_and_says_why(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_affine(store).path.chmod(0)
    monkeypatch.chdir(store.root)

    with as_another_user():
        (found,) = Store(".").all_versions()
        problems = Store(".").verify(found)

    assert problems == ["double/1/manifest.json: Permission denied"]


# Publishing


def test_what_was_published_is_what_was_drafted(store: Store, drafts: Any) -> None:
    draft = drafts.one(extra={"note": "kept"})

    (stored,) = store.publish(draft)

    assert (stored.model, stored.version, stored.manifest) == ("double", 1, draft.manifest)
    assert stored.onnx_path.read_bytes() == b"any bytes"
    assert stored.golden().keras["y"].tolist() == [[0, 2, 4], [6, 8, 10]]
    assert store.verify(stored) == []


def test_a_report_in_its_folder_is_published_too(store: Store, drafts: Any) -> None:
    folder = drafts.folder / "double"
    (folder / "report" / "mistakes").mkdir(parents=True)
    (folder / "report" / "mistakes" / "0.png").write_bytes(b"picture")

    (stored,) = store.publish(drafts.one())

    assert (stored.path / "report/mistakes/0.png").read_bytes() == b"picture"


def test_what_the_manifest_does_not_name_stays_behind(store: Store, drafts: Any) -> None:
    draft = drafts.one()
    (draft.folder / "scratch.txt").write_text("not meant for others")

    store.publish(draft)

    assert files_of(store) == [".lock", "double/1/golden.npz", "double/1/manifest.json", "double/1/model.onnx"]


def test_publishing_again_makes_a_new_version_and_leaves_the_old_one_as_it_was(store: Store, drafts: Any) -> None:
    (first,) = store.publish(drafts.one(content=b"first"))

    (second,) = store.publish(drafts.one(content=b"second"))

    assert (first.version, second.version) == (1, 2)
    assert (first.onnx_path.read_bytes(), second.onnx_path.read_bytes()) == (b"first", b"second")
    assert store.verify(first) == []


def test_a_number_is_not_given_twice_even_if_its_version_is_in_the_making(store: Store, drafts: Any) -> None:
    publish_affine(store)
    (store.root / "double" / "2").mkdir()
    (store.root / "double" / "2" / ".publishing").touch()
    (store.root / "double" / "5").write_text("in the way")

    assert store.publish(drafts.one())[0].version == 6


def _change(draft: Any) -> None:
    (draft.folder / "model.onnx").write_bytes(b"other bytes")


def _remove(draft: Any) -> None:
    (draft.folder / "golden.npz").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(_change, r"model\.onnx: its sha256 differs from the manifest's", id="a-file-differs"),
        pytest.param(_remove, r"golden\.npz: No such file", id="a-file-is-missing"),
    ],
)
def test_a_draft_that_is_not_what_its_manifest_says_leaves_nothing(
    store: Store, drafts: Any, spoil: Callable[[Any], None], message: str
) -> None:
    draft = drafts.one()
    spoil(draft)

    with pytest.raises(IncompleteDraft, match=message):
        store.publish(draft)

    assert store.models() == []
    assert files_of(store) == [".lock"]


def test_one_bad_draft_holds_its_whole_group_back(store: Store, drafts: Any) -> None:
    encoder, decoder = drafts.group("encoder", "decoder")
    _change(decoder)

    with pytest.raises(IncompleteDraft):
        store.publish(encoder, decoder)

    assert files_of(store) == [".lock"]


def test_nothing_and_the_same_name_twice_are_no_drafts(store: Store, drafts: Any) -> None:
    for given in ([], [drafts.one(), drafts.one()]):
        with pytest.raises(IncompleteDraft, match="one or more models with different names"):
            store.publish(*given)


def test_a_store_that_cannot_be_written_is_named(store: Store, drafts: Any) -> None:
    store.root.mkdir()
    (store.root / ".lock").mkdir()

    with pytest.raises(StoreError, match=f"cannot change store '{store.root}'"):
        store.publish(drafts.one())


def test_four_processes_that_publish_at_once_get_a_number_each(
    store: Store, drafts: Any, four_publishers: list[Any]
) -> None:
    draft = drafts.one(content=os.urandom(300_000))

    for publisher in four_publishers:
        publisher.start(store, [draft], times=5)
    statuses = [publisher.wait() for publisher in four_publishers]

    assert statuses == [0, 0, 0, 0]
    assert store.versions("double") == list(range(1, 21))
    assert [store.verify(stored) for stored in store.all_versions()] == [[]] * 20


def test_a_publisher_gives_up_when_another_holds_the_store_for_too_long(store: Store, drafts: Any) -> None:
    publish_affine(store)

    with (store.root / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreBusy, match=r"another publisher has held it for 0\.1 s"):
            Store(store.root, lock_timeout=0.1).publish(drafts.one())

    assert store.publish(drafts.one())[0].version == 2


def test_readers_do_not_wait_for_publishers(store: Store) -> None:
    publish_affine(store)

    with (store.root / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        assert store.resolve("double").version == 1


def test_what_a_dead_publisher_left_is_removed_by_the_next_one(store: Store, drafts: Any) -> None:
    publish_affine(store)
    for model in ("double", "other"):
        shutil.copytree(store.root / "double" / "1", store.root / model / ".staging-0123")

    store.publish(drafts.one())

    assert list(store.root.glob("*/.staging-*")) == []


# Groups


def test_models_of_one_group_get_one_number_above_all_of_theirs(store: Store, drafts: Any) -> None:
    for _ in range(3):
        store.publish(drafts.one("decoder"))

    published = store.publish(*drafts.group("autoencoder", "encoder", "decoder"))

    assert [str(stored) for stored in published] == ["autoencoder@4", "encoder@4", "decoder@4"]
    assert [store.verify(stored) for stored in published] == [[], [], []]


def _lose(stored: StoredVersion) -> None:
    shutil.rmtree(stored.path)


def _lose_the_manifest(stored: StoredVersion) -> None:
    (stored.path / "manifest.json").unlink()


@pytest.mark.parametrize("damage", [_lose, _lose_the_manifest])
def test_latest_passes_over_a_group_that_is_not_whole(
    store: Store, drafts: Any, damage: Callable[[StoredVersion], None]
) -> None:
    store.publish(*drafts.group("encoder", "decoder"))
    _, decoder = store.publish(*drafts.group("encoder", "decoder"))

    damage(decoder)

    assert store.resolve("encoder").version == 1
    assert store.resolve("encoder", 2).version == 2
    assert store.verify(store.resolve("encoder", 2)) == ["its group is incomplete: publish the job again"]


def test_a_model_of_another_job_does_not_complete_a_group(store: Store, drafts: Any) -> None:
    _, decoder = store.publish(*drafts.group("encoder", "decoder"))
    shutil.rmtree(decoder.path)
    store.publish(drafts.one("decoder"))

    with pytest.raises(UnknownVersion):
        store.resolve("encoder")


# Damage


def test_a_flipped_byte_is_found(store: Store) -> None:
    stored = publish_affine(store)
    content = bytearray(stored.onnx_path.read_bytes())
    content[len(content) // 2] ^= 1
    stored.onnx_path.write_bytes(content)

    (problem,) = store.verify(stored)

    assert problem.startswith("double@1: model.onnx: sha256 is ")


def test_every_file_that_is_missing_is_named(store: Store) -> None:
    stored = publish_affine(store)
    stored.onnx_path.unlink()
    (stored.path / "golden.npz").unlink()

    with pytest.raises(CorruptVersion) as raised:
        stored.check_files()

    assert str(raised.value) == (
        "double@1: golden.npz: No such file or directory; model.onnx: No such file or directory"
    )


def test_a_version_whose_manifest_is_broken_is_found_and_says_why(store: Store) -> None:
    publish_affine(store)
    (publish_affine(store).path / "manifest.json").write_text("{")

    found = store.resolve("double")

    assert found.version == 2
    with pytest.raises(InvalidManifest, match="Invalid JSON"):
        _ = found.manifest
    assert "Invalid JSON" in store.verify(found)[0]


def test_what_a_further_check_finds_is_shown_under_its_name(store: Store) -> None:
    stored = publish_affine(store)

    problems = store.verify(stored, {"replay": lambda version: [f"{version} computes something else"]})

    assert problems == ["replay: double@1 computes something else"]


def test_further_checks_are_spared_files_that_are_corrupt(store: Store) -> None:
    stored = publish_affine(store)
    stored.onnx_path.write_bytes(b"")
    looked = []

    store.verify(stored, {"replay": lambda version: looked.append(version) or []})

    assert looked == []


def test_a_place_that_cannot_be_written_is_told_before_anything_is_published(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    Store(tmp_path / "yet" / "to" / "come").check_writable()
    with pytest.raises(ReadOnlyStore, match="file is not a folder"):
        Store(tmp_path / "file" / "store").check_writable()

    assert not (tmp_path / "yet").exists()
