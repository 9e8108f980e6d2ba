"""The document in the order in which people read it: by groups of operations, with what each takes and answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

METHODS = ("get", "post")


@dataclass(frozen=True, slots=True)
class Reading:
    """One operation: `takes` and `answers` are pairs of a media type or a status and what it holds."""

    method: str
    path: str
    summary: str
    description: str
    parameters: tuple[tuple[str, str], ...]
    takes: tuple[tuple[str, str], ...]
    answers: tuple[tuple[str, str], ...]


def by_tag(document: Mapping[str, Any]) -> dict[str, list[Reading]]:
    """Group the operations by their tag, in the document's order."""
    groups: dict[str, list[Reading]] = {tag["name"]: [] for tag in document["tags"]}
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                groups[item[method]["tags"][0]].append(_read(document, path, method, item))
    return groups


def _read(document: Mapping[str, Any], path: str, method: str, item: Mapping[str, Any]) -> Reading:
    operation = item[method]
    content = operation.get("requestBody", {}).get("content", {})
    return Reading(
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation.get("description", ""),
        parameters=tuple((each["name"], each["description"]) for each in item.get("parameters", ())),
        takes=tuple((kind, _shown(body.get("schema"))) for kind, body in content.items()),
        answers=tuple(_answers(document, operation["responses"])),
    )


def _answers(document: Mapping[str, Any], responses: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for status, response in responses.items():
        if "$ref" in response:
            yield status, document["components"]["responses"][status]["description"]
        else:
            kinds = ", ".join(
                f"{kind} {_shown(body.get('schema'))}".strip() for kind, body in response["content"].items()
            )
            yield status, kinds


def _shown(schema: Mapping[str, Any] | None) -> str:
    """Name a schema that has a name; print another."""
    if not schema:
        return ""
    return schema["$ref"].rsplit("/", 1)[-1] if "$ref" in schema else json.dumps(schema, indent=2, ensure_ascii=False)
