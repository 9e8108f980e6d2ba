"""The model repository's index (Triton's model repository extension): what there is, in which state, and why."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Blueprint, Response, request

from service.errors import MalformedBody
from service.web.parts import parts
from service.web.problems import JSON

blueprint = Blueprint("repository", __name__)


@blueprint.post("/v2/repository/index")
def index() -> Response:
    """List every version with its state and reason; with `{"ready": true}` only those that serve."""
    only_ready = _only_ready(request.get_data())
    lines = [
        {"name": status.name, "version": str(status.version), "state": status.state, "reason": status.reason}
        for status in parts().repository.index()
        if status.state == "READY" or not only_ready
    ]
    return Response(orjson.dumps(lines), mimetype=JSON)


def _only_ready(body: bytes) -> bool:
    if not body.strip():
        return False
    try:
        asked: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"the body is not JSON: {error}") from None
    ready = asked.get("ready", False) if isinstance(asked, dict) else None
    if not isinstance(ready, bool):
        raise MalformedBody('expected an empty body, or {"ready": true} or {"ready": false}')
    return ready
