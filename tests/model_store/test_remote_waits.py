"""What becomes of a store that accepts and never answers, or answers drop by drop: real sockets that do just that."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_models
from click.testing import CliRunner

from model_store import Store, StoreAway, open_store, store_options
from model_store.cli import main
from model_store.remote import waits
from model_store.remote.address import Address
from model_store.remote.files import RemoteFiles

pytest.importorskip("fsspec")

DROPS = 40


@contextlib.contextmanager
def listening(handler: type[socketserver.BaseRequestHandler]) -> Iterator[str]:
    """A server that treats every connection in this way."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_store_that_never_answers_is_asked_twice_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    asked: list[object] = []

    class Hangs(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked.append(self.client_address)
            while self.request.recv(4096):
                pass

    monkeypatch.setattr(waits, "READ_SECONDS", 0.2)
    for name, value in {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "DEFAULT_REGION": "here"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with listening(Hangs) as place:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{place}")
        with pytest.raises(StoreAway, match="Read timeout on endpoint URL"):
            RemoteFiles(Address.parse("s3://bucket/models")).entries()

    assert len(asked) == waits.TRIES


class DropByDrop(socketserver.BaseRequestHandler):
    """Answers with a byte now and then; would have ended one day."""

    def handle(self) -> None:
        self.request.recv(4096)
        self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Type: text/html\r\n\r\n" % DROPS)
        stopped = threading.Event()
        with contextlib.suppress(OSError):
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(DROPS):
                self.request.sendall(b" ")
                stopped.wait(0.05)


@pytest.mark.parametrize("what", ["listing", "manifest", "file"])
def test_an_answer_that_comes_drop_by_drop_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    pytest.importorskip("aiohttp")
    from model_store.remote import least_rate

    monkeypatch.setattr(waits, "PART_SECONDS", 0.4)
    monkeypatch.setattr(least_rate, "WINDOW_SECONDS", 0.4)
    with listening(DropByDrop) as place:
        files = RemoteFiles(Address.parse(f"http://{place}/models"))
        work = {
            "listing": files.entries,
            "manifest": lambda: files.read(["double/1/manifest.json"]),
            "file": lambda: files.download({"double/1/model.onnx": tmp_path / "model.onnx"}),
        }

        with pytest.raises(StoreAway, match=f"store 'http://{place}/models': .*(does not answer in time|given up)"):
            work[what]()


def test_a_command_does_not_wait_for_ever_for_another_process_that_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_models.publish_affine(Store(tmp_path / "remote"))
    monkeypatch.setenv("OVENBIRD_CACHE", str(tmp_path / "cache"))
    url = f"file://{tmp_path}/remote"
    store = open_store(url)
    store.refresh()
    monkeypatch.setattr(store_options, "PATIENCE_SECONDS", 0.1)
    with (store.root / ".remote" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        listed = CliRunner().invoke(main, ["store", "list", "--store", url])

    assert listed.exit_code == 0
    assert "double" in listed.stdout
    assert f"another process has been looking at {url}; shown as it was seen last" in listed.stderr
