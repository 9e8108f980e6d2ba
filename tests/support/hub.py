"""A stand-in for Hugging Face's hub, of which there is none to install: what a reader of a repository asks it for.

Written after the hub's description of its HTTP interface: the repository's facts, its tree in pages, contents by
revision. Large files (LFS) lie elsewhere, behind a link that needs no token and must not be given one.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

REPOSITORY = "team/models"
TOKEN = "hf_not-to-be-seen-anywhere"
# Small, so that a few models take several.
PAGE = 5


@dataclass
class Hub:
    """The repository's revisions, each a folder; `asked` has each request as METHOD PATH.

    Requests whose path has `hangs` in it are never answered, those with `busy` are refused for ten minutes.
    """

    revisions: dict[str, Path]
    hangs: str = "nothing"
    busy: str = "nothing"
    stopped: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)
    server: http.server.ThreadingHTTPServer | None = None
    port: int = 0

    def start(self) -> None:
        handler = type("Handler", (Handler,), {"hub": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.stopped.set()
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def forget(self) -> None:
        """Forget what was asked so far."""
        self.asked.clear()


class Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.hub.asked.append(f"{self.command} {path}")
        if self.hub.hangs in path:
            self.hub.stopped.wait()
        if self.hub.stopped.is_set():  # this connection is one that was kept
            self.close_connection = True
            return
        if self.hub.busy in path:
            self._send(HTTPStatus.TOO_MANY_REQUESTS, b"", {"Retry-After": "600"})
            return
        steps = [unquote(step) for step in path.strip("/").split("/")]
        authorized = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        match steps:
            case ["stored", digest]:
                self._give_stored(digest, bare="Authorization" not in self.headers)
            case _ if not authorized:
                self._refuse(HTTPStatus.UNAUTHORIZED, "RepoNotFound", "Invalid username or password.")
            case ["api", "models", "team", "models", "tree", revision, *below] if revision in self.hub.revisions:
                self._list(self.hub.revisions[revision], "/".join(below))
            case ["api", "models", "team", "models", "revision", revision]:
                self._describe(revision)
            case ["api", "models", "team", "models"]:
                self._describe("main")
            case ["team", "models", "resolve", revision, *below]:
                self._give(revision, "/".join(below))
            case _:
                self._refuse(HTTPStatus.NOT_FOUND, "RepoNotFound", "Repository not found")

    do_HEAD = do_GET  # noqa: N815

    def _describe(self, revision: str) -> None:
        if revision not in self.hub.revisions:
            self._refuse(HTTPStatus.NOT_FOUND, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            self._answer({"_id": "1", "id": REPOSITORY, "sha": "0" * 40, "private": True, "tags": [], "siblings": []})

    def _list(self, root: Path, below: str) -> None:
        folder = root / below
        if not folder.is_dir():
            self._refuse(HTTPStatus.NOT_FOUND, "EntryNotFound", f"{below} does not exist")
            return
        asked = parse_qs(urlsplit(self.path).query)
        everything = asked.get("recursive") == ["true"]
        entries = sorted(folder.rglob("*") if everything else folder.iterdir())
        start = int(asked.get("cursor", ["0"])[0])
        headers = {}
        if len(entries) > start + PAGE:
            here = f"http://127.0.0.1:{self.hub.port}{urlsplit(self.path).path}"
            more = f"{here}?recursive={str(everything).lower()}&expand=false&cursor={start + PAGE}"
            headers["Link"] = f'<{more}>; rel="next"'
        self._answer([_entry(root, entry) for entry in entries[start : start + PAGE]], headers)

    def _give(self, revision: str, path: str) -> None:
        file = self.hub.revisions.get(revision, Path("nowhere")) / path
        if not file.is_file():
            self._refuse(HTTPStatus.NOT_FOUND, "EntryNotFound", "Entry not found")
        elif _is_large(file):
            place = f"http://localhost:{self.hub.port}/stored/{hashlib.sha256(file.read_bytes()).hexdigest()}"
            self._send(HTTPStatus.FOUND, b"", {"Location": place, "X-Repo-Commit": "0" * 40})
        else:
            self._send_part(file.read_bytes())

    def _give_stored(self, digest: str, *, bare: bool) -> None:
        files = (file for root in self.hub.revisions.values() for file in root.rglob("*") if file.is_file())
        found = [content for file in files if hashlib.sha256(content := file.read_bytes()).hexdigest() == digest]
        if found and bare:
            self._send_part(found[0])
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, "BadRequest", "no such object, or a token where none belongs")

    def _send_part(self, content: bytes) -> None:
        unit, _, asked = self.headers.get("Range", "").partition("=")
        if unit != "bytes":
            self._send(HTTPStatus.OK, content, {"Accept-Ranges": "bytes"})
            return
        first, _, last = asked.partition("-")
        end = min(int(last or len(content)), len(content) - 1)
        headers = {"Content-Range": f"bytes {first}-{end}/{len(content)}"}
        self._send(HTTPStatus.PARTIAL_CONTENT, content[int(first) : end + 1], headers)

    def _refuse(self, status: HTTPStatus, code: str, message: str) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": message})

    def _answer(self, found: Any, headers: dict[str, str] | None = None) -> None:
        self._send(HTTPStatus.OK, json.dumps(found).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: HTTPStatus, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def _entry(root: Path, path: Path) -> dict[str, Any]:
    name = path.relative_to(root).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "size": 0, "oid": "0" * 40}
    content = path.read_bytes()
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": _blob(content)}
    if _is_large(path):
        entry |= {"lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}}
    return entry


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _is_large(path: Path) -> bool:
    return path.suffix in (".onnx", ".npz")


@contextlib.contextmanager
def hub_of(revisions: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Run a hub, and point the processes that are started from here to it."""
    hub = Hub(revisions)
    hub.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.port}")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    try:
        yield hub
    finally:
        hub.stop()
