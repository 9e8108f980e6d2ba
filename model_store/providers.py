"""How execution providers are named in settings and in serving.json: a list in order of preference, and options.

A name is onnxruntime's own, `CUDAExecutionProvider`, or what that begins with in lower case, `cuda`. Knows no
onnxruntime: whether there is such a provider is the installed build's word.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, TypeAdapter, ValidationError

from model_store.manifest import lines_of

AUTO = "auto"
CPU = "cpu"


def _plain(value: object) -> object:
    if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("expected text, a number, true or false")
    return value


OptionValue = Annotated[Any, AfterValidator(_plain)]

_OPTIONS: TypeAdapter[dict[str, dict[str, OptionValue]]] = TypeAdapter(dict[str, dict[str, OptionValue]])
_NAME = re.compile(r"[a-z0-9_]+")


def short_name(name: str) -> str:
    """Name a provider in short: `CUDAExecutionProvider` and `CUDA` are `cuda`."""
    return name.strip().lower().removesuffix("executionprovider")


def preference(names: Iterable[str]) -> tuple[str, ...]:
    """Read names in order of preference as short ones; raise ValueError unless each of them can be had in its turn."""
    short = tuple(short_name(name) for name in names)
    if not short or not all(_NAME.fullmatch(name) for name in short):
        raise ValueError("expected auto, or names of execution providers in order of preference, such as cuda,cpu")
    if AUTO in short and len(short) > 1:
        raise ValueError("auto stands alone: it is CUDA if that really works, else the CPU")
    if len(set(short)) < len(short):
        raise ValueError("a provider is named twice")
    if CPU in short[:-1]:
        raise ValueError(f"cpu runs every model, so that {short[short.index(CPU) + 1]} after it is never tried")
    return short


def texts(options: Mapping[str, Any]) -> dict[str, str]:
    """Write options as onnxruntime takes them, all as text: 1 as `1`, true as `true`."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in options.items()}


def parse_options(text: str) -> dict[str, dict[str, str]]:
    """Read `{"cuda": {"device_id": 1}}` as short name → option → text; raise ValueError saying what is wrong."""
    try:
        given = _OPTIONS.validate_json(text)
    except ValidationError as error:
        wrong = "; ".join(lines_of(error))
        raise ValueError(f'expected a JSON object such as {{"cuda": {{"device_id": 1}}}}: {wrong}') from None
    read = {short_name(provider): texts(options) for provider, options in given.items()}
    if len(read) < len(given):
        raise ValueError("a provider is named twice")
    return read


def split(
    providers: Iterable[str | tuple[str, Mapping[str, Any]]],
) -> tuple[tuple[str, ...], dict[str, dict[str, str]]]:
    """Read a list as the argument `providers` of onnxruntime's `InferenceSession`: names, or pairs of name and options.

    Returns the preference and each provider's own options; raises ValueError as `preference` does.
    """
    pairs = [(provider, {}) if isinstance(provider, str) else provider for provider in providers]
    own = {short_name(name): texts(options) for name, options in pairs if options}
    return preference(name for name, _ in pairs), own
