"""Inference over Flask: the protocol's route, and the friendly one for pictures, CSV, text and simple JSON."""

from __future__ import annotations

import time
from collections.abc import Callable

from flask import Blueprint, Response, request

from service.codec import media
from service.errors import BodyTooLarge, NotFound, ServiceError
from service.live_model import LiveModel
from service.telemetry.logs import LOGGER
from service.tensors import Arrays
from service.web.dialects import V2, Target, seconds_for
from service.web.parts import Parts, parts
from service.web.wire import Answer, Wire

blueprint = Blueprint("inference", __name__)

# So much of a refused body is still read: a client cut off in its upload sees a reset instead of the answer.
DISCARD_BYTES = 64 * 2**20


@blueprint.post("/v2/models/<name>/infer")
@blueprint.post("/v2/models/<name>/versions/<version>/infer")
@blueprint.post("/v2/models/<name>/labels/<label>/infer")
def infer(name: str, version: str | None = None, label: str | None = None) -> Response:
    """Answer an inference request of the Open Inference Protocol V2; the protocol itself knows no labels."""
    return ask_model(Target(V2, name, version, label))


def ask_model(target: Target) -> Response:
    """Answer an inference request, in any dialect."""
    settings, wire = parts().settings, target.wire(request_wire())
    body = request_body(wire.limit(settings))

    def answer(model: LiveModel) -> Answer:
        asked = target.dialect.read(wire, body, model, settings)
        outputs = run_model(model, asked.inputs, timeout=seconds_for(asked, settings), priority=asked.priority)
        return target.dialect.write(wire, asked, outputs, model)

    return counted(target.name, target.version, answer, label=target.label)


@blueprint.post("/v2/models/<name>/predict")
@blueprint.post("/v2/models/<name>/versions/<version>/predict")
@blueprint.post("/v2/models/<name>/labels/<label>/predict")
def predict(name: str, version: str | None = None, label: str | None = None) -> Response:
    """Answer what people send by hand: pictures, CSV rows, lines of text, a form, or `{"inputs": …}`."""
    settings, wire = parts().settings, request_wire()
    body = wire.plain(request_body(settings.max_binary_bytes), settings)
    content_type = request.content_type or ""

    def answer(model: LiveModel) -> Answer:
        until = time.monotonic() + settings.request_timeout
        asked = media.decode(body, content_type, model.description, max_text_bytes=settings.max_json_bytes)
        runs = media.runs(asked.inputs, model.signature)
        for inputs in runs:
            model.signature.check(inputs)
        encoded = media.encode(
            [run_model(model, inputs, timeout=until - time.monotonic()) for inputs in runs],
            model.description,
            batched=model.signature.batched,
            files=asked.files,
            sizes=asked.sizes,
            model_name=model.name,
            model_version=model.version,
        )
        return wire.compressed(Answer(encoded))

    return counted(name, version, answer, label=label)


def count_failure(
    found: Parts,
    error: ServiceError,
    name: str,
    version: str | None,
    *,
    model: LiveModel | None = None,
    seconds: float = 0.0,
) -> None:
    """Count a request that failed, after so many seconds if a model was found for it.

    Only names that the repository knows become label values.
    """
    LOGGER.debug("a request to %r failed: %s: %r", name, type(error).__name__, str(error))
    known = not isinstance(error, NotFound)
    found.metrics.count_error(type(error).__name__, model=name if known else "", version=version or "" if known else "")
    if model is not None:
        model.metrics.failed(seconds)


def counted(
    name: str, version: str | None, answer: Callable[[LiveModel], Answer], *, label: str | None = None
) -> Response:
    """Let a model answer a request; count it with its seconds, or by its error."""
    found, started, model = parts(), time.monotonic(), None
    try:
        model = found.repository.get(name, version, label=label)
        made = answer(model)
    except ServiceError as error:
        count_failure(found, error, name, version, model=model, seconds=time.monotonic() - started)
        raise
    model.metrics.answered(time.monotonic() - started)
    return Response(made.body, headers=[*made.headers, *model.identity])


def run_model(model: LiveModel, inputs: Arrays, *, timeout: float, priority: int = 0) -> Arrays:
    """Compute a model's outputs on the loop that owns it, and wait for them; see `LiveModel.predict`."""
    # The batcher answers 504 itself; the margin only bounds a loop that does not answer at all.
    return parts().loop.call(model.predict(inputs, timeout=timeout, priority=priority), timeout=timeout + 5)


def request_wire() -> Wire:
    """Read how this request's body is written, and how its answer may be."""
    return Wire.from_headers(
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.headers
    )


def request_body(limit: int) -> bytes:
    """Read this request's body as it was sent; raise `BodyTooLarge` if it is longer than `limit` bytes."""
    if (request.content_length or 0) > limit:
        _discard()
        raise BodyTooLarge(limit)
    # Werkzeug cuts a chunked body off at the maximum without a word: one byte more tells.
    request.max_content_length = limit + 1
    body = request.get_data(cache=False)
    if len(body) > limit:
        raise BodyTooLarge(limit)
    return body


def _discard() -> None:
    """Throw away a refused body, up to a bound."""
    request.max_content_length = None
    left = DISCARD_BYTES
    while left > 0 and (piece := request.stream.read(min(left, 2**16))):
        left -= len(piece)
