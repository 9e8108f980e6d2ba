"""Pages for people: what is served here, how good it is, and a line to try; and the report of each version."""

from __future__ import annotations

import orjson
from flask import Blueprint, Response, render_template, request

from model_store import Manifest
from model_store.metrics import label_of
from service.live_model import LiveModel
from service.openapi.examples import short_command
from service.openapi.served import table_of
from service.web.parts import parts
from service.web.problems import JSON
from service.web.versions import served_versions

blueprint = Blueprint("pages", __name__)

ALIVE = orjson.dumps({"status": "alive"})

CONFINED = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="M2 14V8a6 6 0 0 1 12 0v6z" fill="#b5532a"/>'
    '<path d="M6 14v-4a2 2 0 0 1 4 0v4z" fill="#fff3e6"/></svg>'
)


@blueprint.get("/")
def overview() -> Response:
    """Show the models to who asks for HTML, as browsers do; say to programs that the server lives.

    Source of the latter: KServe, "V1 protocol", where a server's liveness is asked for here.
    """
    if "text/html" not in request.headers.get("Accept", ""):
        return Response(ALIVE, mimetype=JSON, headers={"Vary": "Accept"})
    index = parts().control.index()
    rows = [
        {
            "served": served,
            "facts": _facts(served.model),
            "table": table_of(served.model),
            "has_report": parts().repository.report_of(served.model) is not None,
            "command": short_command(served.model, request.url_root, served.path),
        }
        for served in served_versions(parts().repository, index)
    ]
    refused = [status for status in index if status.state != "READY"]
    trouble = parts().repository.store_trouble
    page = render_template("overview.html", rows=rows, refused=refused, trouble=trouble)
    return Response(page, mimetype="text/html", headers={"Vary": "Accept"})


@blueprint.get("/v2/models/<name>/report")
@blueprint.get("/v2/models/<name>/versions/<version>/report")
def report(name: str, version: str | None = None) -> Response:
    """Show the page that was published with a version, or with the main model of its group.

    Whoever may write to the store wrote it, so it may run and fetch nothing, and has no origin.
    """
    page = parts().repository.report(name, version)
    return Response(page, mimetype="text/html", headers=CONFINED)


@blueprint.get("/favicon.ico")
def favicon() -> Response:
    """Give browsers the oven that they ask for on every page, also on those of plain JSON."""
    return Response(ICON, mimetype="image/svg+xml")


def _facts(model: LiveModel) -> dict[str, str]:
    """Say where a model comes from and how good it is, as far as that is known."""
    manifest = model.description
    if not isinstance(manifest, Manifest):
        return {"made by": "unknown: an ONNX file without a manifest"}
    quality = next((f"{label_of(name)} {value:.4g}" for name, value in manifest.metrics.items()), "unknown")
    return {"made by": f"{manifest.recipe} on {manifest.dataset.name}", "quality": quality}
