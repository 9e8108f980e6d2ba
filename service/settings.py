"""Every knob of the service: typed, read once from `OVENBIRD_*`, all problems reported together.

`ovenbird serve` turns its options into the same variables, so that a service started by gunicorn itself behaves
the same. README.md has a table of these settings; a test compares the two.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

from model_store import InvalidName, Serving, providers
from model_store.remote.address import is_url
from model_store.store import check_model_name
from service import devices
from service.devices import Device
from service.errors import InvalidSettings

PREFIX = "OVENBIRD_"

# How many processors a worker has that is bound to some.
PROCESSORS = "OVENBIRD_PROCESSORS"
# Set by the arbiter for its workers, not by people.
INTERNAL = frozenset({"OVENBIRD_RUN_DIR", PROCESSORS})

Control = Literal["poll", "none", "explicit"]

# Named alike in a model's serving.json.
_OF_A_MODEL = (
    "require_provider",
    "threads",
    "instances",
    "max_batch_size",
    "max_queue_rows",
    "max_queue_bytes",
    "p99_ms",
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The service's settings. Times are in seconds, sizes in bytes, unless the name says otherwise."""

    store: Annotated[str, "Folder of the models, or URL: s3://…, gs://…, az://…, https://…, hf://…"] = ""
    model_name: Annotated[
        str, "Serve the one model in that folder (or version, as KServe mounts it) under this name."
    ] = ""
    cache: Annotated[str, "Folder in which stores behind URLs are cached."] = ""
    host: Annotated[str, "Address to listen on; 0.0.0.0 for every network."] = "127.0.0.1"
    port: Annotated[int, "Port to listen on.", range(1, 65536)] = 8000
    workers: Annotated[int, "Processes that serve; each loads every model.", range(1, 257)] = 1
    devices: Annotated[
        tuple[Device, ...], "A worker on each: GPUs, such as 0,1, or groups of cores, such as cpu:0-3,cpu:4-7."
    ] = ()
    provider: Annotated[
        tuple[str, ...], "Execution providers in order of preference; auto: CUDA if it really works, else CPU."
    ] = (providers.AUTO,)
    require_provider: Annotated[bool, "Refuse a model that does not get the first of them."] = False
    provider_options: Annotated[
        Mapping[str, Mapping[str, str]], 'Their options as JSON, such as {"cuda": {"device_id": 1}}.'
    ] = dataclasses.field(default_factory=dict)
    control: Annotated[Control, "poll: watch the store; none: load at start; explicit: load what --load names."] = (
        "poll"
    )
    load: Annotated[tuple[str, ...], "With control=explicit: models to load at start, or * for all."] = ()
    poll_interval: Annotated[float, "Seconds between two looks at the store; 0: 2 for a folder, 30 for a URL."] = 0.0
    max_batch_size: Annotated[
        int, "Rows that run together at most; 1: no batching; 0: as many as pay, measured at load.", range(65537)
    ] = 0
    p99_ms: Annotated[
        int,
        "Milliseconds within which to answer: smaller batches, and 429 for what would wait longer; 0: none.",
        range(10**7),
    ] = 0
    max_queue_rows: Annotated[int, "Rows that may wait per model; more are answered 429.", range(1, 10**9)] = 8192
    max_queue_bytes: Annotated[int, "Bytes of tensors that may wait per model.", range(1, 2**40)] = 512 * 2**20
    max_json_bytes: Annotated[int, "Largest JSON or text body.", range(1, 2**40)] = 16 * 2**20
    max_binary_bytes: Annotated[int, "Largest body with binary tensors, or picture.", range(1, 2**40)] = 256 * 2**20
    request_timeout: Annotated[float, "Longest wait of a request, from its arrival; then it is answered 504."] = 60.0
    body_timeout: Annotated[float, "Longest wait for a request's body; then it is answered 408."] = 60.0
    load_timeout: Annotated[float, "Longest time that all models together may take to load at start."] = 600.0
    graceful_timeout: Annotated[float, "Time for requests in flight to finish after SIGTERM."] = 30.0
    threads: Annotated[int, "Threads of one model run; 0: as many as pay, measured at load.", range(1025)] = 0
    instances: Annotated[
        int, "Runs of one model that go on at once; 0: as many as pay, measured at load.", range(1025)
    ] = 0
    log_level: Annotated[Literal["debug", "info", "warning", "error"], "What is logged."] = "info"

    @property
    def seconds_between_looks(self) -> float:
        """How often the store is looked at: a folder costs nothing, each look at a remote one a request."""
        return self.poll_interval or (30.0 if is_url(self.store) else 2.0)

    def for_model(self, serving: Serving) -> Self:
        """Return the settings as one model's serving.json changes them."""
        changed = {name: getattr(serving, name) for name in _OF_A_MODEL}
        changed = {name: value for name, value in changed.items() if value is not None}
        if serving.providers is not None:
            changed["provider"], own = providers.split(serving.providers)
            changed["provider_options"] = {
                name: {**self.provider_options.get(name, {}), **own.get(name, {})}
                for name in {**self.provider_options, **own}
            }
        return dataclasses.replace(self, **changed)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **given: Any) -> Self:
        """Read the settings; those that are given stand instead of what the environment says.

        Raises:
            InvalidSettings: every wrong or unknown variable; or settings that contradict each other.
        """
        environ = {name: value for name, value in environ.items() if not _is_kubernetes_link(name, value)}
        fields = {PREFIX + name.upper(): name for name in field_hints()}
        problems = [
            f"{variable}: no such setting{_nearest(variable, fields)}"
            for variable in sorted(environ)
            if _is_ours(variable) and variable not in fields
        ]
        values: dict[str, Any] = {}
        for variable, name in fields.items():
            if variable in environ:
                try:
                    values[name] = parse(name, environ[variable])
                except ValueError as error:
                    problems.append(f"{variable}={environ[variable]!r}: {error}")
        if problems:
            raise InvalidSettings(problems)
        settings = cls(**_with_workers(values | given))
        if settings.model_name and (not settings.store or is_url(settings.store)):
            raise InvalidSettings(["model_name says how to call the one model in a folder: store must name the folder"])
        if settings.require_provider and settings.provider == (providers.AUTO,):
            raise InvalidSettings(
                ["require_provider needs a provider to require, such as cuda: auto takes what it gets"]
            )
        return settings

    def to_env(self) -> dict[str, str]:
        """Write the settings as the variables that `from_env` reads."""
        return {PREFIX + field.name.upper(): _written(getattr(self, field.name)) for field in dataclasses.fields(self)}


def _with_workers(values: dict[str, Any]) -> dict[str, Any]:
    """Add the number of workers that the devices mean: one for each."""
    placed = values.get("devices", ())
    if not placed:
        return values
    if values.get("workers", len(placed)) != len(placed):
        raise InvalidSettings(
            [
                f"workers={values['workers']}: devices={_written(placed)} means {len(placed)}, one for each; "
                "leave workers out"
            ]
        )
    return values | {"workers": len(placed)}


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, Mapping):
        return json.dumps(value) if value else ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _nearest(variable: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(variable, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _is_kubernetes_link(variable: str, value: str) -> bool:
    """Tell the variables that Kubernetes sets for a Service named ovenbird: OVENBIRD_PORT=tcp://… and its like."""
    return variable.startswith((f"{PREFIX}SERVICE_", f"{PREFIX}PORT_")) or (
        variable == f"{PREFIX}PORT" and value.startswith(("tcp://", "udp://"))
    )


def _is_ours(variable: str) -> bool:
    return variable.startswith(PREFIX) and variable not in INTERNAL


def field_hints() -> dict[str, tuple[Any, str, range | None]]:
    """Describe the settings: name → type, meaning, allowed range."""
    described = {}
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        kind, meaning, *limits = get_args(hint)
        described[name] = (kind, meaning, limits[0] if limits else None)
    return described


def parse(name: str, text: str) -> Any:
    """Read one setting's value; raise ValueError saying what was expected."""
    kind, _, allowed = field_hints()[name]
    if name == "devices":
        return devices.parse(text)
    if name == "provider":
        return providers.preference(text.split(","))
    if name == "model_name":
        return _model_name(text)
    if name == "provider_options":
        return providers.parse_options(text) if text else {}
    if get_origin(kind) is Literal or kind is bool:
        return _one_of(
            text, {"true": True, "false": False} if kind is bool else {word: word for word in get_args(kind)}
        )
    if get_origin(kind) is tuple:
        return tuple(part for part in (piece.strip() for piece in text.split(",")) if part)
    if kind is int:
        return _whole_number(text, allowed)
    if kind is float:
        return 0.0 if name == "poll_interval" and text in ("0", "0.0") else _seconds(text)
    return text


def _model_name(text: str) -> str:
    try:
        return check_model_name(text) if text else ""
    except InvalidName:
        raise ValueError("expected letters, digits, '.', '_' and '-', starting with a letter or digit") from None


def _one_of(text: str, choices: Mapping[str, Any]) -> Any:
    if text not in choices:
        raise ValueError(f"expected one of {', '.join(choices)}")
    return choices[text]


def _whole_number(text: str, allowed: range | None) -> int:
    expected = f"expected a whole number from {allowed[0]} to {allowed[-1]}" if allowed else "expected a whole number"
    try:
        number = int(text)
    except ValueError:
        raise ValueError(expected) from None
    if allowed is not None and number not in allowed:
        raise ValueError(expected)
    return number


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < 10**7:
        raise ValueError("expected a number of seconds greater than 0")
    return number
