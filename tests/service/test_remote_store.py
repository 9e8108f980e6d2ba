"""A service whose store is far away, in this process: what it serves, what it says, and what it never says."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from service_process import OVENBIRD, free_port, running

from model_store import StoreError, open_store
from service.app import create_app, stop
from service.repository import Repository
from service.settings import Settings
from service.store_sync import StoreSync
from service.telemetry.logs import LOGGER
from service.telemetry.metrics import Metrics
from service.web.parts import KEY

pytest.importorskip("fsspec")


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    return tmp_path / "remote"


def with_repository(bucket: Path, tmp_path: Path, work: Any, **settings: Any) -> Any:
    """Do something with a started repository on this bucket, and what it counts."""

    async def run() -> Any:
        metrics = Metrics()
        url = f"file://{bucket}"
        store = open_store(url, cache=tmp_path / "cache")
        chosen = Settings(store=url, max_batch_size=8, **{"control": "none"} | settings)
        repository = Repository(store, chosen, metrics)
        await repository.start()
        try:
            return await work(repository, metrics)
        finally:
            await repository.stop()

    return asyncio.run(run())


def published(bucket: Path, *factors: float, name: str = "double") -> None:
    for factor in factors:
        tiny_models.publish_affine(open_store(f"file://{bucket}", cache=bucket.parent / "publisher"), name, factor)


def states(repository: Repository) -> dict[tuple[str, int], tuple[str, str]]:
    return {(of.name, of.version): (of.state, of.reason) for of in [*repository.index(), *repository.others()]}


def cached(tmp_path: Path) -> set[str]:
    (root,) = (tmp_path / "cache").iterdir()
    return {path.parent.relative_to(root).as_posix() for path in root.glob("*/*/model.onnx")}


def test_only_what_is_served_is_downloaded(bucket: Path, tmp_path: Path) -> None:
    published(bucket, 1.0, 2.0)
    published(bucket, 3.0, name="triple")

    async def work(repository: Repository, _: Metrics) -> Any:
        return states(repository)

    found = with_repository(bucket, tmp_path, work, control="explicit", load=("double",))

    assert {key: state for key, (state, _) in found.items()} == {
        ("double", 1): "UNAVAILABLE", ("double", 2): "READY", ("triple", 1): "UNAVAILABLE",
    }  # fmt: skip
    assert cached(tmp_path) == {"double/2"}


def test_a_bad_version_leaves_the_one_before_it_which_is_downloaded_for_it(bucket: Path, tmp_path: Path) -> None:
    published(bucket, 1.0, 2.0)
    (bucket / "double" / "2" / "golden.npz").write_bytes(b"rotten")

    async def work(repository: Repository, _: Metrics) -> Any:
        return states(repository)

    found = with_repository(bucket, tmp_path, work)

    assert found["double", 1] == ("READY", "")
    assert found["double", 2][0] == "UNAVAILABLE"
    assert "golden.npz: the sha256 in the store differs from the manifest's" in found["double", 2][1]


def test_a_version_that_cannot_be_had_now_leaves_the_one_before_it_and_comes_later(
    bucket: Path, tmp_path: Path
) -> None:
    published(bucket, 1.0, 2.0)
    late = bucket / "double" / "2" / "model.onnx"
    late.rename(bucket / "aside")

    async def work(repository: Repository, _: Metrics) -> Any:
        before = states(repository)
        (bucket / "aside").rename(late)
        await repository.refresh()
        return before, states(repository)

    before, after = with_repository(bucket, tmp_path, work)

    assert before["double", 1] == ("READY", "")
    assert "there is no such place or file" in before["double", 2][1]
    assert after["double", 2] == ("READY", "")


def test_a_group_of_which_one_cannot_be_had_is_not_served_in_part(bucket: Path, tmp_path: Path) -> None:
    store = open_store(f"file://{bucket}", cache=tmp_path / "publisher")
    for factor in (1.0, 2.0):
        group = [
            tiny_models.draft(tmp_path / f"{name}{factor}", name, tiny_models.affine(2.0),
                              group={"id": f"job {factor}", "members": ("decoder", "encoder")})
            for name in ("decoder", "encoder")
        ]  # fmt: skip
        store.publish(*group)
    (bucket / "encoder" / "2" / "golden.npz").unlink()

    async def work(repository: Repository, _: Metrics) -> Any:
        return {name: sorted(selected.versions) for name, selected in repository.served().items()}

    assert with_repository(bucket, tmp_path, work) == {"decoder": [1], "encoder": [1]}


def test_a_load_on_request_looks_at_the_store_first(bucket: Path, tmp_path: Path) -> None:
    published(bucket, 1.0)

    async def work(repository: Repository, _: Metrics) -> Any:
        published(bucket, 2.0)
        await repository.load("double", await repository.selection("double"))
        return repository.served()["double"].versions

    assert with_repository(bucket, tmp_path, work, control="explicit", load=("double",)) == (2,)


def test_a_store_that_goes_away_is_counted_and_what_is_cached_serves_on(
    bucket: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    published(bucket, 1.0)

    async def work(repository: Repository, metrics: Metrics) -> Any:
        shutil.move(bucket, tmp_path / "elsewhere")
        await repository._sync_store(max_age=0.0)
        await repository.refresh()
        text = metrics.text().decode()
        return repository.ready, repository._sync.trouble, repository.served()["double"].versions, text

    ready, trouble, versions, text = with_repository(bucket, tmp_path, work)

    assert (ready, versions) == (True, (1,))
    assert "is empty all at once" in trouble
    assert f'ovenbird_store_sync_failures_total{{store="file://{bucket}"}} 1.0' in text
    assert f'ovenbird_store_sync_timestamp_seconds{{store="file://{bucket}"}} 1.' in text


def test_without_its_store_a_service_that_is_told_what_to_load_is_ready_to_be_told(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    store = open_store("http://127.0.0.1:1/models", cache=tmp_path)
    repository = Repository(store, Settings(control="explicit"), Metrics())

    asyncio.run(repository.start())

    assert repository.ready


def test_without_store_and_cache_a_service_that_loads_once_does_not_start(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    store = open_store("http://127.0.0.1:1/models", cache=tmp_path)
    for settings in (Settings(control="none"), Settings(control="explicit", load=("double",))):
        with pytest.raises(StoreError, match=r"store 'http://127\.0\.0\.1:1/models': Cannot connect"):
            asyncio.run(Repository(store, settings, Metrics()).start())


@pytest.mark.parametrize("options", [["--control", "none"], ["--control", "explicit", "--load", "double"]], ids=str)
def test_a_service_that_would_never_have_anything_ends_in_one_line(tmp_path: Path, options: list[str]) -> None:
    pytest.importorskip("aiohttp")
    words = ["serve", *options, "--store", "http://127.0.0.1:1/models", "--cache", tmp_path, "--port", free_port()]

    ended = subprocess.run([*OVENBIRD, *map(str, words)], capture_output=True, text=True, timeout=60)

    (said,) = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert said.startswith("Error: store 'http://127.0.0.1:1/models': Cannot connect")
    assert said.endswith(
        "nothing of it is in the cache. Start when it answers, or with --control poll, which waits for it"
    )


def test_a_service_that_loads_once_starts_from_the_cache(bucket: Path, tmp_path: Path) -> None:
    published(bucket, 2.0)
    url = f"file://{bucket}"
    mirrored = open_store(url, cache=tmp_path / "cache")
    mirrored.refresh()
    mirrored.fetch(mirrored.resolve("double"))
    shutil.move(bucket, tmp_path / "elsewhere")

    with running(url, control="none", workers=2, cache=tmp_path / "cache") as service:  # type: ignore[arg-type]
        assert service.index()["double", 1]["state"] == "READY"


def test_a_service_starts_from_a_cache_that_cannot_be_written(bucket: Path, tmp_path: Path) -> None:
    published(bucket, 2.0)
    mirrored = open_store(f"file://{bucket}", cache=tmp_path / "cache")
    mirrored.refresh()
    mirrored.fetch(mirrored.resolve("double"))
    (mirrored.root / ".remote" / "lock").unlink()
    (mirrored.root / ".remote" / "lock").mkdir()

    async def work(repository: Repository, _: Metrics) -> Any:
        return repository.ready, repository._sync.trouble

    ready, trouble = with_repository(bucket, tmp_path, work)

    assert ready
    assert trouble == f"cannot write to the cache '{mirrored.root}': Is a directory"


def test_a_service_mends_its_cache_before_it_loads(bucket: Path, tmp_path: Path) -> None:
    published(bucket, 1.0, 2.0)
    mirrored = open_store(f"file://{bucket}", cache=tmp_path / "cache")
    mirrored.refresh()
    newest = mirrored.resolve("double")
    mirrored.fetch(newest)
    newest.onnx_path.write_bytes(b"rotten")

    async def work(repository: Repository, _: Metrics) -> Any:
        return states(repository)

    assert with_repository(bucket, tmp_path, work)["double", 2] == ("READY", "")


def test_secrets_in_the_url_are_never_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("aiohttp")
    url = f"http://me:hunter2@127.0.0.1:1/{uuid.uuid4().hex}"
    app = create_app(Settings(store=url, cache=str(tmp_path), poll_interval=60))
    client = app.test_client()

    answers = [client.get(path) for path in ("/v2/health/ready", "/v2", "/v2/models/double", "/metrics", "/")]
    answers.append(client.post("/v2/repository/index"))
    served = app.extensions[KEY]
    served.loop.call(stop(served), timeout=10)

    assert answers[0].status_code == 503
    assert answers[0].get_json()["reason"].startswith(f"store {url.replace('me:hunter2@', '')!r}: Cannot connect")
    told = "".join(answer.get_data(as_text=True) for answer in answers) + "".join(capfd.readouterr())
    assert "hunter2" not in told
    assert "127.0.0.1:1" in told


@pytest.mark.parametrize(
    ("store", "asked", "seconds"),
    [("", 0.0, 2.0), ("store", 0.0, 2.0), ("s3://bucket/m", 0.0, 30.0), ("s3://bucket/m", 5.0, 5.0)],
)
def test_a_folder_is_looked_at_more_often_than_a_url(store: str, asked: float, seconds: float) -> None:
    assert Settings(store=store, poll_interval=asked).seconds_between_looks == seconds


def test_the_log_says_whether_the_cache_has_anything_while_the_store_is_away(
    bucket: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(LOGGER, "handlers", [caplog.handler])
    monkeypatch.setattr(LOGGER, "propagate", False)
    published(bucket, 1.0)
    cached = open_store(f"file://{bucket}", cache=tmp_path / "cache")
    cached.refresh()
    shutil.move(bucket, tmp_path / "elsewhere")

    for store in (cached, open_store("http://127.0.0.1:1/models", cache=tmp_path / "cache")):
        StoreSync(store, Metrics()).refresh()

    assert [record.getMessage().rpartition("(")[2] for record in caplog.records] == [
        "what is in the cache serves)", "nothing of it is in the cache)",
    ]  # fmt: skip


def test_replicas_that_began_together_do_not_look_together(tmp_path: Path) -> None:
    sync = StoreSync(open_store(f"file://{tmp_path}", cache=tmp_path / "cache"), Metrics())

    common = random.getstate()

    waits = {sync.seconds_until_next(30.0, serves=True) for _ in range(20)}

    assert len(waits) > 1
    assert all(27 <= wait <= 33 for wait in waits)
    assert random.getstate() == common, "a fit in the same process draws its weights from Python's common numbers"
