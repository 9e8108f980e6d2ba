"""What readers of the cache see of a remote store: fsspec's `memory://` and `file://` in the place of a bucket."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from click.testing import CliRunner

from model_store import CorruptVersion, Store, StoreAway, StoredVersion, StoreError, open_store, steering
from model_store.cli import main
from model_store.manifest import Group
from model_store.remote import cache as cache_module
from model_store.remote.store import RemoteStore
from model_store.serving import VersionPolicy

pytest.importorskip("fsspec")


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://{uuid.uuid4().hex}/m" if request.param == "memory" else f"file://{tmp_path}/remote"


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """A folder that is read as if it were far away; tests may do to it what they like."""
    return tmp_path / "remote"


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., RemoteStore]:
    def open_it(url: str | Path, cache: str = "cache") -> RemoteStore:
        store = open_store(str(url) if "://" in str(url) else f"file://{url}", cache=tmp_path / cache)
        assert isinstance(store, RemoteStore)
        return store

    return open_it


def files_of(stored: StoredVersion) -> set[str]:
    return {path.relative_to(stored.path).as_posix() for path in stored.path.rglob("*") if path.is_file()}


def test_what_one_publishes_another_one_reads(url: str, opened: Any) -> None:
    first, second = tiny_models.publish_affine(opened(url)), tiny_models.publish_affine(opened(url), factor=3.0)
    reader = opened(url, "another")
    reader.refresh()
    stored = reader.resolve("double")
    reader.fetch(stored)

    assert (first.version, second.version, str(stored)) == (1, 2, "double@2")
    assert stored.manifest == second.manifest
    assert Store(reader.root).verify(stored) == []
    assert reader.verify(stored) == []


def test_files_are_fetched_of_what_is_asked_for_and_of_nothing_else(url: str, opened: Any) -> None:
    for factor in (1.0, 2.0):
        tiny_models.publish_affine(opened(url, "publisher"), factor=factor)
    reader = opened(url)
    reader.refresh()

    reader.fetch(reader.resolve("double"))

    assert [files_of(reader.resolve("double", number)) for number in (1, 2)] == [
        {"manifest.json"}, {"manifest.json", "model.onnx", "golden.npz"},
    ]  # fmt: skip
    assert reader.size(reader.resolve("double", 1)) > 1000


def test_files_of_old_versions_that_nothing_chooses_make_room(url: str, opened: Any) -> None:
    publisher, reader = opened(url, "publisher"), opened(url)
    for _ in range(6):
        tiny_models.publish_affine(publisher)
    steering.set_label(publisher, "double", "stable", 2)
    reader.refresh()

    for stored in reader.all_versions():
        reader.fetch(stored)

    assert [of.version for of in reader.all_versions() if of.onnx_path.exists()] == [2, 4, 5, 6]
    reader.fetch(reader.resolve("double", 1))
    assert [Store(reader.root).verify(reader.resolve("double", number)) for number in (1, 2)] == [[], []]


def test_labels_and_policy_reach_the_other_readers(url: str, opened: Any) -> None:
    here, there = opened(url), opened(url, "another")
    for factor in (1.0, 2.0, 3.0):
        tiny_models.publish_affine(here, factor=factor)

    steering.set_label(here, "double", "stable", 1)
    steering.set_policy(there, "double", VersionPolicy.parse("latest:2"))
    here.refresh()
    there.refresh()

    assert here.labels("double") == there.labels("double") == {"stable": 1}
    assert here.select("double") == there.select("double")
    assert here.select("double").versions == (1, 2, 3)
    steering.remove_label(there, "double", "stable")
    here.refresh()
    assert here.select("double").versions == (2, 3)


def test_a_group_is_published_under_one_number(url: str, opened: Any, drafts: Any) -> None:
    store = opened(url)
    tiny_models.publish_affine(store, "encoder")

    published = store.publish(*drafts.group("encoder", "decoder"))

    assert [str(stored) for stored in published] == ["encoder@2", "decoder@2"]
    assert store.has_whole_group(published[0])
    assert published[0].manifest.group == Group(id="one job", members=("encoder", "decoder"))


@pytest.mark.parametrize("mark", ["", ".publishing"])
def test_a_version_that_is_being_written_is_not_seen(bucket: Path, opened: Any, mark: str) -> None:
    tiny_models.publish_affine(Store(bucket))
    version = tiny_models.publish_affine(Store(bucket))
    (version.path / (mark or "manifest.json")).touch()
    if not mark:
        (version.path / "manifest.json").unlink()
    reader = opened(bucket)

    reader.refresh()

    assert reader.versions("double") == [1]


def test_a_version_that_is_gone_is_removed_and_what_is_open_stays_readable(bucket: Path, opened: Any) -> None:
    versions = [tiny_models.publish_affine(Store(bucket)) for _ in range(2)]
    steering.set_label(Store(bucket), "double", "stable", 2)
    reader = opened(bucket)
    reader.refresh()
    stored = reader.resolve("double", 1)
    reader.fetch(stored)
    with stored.onnx_path.open("rb") as file:
        shutil.rmtree(versions[0].path)
        (bucket / "double" / "labels.json").unlink()
        reader.refresh()

        assert (reader.versions("double"), reader.labels("double")) == ([2], {})
        assert file.read() == tiny_models.affine()


def test_a_version_that_is_marked_later_stays_with_those_who_have_it(bucket: Path, opened: Any) -> None:
    version = tiny_models.publish_affine(Store(bucket))
    reader = opened(bucket)
    reader.refresh()

    (version.path / ".publishing").touch()
    reader.refresh()

    assert reader.versions("double") == [1]


def test_a_listing_that_fails_removes_nothing(bucket: Path, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        tiny_models.publish_affine(Store(bucket), name)
    reader = opened(bucket)
    reader.refresh()
    walked = type(reader._files._system).ls

    def fails_half_way(self: Any, path: str, *arguments: Any, **options: Any) -> Any:
        if path.endswith("two/1"):
            raise TimeoutError("the line is dead")
        return walked(self, path, *arguments, **options)

    monkeypatch.setattr(type(reader._files._system), "ls", fails_half_way)
    with pytest.raises(StoreAway, match=f"store 'file://{bucket}': the line is dead"):
        reader.refresh()

    assert reader.models() == ["one", "two"]


def test_a_store_that_is_empty_all_at_once_is_believed_the_second_time(bucket: Path, opened: Any) -> None:
    tiny_models.publish_affine(Store(bucket))
    reader = opened(bucket)
    reader.refresh()
    shutil.rmtree(bucket)

    with pytest.raises(StoreAway, match="is empty all at once"):
        reader.refresh()
    assert reader.models() == ["double"]
    reader.refresh()

    assert reader.models() == []


def test_files_that_differ_from_the_manifest_never_get_into_the_cache(
    bucket: Path, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = tiny_models.publish_affine(Store(bucket))
    whole = version.onnx_path.read_bytes()
    version.onnx_path.write_bytes(whole[:-1] + b"?")
    reader = opened(bucket)
    reader.refresh()
    stored = reader.resolve("double")
    downloads: list[Any] = []
    real = reader._files.download
    monkeypatch.setattr(reader._files, "download", lambda targets: (downloads.append(targets), real(targets)))

    for _ in range(2):
        with pytest.raises(CorruptVersion, match=r"double@1: model\.onnx: the sha256 in the store differs"):
            reader.fetch(stored)
    assert files_of(stored) == {"manifest.json"}
    assert len(downloads) == 1, "what was bad is fetched again only when it has changed"
    before = (stored.path / "manifest.json").stat().st_mtime_ns

    version.onnx_path.write_bytes(whole)
    reader.refresh()
    reader.fetch(stored)

    assert Store(reader.root).verify(stored) == []
    assert (stored.path / "manifest.json").stat().st_mtime_ns > before, "those who refused it see that it has changed"


def test_verify_reads_the_store_itself(bucket: Path, opened: Any) -> None:
    version = tiny_models.publish_affine(Store(bucket))
    reader = opened(bucket)
    reader.refresh()
    stored = reader.resolve("double")

    assert reader.verify(stored) == []
    (version.path / "golden.npz").write_bytes(b"rotten")

    assert reader.verify(stored) == ["double@1: golden.npz: the sha256 in the store differs from the manifest's"]


def test_a_version_that_was_published_anew_under_its_number_replaces_the_old_one(bucket: Path, opened: Any) -> None:
    tiny_models.publish_affine(Store(bucket))
    reader = opened(bucket)
    reader.refresh()
    reader.fetch(reader.resolve("double"))
    shutil.rmtree(bucket / "double")

    again = tiny_models.publish_affine(Store(bucket), factor=5.0)
    reader.refresh()
    reader.fetch(reader.resolve("double"))

    assert reader.resolve("double").onnx_path.read_bytes() == again.onnx_path.read_bytes()


def age(path: Path, seconds: float) -> None:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_a_file_without_a_manifest_is_shown_when_it_has_stood_still_for_two_looks(bucket: Path, opened: Any) -> None:
    folder = bucket / "foreign" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(tiny_models.affine())
    reader = opened(bucket)

    seen = []
    for _ in range(2):
        reader.refresh()
        seen.append(reader.versions("foreign"))
    stored = reader.resolve("foreign")
    reader.fetch(stored)

    assert seen == [[], [1]]
    assert stored.is_bare
    assert stored.onnx_path.read_bytes() == tiny_models.affine()


def test_a_file_without_a_manifest_follows_its_changes(bucket: Path, opened: Any) -> None:
    folder = bucket / "foreign" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(tiny_models.affine())
    age(folder / "model.onnx", 60)
    reader = opened(bucket)
    reader.refresh()
    stored = reader.resolve("foreign")  # it was old enough at the first look
    reader.fetch(stored)

    (folder / "model.onnx").write_bytes(tiny_models.affine(7.0))
    reader.refresh()
    first = stored.onnx_path.read_bytes()
    reader.refresh()

    assert first == tiny_models.affine()
    assert stored.onnx_path.read_bytes() == tiny_models.affine(7.0)


def test_what_is_no_part_of_a_store_is_passed_over(bucket: Path, opened: Any) -> None:
    tiny_models.publish_affine(Store(bucket))
    for path in ("README.md", "double/notes.txt", "double/new/model.onnx", "-x/1/model.onnx", ".git/1/manifest.json",
                 "double/01/manifest.json"):  # fmt: skip
        (bucket / path).parent.mkdir(parents=True, exist_ok=True)
        (bucket / path).write_text("{}")
    reader = opened(bucket)

    reader.refresh()

    assert [str(stored) for stored in reader.all_versions()] == ["double@1"]
    assert {path.name for path in reader.root.iterdir()} == {"double", ".remote"}


def test_a_look_reads_only_what_is_new(bucket: Path, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_models.publish_affine(Store(bucket))
    reader = opened(bucket)
    reader.refresh()
    read: list[list[str]] = []
    real = reader._files.read
    monkeypatch.setattr(reader._files, "read", lambda paths: (read.append([*paths]), real(read[-1]))[1])

    reader.refresh()
    tiny_models.publish_affine(Store(bucket))
    steering.set_label(Store(bucket), "double", "stable", 1)
    reader.refresh()

    assert read == [[], ["double/2/manifest.json", "double/labels.json"]]


def test_a_look_that_another_process_has_just_taken_is_not_taken_again(bucket: Path, opened: Any) -> None:
    tiny_models.publish_affine(Store(bucket))
    first, second = opened(bucket), opened(bucket)
    first.refresh()
    tiny_models.publish_affine(Store(bucket))

    second.refresh(max_age=60)
    assert second.versions("double") == [1]
    second.refresh()

    assert first.versions("double") == second.versions("double") == [1, 2]


def test_only_one_process_changes_the_cache_at_a_time(
    bucket: Path, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_models.publish_affine(Store(bucket))
    reader = opened(bucket)
    reader.refresh()
    tiny_models.publish_affine(Store(bucket))
    monkeypatch.setattr(cache_module, "LOCK_SECONDS", 0.1)
    with (reader.root / ".remote" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        reader.refresh(wait=0.0)  # takes what the other one has mirrored so far
        seen = reader.versions("double")
        with pytest.raises(StoreError, match=r"another process has held it for 0\.1 s"):
            reader.refresh()

    assert seen == [1]


def test_a_folder_that_goes_while_it_is_listed_is_no_trouble(
    bucket: Path, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishers rename their folders: what was one name when its parent was listed is another a moment later."""
    from fsspec.implementations.local import LocalFileSystem

    tiny_models.publish_affine(Store(bucket))
    staging, published = bucket / "double" / ".staging", bucket / "double" / "2"
    shutil.copytree(bucket / "double" / "1", staging)
    ls = LocalFileSystem.ls

    def publishes_meanwhile(self: Any, path: str, **how: Any) -> Any:
        if Path(path) == staging and staging.exists():
            staging.rename(published)
        return ls(self, path, **how)

    monkeypatch.setattr(LocalFileSystem, "ls", publishes_meanwhile)
    reader = opened(bucket)
    reader.refresh()

    assert reader.versions("double") == [1, 2]


def test_readers_never_see_a_part_while_others_mirror(bucket: Path, opened: Any) -> None:
    """Versions come and go while two mirror into one cache, and a reader verifies whatever it finds."""
    stop = threading.Event()
    troubles: list[object] = []

    def mirrors() -> None:
        reader = opened(bucket)
        while not stop.is_set():
            # A folder may go while it is listed: the next look shows the rest.
            with contextlib.suppress(StoreAway):
                reader.refresh()
            for stored in reader.all_versions():
                try:
                    reader.fetch(stored)
                except StoreError as error:
                    if (bucket / "double" / str(stored.version)).exists() and stored.path.exists():
                        troubles.append(error)

    tiny_models.publish_affine(Store(bucket))
    threads = [threading.Thread(target=mirrors) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(15):
        published = tiny_models.publish_affine(Store(bucket))
        if published.version > 3:
            (published.path.parent / str(published.version - 2)).rename(bucket / f".gone-{published.version}")
    stop.set()
    for thread in threads:
        thread.join()
    reader = opened(bucket)
    reader.refresh()

    assert troubles == []
    assert reader.versions("double") == Store(bucket).versions("double")
    assert [reader.verify(stored) for stored in reader.all_versions()] == [[]] * len(reader.versions("double"))
    assert list((reader.root / ".remote" / "staging").iterdir()) == []


def test_staging_of_a_killed_process_is_removed_by_the_next(bucket: Path, opened: Any) -> None:
    tiny_models.publish_affine(Store(bucket))
    reader = opened(bucket)
    left = reader.root / ".remote" / "staging" / "half-a-model"
    left.mkdir()
    (left / "model.onnx").write_bytes(b"half")

    reader.refresh()

    assert list(left.parent.iterdir()) == []


@pytest.mark.parametrize("damage", ["removed", "garbled"])
def test_a_cache_that_was_damaged_or_removed_is_filled_again(bucket: Path, opened: Any, damage: str) -> None:
    tiny_models.publish_affine(Store(bucket))
    reader = opened(bucket)
    reader.refresh()
    if damage == "removed":
        shutil.rmtree(reader.root)
    else:
        (reader.root / ".remote" / "state.json").write_text('{"at": ')
        (reader.root / "double" / "1" / "manifest.json").write_text("{")

    reader.refresh()
    reader.fetch(reader.resolve("double"))

    assert Store(reader.root).verify(reader.resolve("double")) == []


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_file_that_was_damaged_in_the_cache_is_fetched_once_more(bucket: Path, opened: Any, damage: str) -> None:
    published = tiny_models.publish_affine(Store(bucket))
    reader = opened(bucket)
    reader.refresh()
    stored = reader.resolve("double")
    reader.fetch(stored)
    whole = stored.onnx_path.read_bytes()
    stored.onnx_path.write_bytes(whole[:100] if damage == "cut" else whole[:-1] + b"?")

    stored.check_files()

    assert stored.onnx_path.read_bytes() == whole
    published.onnx_path.write_bytes(b"rotten in the store as well")
    stored.onnx_path.write_bytes(b"rotten")
    with pytest.raises(CorruptVersion, match=r"double@1: model\.onnx: the sha256 in the store differs"):
        stored.check_files()


def test_a_damaged_file_that_cannot_be_fetched_now_is_fetched_when_the_store_is_back(bucket: Path, opened: Any) -> None:
    tiny_models.publish_affine(Store(bucket))
    reader = opened(bucket)
    reader.refresh()
    stored = reader.resolve("double")
    reader.fetch(stored)
    stored.onnx_path.write_bytes(b"rotten")
    bucket.rename(bucket.parent / "away")

    with pytest.raises(StoreAway):
        stored.check_files()
    (bucket.parent / "away").rename(bucket)
    reader.fetch(stored)

    assert Store(reader.root).verify(stored) == []


@pytest.mark.parametrize("text", ["{", "{}", "garbage of the same length"])
def test_a_manifest_that_was_damaged_in_the_cache_is_read_anew(bucket: Path, opened: Any, text: str) -> None:
    tiny_models.publish_affine(Store(bucket))
    reader = opened(bucket)
    reader.refresh()
    reader.fetch(reader.resolve("double"))
    manifest = reader.resolve("double").path / "manifest.json"
    whole = manifest.read_bytes()
    manifest.write_text(text.ljust(len(whole)))

    reader.fetch(reader.resolve("double"))

    assert manifest.read_bytes() == whole
    manifest.write_text(text)
    reader.refresh()
    assert manifest.read_bytes() == whole, "of another length, a look is enough"


def test_a_full_disk_is_told_in_one_line(bucket: Path, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_models.publish_affine(Store(bucket))
    reader = opened(bucket)
    reader.refresh()

    def no_room(_targets: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reader._files, "download", no_room)
    with pytest.raises(StoreAway, match=rf"double@1: the cache '{reader.root}': No space left on device"):
        reader.fetch(reader.resolve("double"))


def test_what_was_published_is_said_where_the_cache_cannot_be_written(bucket: Path, opened: Any) -> None:
    store = opened(bucket)
    (store.root / ".remote" / "lock").mkdir()

    with pytest.raises(StoreError, match="published as version 1, but it could not be read back: cannot write to the"):
        tiny_models.publish_affine(store)

    assert Store(bucket).versions("double") == [1]


def test_a_disk_that_is_full_here_is_not_blamed_on_the_store(bucket: Path, opened: Any) -> None:
    tiny_models.publish_affine(Store(bucket))

    with pytest.raises(OSError, match="No space left on device"):
        opened(bucket)._files.download({"double/1/model.onnx": Path("/dev/full")})


def test_a_cache_that_cannot_be_written_is_read_all_the_same(
    bucket: Path, tmp_path: Path, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_models.publish_affine(Store(bucket))
    reader = opened(bucket)
    reader.refresh()
    lock = reader.root / ".remote" / "lock"
    lock.unlink()
    lock.mkdir()
    monkeypatch.setenv("OVENBIRD_CACHE", str(tmp_path / "cache"))

    with pytest.raises(StoreError, match=f"cannot write to the cache '{reader.root}': Is a directory"):
        reader.refresh()
    listed = CliRunner().invoke(main, ["store", "list", "--store", f"file://{bucket}"])

    assert listed.exit_code == 0
    assert "double" in listed.stdout
    assert f"cannot write to the cache '{reader.root}': Is a directory; shown as it was seen last" in listed.stderr


def test_the_cache_lies_where_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("OVENBIRD_CACHE", raising=False)
    usual = open_store("memory://place/m").root
    monkeypatch.setenv("OVENBIRD_CACHE", str(tmp_path / "named"))
    named = open_store("memory://place/m").root

    assert usual.parent == tmp_path / "xdg" / "ovenbird"
    assert named.parent == tmp_path / "named"
    assert usual.name == named.name != open_store("memory://place/n").root.name
    assert named.name.startswith("memory-place-m-")


def test_a_place_that_cannot_be_written_gives_way_to_a_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder can be made below it")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.delenv("OVENBIRD_CACHE", raising=False)
    monkeypatch.setattr(cache_module.tempfile, "gettempdir", lambda: str(tmp_path))

    root = open_store("memory://place/m").root

    assert root.parent == tmp_path / f"ovenbird-cache-{os.getuid()}"
    assert root.parent.stat().st_mode & 0o077 == 0
    monkeypatch.setenv("OVENBIRD_CACHE", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="cannot write to the cache"):
        open_store("memory://place/m")


def test_two_servers_of_one_name_have_two_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    names = set()
    for endpoint in ("http://one:9000", "http://two:9000"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        names.add(open_store("s3://bucket/models", cache=tmp_path).root.name)

    assert len(names) == 2


def test_the_listing_is_kept_for_the_next_process(bucket: Path, opened: Any) -> None:
    tiny_models.publish_affine(Store(bucket))
    reader = opened(bucket)
    reader.refresh()

    state = json.loads((reader.root / ".remote" / "state.json").read_text())

    assert set(state["entries"]) >= {"double/1/manifest.json", "double/1/model.onnx", "double/1/golden.npz"}
