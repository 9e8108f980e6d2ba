"""The description of the interface is true: its paths, schemas and examples, and the lines that /docs prints."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema_rs import Draft202012Validator, meta
from PIL import Image
from service_process import RunningService
from system_parts import require_program

from service.app import create_app
from service.openapi.document import document
from service.settings import Settings


@pytest.fixture(scope="module")
def described(service: RunningService) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{service.url}/openapi.json").json()
    return found


def operations(described: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, item[method])
        for path, item in described["paths"].items()
        for method in ("get", "post")
        if method in item
    ]


def test_every_route_is_described_and_no_other(tmp_path: Path) -> None:
    app = create_app(Settings(store=str(tmp_path), control="none"))
    routes = set()
    for rule in app.url_map.iter_rules():
        if rule.endpoint not in ("static", "pages.favicon"):
            (method,) = rule.methods - {"HEAD", "OPTIONS"}
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            verbs = ("predict", "classify", "regress") if "{verb}" in path else ("",)
            routes |= {(method, path.replace("{verb}", verb).rstrip("/") or "/") for verb in verbs}

    general = document([], version="1")

    assert {(method, path) for method, path, _ in operations(general)} == routes


def test_each_model_has_its_own_paths(described: dict[str, Any]) -> None:
    paths = described["paths"].keys()

    assert {path for path in paths if "brightness" in path} == {
        "/v2/models/brightness/infer",
        "/v2/models/brightness/predict",
        "/v1/models/brightness:predict",
        "/v1/models/brightness:classify",
    }
    assert "/v1/models/lookup:regress" in paths
    assert "/v1/models/double:regress" not in paths


def test_an_inference_request_is_described_with_exactly_the_models_inputs(described: dict[str, Any]) -> None:
    body = described["paths"]["/v2/models/lookup/infer"]["post"]["requestBody"]["content"]["application/json"]

    tensor = body["schema"]["properties"]["inputs"]["items"]
    assert tensor["required"] == ["name", "shape", "datatype", "data"]
    assert tensor["properties"]["name"] == {"const": "id"}
    assert tensor["properties"]["datatype"] == {"const": "INT64"}
    assert tensor["properties"]["shape"]["prefixItems"] == [{"type": "integer", "minimum": 1}, {"const": 1}]
    assert body["example"] == {"inputs": [{"name": "id", "shape": [1, 1], "datatype": "INT64", "data": [0]}]}


def test_every_schema_is_a_json_schema_and_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    references = set(re.findall(r'"\$ref": "#/components/(\w+)/(\w+)"', json.dumps(described)))

    assert len(references) > 20
    assert all(name in described["components"][kind] for kind, name in references)
    for _, _, operation in operations(described):
        for body in operation.get("requestBody", {}).get("content", {}).values():
            meta.validate(body.get("schema", {}))
    for schema in described["components"]["schemas"].values():
        meta.validate(schema)


def test_operations_have_names_of_their_own_and_tags_that_are_explained(described: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(described)]

    assert len(names) == len(set(names))
    assert {tag for *_, one in operations(described) for tag in one["tags"]} <= {t["name"] for t in described["tags"]}


def test_every_example_is_answered_and_fits_its_own_schema(client: httpx.Client, described: dict[str, Any]) -> None:
    asked = 0
    for method, path, operation in operations(described):
        for kind, body in operation.get("requestBody", {}).get("content", {}).items():
            if "example" in body:
                example = body["example"]
                content = example if isinstance(example, str) else json.dumps(example)

                answer = client.request(method, path, content=content, headers={"Content-Type": kind})

                assert answer.status_code == 200, (path, kind, answer.text)
                if "$ref" not in body["schema"]:
                    Draft202012Validator(body["schema"]).validate(example)
                asked += 1

    assert asked > 30


@pytest.mark.parametrize(("path", "at_least"), [("/docs", 30), ("/", 10)])
def test_every_line_that_a_page_prints_works_beside_a_picture(
    client: httpx.Client, tmp_path: Path, path: str, at_least: int
) -> None:
    require_program("curl")
    Image.new("L", (6, 4), 255).save(tmp_path / "picture.png")
    page = client.get(path, headers={"Accept": "text/html"}).text
    lines = [html.unescape(line) for line in re.findall(r"<pre[^>]*>((?:curl|echo) .*?)</pre>", page, re.DOTALL)]

    for line in lines:
        shown = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert json.loads(shown.stdout).keys() & {"predictions", "outputs"}, (line, shown.stdout)

    assert len(lines) > at_least


def test_the_pages_ask_for_nothing_from_elsewhere_and_lead_to_each_other(client: httpx.Client) -> None:
    page, overview = (client.get(path, headers={"Accept": "text/html"}) for path in ("/docs", "/"))

    for each in (page, overview):
        assert each.headers["content-type"] == "text/html; charset=utf-8"
        assert not re.findall(r"(?:src|href|action)=\"(?:\w+:|/)", each.text), "relative: behind a prefix, and offline"
    assert 'href="docs"' in overview.text
    assert 'href="./"' in page.text
    assert all(f'id="{name}"' in page.text for name in client.get("/v1/models").json()["models"])
