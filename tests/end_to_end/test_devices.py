"""Workers on devices of their own: real processes, their real cores, and what CUDA would see in them."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
import tiny_models
from service_process import GUNICORN, OVENBIRD, RunningService, affine_body, running, wait_for

ROOT = Path(__file__).parents[2]
STARTS = {"ovenbird": [*OVENBIRD, "serve"], "gunicorn": [*GUNICORN, "-c", "service/gunicorn_conf.py"]}
CORES = sorted(os.sched_getaffinity(0))

on_two_cores = pytest.mark.skipif(len(CORES) < 2, reason="needs two processor cores")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    tiny_models.publish_affine(tmp_path / "store")
    return tmp_path / "store"


def workers(service: RunningService) -> set[int]:
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text()
    return {int(pid) for pid in children.split()}


def placed(service: RunningService) -> dict[int, str]:
    """What the log says of each worker: process number → device."""
    return {
        int(pid): device for pid, device in re.findall(r"INFO \[(\d+)\] worker \d+ of \d+: (\S+) \(", service.log())
    }


def cores_of_all_threads(pid: int) -> set[frozenset[int]]:
    return {frozenset(os.sched_getaffinity(int(task.name))) for task in Path(f"/proc/{pid}/task").iterdir()}


def ready_workers(service: RunningService, count: int) -> set[int]:
    """The workers, once there are so many and each says in the log that its models are loaded."""

    def look() -> set[int] | None:
        found = workers(service)
        ready = {int(pid) for pid in re.findall(r"\[(\d+)\] serving 1 model on", service.log())}
        return found if len(found) == count and found <= ready else None

    return wait_for(look, f"{count} workers that serve", seconds=60)  # type: ignore[no-any-return]


@on_two_cores
@pytest.mark.parametrize("start", STARTS)
def test_a_worker_that_is_killed_is_replaced_on_the_same_core(store: Path, start: str) -> None:
    first, second = CORES[:2]

    with running(store, command=STARTS[start], cwd=ROOT, devices=f"cpu:{first},cpu:{second}") as service:
        before = ready_workers(service, 2)
        cores = {pid: cores_of_all_threads(pid) for pid in before}
        said = placed(service)
        threads = httpx.get(f"{service.url}/v2/models/double/config").json()["parameters"]["threads"]
        (killed,) = (pid for pid in before if cores[pid] == {frozenset({second})})
        os.kill(killed, signal.SIGKILL)
        (stayed,) = before - {killed}
        wait_for(lambda: killed not in workers(service), "the killed worker to be gone")
        after = ready_workers(service, 2)
        (new,) = after - {stayed}
        cores_of_the_new = cores_of_all_threads(new)
        answer = httpx.post(f"{service.url}/v2/models/double/infer", json=affine_body([1, 2, 3]))
        log = service.log()

    assert sorted(cores.values(), key=str) == sorted(({frozenset({first})}, {frozenset({second})}), key=str)
    assert said == {stayed: f"cpu:{first}", killed: f"cpu:{second}"}
    assert cores_of_the_new == {frozenset({second})}
    assert threads == {"string_value": "1"}
    assert answer.json()["outputs"][0]["data"] == [2, 4, 6]
    assert f"[{new}] worker 2 of 2: cpu:{second} (processors: 1)" in log


@on_two_cores
def test_a_group_has_as_many_threads_as_cores_however_many_workers_there_are(store: Path) -> None:
    group = f"cpu:{CORES[0]}+{CORES[1]}"

    with running(store, devices=f"{group},{group},cpu:{CORES[0]}") as service:
        ready_workers(service, 3)
        said = re.findall(r"worker (\d) of 3: \S+ \(processors: (\d)\)", service.log())

    assert sorted(said) == [("1", "2"), ("2", "2"), ("3", "1")]


@on_two_cores
def test_after_a_reload_the_new_workers_have_every_device_again(store: Path) -> None:
    devices = [f"cpu:{core}" for core in CORES[:2]]

    with running(store, devices=",".join(devices)) as service:
        before = ready_workers(service, 2)
        service.process.send_signal(signal.SIGHUP)
        wait_for(lambda: not before & workers(service), "the old workers to end", seconds=60)
        after = ready_workers(service, 2)
        said = placed(service)

    assert sorted(said[pid] for pid in after) == devices


# Ours, and after it a look at what a worker is when onnxruntime may be imported, and what it is once it has been.
LOOKS_INTO_THE_WORKERS = """
import json, os, sys
from pathlib import Path
from service import gunicorn_conf as ours
from service.gunicorn_conf import *

def post_fork(arbiter, worker):
    ours.post_fork(arbiter, worker)
    worker.came_too_late = [name for name in ("onnxruntime", "flask") if name in sys.modules]

def post_worker_init(worker):
    import onnxruntime
    variables = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "OVENBIRD_PROVIDER")}
    seen = [worker.slot, worker.came_too_late, variables]
    Path(os.environ["LOOKS"], str(worker.pid)).write_text(json.dumps(seen))
"""


@pytest.mark.parametrize(
    ("devices", "visible", "expected"),
    [
        pytest.param("gpu:0,gpu:1", None, ["0", "1"], id="all"),
        pytest.param("1,0", "GPU-aa,GPU-bb", ["GPU-bb", "GPU-aa"], id="within-what-is-visible"),
        pytest.param(f"gpu:3,cpu:{CORES[0]}", None, ["3", ""], id="beside-cores"),
    ],
)
def test_each_worker_sees_its_own_gpu_alone_before_onnxruntime_is_imported(
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    devices: str,
    visible: str | None,
    expected: list[str],
) -> None:
    configuration, looks = tmp_path / "looks.py", tmp_path / "looks"
    configuration.write_text(LOOKS_INTO_THE_WORKERS)
    looks.mkdir()
    monkeypatch.setenv("LOOKS", str(looks))
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    with running(store, command=[*GUNICORN, "-c", str(configuration)], cwd=ROOT, devices=devices) as service:
        pids = ready_workers(service, 2)
        seen: list[Any] = sorted(json.loads((looks / str(pid)).read_text()) for pid in pids)
        answer = httpx.post(f"{service.url}/v2/models/double/infer", json=affine_body([1, 2, 3]))

    on_cores = [device.startswith("cpu") for device in devices.split(",")]
    assert seen == [
        [slot, [], {"CUDA_VISIBLE_DEVICES": variable, "OVENBIRD_PROVIDER": "cpu" if on_cores[slot] else None}]
        for slot, variable in enumerate(expected)
    ]
    assert answer.json()["outputs"][0]["data"] == [2, 4, 6]


def test_ovenbird_serve_gives_its_workers_gpus_and_says_which(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    with running(store, command=[*OVENBIRD, "serve", "--devices", "0,1"]) as service:
        ready_workers(service, 2)
        said = re.findall(r"worker \d of 2: .*", service.log())

    assert sorted(said) == [
        "worker 1 of 2: gpu:0 (CUDA_VISIBLE_DEVICES=0)",
        "worker 2 of 2: gpu:1 (CUDA_VISIBLE_DEVICES=1)",
    ]


@pytest.mark.parametrize("start", STARTS)
def test_cores_that_are_not_there_end_the_start_in_one_line(store: Path, start: str) -> None:
    with running(store, command=STARTS[start], cwd=ROOT, wait=False, devices="cpu:9998-9999") as service:
        code = service.process.wait(30)
        log = service.log()

    assert code != 0
    assert "devices=cpu:9998-9999: this process may not use 9998-9999; it may use the cores " in log
    assert "Traceback" not in log
