"""The routes that are there whatever is served."""

from __future__ import annotations

from typing import Any

from service.openapi.operations import JSON, also_for_versions, at, body, computed, content, operation
from service.openapi.schemas import YES_OR_NO, record, reference

SERVICE, MODELS, V1, REPOSITORY, PAGES = "Service", "Any model", "TensorFlow Serving", "Repository", "For people"

TAGS = {
    MODELS: "Open Inference Protocol V2. Each path exists with /versions/V after the model's name, too, "
    "and those that ask a model with /labels/LABEL.",
    V1: "TensorFlow Serving's REST API, and the probes of KServe's first protocol.",
    REPOSITORY: "What is served, and what is not.",
    SERVICE: "The service itself.",
    PAGES: "To be read.",
}

BINARY = content(media_type="application/octet-stream")
BINARY_BODY = (
    "With the header Inference-Header-Content-Length the body is so many bytes of JSON and then binary tensors "
    "(Triton's extension); with 0 it is one tensor alone. The header decides, whatever the content type is."
)
FILES = content(
    {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {"contentMediaType": "application/octet-stream"},
        "description": "one file or more, or values, under any names; all of them are one batch",
    },
    media_type="multipart/form-data",
)
V1_VERBS = {
    "predict": ("Ask a model, by rows or by columns", "V1Predict", "V1Predictions"),
    "classify": ("Ask a model for its classes", "V1Examples", "V1Results"),
    "regress": ("Ask a model for its value", "V1Examples", "V1Results"),
}


def paths() -> dict[str, Any]:
    """Describe every route that has no model's name in it."""
    return _service() | _models() | _v1() | _repository() | _pages()


def _service() -> dict[str, Any]:
    text = content({"type": "string"}, media_type="text/plain")
    return (
        at("/v2", get=operation(SERVICE, "Name, version and extensions", content(reference("ServerMetadata"))))
        | at("/v2/health/live", get=operation(SERVICE, "Does the process answer?", content(reference("Live"))))
        | at("/v2/health/ready", get=_or_not_yet("May requests come?", "Ready", tag=SERVICE))
        | at("/v2/logging", get=_logging("What is logged"), post=_logging("Change what is logged", changes=True))
        | at("/metrics", get=operation(SERVICE, "Prometheus metrics, of all workers", text))
    )


def _logging(summary: str, *, changes: bool = False) -> dict[str, Any]:
    answer = content(reference("LogSettings"))
    if not changes:
        return operation(SERVICE, summary, answer)
    return operation(
        SERVICE, summary, answer, statuses=(400, 408, 413), request=body(content(reference("LogSettings")))
    )


def _or_not_yet(summary: str, schema: str, *, tag: str, statuses: tuple[int, ...] = ()) -> dict[str, Any]:
    """Describe a probe: 503 has the same body as 200."""
    described = operation(tag, summary, content(reference(schema)), statuses=statuses)
    described["responses"]["503"] = {"description": "Not now.", "content": content(reference(schema))}
    return described


def _models() -> dict[str, Any]:
    metadata = operation(MODELS, "Describe a model", content(reference("ModelMetadata")), statuses=(404, 503))
    configuration = operation(
        MODELS, "How a model is served, as Triton has it", content(reference("Configuration")), statuses=(404, 503)
    )
    statistics = operation(
        MODELS, "Count and time what was asked of a model", content(reference("Statistics")), statuses=(404, 503)
    )
    infer = computed(
        MODELS,
        "Ask a model",
        content(reference("InferenceResponse")) | BINARY,
        body(content(reference("InferenceRequest")), BINARY),
        described=BINARY_BODY,
    )
    predict = computed(
        MODELS,
        "Ask a model about a picture, CSV rows, lines of text, a form, or simple JSON",
        content(reference("Predictions")),
        body(content(reference("Simple")), FILES),
        described="What a model takes stands at its own path below, and in its metadata.",
    )
    return (
        also_for_versions("/v2/models/{name}", get=metadata)
        | also_for_versions("/v2/models/{name}/config", get=configuration)
        | also_for_versions(
            "/v2/models/{name}/report",
            get=operation(
                PAGES,
                "The page that was published with a model: how good it is, and how it was made",
                content({"type": "string"}, media_type="text/html"),
                statuses=(404, 503),
            ),
        )
        | at(
            "/v2/models/stats", get=operation(MODELS, "Count and time what was asked", content(reference("Statistics")))
        )
        | also_for_versions("/v2/models/{name}/stats", get=statistics)
        | also_for_versions(
            "/v2/models/{name}/ready", get=_or_not_yet("Does it serve?", "ModelReady", tag=MODELS, statuses=(404,))
        )
        | also_for_versions("/v2/models/{name}/infer", labels=True, post=infer)
        | also_for_versions("/v2/models/{name}/predict", labels=True, post=predict)
    )


def _v1() -> dict[str, Any]:
    status = operation(V1, "The state of a model's versions", content(reference("V1Status")), statuses=(400, 404, 405))
    metadata = operation(V1, "Inputs and outputs", content(reference("V1Metadata")), statuses=(400, 404, 503))
    found = at("/v1/models", get=operation(V1, "The models that are served", content(reference("V1Models"))))
    found |= also_for_versions("/v1/models/{name}", labels=True, get=status)
    found |= also_for_versions("/v1/models/{name}/metadata", labels=True, get=metadata)
    for verb, (summary, asked, answered) in V1_VERBS.items():
        asking = computed(V1, summary, content(reference(answered)), body(content(reference(asked))))
        found |= also_for_versions(f"/v1/models/{{name}}:{verb}", labels=True, post=asking)
    return found


def _repository() -> dict[str, Any]:
    done = content(record())
    with_parameters = body(content(record(parameters=record())), required=False)
    index = operation(
        REPOSITORY,
        "Every version, its state and the reason",
        content(reference("Index")),
        statuses=(400, 408, 413),
        request=body(content(record(ready=YES_OR_NO | {"description": "only those that serve"})), required=False),
    )
    statuses = (400, 404, 408, 413, 503, 504)
    return (
        at("/v2/repository/index", post=index)
        | at(
            "/v2/repository/models/{name}/load",
            post=operation(
                REPOSITORY,
                "Serve a model's newest version (with control=explicit)",
                done,
                statuses=statuses,
                request=with_parameters,
            ),
        )
        | at(
            "/v2/repository/models/{name}/unload",
            post=operation(
                REPOSITORY,
                "Stop serving a model (with control=explicit)",
                done,
                statuses=statuses,
                request=with_parameters,
            ),
        )
    )


def _pages() -> dict[str, Any]:
    page = content({"type": "string"}, media_type="text/html")
    alive = content(record(("status",), status={"const": "alive"}))
    return (
        at(
            "/",
            get=operation(PAGES, "What is served, to be read; for programs, that the service is alive", page | alive),
        )
        | at("/docs", get=operation(PAGES, "This description, to be read", page))
        | at("/openapi.json", get=operation(PAGES, "This description", content({"type": "object"}, media_type=JSON)))
    )
