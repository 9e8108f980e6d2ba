"""Statistics of a real service: each worker answers for all of them, also for those that are gone."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import tiny_models
from service_process import RunningService, affine_body, running, wait_for


def stats(service: RunningService) -> dict[str, Any]:
    """Ask over a new connection, so that any worker may answer."""
    (found,) = httpx.get(f"{service.url}/v2/models/double/stats").json()["model_stats"]
    return found


def ask(service: RunningService, requests: int, body: dict[str, Any]) -> set[str]:
    """Ask over so many connections at once; tell which statuses came back."""
    with ThreadPoolExecutor(8) as pool:
        url = f"{service.url}/v2/models/double/infer"
        return {str(answer.status_code) for answer in pool.map(lambda _: httpx.post(url, json=body), range(requests))}


def counts(found: dict[str, Any]) -> tuple[int, int, int]:
    rows = sum(batch["batch_size"] * batch["compute_infer"]["count"] for batch in found["batch_stats"])
    assert rows == found["inference_count"]
    return rows, found["inference_stats"]["success"]["count"], found["inference_stats"]["fail"]["count"]


def workers_that_counted(run_dir: Path) -> set[int]:
    return {int(path.name.partition(".")[0]) for path in (run_dir / "statistics" / "double" / "1").iterdir()}


def test_any_worker_tells_at_once_what_all_have_counted_also_those_that_were_killed(tmp_path: Path) -> None:
    tiny_models.publish_affine(tmp_path / "store")
    run_dir = tmp_path / "run"

    with running(tmp_path / "store", workers=3, run_dir=run_dir) as service:
        ready = {"model": "double", "state": "READY"}
        wait_for(lambda: service.metric("ovenbird_model_state", **ready) == 3, "all workers to be ready")
        workers = workers_that_counted(run_dir)
        ask(service, 60, affine_body([1, 2, 3], [4, 5, 6]))
        ask(service, 10, {})
        told = {counts(stats(service)) for _ in range(20)}

        for worker in sorted(workers)[:2]:
            os.kill(worker, signal.SIGKILL)
        wait_for(lambda: len(workers_that_counted(run_dir) - workers) == 2, "two new workers")
        wait_for(lambda: service.metric("ovenbird_model_state", **ready) == 3, "them to be ready")
        ask(service, 5, affine_body([1, 2, 3]))
        told_later = {counts(stats(service)) for _ in range(20)}

    assert len(workers) == 3
    assert told == {(120, 60, 10)}
    assert told_later == {(125, 65, 10)}


def test_a_service_that_starts_anew_counts_from_zero_though_nothing_was_tidied_up(tmp_path: Path) -> None:
    tiny_models.publish_affine(tmp_path / "store")

    lives = [ask_and_kill(tmp_path / "store", tmp_path / "run") for _ in range(2)]

    assert lives == [((0, 0, 0), (3, 3, 0))] * 2


def ask_and_kill(store: Path, run_dir: Path) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Run a service, count before and after three requests, and kill it so that its run directory stays."""
    with running(store, workers=2, run_dir=run_dir) as service:
        before = counts(stats(service))
        ask(service, 3, affine_body([1, 2, 3]))
        after = counts(stats(service))
        service.process.kill()
        service.process.wait()
        workers = workers_that_counted(run_dir)
        wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), "the workers to end")
    return before, after
