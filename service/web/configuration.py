"""A model's configuration (Triton's model configuration extension): the JSON of `ModelConfig` in model_config.proto.

The names are those of the proto file; fields that would be at their default, or have no meaning here, are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from flask import Blueprint, Response

from model_store.serving import Selection, VersionPolicy
from service.live_model import LiveModel
from service.settings import Settings
from service.tensors import TensorSpec
from service.web.parts import parts
from service.web.problems import as_json

blueprint = Blueprint("configuration", __name__)

# Execution providers whose models run on a GPU.
ON_GPU = frozenset({"CUDAExecutionProvider", "TensorrtExecutionProvider"})


@blueprint.get("/v2/models/<name>/config")
@blueprint.get("/v2/models/<name>/versions/<version>/config")
def configuration(name: str, version: str | None = None) -> Response:
    """Tell how a model is served."""
    found = parts()
    live = found.repository.get(name, version)
    served = found.repository.served().get(name, Selection())
    return as_json(describe(live, VersionPolicy.parse(served.policy), found.settings))


def describe(live: LiveModel, policy: VersionPolicy, settings: Settings) -> dict[str, Any]:
    """Write a model's configuration, with what Triton has no field for among its `parameters`."""
    chosen = settings.for_model(live.serving)
    batched = live.signature.batched
    parameters = {
        "provider": live.provider,
        "threads": live.parallelism.threads,
        "max_queue_rows": chosen.max_queue_rows,
        "max_queue_bytes": chosen.max_queue_bytes,
        "p99_ms": chosen.p99_ms,
        # Rows → seconds, as measured at load.
        "expected_compute_seconds": orjson.dumps({str(rows): seconds for rows, seconds in live.cost.points}).decode(),
    }
    return {
        "name": live.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": policy.model_dump(mode="json", exclude_none=True),
        "max_batch_size": live.batcher.limits.max_batch_size if batched else 0,
        "input": _tensors(live.signature.inputs, batched=batched),
        "output": _tensors(live.signature.outputs, batched=batched),
        "instance_group": [
            {
                "name": live.name,
                "kind": "KIND_GPU" if live.provider in ON_GPU else "KIND_CPU",
                "count": live.parallelism.instances,
            }
        ],
        "default_model_filename": "model.onnx",
        # Nothing waits for company: what waits when the model is free runs together.
        **({"dynamic_batching": {"max_queue_delay_microseconds": 0}} if batched else {}),
        "parameters": {name: {"string_value": str(value)} for name, value in parameters.items()},
    }


def _tensors(specs: Sequence[TensorSpec], *, batched: bool) -> list[dict[str, Any]]:
    """Describe tensors; where there is a batch dimension, `dims` is without it."""
    return [
        {
            "name": spec.name,
            "data_type": f"TYPE_{'STRING' if spec.datatype == 'BYTES' else spec.datatype}",
            "dims": spec.wire_shape[1:] if batched else spec.wire_shape,
        }
        for spec in specs
    ]
