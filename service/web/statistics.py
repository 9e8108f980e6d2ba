"""Statistics of each model version (Triton's statistics extension), of all workers together."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from service.live_model import LiveModel
from service.telemetry.statistics import Compute, Duration, Numbers
from service.web.parts import parts
from service.web.problems import as_json

blueprint = Blueprint("statistics", __name__)


@blueprint.get("/v2/models/stats")
@blueprint.get("/v2/models/<name>/stats")
@blueprint.get("/v2/models/<name>/versions/<version>/stats")
def statistics(name: str | None = None, version: str | None = None) -> Response:
    """Tell what was asked of every version that serves, of a model's, or of one, since the service started."""
    numbers = parts().metrics.statistics
    stats = [describe(live, numbers.total(live.name, live.version)) for live in _asked(name, version)]
    return as_json({"model_stats": stats})


def _asked(name: str | None, version: str | None) -> list[LiveModel]:
    repository = parts().repository
    if name is None:
        return repository.live()
    one = repository.get(name, version)
    return [one] if version is not None else [live for live in repository.live() if live.name == name]


def describe(live: LiveModel, numbers: Numbers) -> dict[str, Any]:
    """Write one version's statistics as Triton does; there is no cache, and no model that answers twice.

    `expected_compute`, which Triton does not have, is what was measured of the run time when the version was loaded.
    """
    return {
        "name": live.name,
        "version": str(live.version),
        "last_inference": numbers.last_inference,
        "inference_count": numbers.inference_count,
        "execution_count": numbers.execution_count,
        "inference_stats": {
            "success": _duration(numbers.success),
            "fail": _duration(numbers.fail),
            "queue": _duration(numbers.queue),
            **_compute(numbers.compute),
            "cache_hit": _duration(Duration(0, 0)),
            "cache_miss": _duration(Duration(0, 0)),
        },
        "response_stats": {},
        "batch_stats": [{"batch_size": rows, **_compute(compute)} for rows, compute in numbers.batches.items()],
        "memory_usage": [],
        "expected_compute": [{"batch_size": rows, "ns": round(seconds * 1e9)} for rows, seconds in live.cost.points],
    }


def _compute(compute: Compute) -> dict[str, dict[str, int]]:
    return {
        "compute_input": _duration(compute.input),
        "compute_infer": _duration(compute.infer),
        "compute_output": _duration(compute.output),
    }


def _duration(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns}
