"""A real S3-compatible server that checks signatures: `rclone serve s3`, which can be killed and started again."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from service_process import free_port, wait_for
from system_parts import require_program

KEY, SECRET = "a-key-for-tests", "not-to-be-seen-anywhere"
BUCKET = "bucket"


@dataclass
class S3Server:
    program: str
    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def variables(self) -> dict[str, str]:
        """What a client must have in its environment."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def start(self, *options: str) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "RCLONE_CONFIG": ""}
        words = ["serve", "s3", "--addr", f"127.0.0.1:{self.port}", "--auth-key", f"{KEY},{SECRET}", *options]
        self.process = subprocess.Popen(
            [self.program, *words, str(self.folder)], env=environment, stderr=subprocess.DEVNULL
        )
        wait_for(self._answers, "the S3 server")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


@contextlib.contextmanager
def s3_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """An S3 server with an empty bucket, not started yet, and this process's environment set for it."""
    (folder / BUCKET).mkdir(parents=True)
    server = S3Server(require_program("rclone"), folder)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    try:
        yield server
    finally:
        server.kill()
