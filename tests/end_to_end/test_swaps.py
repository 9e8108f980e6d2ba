"""Fifty publishes, rollbacks and moved labels under 32 clients without pause: no request is lost, no answer mixed up.

double@V multiplies by V + 1, and each answer says in its headers which version gave it.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
import tiny_models
from client_pool import asking
from service_process import RunningService, affine_body, running, wait_for

from model_store import Store, steering

CLIENTS = 32
CHANGES = 50
PATHS = ("/v2/models/double/infer", "/v1/models/double:predict", "/v1/models/double/labels/stable:predict")


def ask(connection: http.client.HTTPConnection, path: str, value: float) -> tuple[int, str]:
    """Send one row; return the version that answered, and what was wrong with the answer."""
    body = affine_body([value] * 3) if path.endswith("/infer") else {"instances": [[value] * 3]}
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        return 0, f"{path}: {answer.status} {text!r}"
    message, version = json.loads(text), int(answer.headers["Ovenbird-Version"])
    row = message["outputs"][0]["data"] if "outputs" in message else message["predictions"][0]
    expected = [value * (version + 1)] * 3
    return version, "" if row == expected else f"{path}: version {version} answered {row}, not {expected}"


class Clients:
    """Ask without pause until told to stop; keep what went wrong, and how often each version answered."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.problems: list[str] = []
        self.answers: Counter[int] = Counter()
        self.stopping = threading.Event()

    def run(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        mine: Counter[int] = Counter()
        for count in itertools.count():
            if self.stopping.is_set():
                break
            try:
                version, problem = ask(connection, PATHS[count % len(PATHS)], float(number * 1000 + count % 1000))
            except (OSError, http.client.HTTPException) as error:
                version, problem = 0, f"no answer: {error!r}"
            mine[version] += 1
            if problem:
                self.problems.append(problem)
                break
        connection.close()
        self.answers.update(mine)


def change(store: Store, step: int) -> None:
    """Publish three times, then roll back once and move the label; again and again."""
    match step % 5:
        case 3:
            steering.roll_back(store, "double")
        case 4:
            steering.set_label(store, "double", "stable", store.select("double").versions[-1])
        case _:
            tiny_models.publish_affine(store, factor=1 + 1 + (store.versions("double") or [0])[-1])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store(tmp_path / "store")
    change(opened, 0)
    steering.set_label(opened, "double", "stable", 1)
    return opened


@pytest.mark.parametrize(
    ("control", "workers"), [("poll", 1), ("poll", 4), ("explicit", 1), ("explicit", 4), ("none", 4)]
)
def test_nothing_is_lost_or_mixed_up(store: Store, control: str, workers: int) -> None:
    options = {"load": "double"} if control == "explicit" else {}
    with running(store.root, control=control, workers=workers, poll_interval=0.1, threads=1, **options) as service:
        ready = {"model": "double", "state": "READY"}
        wait_for(lambda: service.metric("ovenbird_model_state", **ready) >= workers, "all workers", seconds=60)
        with asking(Clients(service.port), CLIENTS) as clients:
            for step in range(1, CHANGES + 1):
                change(store, step)
                if control == "explicit":
                    answer = httpx.post(f"{service.url}/v2/repository/models/double/load", timeout=150)
                    assert answer.status_code == 200, answer.text
                else:
                    time.sleep(0.1)
            last = 1 if control == "none" else store.select("double").versions[-1]
            wait_for(lambda: newest_of_all(service, workers) == {last}, f"version {last} in every worker", seconds=60)

        assert clients.problems == []
        assert sum(clients.answers.values()) > CLIENTS * 10
        assert clients.answers[last] > 0
        if control == "none":
            assert clients.answers.keys() == {1}
        else:
            assert len(clients.answers) > CHANGES / 5
        assert "Traceback" not in service.log()


def newest_of_all(service: RunningService, workers: int) -> set[int]:
    """Ask over so many new connections that every worker has its turn; return the versions that answered."""
    versions = set()
    for _ in range(10 * workers):
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        versions.add(ask(connection, PATHS[0], 1.0)[0])
        connection.close()
    return versions
