"""The model repository (Triton's model repository extension): the index, loading and unloading."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict, ValidationError

from model_store.manifest import lines_of
from model_store.serving import VersionPolicy
from service.codec.json_tensors import parse
from service.control import AGREE_SECONDS
from service.errors import ControlRefused, MalformedBody
from service.web.parts import parts
from service.web.problems import as_json

blueprint = Blueprint("repository", __name__)

# A call takes this long at most: agreeing, and restoring what was before if that fails.
CALL_SECONDS = 2 * AGREE_SECONDS + 10


@blueprint.post("/v2/repository/index")
def index() -> Response:
    """List every version with its state and reason; with `{"ready": true}` only those that serve."""
    only_ready = _flag(_message(), "ready")
    lines = [
        {"name": status.name, "version": str(status.version), "state": status.state, "reason": status.reason}
        for status in parts().control.whole_index()
        if status.state == "READY" or not only_ready
    ]
    return as_json(lines)


@blueprint.post("/v2/repository/models/<name>/load")
def load(name: str) -> Response:
    """Serve a model as the store has it now, in every worker; what is replaced serves until then."""
    _check_allowed()
    message = _message()
    for name_of_field in message.keys() - {"parameters"}:
        raise MalformedBody(
            f'{name_of_field}: not known here; {{"parameters": {{"config": "…"}}}} may say which versions'
        )
    policy = _version_policy(_parameters(message))
    found = parts()
    found.loop.call(found.control.load(name, policy), timeout=CALL_SECONDS)
    return as_json({})


@blueprint.post("/v2/repository/models/<name>/unload")
def unload(name: str) -> Response:
    """Stop serving a model in every worker; requests that it was given are answered."""
    _check_allowed()
    # One model never depends on another here, so `unload_dependents` changes nothing.
    _flag(_parameters(_message()), "unload_dependents")
    found = parts()
    found.loop.call(found.control.unload(name), timeout=CALL_SECONDS)
    return as_json({})


def _version_policy(parameters: dict[str, Any]) -> VersionPolicy | None:
    """Read what a load may say of the model: its `config`, a JSON object in a string, with a version policy."""
    for name in parameters.keys() - {"config"}:
        raise MalformedBody(f"parameters.{name}: not supported; publish the files into the store, then load the model")
    if "config" not in parameters:
        return None
    text = parameters["config"]
    if not isinstance(text, str):
        raise MalformedBody("parameters.config: expected a JSON object in a string")
    try:
        return _Config.model_validate_json(text).version_policy
    except ValidationError as error:
        problems = "; ".join(lines_of(error))
        raise MalformedBody(f"parameters.config: only name and version_policy can be set here: {problems}") from None


class _Config(BaseModel):
    """What of Triton's model configuration a load may carry."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    version_policy: VersionPolicy | None = None


def _check_allowed() -> None:
    control = parts().settings.control
    if control != "explicit":
        raise ControlRefused(f"models are loaded and unloaded on request only with control=explicit; it is {control!r}")


def _message() -> dict[str, Any]:
    body = request.get_data()
    if not body.strip():
        return {}
    asked = parse(body)
    if not isinstance(asked, dict):
        raise MalformedBody("expected an empty body or a JSON object")
    return asked


def _parameters(message: dict[str, Any]) -> dict[str, Any]:
    parameters = message.get("parameters", {})
    if not isinstance(parameters, dict):
        raise MalformedBody("parameters: expected a JSON object")
    return parameters


def _flag(holder: dict[str, Any], name: str) -> bool:
    value = holder.get(name, False)
    if not isinstance(value, bool):
        raise MalformedBody(f"{name}: expected true or false")
    return value
