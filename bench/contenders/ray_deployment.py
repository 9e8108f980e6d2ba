"""Ray Serve with its batching (Source: Ray Serve, "Dynamic Request Batching": max_batch_size, batch_wait_timeout_s)."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import ray
from ray import serve
from starlette.requests import Request

from bench.contenders.onnx_session import open_session


@serve.deployment(max_ongoing_requests=1024, ray_actor_options={"num_cpus": 1})
class Dense:
    def __init__(self) -> None:
        self._session = open_session()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.002)
    async def _run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        rows = self._session.run(None, {"x": np.concatenate(inputs)})[0]
        return np.split(rows, np.cumsum([len(one) for one in inputs])[:-1])

    async def __call__(self, request: Request) -> dict[str, Any]:
        if request.method == "GET":
            return {"ready": True}
        return {"y": (await self._run(np.asarray((await request.json())["x"], np.float32))).tolist()}


def listen_on_loopback_only() -> None:
    """Keep a replica's port off the network: Ray Serve has no option for that address."""
    from ray.serve._private import replica

    add_port = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: add_port(server, address.replace("[::]", "127.0.0.1"))


if __name__ == "__main__":
    hook = "bench.contenders.ray_deployment.listen_on_loopback_only"
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"worker_process_setup_hook": hook})
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    deployment: Any = Dense
    serve.run(deployment.bind(), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
