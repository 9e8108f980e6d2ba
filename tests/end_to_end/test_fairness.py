"""Models beside each other in one process: one whose queue is full does not keep the others from answering."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import httpx
import tiny_models
from service_process import affine_body, infer_body, running

SLOW_CLIENTS = 24
FAST_REQUESTS = 150


def test_a_slow_model_with_a_full_queue_does_not_starve_the_others(tmp_path: Path) -> None:
    """The slow model's queue is full the whole time; two others, one run in the loop, one in a thread, answer on."""
    tiny_models.publish_affine(tmp_path / "store", "slow", slow=60)
    tiny_models.publish_affine(tmp_path / "store", "double")
    tiny_models.publish_text(tmp_path / "store")
    enough, answered = threading.Event(), threading.Semaphore(0)
    seen: Counter[int] = Counter()

    with running(tmp_path / "store", max_batch_size=1, max_queue_rows=SLOW_CLIENTS // 2, control="none") as service:

        def flood(client: httpx.Client) -> None:
            while not enough.is_set():
                answer = client.post("/v2/models/slow/infer", json=affine_body([1, 2, 3]))
                seen[answer.status_code] += 1
                answered.release()
                if answer.status_code == 429:
                    enough.wait(0.02)

        def ask(client: httpx.Client, number: int) -> tuple[float, str]:
            double = client.post("/v2/models/double/infer", json=affine_body([number, 0, 0])).json()
            lower = client.post(
                "/v2/models/lower/infer", json=infer_body("text", [f"A{number}"], shape=[1], datatype="BYTES")
            ).json()
            return double["outputs"][0]["data"][0], lower["outputs"][0]["data"][0]

        with (
            ThreadPoolExecutor(SLOW_CLIENTS) as pool,
            service.client(limits=httpx.Limits(max_connections=SLOW_CLIENTS)) as flooding,
            service.client() as client,
        ):
            work = [pool.submit(flood, flooding) for _ in range(SLOW_CLIENTS)]
            for _ in range(SLOW_CLIENTS):
                answered.acquire()
            before = seen[200]
            answers = [ask(client, number) for number in range(FAST_REQUESTS)]
            slow_meanwhile = seen[200] - before
            enough.set()
            wait(work)

    assert answers == [(2 * number, f"a{number}") for number in range(FAST_REQUESTS)]
    assert seen[429] > 0, "the slow model's queue was never full"
    assert seen.keys() == {200, 429}
    # If the models took turns there would be a slow answer for each of the others'.
    assert slow_meanwhile < FAST_REQUESTS / 2
