"""Server and model metadata (Open Inference Protocol V2, "Server Metadata" and "Model Metadata")."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import orjson
from flask import Blueprint, Response

from model_store import Manifest
from model_store.serving import Selection
from service.codec.columns import is_table
from service.live_model import LiveModel
from service.runtime.bare import BareDescription
from service.runtime.providers import Obtained
from service.tensors import TensorSpec
from service.web.parts import parts
from service.web.problems import as_json

blueprint = Blueprint("metadata", __name__)

SERVER_NAME = "ovenbird"
PLATFORM = "onnx_onnxv1"
# Exactly the protocol's extensions that are supported in full.
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "logging",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
)


@blueprint.get("/v2")
@blueprint.get("/v2/")
def server() -> Response:
    """Describe the server."""
    version = importlib.metadata.version("ovenbird")
    return as_json({"name": SERVER_NAME, "version": version, "extensions": EXTENSIONS})


@blueprint.get("/v2/models/<name>")
@blueprint.get("/v2/models/<name>/versions/<version>")
def model(name: str, version: str | None = None) -> Response:
    """Describe a model: inputs, outputs, the provider that it really runs on, and where it comes from."""
    repository = parts().repository
    live = repository.get(name, version)
    return as_json(describe(live, repository.served().get(name, Selection((live.version,)))))


def describe(live: LiveModel, served: Selection) -> dict[str, Any]:
    """Write a model's metadata; `properties` are strings, as the protocol has them."""
    return {
        "name": live.name,
        "versions": [str(version) for version in served.versions],
        "platform": PLATFORM,
        "inputs": [_tensor(spec) for spec in live.signature.inputs],
        "outputs": [_tensor(spec) for spec in live.signature.outputs],
        "properties": {
            **_providers(live.obtained),
            "digest": f"sha256:{live.description.digest}",
            **{f"label.{label}": str(version) for label, version in sorted(served.labels.items())},
            **_names(live.description),
            **(_origin(live.description) if isinstance(live.description, Manifest) else {}),
        },
    }


def _providers(obtained: Obtained) -> dict[str, str]:
    """Say what it runs on: the first takes what it can of the graph, the others the rest; and what it was to have."""
    asked = {"provider_asked": obtained.wanted[0]} if obtained.fell_back else {}
    return {"provider": obtained.first, "providers": ",".join(obtained.providers), **asked}


def _names(model: Manifest | BareDescription) -> dict[str, str]:
    """Name columns, the categories that are known of them, and entries of the outputs, as JSON lists in strings."""
    columns = {f"columns.{spec.name}": spec.columns for spec in model.inputs if spec.columns}
    if is_table(model.inputs):
        columns["columns"] = tuple(spec.name for spec in model.inputs)
    columns |= {f"categories.{spec.name}": spec.categories for spec in model.inputs if spec.categories}
    labels = {f"labels.{spec.name}": spec.labels for spec in model.outputs if spec.labels}
    return {name: orjson.dumps(names).decode() for name, names in (columns | labels).items()}


def _origin(manifest: Manifest) -> dict[str, str]:
    return {
        "recipe": manifest.recipe,
        "dataset": manifest.dataset.name,
        "license": manifest.dataset.license,
        "created": manifest.created.isoformat(),
        **{f"metric.{name}": f"{value:.6g}" for name, value in manifest.metrics.items()},
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.wire_shape}
