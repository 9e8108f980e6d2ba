"""Real services in real processes: started, asked over HTTP, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx

OVENBIRD = [str(Path(sys.executable).with_name("ovenbird"))]
GUNICORN = [sys.executable, "-m", "gunicorn"]

# The two routes to the same service: the asyncio front, and the Flask application under a plain WSGI worker.
FRONTS = {
    "asyncio-front": None,
    "flask-alone": [
        *GUNICORN, "-k", "gthread", "--threads", "16", "--no-control-socket", "-b", "127.0.0.1:PORT",
        "service.app:create_app()",
    ],
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class RunningService:
    process: subprocess.Popen[bytes]
    port: int
    log_file: IO[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, **options)

    def log(self) -> str:
        self.log_file.flush()
        return Path(self.log_file.name).read_text()

    def index(self) -> dict[tuple[str, int], dict[str, str]]:
        """The repository's index: (model, version) → entry."""
        entries = httpx.post(f"{self.url}/v2/repository/index").json()
        return {(entry["name"], int(entry["version"])): entry for entry in entries}

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels; 0 if there is none."""
        from prometheus_client.parser import text_string_to_metric_families

        text = httpx.get(f"{self.url}/metrics").text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def wait_for_state(self, model: str, version: int, state: str, *, seconds: float = 20) -> dict[str, str]:
        return wait_for(
            lambda: entry if (entry := self.index().get((model, version))) and entry["state"] == state else None,
            f"{model}@{version} {state}",
            seconds=seconds,
        )

    def stop(self, *, seconds: float = 40) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def wait_for(look: Any, what: str, *, seconds: float = 20) -> Any:
    """Look again and again until there is something; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if found := look():
                return found
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")


@contextlib.contextmanager
def running(
    store: Path, *, command: list[str] | None = None, wait: bool = True, cwd: Path | None = None, **settings: object
) -> Iterator[RunningService]:
    """Run `ovenbird serve` (or another command) on a store, with settings as environment variables, until the end."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OVENBIRD_")}
    environment |= {"OVENBIRD_STORE": str(store), "OVENBIRD_PORT": str(port), "PYTHONUNBUFFERED": "1"}
    environment |= {f"OVENBIRD_{name.upper()}": str(value) for name, value in settings.items()}
    words = [word.replace("PORT", str(port)) for word in command or [*OVENBIRD, "serve"]]
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen(
            words, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=cwd, start_new_session=True
        )
        service = RunningService(process, port, log)  # type: ignore[arg-type]
        try:
            if wait:
                _wait_until_ready(service)
            yield service
        finally:
            try:
                service.stop()
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise


def _wait_until_ready(service: RunningService) -> None:
    def look() -> bool:
        if service.process.poll() is not None:
            raise AssertionError(f"the service ended with {service.process.returncode}:\n{service.log()}")
        return httpx.get(f"{service.url}/v2/health/ready").status_code == 200

    try:
        wait_for(look, "the service to become ready", seconds=60)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{service.log()}") from None


def infer_body(model_input: str, data: list[Any], *, shape: list[int], datatype: str = "FP32") -> dict[str, Any]:
    return {"inputs": [{"name": model_input, "shape": shape, "datatype": datatype, "data": data}]}


def affine_body(*rows: list[float]) -> dict[str, Any]:
    """A request for the model y = factor * x over three numbers."""
    return infer_body("x", [value for row in rows for value in row], shape=[len(rows), 3])
