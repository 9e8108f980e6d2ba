"""Real services under load: nothing is lost, mixed up or left behind, whatever happens to them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import tiny_models
from service_process import GUNICORN, OVENBIRD, RunningService, affine_body, running, wait_for

ROOT = Path(__file__).parents[2]
INFER = "/v2/models/double/infer"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    tiny_models.publish_affine(folder)
    tiny_models.publish_affine(folder, "slow", slow=60)
    return folder


class Clients:
    """Threads that ask until they are told to stop, each over its own connection; they keep every outcome."""

    def __init__(self, service: RunningService, count: int, ask: Callable[[httpx.Client, int, int], Any]) -> None:
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(count)
        self._work = [self._pool.submit(self._loop, service, number, ask) for number in range(count)]

    def _loop(self, service: RunningService, number: int, ask: Callable[[httpx.Client, int, int], Any]) -> list[Any]:
        outcomes = []
        with service.client() as client:
            turn = 0
            while not self._stop.is_set():
                outcomes.append(ask(client, number, turn))
                turn += 1
        return outcomes

    def finish(self) -> list[Any]:
        self._stop.set()
        outcomes = [outcome for work in self._work for outcome in work.result(30)]
        self._pool.shutdown()
        return outcomes


def test_each_of_64_clients_gets_the_answers_to_its_own_rows(store: Path) -> None:
    def ask(client: httpx.Client, number: int, turn: int) -> bool:
        rows = [[number, turn, row] for row in range(1 + turn % 3)]
        model = "slow" if turn % 50 == 7 else "double"
        output = client.post(f"/v2/models/{model}/infer", json=affine_body(*rows)).json()["outputs"][0]
        return output["data"] == [2.0 * value for row in rows for value in row]

    with running(store) as service:
        clients = Clients(service, 64, ask)
        time.sleep(5)
        outcomes = clients.finish()
        batches = service.metric("ovenbird_batch_rows_count", model="double")
        rows = service.metric("ovenbird_batch_rows_sum", model="double")

    assert len(outcomes) > 500
    assert all(outcomes)
    assert rows > batches, "no two requests ever shared a batch: the test did not test what it says"


def test_while_versions_are_published_every_request_is_answered_by_one_of_them(store: Path) -> None:
    def ask(client: httpx.Client, number: int, turn: int) -> tuple[int, float, str]:
        answer = client.post(INFER, json=affine_body([number + 1, 0, 0]))
        body = answer.json()
        return answer.status_code, body["outputs"][0]["data"][0] / (number + 1), body["model_version"]

    with running(store, poll_interval=0.1) as service:
        clients = Clients(service, 8, ask)
        for version in range(2, 8):
            tiny_models.publish_affine(store, factor=version + 1)
            service.wait_for_state("double", version, "READY")
        outcomes = clients.finish()
        ready = {("double", 7), ("slow", 1)}
        others = {"READY", "UNAVAILABLE"}
        wait_for(
            lambda: (
                {key for key, entry in service.index().items() if entry["state"] == "READY"} == ready
                and {entry["state"] for entry in service.index().values()} == others
            ),
            "the old versions to be unloaded",
        )

    # Version n multiplies by n + 1: a mixed-up answer would show another factor.
    assert {status for status, _, _ in outcomes} == {200}
    assert all(factor == int(version) + 1 for _, factor, version in outcomes)
    assert {version for _, _, version in outcomes} >= {"6", "7"}


def test_a_stop_in_the_middle_of_requests_answers_all_that_were_accepted(store: Path) -> None:
    sent = threading.Barrier(33)

    def ask(n: int) -> list[float]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)) as connection:
            connection.request("POST", "/v2/models/slow/infer", json.dumps(affine_body([n, n, n])))
            sent.wait(30)
            found: list[float] = json.load(connection.getresponse())["outputs"][0]["data"]
            return found

    with running(store) as service, ThreadPoolExecutor(32) as pool:
        work = [pool.submit(ask, n) for n in range(32)]
        # A connection that is made only later would be refused, and rightly so.
        sent.wait(30)
        wait_for(lambda: service.metric("ovenbird_batch_rows_count", model="slow") > 0, "the first batch to be run")
        code = service.stop()
        answers = [future.result(30) for future in work]

    assert code == 0
    assert answers == [[2.0 * n] * 3 for n in range(32)]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_under_load_leaves_no_request_on_an_open_connection_unanswered(
    store: Path, sent: signal.Signals
) -> None:
    body = json.dumps(affine_body([1, 2, 3])).encode()
    request = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    def ask_until_closed(port: int) -> str:
        """Ask on one connection until the server says that it closes it; say how it ended."""
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            while True:
                connection.sendall(request)
                answer = b""
                while b"]}]}" not in answer:
                    piece = connection.recv(65536)
                    if not piece:
                        return f"unanswered after {answer!r}"
                    answer += piece
                if b"connection: close" in answer.lower():
                    return "closed after an answer"

    with running(store) as service, ThreadPoolExecutor(16) as pool:
        work = [pool.submit(ask_until_closed, service.port) for _ in range(16)]
        time.sleep(1)
        service.process.send_signal(sent)
        endings = [future.result(40) for future in work]
        code = service.process.wait(40)

    assert endings == ["closed after an answer"] * 16
    assert code == 0


def test_several_workers_answer_together_and_count_together(store: Path) -> None:
    with running(store, workers=2) as service:
        for n in range(40):
            assert httpx.post(service.url + INFER, json=affine_body([n, n, n])).status_code == 200
        counted = [service.metric("ovenbird_requests_total", model="double") for _ in range(10)]
        ready = service.metric("ovenbird_model_state", model="double", state="READY")

    assert counted == [40] * 10
    assert ready == 2


def test_a_worker_that_dies_is_replaced_and_what_was_counted_stays(store: Path) -> None:
    with running(store, workers=2) as service:
        for n in range(10):
            httpx.post(service.url + INFER, json=affine_body([n, n, n]))
        children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
        victim, *_ = children.read_text().split()
        os.kill(int(victim), signal.SIGKILL)
        wait_for(lambda: len(set(children.read_text().split()) - {victim}) == 2, "a new worker")
        wait_for(lambda: service.metric("ovenbird_model_state", model="double", state="READY") == 2, "both ready")

        assert httpx.post(service.url + INFER, json=affine_body([1, 2, 3])).status_code == 200
        assert service.metric("ovenbird_requests_total", model="double") == 11


@pytest.mark.parametrize("workers", [1, 2])
def test_when_the_arbiter_is_killed_its_workers_do_not_live_on(store: Path, workers: int) -> None:
    with running(store, workers=workers) as service:
        service.process.kill()
        service.process.wait(10)

        def nobody_answers() -> bool:
            try:
                httpx.get(f"{service.url}/v2/health/live")
            except httpx.ConnectError:
                return True
            return False

        assert wait_for(nobody_answers, "the workers to end")


@pytest.mark.parametrize("configuration", ["service/gunicorn_conf.py", "python:service.gunicorn_conf"])
def test_gunicorn_with_our_configuration_does_the_same_as_ovenbird_serve(store: Path, configuration: str) -> None:
    with running(store, command=[*GUNICORN, "-c", configuration], cwd=ROOT) as service:
        answer = httpx.post(service.url + INFER, json=affine_body([1, 2, 3]))

    assert answer.json()["outputs"][0]["data"] == [2, 4, 6]


def test_a_store_that_is_made_later_is_served_when_it_appears(tmp_path: Path) -> None:
    with running(tmp_path / "later", poll_interval=0.1) as service:
        tiny_models.publish_affine(tmp_path / "later")
        service.wait_for_state("double", 1, "READY")

        assert httpx.post(service.url + INFER, json=affine_body([1, 2, 3])).status_code == 200


def test_bad_versions_are_seen_in_the_index_the_log_and_by_store_verify(store: Path) -> None:
    import subprocess

    (store / "double" / "1" / "model.onnx").write_bytes(b"overwritten")

    with running(store) as service:
        entry = service.index()["double", 1]
        refused = httpx.post(service.url + INFER, json=affine_body([1, 2, 3]))
        other = httpx.post(f"{service.url}/v2/models/slow/infer", json=affine_body([1, 2, 3]))
        log = service.log()
    verified = subprocess.run(
        [*OVENBIRD, "store", "verify", "--store", store], capture_output=True, text=True, check=False
    )

    reason = "model.onnx: sha256 is"
    assert (entry["state"], refused.status_code, other.status_code) == ("UNAVAILABLE", 503, 200)
    assert reason in entry["reason"]
    assert reason in refused.json()["error"]
    assert reason in log
    assert verified.returncode == 1
    assert reason in verified.stdout


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"provider": "cuda"}, "CUDAExecutionProvider: not in this build of onnxruntime", id="provider"),
        pytest.param(
            {"control": "explicit", "load": "nope"}, "unknown model 'nope'; there is: double, slow", id="model"
        ),
    ],
)
@pytest.mark.parametrize(
    ("command", "expected"), [([*OVENBIRD, "serve"], 1), ([*GUNICORN, "-c", "python:service.gunicorn_conf"], 3)]
)
def test_what_no_worker_could_start_with_ends_the_start_and_says_why(
    store: Path, settings: dict[str, str], message: str, command: list[str], expected: int
) -> None:
    with running(store, command=command, wait=False, **settings) as service:
        code = service.process.wait(30)
        log = service.log()

    assert code == expected
    assert message in log
    assert "Traceback" not in log


def test_the_command_predict_asks_a_running_service(store: Path, tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "rows.csv").write_text("1,2,3\n4,5,6\n")

    def predict(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*OVENBIRD, "predict", *arguments, "--url", service.url], capture_output=True, text=True,
                              cwd=tmp_path, check=False, **options)  # fmt: skip

    with running(store) as service:
        shown = predict("double", "rows.csv")
        as_json = predict("double@1", "rows.csv", "--json")
        piped = predict("double", "-", input='{"inputs": [[1, 1, 1]]}')
        partly = predict("double", "rows.csv", "missing.csv")
        unknown = predict("nobody", "rows.csv")
    away = predict("double", "rows.csv")

    assert shown.stdout == "rows.csv row 1: y [2.0, 4.0, 6.0]\nrows.csv row 2: y [8.0, 10.0, 12.0]\n"
    assert json.loads(as_json.stdout)["predictions"] == [{"y": [2, 4, 6]}, {"y": [8, 10, 12]}]
    assert piped.stdout == "standard input: y [2.0, 2.0, 2.0]\n"
    assert (partly.returncode, "missing.csv: No such file" in partly.stderr) == (1, True)
    assert (unknown.returncode, "unknown model 'nobody'" in unknown.stderr) == (1, True)
    assert (away.returncode, "is `ovenbird serve` running there?" in away.stderr) == (1, True)
