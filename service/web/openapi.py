"""The description of the interface: /openapi.json for programs, /docs for people."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterable

from flask import Blueprint, Response, render_template, request

from service.live_model import LiveModel
from service.openapi.document import document
from service.openapi.examples import commands
from service.openapi.reading import by_tag
from service.openapi.served import only_input, table_of
from service.web.parts import parts
from service.web.problems import as_json
from service.web.versions import ServedVersion, served_versions

blueprint = Blueprint("openapi", __name__)

VERSION = importlib.metadata.version("ovenbird")


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """Describe the interface, with what is served now, in OpenAPI 3.1."""
    return as_json(document(_defaults(served_versions(parts().repository, ())), version=VERSION))


@blueprint.get("/docs")
def docs() -> str:
    """Describe the interface for people, with a form to try each version that serves."""
    versions = served_versions(parts().repository, parts().control.index())
    described = document(_defaults(versions), version=VERSION)
    groups = by_tag(described)
    return render_template(
        "docs.html",
        version=VERSION,
        rows=[
            {
                "served": served,
                "operations": groups.pop(served.model.name) if served.is_default else [],
                "commands": commands(served.model, request.url_root, served.path),
                "input": only_input(served.model),
                "table": table_of(served.model),
            }
            for served in versions
        ],
        groups=groups,
        meanings={tag["name"]: tag["description"] for tag in described["tags"]},
        schemas={
            name: json.dumps(schema, indent=2, ensure_ascii=False)
            for name, schema in described["components"]["schemas"].items()
        },
    )


def _defaults(versions: Iterable[ServedVersion]) -> list[LiveModel]:
    """List what answers for each name where no version is named."""
    return [served.model for served in versions if served.is_default]
