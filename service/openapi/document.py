"""The OpenAPI document: the general routes, and those of each model with exactly its inputs.

Source: OpenAPI Specification 3.1.1; JSON Schema 2020-12.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from model_store.manifest import InputSpec
from service.openapi import examples, general, schemas
from service.openapi.operations import at, body, computed, content, error_responses
from service.openapi.schemas import reference
from service.openapi.served import Served, only_input, table_of

PICTURES = ("image/png", "image/jpeg", "image/webp")


def document(models: Sequence[Served], *, version: str) -> dict[str, Any]:
    """Describe the interface of a service of this version that serves these models."""
    paths = general.paths()
    for model in models:
        paths |= model_paths(model)
    tags = {model.name: f"Version {model.version}." for model in models} | general.TAGS
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Ovenbird",
            "version": version,
            "description": "Inference over HTTP: what this service answers, and what it serves now.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        # Relative to this document: true behind a proxy that puts a prefix before every path.
        "servers": [{"url": "./"}],
        "tags": [{"name": name, "description": meaning} for name, meaning in tags.items()],
        "paths": paths,
        "components": {"schemas": schemas.COMPONENTS, "responses": error_responses()},
    }


def model_paths(model: Served) -> dict[str, Any]:
    """Describe the ways to ask one model."""
    asking = f"/v2/models/{model.name}"
    infer = computed(
        model.name,
        f"Ask {model.name} in the Open Inference Protocol",
        content(reference("InferenceResponse")) | general.BINARY,
        body(
            content(schemas.inference_request(model.signature), example=examples.inference_request(model)),
            general.BINARY,
        ),
        described=general.BINARY_BODY,
    )
    predict = computed(
        model.name,
        f"Ask {model.name} by hand",
        content(reference("Predictions")),
        body(*_by_hand(model)),
    )
    return (
        at(f"{asking}/infer", post=infer)
        | at(f"{asking}/predict", post=predict)
        | {path: operation for verb in _verbs(model) for path, operation in _v1(model, verb).items()}
    )


def _by_hand(model: Served) -> list[dict[str, Any]]:
    """List what the friendly route takes for this model."""
    if columns := table_of(model):
        return _table_by_hand(model, columns)
    json = content(reference("Simple"), example=examples.simple(model))
    spec = only_input(model)
    if spec is None or spec.kind == "tensor":
        return [json, general.FILES]
    if spec.kind == "image":
        return [*(content(media_type=kind) for kind in PICTURES), general.FILES, json]
    if spec.kind == "text":
        text = content({"type": "string", "minLength": 1}, media_type="text/plain", example=examples.SENTENCE)
        return [text, general.FILES, json]
    rows = content({"type": "string", "minLength": 1}, media_type="text/csv", example=examples.csv_rows(spec))
    if spec.columns is None:
        return [rows, general.FILES, json]
    row = {
        "type": "object",
        "properties": {name: {"type": "number"} for name in spec.columns},
        "required": list(spec.columns),
    }
    return [rows, content(row, media_type="application/x-www-form-urlencoded"), general.FILES, json]


def _table_by_hand(model: Served, columns: Sequence[InputSpec]) -> list[dict[str, Any]]:
    """List what it takes for a table's columns: rows below a header, a form's fields, JSON by row or by column."""
    rows = content({"type": "string", "minLength": 1}, media_type="text/csv", example=examples.csv_table(columns))
    names = [spec.name for spec in columns]
    field = {"type": "object", "properties": {spec.name: schemas.field(spec) for spec in columns}, "required": names}
    return [
        rows,
        content(field, media_type="application/x-www-form-urlencoded"),
        general.FILES,
        content(schemas.table(columns), example=examples.simple(model)),
    ]


def _verbs(model: Served) -> list[str]:
    kinds = {spec.kind for spec in model.description.outputs}
    wanted = {"classify": "probabilities", "regress": "value"}
    return ["predict", *(verb for verb, kind in wanted.items() if kind in kinds)]


def _v1(model: Served, verb: str) -> dict[str, Any]:
    summary, asked, answered = general.V1_VERBS[verb]
    example = examples.v1_predict(model) if verb == "predict" else None
    request = body(content(reference(asked), example=example))
    return at(
        f"/v1/models/{model.name}:{verb}", post=computed(model.name, summary, content(reference(answered)), request)
    )
