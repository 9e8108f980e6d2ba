"""Asks a service all that KServe's `InferenceRESTClient` can ask; runs in the clients' environment, prints JSON.

python ask_as_kserve.py http://127.0.0.1:8000
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, InferResponse, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)


def rows(*, binary: bool, **options: Any) -> InferRequest:
    given = InferInput("x", list(ROWS.shape), "FP32")
    given.set_data_from_numpy(ROWS, binary_data=binary)
    return InferRequest("double", [given], request_id="7", **options)


def texts(*, binary: bool) -> InferRequest:
    given = InferInput("text", [2], "BYTES")
    given.set_data_from_numpy(np.array(["ÄB", "C"], object), binary_data=binary)
    return InferRequest("lower", [given])


async def heard(answer: Awaitable[Any]) -> Any:
    """What the client makes of an answer, as JSON can write it."""
    try:
        found = await answer
    except httpx.HTTPStatusError as error:
        return [error.response.status_code, str(error).split(", '")[0]]
    if isinstance(found, InferResponse):
        return {
            "id": found.id,
            "model": found.model_name,
            "outputs": [output.as_numpy().tolist() for output in found.outputs],
        }
    return found


async def ask(url: str) -> dict[str, Any]:
    binary_out = RequestedOutput("y", parameters={"binary_data": True})
    async with (
        InferenceRESTClient(RESTConfig(protocol="v1")) as v1,
        InferenceRESTClient(RESTConfig(protocol="v2")) as v2,
    ):
        questions = {
            "v2 live": v2.is_server_live(url),
            "v2 ready": v2.is_server_ready(url),
            "v2 model ready": v2.is_model_ready(url, "double"),
            "v2 nobody ready": v2.is_model_ready(url, "nobody"),
            "v2 json": v2.infer(url, rows(binary=False), model_name="double"),
            "v2 binary": v2.infer(url, rows(binary=True), model_name="double"),
            "v2 binary out": v2.infer(
                url, rows(binary=True, parameters={"binary_data_output": True}), model_name="double"
            ),
            "v2 this output binary": v2.infer(
                url, rows(binary=False, request_outputs=[binary_out]), model_name="double"
            ),
            "v2 texts": v2.infer(url, texts(binary=False), model_name="lower"),
            "v2 texts as bytes": v2.infer(url, texts(binary=True), model_name="lower"),
            "v2 wrong": v2.infer(url, {"inputs": []}, model_name="double"),
            "v2 nobody": v2.infer(url, rows(binary=True), model_name="nobody"),
            "v1 live": v1.is_server_live(url),
            "v1 model ready": v1.is_model_ready(url, "double"),
            "v1 nobody ready": v1.is_model_ready(url, "nobody"),
            "v1 predict": v1.infer(url, {"instances": ROWS.tolist()}, model_name="double"),
            "v1 wrong": v1.infer(url, {"instances": []}, model_name="double"),
            "v1 nobody": v1.infer(url, {"instances": ROWS.tolist()}, model_name="nobody"),
            "v1 explain": v1.explain(url, "double", {"instances": ROWS.tolist()}),
        }
        return {question: await heard(answer) for question, answer in questions.items()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ask(sys.argv[1]))))
