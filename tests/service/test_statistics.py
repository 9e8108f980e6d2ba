"""Triton's statistics extension, as its own client sees it, through both routes; and the sums over workers."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tritonclient.http as triton
from service_process import RunningService, affine_body, infer_body

from service.telemetry.statistics import Duration, Statistics


@pytest.fixture
def triton_client(service: RunningService) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        yield client


def of_model(client: triton.InferenceServerClient, name: str) -> dict[str, Any]:
    (found,) = client.get_inference_statistics(name)["model_stats"]
    return found


def grown(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """How much each count has grown; times are left out."""
    stats = {name: after["inference_stats"][name]["count"] - before["inference_stats"][name]["count"]
             for name in after["inference_stats"]}  # fmt: skip
    return {name: after[name] - before[name] for name in ("inference_count", "execution_count")} | stats


def rows_of_batches(stats: dict[str, Any]) -> int:
    return sum(batch["batch_size"] * batch["compute_infer"]["count"] for batch in stats["batch_stats"])


def test_a_request_of_two_rows_counts_as_one_request_one_batch_and_two_inferences(
    client: httpx.Client, triton_client: triton.InferenceServerClient
) -> None:
    before, started = of_model(triton_client, "double"), time.time() * 1000

    assert client.post("/v2/models/double/infer", json=affine_body([1, 2, 3], [4, 5, 6])).status_code == 200

    after = of_model(triton_client, "double")
    assert grown(before, after) == {
        "inference_count": 2,
        "execution_count": 1,
        "success": 1,
        "fail": 0,
        "queue": 1,
        "compute_input": 1,
        "compute_infer": 1,
        "compute_output": 1,
        "cache_hit": 0,
        "cache_miss": 0,
    }
    assert int(started) <= after["last_inference"] <= time.time() * 1000
    of_two = [{batch["batch_size"]: batch["compute_infer"]["count"] for batch in stats["batch_stats"]}.get(2, 0)
              for stats in (before, after)]  # fmt: skip
    assert of_two[1] - of_two[0] == 1


def test_the_answer_has_the_fields_of_the_extension_and_no_others(
    client: httpx.Client, triton_client: triton.InferenceServerClient
) -> None:
    client.post("/v2/models/double/infer", json=affine_body([1, 2, 3]))

    found = of_model(triton_client, "double")

    assert (found["name"], found["version"], found["response_stats"], found["memory_usage"]) == ("double", "1", {}, [])
    assert list(found) == ["name", "version", "last_inference", "inference_count", "execution_count",
                           "inference_stats", "response_stats", "batch_stats", "memory_usage",
                           "expected_compute"]  # fmt: skip
    assert list(found["inference_stats"]) == ["success", "fail", "queue", "compute_input", "compute_infer",
                                              "compute_output", "cache_hit", "cache_miss"]  # fmt: skip
    assert all(set(duration) == {"count", "ns"} for duration in found["inference_stats"].values())
    assert set(found["batch_stats"][0]) == {"batch_size", "compute_input", "compute_infer", "compute_output"}
    assert found["expected_compute"][0]["batch_size"] == 1
    assert all(set(point) == {"batch_size", "ns"} and point["ns"] > 0 for point in found["expected_compute"])
    assert found["inference_stats"]["success"]["ns"] >= found["inference_stats"]["compute_infer"]["ns"] > 0


def test_a_request_that_is_cut_runs_as_several_batches_and_is_one_success(
    client: httpx.Client, triton_client: triton.InferenceServerClient
) -> None:
    before = of_model(triton_client, "double")

    client.post("/v2/models/double/infer", json=affine_body(*[[n, n, n] for n in range(150)]))

    after = of_model(triton_client, "double")
    counts = grown(before, after)
    assert (counts["inference_count"], counts["execution_count"], counts["success"]) == (150, 3, 1)
    assert rows_of_batches(after) == after["inference_count"]


@pytest.mark.parametrize(
    ("model", "route", "body"),
    [
        pytest.param("double", "infer", {}, id="malformed"),
        pytest.param("double", "infer", affine_body([1, 2, 3]) | {"outputs": [{"name": "z"}]}, id="unknown-output"),
        pytest.param("lookup", "infer", infer_body("id", [7], shape=[1, 1], datatype="INT64"), id="rejected-values"),
        pytest.param("double", "predict", {"inputs": [[1]]}, id="by-hand"),
    ],
)
def test_a_request_that_fails_counts_as_failed_and_as_nothing_else(
    client: httpx.Client, triton_client: triton.InferenceServerClient, model: str, route: str, body: dict[str, Any]
) -> None:
    before = of_model(triton_client, model)

    assert client.post(f"/v2/models/{model}/{route}", json=body).status_code == 400

    after = of_model(triton_client, model)
    assert {name: count for name, count in grown(before, after).items() if count} == {"fail": 1}
    assert after["inference_stats"]["fail"]["ns"] > before["inference_stats"]["fail"]["ns"]


def test_a_request_to_a_model_that_is_not_there_counts_in_none(
    client: httpx.Client, triton_client: triton.InferenceServerClient
) -> None:
    before = triton_client.get_inference_statistics()

    assert client.post("/v2/models/nobody/infer", json=affine_body([1, 2, 3])).status_code == 404

    assert triton_client.get_inference_statistics() == before


def test_whatever_shared_a_batch_rows_and_batches_agree(service: RunningService) -> None:
    def ask(count: int) -> None:
        with service.client() as client:
            for _ in range(20):
                client.post("/v2/models/slow/infer", json=affine_body(*[[1.0, 2.0, 3.0]] * count))

    with triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        before = of_model(client, "slow")
        threads = [threading.Thread(target=ask, args=(count,)) for count in (1, 2, 3, 4, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = of_model(client, "slow")

    counts = grown(before, after)
    assert (counts["success"], counts["queue"], counts["inference_count"]) == (100, 100, 300)
    assert counts["execution_count"] < 100, "no two requests ever shared a batch: the test did not test what it says"
    assert rows_of_batches(after) == after["inference_count"]
    assert sum(batch["compute_infer"]["count"] for batch in after["batch_stats"]) == after["execution_count"]


def test_statistics_of_every_model_and_of_one_version(triton_client: triton.InferenceServerClient) -> None:
    everything = triton_client.get_inference_statistics()["model_stats"]
    one = triton_client.get_inference_statistics("double", "1")["model_stats"]

    names = {"brightness", "colour", "double", "lookup", "lower", "slow"}
    assert names <= {found["name"] for found in everything}
    assert {found["version"] for found in everything} == {"1"}
    assert [(found["name"], found["version"]) for found in one] == [("double", "1")]


@pytest.mark.parametrize("path", ["/v2/models/nobody/stats", "/v2/models/double/versions/9/stats"])
def test_statistics_of_what_is_not_served_are_not_found(client: httpx.Client, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 404
    assert set(answer.json()) == {"error"}


COUNT = """
import sys
from pathlib import Path
from service.telemetry.statistics import Statistics

counted = Statistics(Path(sys.argv[1])).for_version("m", 1, max_batch_size=int(sys.argv[2]))
counted.answered(0.5)
counted.batch(rows=2, queue_seconds=[0.25, 0.25], input_seconds=0.125, infer_seconds=1.0, output_seconds=0.0)
print("counted", flush=True)
sys.stdin.read()
"""


def test_workers_are_added_up_while_they_live_and_after_they_were_killed(tmp_path: Path) -> None:
    sizes = ("4", "4", "64")
    workers = [subprocess.Popen([sys.executable, "-c", COUNT, tmp_path, size], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE) for size in sizes]  # fmt: skip
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"counted\n"

    alive = Statistics(tmp_path).total("m", 1)
    for worker in workers:
        worker.kill()
        worker.communicate()
    dead = Statistics(tmp_path).total("m", 1)

    assert alive == dead
    assert (dead.inference_count, dead.execution_count, list(dead.batches)) == (6, 3, [2])
    assert (dead.success, dead.queue) == (Duration(3, 1_500_000_000), Duration(6, 1_500_000_000))
    assert (dead.compute.input, dead.compute.infer) == (Duration(6, 750_000_000), Duration(6, 6_000_000_000))
    assert dead.batches[2].infer == Duration(3, 3_000_000_000)


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
def test_no_count_is_lost_between_threads_nor_when_a_version_is_loaded_again(tmp_path: Path, shared: bool) -> None:
    statistics = Statistics(tmp_path if shared else None)

    def count(max_batch_size: int) -> None:
        counted = statistics.for_version("m", 1, max_batch_size=max_batch_size)
        for _ in range(5000):
            counted.answered(0)
            counted.batch(rows=3, queue_seconds=[1, 1], input_seconds=0, infer_seconds=0, output_seconds=0)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=count, args=(size,)) for size in (4, 4, 8, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)

    total = statistics.total("m", 1)
    assert (total.success.count, total.execution_count, total.inference_count) == (20000, 20000, 60000)
    assert total.queue == Duration(40000, 40000 * 10**9)


def test_a_worker_that_is_just_making_its_file_is_passed_over(tmp_path: Path) -> None:
    statistics = Statistics(tmp_path)
    statistics.for_version("m", 1, max_batch_size=4).answered(1)
    (tmp_path / "m" / "1" / "77.4").touch()

    assert statistics.total("m", 1).success.count == 1
