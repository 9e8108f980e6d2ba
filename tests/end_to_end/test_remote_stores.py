"""Remote stores for real: an S3 server that checks signatures and is killed in the middle, and a plain web server."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tiny_models
from click.testing import CliRunner
from s3_server import BUCKET, SECRET, S3Server, s3_server
from service_process import affine_body, running, wait_for

from model_store import Draft, Store, StoreAway, open_store
from model_store.cli import main

PUBLISHER = Path(tiny_models.__file__).with_name("remote_publisher.py")
URL = f"s3://{BUCKET}/models"

pytestmark = pytest.mark.system


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    pytest.importorskip("s3fs")
    monkeypatch.setenv("OVENBIRD_CACHE", str(tmp_path / "cache"))
    with s3_server(tmp_path / "served", monkeypatch) as found:
        yield found


def heavy_draft(folder: Path, megabytes: int) -> Draft:
    """A model whose files take a while."""
    (folder / "report").mkdir(parents=True)
    (folder / "report" / "weights.bin").write_bytes(os.urandom(megabytes * 2**20))
    draft = tiny_models.draft(folder, "double", tiny_models.affine())
    (folder / "manifest.json").write_text(draft.manifest.to_json())
    return draft


@contextlib.contextmanager
def publishing(cache: Path, times: int, draft: Draft) -> Iterator[subprocess.Popen[str]]:
    """Another process that publishes as soon as a line is written to it."""
    words = [sys.executable, str(PUBLISHER), URL, str(cache), str(times), draft.model, str(draft.folder)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_service_follows_a_bucket_outlives_it_and_starts_without_it(server: S3Server, tmp_path: Path) -> None:
    options: dict[str, Any] = {"poll_interval": 0.2, "cache": tmp_path / "service"}
    with running(URL, wait=False, **options) as service:  # type: ignore[arg-type]
        live = wait_for(lambda: httpx.get(f"{service.url}/v2/health/live"), "the service to live", seconds=60)
        early = httpx.get(f"{service.url}/v2/health/ready")
        server.start()
        tiny_models.publish_affine(open_store(URL))
        service.wait_for_state("double", 1, "READY")
        tiny_models.publish_affine(open_store(URL), factor=3.0)
        service.wait_for_state("double", 2, "READY")
        synced = service.metric("ovenbird_store_sync_timestamp_seconds", store=URL)
        failed = service.metric("ovenbird_store_sync_failures_total", store=URL)

        server.kill()
        wait_for(lambda: service.metric("ovenbird_store_sync_failures_total") > failed, "the death to be seen")
        answer = httpx.post(f"{service.url}/v2/models/double/infer", json=affine_body([1, 2, 3])).json()
        log = service.log()

    with running(URL, **options) as again:  # type: ignore[arg-type]
        index = {key: entry["state"] for key, entry in again.index().items()}
        log += again.log()

    assert (live.status_code, early.status_code) == (200, 503)
    assert early.json()["reason"].startswith(f"store '{URL}': Could not connect")
    assert synced > 1.7e9
    assert answer["outputs"][0]["data"] == [3, 6, 9]
    assert index == {("double", 1): "UNAVAILABLE", ("double", 2): "READY"}
    assert log.count("WARNING") == 3, "one for each time that the store went away"
    assert SECRET not in log


def test_commands_read_and_change_a_bucket(server: S3Server) -> None:
    server.start()
    tiny_models.publish_affine(open_store(URL))
    words = [["list"], ["show", "double"], ["verify"], ["label", "double@1", "stable"], ["list"]]

    ran = [CliRunner().invoke(main, ["store", *command, "--store", URL]) for command in words]

    assert [result.exit_code for result in ran] == [0] * len(words), [result.output for result in ran]
    assert f"{URL}/double/1" in ran[1].output
    assert "ok  double@1" in ran[2].output
    assert "stable" in ran[-1].output
    server.kill()
    offline = CliRunner().invoke(main, ["store", "list", "--store", URL])
    assert offline.exit_code == 0
    assert "shown as it was seen last" in offline.output
    assert "stable" in offline.output


def test_a_wrong_secret_is_told_in_one_line_without_naming_it(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-wrong-secret")

    refused = CliRunner().invoke(main, ["store", "list", "--store", URL])

    assert refused.exit_code == 1
    (said, error) = refused.output.strip().splitlines()
    assert said == f"store: {URL} (as asked)"
    assert error.startswith(f"Error: store '{URL}': it refuses: The request signature we calculated does not match")
    assert "a-wrong-secret" not in refused.output


def test_publishers_at_once_get_numbers_of_their_own(server: S3Server, tmp_path: Path) -> None:
    server.start()
    drafts = [tiny_models.draft(tmp_path / str(number), "double", tiny_models.affine(number)) for number in (2, 3)]
    for draft in drafts:
        (draft.folder / "manifest.json").write_text(draft.manifest.to_json())
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(publishing(tmp_path / "cache", 4, draft)) for draft in drafts]
        assert [line_of(process) for process in processes] == ["ready", "ready"]
        for process in processes:
            go(process)
        numbers = [[int(line_of(process)) for _ in range(4)] for process in processes]

    store = open_store(URL)
    store.refresh()
    published = {number: of.manifest.digest for of, taken in zip(drafts, numbers, strict=True) for number in taken}
    assert {number: store.resolve("double", number).manifest.digest for number in store.versions("double")} == published
    assert len(published) == 8
    assert [store.verify(stored) for stored in store.all_versions()] == [[]] * 8


def test_a_publisher_killed_in_the_middle_leaves_nothing_that_readers_see(server: S3Server, tmp_path: Path) -> None:
    server.start("--bwlimit", "8M")
    draft = heavy_draft(tmp_path / "heavy", 8)
    with publishing(tmp_path / "cache", 1, draft) as process:
        assert line_of(process) == "ready"
        go(process)
        wait_for(lambda: list(server.folder.rglob(".publishing")), "the mark")
        process.send_signal(signal.SIGKILL)
    store = open_store(URL)
    store.refresh()

    seen = store.models()
    later = tiny_models.publish_affine(store)

    assert seen == []
    assert later.version == 2
    assert store.versions("double") == [2]
    assert store.verify(later) == []


def test_a_server_killed_in_mid_upload_fails_the_publishing_and_nothing_is_seen(
    server: S3Server, tmp_path: Path
) -> None:
    server.start("--bwlimit", "8M")
    store = open_store(URL)
    store.refresh()
    draft = heavy_draft(tmp_path / "heavy", 8)
    killer = threading.Thread(target=_kill_when, args=(server, server.folder, ".publishing"))
    killer.start()

    with pytest.raises(StoreAway, match=f"store '{URL}'"):
        store.publish(draft)
    killer.join()
    server.start()
    store.refresh()

    assert store.models() == []
    assert store.publish(draft)[0].version == 2


def test_a_server_killed_in_mid_download_leaves_all_or_nothing_in_the_cache(server: S3Server, tmp_path: Path) -> None:
    server.start()
    open_store(URL, cache=tmp_path / "publisher").publish(heavy_draft(tmp_path / "heavy", 8))
    server.kill()
    server.start("--bwlimit", "8M")
    store = open_store(URL)
    store.refresh()
    stored = store.resolve("double")
    killer = threading.Thread(target=_kill_when, args=(server, store.root / ".remote" / "staging", "weights.bin"))
    killer.start()

    with pytest.raises(StoreAway, match=f"store '{URL}'"):
        store.fetch(stored)
    killer.join()

    assert [path.name for path in stored.path.rglob("*") if path.is_file()] == ["manifest.json"]
    assert list((store.root / ".remote" / "staging").iterdir()) == []
    server.start()
    store.refresh()
    store.fetch(stored)
    assert Store(store.root).verify(stored) == []


def _kill_when(server: S3Server, folder: Path, name: str) -> None:
    """Kill the server as soon as a file of this name has anything in it."""
    wait_for(lambda: any(path.stat().st_size for path in folder.rglob(name)), name)
    server.kill()


class _Authorised(http.server.SimpleHTTPRequestHandler):
    """A web server with an index of its folders, behind a user and a password."""

    def do_GET(self) -> None:
        if self.headers["Authorization"] == httpx.BasicAuth("me", "hunter2")._auth_header:
            super().do_GET()
        else:
            self.send_error(401)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Authorised, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_web_servers_index_is_a_store_to_read(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    shown = tmp_path / "web" / "models"
    for factor in (2.0, 3.0):
        tiny_models.publish_affine(Store(shown), "a model".replace(" ", "-"), factor=factor)
    with web_server(tmp_path / "web") as host:
        store = open_store(f"http://me:hunter2@{host}/models", cache=tmp_path / "cache")
        store.refresh()
        stored = store.resolve("a-model")
        store.fetch(stored)
        verified = [store.verify(found) for found in store.all_versions()]
        Store(shown).replace_file("a-model", "labels.json", '{"stable": 1}')
        store.refresh()
        stranger = open_store(f"http://me:wrong@{host}/models", cache=tmp_path / "other")
        with pytest.raises(StoreAway) as refused:
            stranger.refresh()

    assert stored.version == 2
    assert np.array_equal(stored.golden().keras["y"], stored.golden().inputs["x"] * 3)
    assert verified == [[], []]
    assert store.labels("a-model") == {"stable": 1}
    assert str(refused.value).startswith(f"store 'http://{host}/models': ")
    assert "wrong" not in str(refused.value)
