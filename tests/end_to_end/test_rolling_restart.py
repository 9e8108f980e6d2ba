"""Pods that are replaced one by one behind a real balancer, as Kubernetes replaces them: no request is lost.

A new pod is READY before an old one goes. The old one is taken out of the balancer and told to stop at the same moment;
its preStop sleep holds SIGTERM back, and then it answers what it has accepted.
"""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import tiny_models
from client_pool import asking
from service_process import RunningService, affine_body, free_port, running, wait_for
from system_parts import require_program

CLIENTS = 6
PRE_STOP_SECONDS = 0.5


class Nginx:
    """nginx, told by a new configuration file, as its ingress controllers do."""

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        self.port = free_port()
        self._folder = folder
        self._command = [require_program("nginx"), "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"]
        self._write(ports)
        self.process = subprocess.Popen([*self._command, "-g", "daemon off;"])

    def set_endpoints(self, ports: Sequence[int]) -> None:
        self._write(ports)
        subprocess.run([*self._command, "-s", "reload"], check=True)

    def _write(self, ports: Sequence[int]) -> None:
        servers = " ".join(f"server 127.0.0.1:{port} max_fails=0;" for port in ports)
        kept = " ".join(f"{name}_temp_path {name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (self._folder / "nginx.conf").write_text(
            "worker_processes 2; pid nginx.pid; events {}\n"
            f"http {{ access_log off; {kept} upstream pods {{ {servers} keepalive 16; }}\n"
            f"server {{ listen 127.0.0.1:{self.port}; location / {{ proxy_pass http://pods;\n"
            'proxy_http_version 1.1; proxy_set_header Connection ""; } } }\n'
        )


class HAProxy:
    """HAProxy, told over its socket, as its ingress controllers do: a place for each pod, and one for the new one."""

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        self.port = free_port()
        self._socket = folder / "s"
        configuration = folder / "haproxy.cfg"
        servers = [f"server place{index} 127.0.0.1:{port}" for index, port in enumerate(ports)]
        spare = f"server place{len(ports)} 127.0.0.1:1 disabled"
        places = "".join(f" {line}\n" for line in (*servers, spare))
        configuration.write_text(
            f"global\n stats socket {self._socket} level admin\n"
            "defaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n"
            f"frontend all\n bind 127.0.0.1:{self.port}\n default_backend pods\n"
            f"backend pods\n http-reuse always\n{places}"
        )
        self.process = subprocess.Popen([require_program("haproxy"), "-db", "-f", configuration])
        self._free = [f"place{len(ports)}"]
        self._places = {port: f"place{index}" for index, port in enumerate(ports)}

    def set_endpoints(self, ports: Sequence[int]) -> None:
        for port in [port for port in self._places if port not in ports]:
            self._free.append(self._places.pop(port))
            self._say(f"set server pods/{self._free[-1]} state drain")
        for port in [port for port in ports if port not in self._places]:
            self._places[port] = self._free.pop()
            self._say(f"set server pods/{self._places[port]} addr 127.0.0.1 port {port}")
            self._say(f"set server pods/{self._places[port]} state ready")

    def _say(self, command: str) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._socket))
            connection.sendall(f"{command}\n".encode())
            connection.recv(4096)


class Clients:
    """Ask without end, each request on a connection of its own; keep what went wrong."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.problems: list[str] = []
        self.answers = 0
        self.stopping = threading.Event()

    def run(self, number: int) -> None:
        # Two of them ask for what takes long, so that each pod has requests in flight when it is told to go.
        model = "slow" if number < 2 else "double"
        for count in itertools.count():
            if self.stopping.is_set() or self.problems:
                return
            try:
                self._ask(model, [float(number), float(count), 1.0])
            except (OSError, http.client.HTTPException) as error:
                self.problems.append(f"{model}: no answer: {error!r}")

    def _ask(self, model: str, row: list[float]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        body = json.dumps(affine_body(row))
        connection.request("POST", f"/v2/models/{model}/infer", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status != 200:
            self.problems.append(f"{model}: {answer.status} {text!r}")
        elif (received := json.loads(text)["outputs"][0]["data"]) != [2 * value for value in row]:
            self.problems.append(f"{model}: asked {row}, received {received}")
        else:
            self.answers += 1


@contextmanager
def balancing(
    kind: Callable[[Path, Sequence[int]], Nginx | HAProxy], ports: Sequence[int]
) -> Iterator[Nginx | HAProxy]:
    with tempfile.TemporaryDirectory(prefix="b") as folder:
        balancer = kind(Path(folder), ports)
        try:
            wait_for(lambda: httpx.get(f"http://127.0.0.1:{balancer.port}/v2/health/ready").is_success, "the balancer")
            yield balancer
        finally:
            balancer.process.terminate()
            balancer.process.wait(20)


def wait_for_requests(pod: RunningService, clients: Clients) -> None:
    def look() -> float:
        assert clients.problems == []
        return pod.metric("ovenbird_requests_total")

    wait_for(look, f"requests to the pod on {pod.url}")


@pytest.mark.system
@pytest.mark.parametrize("kind", [Nginx, HAProxy])
def test_no_request_is_lost_while_pods_are_replaced(
    tmp_path: Path, kind: Callable[[Path, Sequence[int]], Nginx | HAProxy]
) -> None:
    tiny_models.publish_affine(tmp_path / "store", "double")
    tiny_models.publish_affine(tmp_path / "store", "slow", slow=5)
    exit_codes = []

    with ExitStack() as stack:
        # All at once, since a start takes its time; the balancer hears of the new ones one by one.
        started = [stack.enter_context(running(tmp_path / "store", wait=False, threads=1)) for _ in range(4)]
        for pod in started:
            wait_for(lambda url=pod.url: httpx.get(f"{url}/v2/health/ready").is_success, "a pod", seconds=60)
        pods, new_pods = started[:2], started[2:]
        balancer = stack.enter_context(balancing(kind, [pod.port for pod in pods]))
        with asking(Clients(balancer.port), CLIENTS) as clients:
            for new in new_pods:
                old, *others = pods
                wait_for_requests(old, clients)
                balancer.set_endpoints([pod.port for pod in (*pods, new)])
                wait_for_requests(new, clients)
                pods = [*others, new]
                balancer.set_endpoints([pod.port for pod in pods])
                time.sleep(PRE_STOP_SECONDS)
                exit_codes.append(old.stop())

    assert clients.problems == []
    assert exit_codes == [0, 0]
    assert clients.answers > CLIENTS
