"""Starts `ovenbird serve` in the background, waits until it is ready, and stops it again."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUN_FOLDER = Path("run")
READY_SECONDS = 60.0


class ServiceFailed(Exception):
    """The service did not start, or did not answer."""


@dataclass(frozen=True)
class Service:
    """A service that runs in the background; it lives on when this program ends."""

    name: str
    url: str

    @property
    def pid_file(self) -> Path:
        return RUN_FOLDER / f"{self.name}.pid"

    @property
    def log_file(self) -> Path:
        return RUN_FOLDER / f"{self.name}.log"

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send JSON (or nothing) and read JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise ServiceFailed(f"{path}: {error.read().decode()}") from None

    def is_ready(self) -> bool:
        """Ask for readiness."""
        try:
            return bool(self.ask("/v2/health/ready")["ready"])
        except (OSError, ServiceFailed):
            return False


def start(name: str, *, store: Path, port: int) -> Service:
    """Start a service on a store, replacing one of the same name that still runs; return when it is ready.

    Takes the first free port from `port` on.
    """
    stop(name)
    RUN_FOLDER.mkdir(exist_ok=True)
    service = Service(name, f"http://127.0.0.1:{_free_port(port)}")
    # Whatever OVENBIRD_* the user has set for a service of their own is not meant for this one.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OVENBIRD_")}
    command = [
        Path(sys.executable).with_name("ovenbird"),
        "serve",
        "--store",
        store,
        "--port",
        service.url.rpartition(":")[2],
    ]
    with service.log_file.open("w") as log:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    service.pid_file.write_text(f"{process.pid}\n")
    deadline = time.monotonic() + READY_SECONDS
    while not service.is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServiceFailed(f"the service did not become ready; its log:\n{service.log_file.read_text()}")
        time.sleep(0.1)
    return service


def stop(name: str) -> bool:
    """Stop the service that was started under this name, if it still runs; tell whether it did."""
    pid_file = RUN_FOLDER / f"{name}.pid"
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return False
    stopped = _is_ours(pid)
    if stopped:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 40
        while _is_ours(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
    pid_file.unlink()
    return stopped


def _is_ours(pid: int) -> bool:
    """Tell whether the process is there and is a service: the number may belong to another program by now."""
    return re.search(r"ovenbird[\0 ]serve\b", _command_line(pid)) is not None


def _command_line(pid: int) -> str:
    """Read a process's command line, empty if it has ended. Linux tells by a file: small images have no ps."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        except OSError:
            return ""
    command = ["ps", "-o", "args=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _free_port(first: int) -> int:
    for port in range(first, first + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServiceFailed(f"no free port from {first} to {first + 99}")
