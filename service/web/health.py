"""Health and readiness (Open Inference Protocol V2, "Health"): of the server and of each model."""

from __future__ import annotations

import orjson
from flask import Blueprint, Response

from service.errors import NotReady
from service.repository import Repository
from service.web.parts import parts
from service.web.problems import JSON

blueprint = Blueprint("health", __name__)

LIVE = orjson.dumps({"live": True})


def ready_answer(repository: Repository) -> tuple[bytes, int]:
    """Return body and status for "is the server ready"."""
    if repository.ready:
        return orjson.dumps({"ready": True}), 200
    reason = repository.store_trouble
    return orjson.dumps({"ready": False, "reason": reason} if reason else {"ready": False}), 503


def model_ready_answer(repository: Repository, name: str, version: str | None) -> tuple[bytes, int]:
    """Return body and status for "is this model ready"; raise `NotFound` for one that is not known."""
    try:
        repository.get(name, version)
    except NotReady as error:
        return orjson.dumps({"name": name, "ready": False, "error": str(error)}), 503
    return orjson.dumps({"name": name, "ready": True}), 200


@blueprint.get("/v2/health/live")
def live() -> Response:
    """Tell that the process answers."""
    return Response(LIVE, mimetype=JSON)


@blueprint.get("/v2/health/ready")
def ready() -> Response:
    """Tell whether inference requests may come."""
    return Response(*ready_answer(parts().repository), mimetype=JSON)


@blueprint.get("/v2/models/<name>/ready")
@blueprint.get("/v2/models/<name>/versions/<version>/ready")
def model_ready(name: str, version: str | None = None) -> Response:
    """Tell whether one model, or one version of it, serves."""
    return Response(*model_ready_answer(parts().repository, name, version), mimetype=JSON)
