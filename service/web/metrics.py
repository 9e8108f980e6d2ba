"""/metrics, in Prometheus's text format."""

from __future__ import annotations

from flask import Blueprint, Response

from service.telemetry.metrics import CONTENT_TYPE
from service.web.parts import parts

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
def metrics() -> Response:
    """Render all metrics, of all workers."""
    return Response(parts().metrics.text(), content_type=CONTENT_TYPE)
