"""A real Docker engine: the one that runs, or one that is started for the tests and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from system_parts import require_program

ROOT = Path(__file__).parents[2]
BASE_IMAGE = "python:3.11-slim"
CA_BUNDLE = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
HARDENED = [
    "--read-only", "--tmpfs", "/tmp", "--cap-drop=ALL", "--security-opt", "no-new-privileges", "--pids-limit", "200",
]  # fmt: skip


@dataclass(frozen=True)
class Docker:
    """The docker command, pointed at an engine."""

    program: str
    host: str | None = None

    def __call__(self, *words: str | Path, check: bool = True) -> str:
        environment = os.environ | {"DOCKER_BUILDKIT": "1"} | ({"DOCKER_HOST": self.host} if self.host else {})
        done = subprocess.run(
            [self.program, *words], capture_output=True, text=True, check=False, cwd=ROOT, env=environment
        )
        assert not check or done.returncode == 0, f"docker {words[0]} ended with {done.returncode}:\n{done.stderr}"
        return done.stdout.strip()

    def inspect(self, name: str) -> dict[str, Any]:
        (found,) = json.loads(self("inspect", name))
        return dict(found)

    def build(self, dockerfile: str, tag: str, *options: str) -> str:
        secret = [f"--secret=id=cabundle,src={CA_BUNDLE}"] if CA_BUNDLE.exists() else []
        self("build", "--quiet", "-f", f"deploy/docker/{dockerfile}", "-t", tag, *secret, *options, ".")
        return tag

    @contextlib.contextmanager
    def container(self, image: str, *command: str, options: list[str]) -> Iterator[Container]:
        """Run a container in the background until the end."""
        name = self("run", "--detach", *options, image, *command)
        try:
            yield Container(self, name)
        finally:
            self("rm", "--force", "--volumes", name)

    @contextlib.contextmanager
    def volume(self) -> Iterator[str]:
        name = self("volume", "create")
        try:
            yield name
        finally:
            self("volume", "rm", name)


@dataclass(frozen=True)
class Container:
    docker: Docker
    name: str

    @property
    def url(self) -> str:
        """Where port 8000 was published."""
        return f"http://{self.docker('port', self.name, '8000/tcp').splitlines()[0]}"

    def state(self) -> dict[str, Any]:
        return dict(self.docker.inspect(self.name)["State"])

    def shell(self, line: str) -> str:
        """What a line says inside, errors and all."""
        return self.docker("exec", self.name, "sh", "-c", f"({line}) 2>&1", check=False)


@contextlib.contextmanager
def docker_engine(folder: Path) -> Iterator[Docker]:
    """The engine that runs; or else, for root, one of its own below this folder."""
    docker = Docker(_program())
    if subprocess.run([docker.program, "info"], capture_output=True, check=False).returncode == 0:
        yield docker
        return
    with _own_engine(require_program("dockerd"), folder) as host:
        yield Docker(docker.program, host)


def _program() -> str:
    """Find a docker command that can pass secrets to a build: one without its plug-in for builds cannot."""
    programs = [require_program("docker"), "/usr/bin/docker"]
    for program in filter(os.path.exists, programs):
        environment = os.environ | {"DOCKER_BUILDKIT": "1"}
        shown = subprocess.run([program, "build", "--help"], capture_output=True, text=True, env=environment)
        if "--secret" in shown.stdout:
            return program
    raise AssertionError(f"no docker command here builds with BuildKit: {', '.join(programs)}")


@contextlib.contextmanager
def _own_engine(dockerd: str, folder: Path) -> Iterator[str]:
    bridge = Path("/sys/class/net/docker0")
    had_bridge = bridge.exists()
    before = _firewall()
    host = f"unix://{folder}/docker.sock"
    options = [f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--host={host}", f"--pidfile={folder}/pid"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([dockerd, *options], stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for_engine(process, host, folder / "log")
        yield host
    finally:
        process.terminate()
        process.wait(60)
        for mount in (folder / "exec/netns").glob("*"):
            subprocess.run(["umount", mount], capture_output=True, check=False)
        if not had_bridge:
            subprocess.run(["ip", "link", "delete", "docker0"], capture_output=True, check=False)
            _take_back_firewall(before)
        shutil.rmtree(folder, ignore_errors=True)


def _firewall() -> str:
    return subprocess.run(["iptables-save"], capture_output=True, text=True, check=False).stdout


def _take_back_firewall(before: str) -> None:
    """Remove the engine's rules, and no others: somebody else may have added some meanwhile."""
    policy = "DROP" if ":FORWARD DROP" in before else "ACCEPT"
    kept = [line for line in _firewall().splitlines() if "docker" not in line.lower()]
    rules = "\n".join(kept).replace(":FORWARD DROP", f":FORWARD {policy}") + "\n"
    subprocess.run(["iptables-restore"], input=rules, capture_output=True, text=True, check=False)


def _wait_for_engine(process: subprocess.Popen[bytes], host: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    asked = ["docker", "--host", host, "info"]
    while subprocess.run(asked, capture_output=True, check=False).returncode:
        assert process.poll() is None, f"dockerd ended:\n{log.read_text()[-2000:]}"
        assert time.monotonic() < deadline, f"dockerd does not answer:\n{log.read_text()[-2000:]}"
        time.sleep(0.2)


def ensure_base(docker: Docker, folder: Path) -> None:
    """Have the image that the Dockerfiles start from: there, pulled, or made by debootstrap."""
    if docker("images", "--quiet", BASE_IMAGE) or _can_pull(docker):
        return
    require_program("debootstrap")
    environment = os.environ | ({"DOCKER_HOST": docker.host} if docker.host else {})
    made = [ROOT / "deploy/docker/base.sh", BASE_IMAGE, folder]
    done = subprocess.run(made, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def _can_pull(docker: Docker) -> bool:
    docker("pull", "--quiet", BASE_IMAGE, check=False)
    return bool(docker("images", "--quiet", BASE_IMAGE))
