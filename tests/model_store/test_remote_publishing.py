"""Publishing without rename and without lock: several publishers in every order, and killed at any operation."""

from __future__ import annotations

import contextlib
import hashlib
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from greenlet import getcurrent, greenlet
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store import Draft, IncompleteDraft, Manifest, ReadOnlyStore, StoreBusy, open_store
from model_store.remote.address import Address
from model_store.remote.files import Entry, RemoteFiles
from model_store.remote.listing import Listing
from model_store.remote.publishing import STALE_SECONDS, TRIES, Publisher

pytest.importorskip("fsspec")


class Killed(BaseException):
    """SIGKILL, as seen from inside: nothing that the process tries afterwards happens."""


class Bucket:
    """A bucket without conditional writes: some servers pass over the condition in silence."""

    def __init__(self, files: RemoteFiles) -> None:
        self.files = files
        self.address = files.address

    def readable(self) -> dict[tuple[str, int], Manifest]:
        """Every version that a reader sees; each is as its manifest says, or this fails."""
        found = {}
        for (model, number), version in Listing.of(self.files.entries()).versions.items():
            if not version.is_published:
                continue
            folder = f"{model}/{number}"
            texts = self.files.read(f"{folder}/{name}" for name in version.files)
            manifest = Manifest.from_json(texts[f"{folder}/manifest.json"])
            digests = {name: hashlib.sha256(texts[f"{folder}/{name}"]).hexdigest() for name in manifest.files}
            assert digests == manifest.files, f"{folder} is mixed"
            assert set(version.files) == {*manifest.files, "manifest.json"}
            found[model, number] = manifest
        return found


@dataclass
class Process:
    """One publisher: each thing that it does to the bucket waits for its turn, and is perhaps its last."""

    bucket: Bucket
    dies_at: int | None = None
    operations: int = 0
    resting: int = 0
    published: list[int] = field(default_factory=list)
    now: Callable[[], float] = time.time

    @property
    def address(self) -> Address:
        return self.bucket.address

    def _turn(self) -> None:
        getcurrent().parent.switch()
        self.operations += 1
        if self.dies_at is not None and self.operations >= self.dies_at:
            raise Killed

    def entries(self) -> dict[str, Entry]:
        self._turn()
        return self.bucket.files.entries()

    def write(self, path: str, content: bytes) -> None:
        self._turn()
        self.bucket.files.write(path, content)

    def create(self, path: str, content: bytes) -> bool:
        self.write(path, content)
        return True

    def upload(self, source: Path, path: str) -> None:
        self._turn()
        self.bucket.files.upload(source, path)

    def remove(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._turn()
            self.bucket.files.remove([path])

    def rest(self, seconds: float) -> None:
        for _ in range(int(seconds * 200)):
            getcurrent().parent.switch()

    def run(self, drafts: list[Draft]) -> greenlet:
        def work() -> None:
            with contextlib.suppress(Killed):
                publisher = Publisher(self, rest=self.rest, now=self.now, chance=random.random)  # type: ignore[arg-type]
                self.published.append(publisher.publish(drafts))

        return greenlet(work)


def run_in_order(running: list[greenlet], order: Iterable[int], look: Callable[[], object]) -> None:
    """Let them take turns: as `order` says, then one after the other until all have ended."""
    turns = iter(order)
    while alive := [one for one in running if not one.dead]:
        for one in [alive[number % len(alive)] for number in [next(turns, None)] if number is not None] or alive:
            one.switch()
            look()


@contextlib.contextmanager
def bucket_with_drafts(publishers: int, models: tuple[str, ...]) -> Iterator[tuple[Bucket, list[list[Draft]]]]:
    with tempfile.TemporaryDirectory() as folder:
        drafts = [
            [
                tiny_models.draft(Path(folder, str(number), model), model, f"by {number}".encode(),
                                  group={"id": f"by {number}", "members": models} if len(models) > 1 else None)
                for model in models
            ]
            for number in range(publishers)
        ]  # fmt: skip
        yield Bucket(RemoteFiles(Address.parse(f"memory://{uuid.uuid4().hex}/m"))), drafts


@settings(max_examples=40, deadline=None)
@given(
    publishers=st.integers(2, 3),
    models=st.sampled_from([("one",), ("encoder", "decoder")]),
    order=st.lists(st.integers(0, 5), max_size=60),
)
def test_publishers_in_any_order_never_write_into_one_folder(
    publishers: int, models: tuple[str, ...], order: list[int]
) -> None:
    with bucket_with_drafts(publishers, models) as (bucket, drafts):
        processes = [Process(bucket) for _ in range(publishers)]

        run_in_order([one.run(of) for one, of in zip(processes, drafts, strict=True)], order, bucket.readable)

        numbers = [one.published[0] for one in processes]
        assert len(set(numbers)) == publishers
        expected = {(model, number): of[0].manifest.digest
                    for number, of in zip(numbers, drafts, strict=True) for model in models}  # fmt: skip
        assert {key: manifest.digest for key, manifest in bucket.readable().items()} == expected
        assert not Listing.of(bucket.files.entries()).claims


@pytest.mark.parametrize("stalls_at", range(1, 14))
def test_a_publisher_that_stalls_finds_its_number_taken_by_one_that_came_and_went(stalls_at: int) -> None:
    with bucket_with_drafts(2, ("one",)) as (bucket, drafts):
        slow, quick = Process(bucket), Process(bucket)

        run_in_order([slow.run(drafts[0]), quick.run(drafts[1])], [0] * stalls_at + [1] * 40, bucket.readable)

        assert {*slow.published, *quick.published} == {1, 2}


@settings(max_examples=40, deadline=None)
@given(
    dies_at=st.integers(1, 20),
    models=st.sampled_from([("one",), ("encoder", "decoder")]),
    order=st.lists(st.integers(0, 5), max_size=60),
)
def test_a_publisher_that_dies_at_any_operation_harms_nobody(
    dies_at: int, models: tuple[str, ...], order: list[int]
) -> None:
    with bucket_with_drafts(3, models) as (bucket, drafts):
        dying, living = Process(bucket, dies_at=dies_at), Process(bucket)

        run_in_order([dying.run(drafts[0]), living.run(drafts[1])], order, bucket.readable)
        later = Process(bucket)
        run_in_order([later.run(drafts[2])], (), bucket.readable)

        assert later.published[0] > living.published[0]
        readable = bucket.readable()
        for process, of in ((living, drafts[1]), (later, drafts[2])):
            for draft in of:
                assert readable[draft.model, process.published[0]].digest == draft.manifest.digest


class Contested(RemoteFiles):
    """A store in which somebody else claims each number in the same moment."""

    def write(self, path: str, content: bytes) -> None:
        super().write(path, content)
        super().write(f"{path}-too", content)


def test_jobs_of_one_seed_do_not_wait_for_each_other_alike() -> None:
    waited: list[list[float]] = [[], []]
    with bucket_with_drafts(2, ("one",)) as (_, drafts):
        for waits, of in zip(waited, drafts, strict=True):
            random.seed(0)
            files = Contested(Address.parse(f"memory://{uuid.uuid4().hex}/m"))
            with pytest.raises(StoreBusy, match=f"took {TRIES} numbers"):
                Publisher(files, rest=waits.append).publish(of)

    assert len(waited[0]) == len(waited[1]) == TRIES
    assert waited[0] != waited[1]


@pytest.mark.parametrize("dies_at", range(1, 12))
def test_what_a_killed_publisher_left_is_removed_after_a_day(dies_at: int) -> None:
    with bucket_with_drafts(2, ("one",)) as (bucket, drafts):
        process = Process(bucket, dies_at=dies_at)
        run_in_order([process.run(drafts[0])], (), bucket.readable)
        left = {key for key, version in Listing.of(bucket.files.entries()).versions.items() if version.is_marked}

        tomorrow = Process(bucket, now=lambda: time.time() + STALE_SECONDS + 60)
        run_in_order([tomorrow.run(drafts[1])], (), bucket.readable)
        (number,) = tomorrow.published

        listing = Listing.of(bucket.files.entries())
        assert bool(left) == (6 <= dies_at <= 9)
        assert not listing.claims
        assert not any(version.is_marked for version in listing.versions.values())
        assert bucket.readable()["one", number].digest == drafts[1][0].manifest.digest


def test_a_failed_upload_takes_back_what_it_wrote(tmp_path: Path, drafts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(f"file://{tmp_path}/remote", cache=tmp_path / "cache")
    draft = drafts.one()
    real = RemoteFiles.upload

    def vanishes(self: RemoteFiles, source: Path, path: str) -> None:
        source.unlink()
        real(self, source, path)

    monkeypatch.setattr(RemoteFiles, "upload", vanishes)
    with pytest.raises(Exception, match="there is no such place or file"):
        store.publish(draft)

    assert [path for path in (tmp_path / "remote").rglob("*") if path.is_file()] == []


def test_a_draft_that_is_not_whole_leaves_no_trace(tmp_path: Path, drafts: Any) -> None:
    store = open_store(f"file://{tmp_path}/remote", cache=tmp_path / "cache")
    draft = drafts.one()
    (draft.folder / "model.onnx").write_bytes(b"changed since")

    with pytest.raises(IncompleteDraft, match=r"model\.onnx: its sha256 differs"):
        store.publish(draft)
    with pytest.raises(IncompleteDraft, match="different names"):
        store.publish(draft, draft)

    assert not (tmp_path / "remote").exists()


@pytest.mark.parametrize("url", ["https://127.0.0.1:1/models", "hf://nobody/models"])
def test_where_nothing_can_be_written_publishing_says_so(url: str, tmp_path: Path, drafts: Any) -> None:
    pytest.importorskip("huggingface_hub" if url.startswith("hf") else "aiohttp")
    store = open_store(url, cache=tmp_path)

    for change in (lambda: store.publish(drafts.one()), lambda: store.changing().__enter__()):
        with pytest.raises(ReadOnlyStore, match=r"can be read, not written; publish in a folder or in s3://"):
            change()


def test_a_listing_is_sorted_into_versions_claims_and_the_rest() -> None:
    entry = Entry(1, "a", 0.0)
    paths: Mapping[str, Entry] = dict.fromkeys(
        ["m/1/manifest.json", "m/1/model.onnx", "m/2/.publishing", "m/2/manifest.json", "m/3/model.onnx",
         "m/.claims/7-abc", "m/labels.json", "m/serving.json", "other/.claims/9-x", "x.txt", "m/1"],
        entry,
    )  # fmt: skip

    listing = Listing.of(paths)

    kinds = {key: (of.is_published, of.is_marked, of.is_bare) for key, of in listing.versions.items()}
    assert kinds == {("m", 1): (True, False, False), ("m", 2): (False, True, False), ("m", 3): (False, False, True)}
    assert listing.claims == {("m", 7): ("m/.claims/7-abc",), ("other", 9): ("other/.claims/9-x",)}
    assert set(listing.beside) == {"m/labels.json", "m/serving.json"}
    assert [listing.free_number(of) for of in (["m"], ["m", "other"], ["new"])] == [8, 10, 1]


@pytest.mark.parametrize("key", ["m/1//etc/passwd", "m/1/../2/model.onnx", "m/1/./model.onnx", "m/1/"])
def test_a_key_that_leads_out_of_its_folder_is_passed_over(key: str) -> None:
    listing = Listing.of({key: Entry(1, None, None), "m/1/model.onnx": Entry(1, None, None)})

    assert listing.versions["m", 1].files.keys() == {"model.onnx"}
