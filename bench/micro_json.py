"""What reading a request in JSON costs, in three ways: `python -m bench.micro_json`.

The service's own way parses the numbers with simdjson and what surrounds them once; the other two make a Python object
of each number, with orjson and with the standard library. Shown is the processor time per request, the least of
several repeats.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import orjson

from bench import requests
from bench.models import CLASSES, WIDTH
from service.codec.oip import decode_request
from service.tensors import Signature, TensorSpec

SECONDS = 0.2
REPEATS = 5
SIGNATURE = Signature((TensorSpec("x", "FP32", (None, WIDTH)),), (TensorSpec("y", "FP32", (None, CLASSES)),))


def microseconds(work: Callable[[], object]) -> float:
    found = []
    for _ in range(REPEATS):
        count, before = 0, time.process_time()
        while (used := time.process_time() - before) < SECONDS:
            work()
            count += 1
        found.append(used / count * 1e6)
    return min(found)


def _with_objects(loads: Callable[[bytes], object], body: bytes) -> np.ndarray:
    (tensor,) = loads(body)["inputs"]  # type: ignore[index]
    return np.asarray(tensor["data"], np.float32).reshape(tensor["shape"])


def main() -> None:
    print("rows      bytes   µs here   µs with orjson   µs with json")
    for rows in (1, 8, 100):
        body = requests.v2_json("m", requests.rows(rows)).body
        ours, orjsons, standard = (
            microseconds(partial(decode_request, body, SIGNATURE)),
            microseconds(partial(_with_objects, orjson.loads, body)),
            microseconds(partial(_with_objects, json.loads, body)),
        )
        print(f"{rows:4d} {len(body):10,d} {ours:9.0f} {orjsons:16.0f} {standard:14.0f}")


if __name__ == "__main__":
    main()
