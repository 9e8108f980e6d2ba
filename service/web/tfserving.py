"""TensorFlow Serving's REST API, version 1, and KServe's first protocol, whose paths are the same.

Source: TensorFlow Serving, "RESTful API" (g3doc/api_rest.md) and model_servers/http_rest_api_util.cc; KServe, "V1
protocol". The two give `GET /v1/models/M` different meanings: one body holds the fields of both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter

from service.codec import tfserving
from service.errors import BadRequest, UnknownModel, UnknownVersion
from service.repository import VersionStatus
from service.tensors import TensorSpec
from service.web.dialects import V1, Target
from service.web.inference import ask_model
from service.web.parts import parts
from service.web.problems import as_json

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

blueprint = Blueprint("tfserving", __name__)


class NoVerb(BaseConverter):
    """A step of a path that ends without `:verb`: with one it is another route, which takes POST alone."""

    regex = "[^/:]+"


@blueprint.record_once
def _add_converter(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["no_verb"] = NoVerb


# datatype of the Open Inference Protocol → TensorFlow's DataType (types.proto).
DTYPES = {
    "BOOL": "DT_BOOL",
    "UINT8": "DT_UINT8",
    "UINT16": "DT_UINT16",
    "UINT32": "DT_UINT32",
    "UINT64": "DT_UINT64",
    "INT8": "DT_INT8",
    "INT16": "DT_INT16",
    "INT32": "DT_INT32",
    "INT64": "DT_INT64",
    "FP16": "DT_HALF",
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    "BYTES": "DT_STRING",
}

# State of the index → state of TensorFlow Serving, where a version that could not be loaded is at its END, with the
# error in its status: clients that wait for AVAILABLE give up at END.
STATES = {"LOADING": "LOADING", "READY": "AVAILABLE", "UNLOADING": "UNLOADING", "UNAVAILABLE": "END"}


@blueprint.post("/v1/models/<name>:<verb>")
@blueprint.post("/v1/models/<name>/versions/<version>:<verb>")
@blueprint.post("/v1/models/<name>/labels/<label>:<verb>")
def ask(name: str, verb: str, version: str | None = None, label: str | None = None) -> Response:
    """Answer a predict, classify or regress request."""
    if verb not in V1:
        raise BadRequest(f"a model is asked to :{', :'.join(V1)}, and not to :{verb}")
    _check_version(version)
    return ask_model(Target(V1[verb], name, version, label))


@blueprint.get("/v1/models")
def models() -> Response:
    """List the models that are served (KServe)."""
    return as_json({"models": parts().repository.names()})


@blueprint.get("/v1/models/<no_verb:name>")
@blueprint.get("/v1/models/<name>/versions/<no_verb:version>")
@blueprint.get("/v1/models/<name>/labels/<no_verb:label>")
def status(name: str, version: str | None = None, label: str | None = None) -> Response:
    """Tell the state of a model's versions; with status 200 whatever the state, as clients of TensorFlow Serving poll.

    Raises:
        UnknownModel, UnknownVersion: the index has no such line.
    """
    _check_version(version)
    if label is not None:
        version = str(parts().repository.get(name, label=label).version)
    lines = _status_lines(name, version)
    ready = any(line.state == "READY" for line in lines)
    return as_json({"model_version_status": [_version_status(line) for line in lines], "name": name, "ready": ready})


def _status_lines(name: str, version: str | None) -> Sequence[VersionStatus]:
    index = parts().repository.index()
    of_model = [line for line in index if line.name == name]
    if not of_model:
        raise UnknownModel(name, known={line.name for line in index})
    chosen = [line for line in of_model if version in (None, str(line.version))]
    if not chosen:
        raise UnknownVersion(name, str(version), known=[line.version for line in of_model])
    return chosen


def _version_status(line: VersionStatus) -> dict[str, Any]:
    # TensorFlow Serving hands on the loader's own code here; clients tell OK from any other. INTERNAL is the one
    # that goes with status 500, which a refused version has elsewhere.
    code = "INTERNAL" if line.state == "UNAVAILABLE" and line.reason else "OK"
    return {
        "version": str(line.version),
        "state": STATES.get(line.state, "UNKNOWN"),
        "status": {"error_code": code, "error_message": line.reason},
    }


@blueprint.get("/v1/models/<name>/metadata")
@blueprint.get("/v1/models/<name>/versions/<version>/metadata")
@blueprint.get("/v1/models/<name>/labels/<label>/metadata")
def metadata(name: str, version: str | None = None, label: str | None = None) -> Response:
    """Describe a model's inputs and outputs as TensorFlow Serving does: integers of 64 bits are strings in its JSON."""
    _check_version(version)
    model = parts().repository.get(name, version, label=label)
    signature = {
        "inputs": _tensors(model.signature.inputs),
        "outputs": _tensors(model.signature.outputs),
        "method_name": "tensorflow/serving/predict",
    }
    return as_json(
        {
            "model_spec": {"name": name, "signature_name": "", "version": str(model.version)},
            "metadata": {"signature_def": {"signature_def": {tfserving.SIGNATURE: signature}}},
        }
    )


def _tensors(specs: Iterable[TensorSpec]) -> dict[str, Any]:
    return {
        spec.name: {
            "dtype": DTYPES[spec.datatype],
            "tensor_shape": {
                "dim": [{"size": str(size), "name": ""} for size in spec.wire_shape],
                "unknown_rank": False,
            },
            "name": spec.name,
        }
        for spec in specs
    }


def _check_version(version: str | None) -> None:
    """Raise `BadRequest` for a version that is no number, or one that TensorFlow Serving's 64 bits do not hold."""
    if version is not None and not tfserving.is_version(version):
        raise BadRequest(f"versions/{version}: expected a whole number below 2**63")


_PATH = re.compile(r"/v1/models(?:/([^/:]+))?(?:/(versions|labels)/([^/:]+))?(/metadata|:\w+)?", re.IGNORECASE)


class AnyCase:
    """WSGI: finds the paths above in any case, as TensorFlow Serving does; names and labels are left as they are."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Write the path's fixed words in lower case, and hand on."""
        environ["PATH_INFO"] = in_lower_case(environ.get("PATH_INFO", ""))
        return self._app(environ, start_response)


def in_lower_case(path: str) -> str:
    """Write the fixed words of a path of this interface in lower case; leave every other path."""
    found = _PATH.fullmatch(path)
    if found is None:
        return path
    name, kind, chosen, tail = found.groups()
    steps = [
        "/v1/models",
        f"/{name}" if name else "",
        f"/{kind.lower()}/{chosen}" if kind else "",
        (tail or "").lower(),
    ]
    return "".join(steps)
