"""The small parts that operations of the document are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from service.openapi.schemas import Schema, reference

Operation = dict[str, Any]

JSON = "application/json"

# What any request may be answered with, and what one with a body may be besides.
_TO_BODIES = (400, 408, 413, 415)
_WHEN_RUN = (*_TO_BODIES, 404, 429, 500, 503, 504)

MEANINGS = {
    400: "The request is malformed, or does not fit.",
    404: "There is no such model, version or label.",
    405: "Another method is wanted: a name that ends with :verb is asked by POST.",
    408: "The body did not arrive in time.",
    413: "The body is larger than the limit.",
    415: "A content type or encoding that is not read.",
    429: "Too much waits already; Retry-After says when to come back.",
    500: "The model failed on a request that looked right.",
    503: "The model does not serve: it is loading, or was refused.",
    504: "The request waited longer than it may, and was not run.",
}

# The headers by which an answer says what computed it.
IDENTITY = {
    name: {"description": meaning, "required": True, "schema": {"type": "string"}}
    for name, meaning in {
        "Ovenbird-Model": "the model that computed the answer",
        "Ovenbird-Version": "its version",
        "Ovenbird-Digest": "the sha256 of its ONNX file, after sha256:",
    }.items()
}

_PARAMETERS = {
    "name": "a model's name",
    "version": "a version's number",
    "label": "a version's label",
}


def content(schema: Schema | None = None, *, media_type: str = JSON, example: Any = None) -> dict[str, Any]:
    """Describe a body of one media type."""
    described: dict[str, Any] = {} if schema is None else {"schema": schema}
    return {media_type: described if example is None else described | {"example": example}}


def body(*contents: Mapping[str, Any], required: bool = True, description: str = "") -> dict[str, Any]:
    """Describe a request's body by what it may be."""
    described = {"content": {kind: value for one in contents for kind, value in one.items()}, "required": required}
    return described | ({"description": description} if description else {})


def errors(*statuses: int) -> dict[str, Any]:
    """Refer to the answers of these statuses."""
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(statuses)}


def error_responses() -> dict[str, Any]:
    """Describe the answers that `errors` refers to."""
    described: dict[str, Any] = {
        str(status): {"description": meaning, "content": content(reference("Error"))}
        for status, meaning in MEANINGS.items()
    }
    seconds = {"description": "seconds", "schema": {"type": "string", "pattern": "^[0-9]+$"}}
    described["429"]["headers"] = {"Retry-After": seconds}
    return described


def operation(
    tag: str,
    summary: str,
    answer: Mapping[str, Any],
    *,
    statuses: Sequence[int] = (),
    request: Mapping[str, Any] | None = None,
    described: str = "",
    headers: Mapping[str, Any] | None = None,
) -> Operation:
    """Describe what one method does at a path; `answer` is the content of its answer 200, `statuses` the others."""
    success = {"description": "Done.", "content": dict(answer)} | ({"headers": dict(headers)} if headers else {})
    made: Operation = {"tags": [tag], "summary": summary}
    if described:
        made["description"] = described
    if request is not None:
        made["requestBody"] = dict(request)
    return made | {"responses": {"200": success} | errors(*statuses)}


def computed(
    tag: str, summary: str, answer: Mapping[str, Any], request: Mapping[str, Any], *, described: str = ""
) -> Operation:
    """Describe an operation that runs a model."""
    return operation(tag, summary, answer, statuses=_WHEN_RUN, request=request, described=described, headers=IDENTITY)


def at(path: str, **methods: Operation) -> dict[str, Any]:
    """Put operations at a path, with its parameters and a name for each operation."""
    names = re.findall(r"\{(\w+)\}", path)
    parameters = [
        {"name": name, "in": "path", "required": True, "description": _PARAMETERS[name], "schema": {"type": "string"}}
        for name in names
    ]
    named = {
        method: {"operationId": f"{method}-{re.sub(r'[^A-Za-z0-9._-]+', '-', path).strip('-')}", **described}
        for method, described in methods.items()
    }
    return {path: ({"parameters": parameters} if parameters else {}) | named}


def also_for_versions(path: str, *, labels: bool = False, **methods: Operation) -> dict[str, Any]:
    """Put operations at a model's path, and at the same of one version of it, and of a label."""
    steps = ["", "/versions/{version}"] + (["/labels/{label}"] if labels else [])
    return {
        key: value for step in steps for key, value in at(path.replace("{name}", "{name}" + step), **methods).items()
    }
