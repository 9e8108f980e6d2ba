"""What is logged (Triton's logging extension): shown, and changed in every worker, whatever the control mode."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from service.codec.json_tensors import parse
from service.errors import MalformedBody
from service.telemetry.logs import CHOICES, LOGGER
from service.web.inference import request_body
from service.web.parts import parts
from service.web.problems import as_json

blueprint = Blueprint("log_settings", __name__)

# What the extension has, and cannot be changed here: setting → value, reason.
FIXED = {
    "log_file": ("", "the log is written to standard error; redirect that"),
    "log_format": ("default", "lines have one format: time, level, [process], message"),
}
LARGEST_LEVEL = 2**32 - 1


@blueprint.get("/v2/logging")
def shown() -> Response:
    """Tell what is logged now."""
    return as_json(_settings())


@blueprint.post("/v2/logging")
def changed() -> Response:
    """Change the settings that are named, all or none of them; answer with all settings as they are then."""
    found = parts()
    asked = parse(request_body(found.settings.max_json_bytes))
    if not isinstance(asked, dict):
        raise MalformedBody('expected a JSON object such as {"log_verbose_level": 1}')
    checked = {name: _checked(name, value) for name, value in asked.items()}
    changes = {name.removeprefix("log_"): value for name, value in checked.items() if name not in FIXED}
    found.log_levels.choose(changes)
    LOGGER.info("log settings: %s", _settings())
    return as_json(_settings())


def _checked(name: str, value: Any) -> Any:
    if name in FIXED:
        fixed, reason = FIXED[name]
        if value != fixed:
            raise MalformedBody(f"{name}: cannot be changed while the service runs: {reason}; it is {fixed!r}")
    elif name == "log_verbose_level":
        if type(value) is not int or not 0 <= value <= LARGEST_LEVEL:
            raise MalformedBody(f"{name}: expected a whole number from 0 to {LARGEST_LEVEL}")
    elif name.removeprefix("log_") not in CHOICES or not name.startswith("log_"):
        raise MalformedBody(f"{name!r}: no such log setting; there is: {', '.join(_settings())}")
    elif not isinstance(value, bool):
        raise MalformedBody(f"{name}: expected true or false")
    return value


def _settings() -> dict[str, Any]:
    chosen = parts().log_levels.chosen()
    return {
        "log_file": FIXED["log_file"][0],
        "log_info": bool(chosen["info"]),
        "log_warning": bool(chosen["warning"]),
        "log_error": bool(chosen["error"]),
        "log_verbose_level": chosen["verbose_level"],
        "log_format": FIXED["log_format"][0],
    }
