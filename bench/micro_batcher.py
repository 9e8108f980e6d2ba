"""What the batcher itself costs, without HTTP and with next to no model: `python -m bench.micro_batcher`.

Requests of one row come in rounds of so many in one turn of the loop, and are answered in the loop, or by a thread.
Shown is the processor time per request, the median of several repeats: it is steadier than the time that passes. The
metrics and statistics are the service's own.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import uvloop

from service.scheduler.batcher import Batcher, Limits
from service.telemetry.metrics import Metrics
from service.tensors import Arrays

REQUESTS = 6400
REPEATS = 15


def model(inputs: Arrays) -> dict[str, np.ndarray]:
    return {"y": inputs["x"]}


async def microseconds_per_request(together: int, predict_seconds: Callable[[int], float]) -> float:
    limits = Limits(max_batch_size=64, max_queue_rows=8192, max_queue_bytes=2**29)
    observer = Metrics().for_version("m", 1, max_batch_size=64)
    row = {"x": np.zeros((1, 784), np.float32)}
    with ThreadPoolExecutor(1) as executor:
        batcher = Batcher(model, limits=limits, executor=executor, observer=observer, predict_seconds=predict_seconds)
        used = []
        for _ in range(REPEATS):
            before = time.process_time()
            for _ in range(REQUESTS // together):
                for answer in [batcher.ask(row, timeout=60) for _ in range(together)]:
                    await answer
            used.append((time.process_time() - before) / REQUESTS * 1e6)
    return statistics.median(used)


def _at_once(_: int) -> float:
    return 0.0


def _in_a_second(_: int) -> float:
    return 1.0


def main() -> None:
    print("requests together   µs in the loop   µs with a thread")
    for together in (1, 16, 64):
        inline, threaded = (
            uvloop.run(microseconds_per_request(together, always)) for always in (_at_once, _in_a_second)
        )
        print(f"{together:17d} {inline:16.1f} {threaded:18.1f}")


if __name__ == "__main__":
    main()
