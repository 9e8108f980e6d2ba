"""Inference over Flask: the protocol's route, and the friendly one for pictures, CSV, text and simple JSON."""

from __future__ import annotations

import time
from collections.abc import Callable

from flask import Blueprint, Response, request

from service.codec import media, oip
from service.errors import BodyTooLarge, NotFound, ServiceError, UnsupportedMedia
from service.live_model import LiveModel
from service.tensors import Arrays
from service.web.parts import Parts, parts
from service.web.problems import JSON

blueprint = Blueprint("inference", __name__)

# So much of a refused body is still read: a client cut off in its upload sees a reset instead of the answer.
DISCARD_BYTES = 64 * 2**20


@blueprint.post("/v2/models/<name>/infer")
@blueprint.post("/v2/models/<name>/versions/<version>/infer")
def infer(name: str, version: str | None = None) -> Response:
    """Answer an inference request of the Open Inference Protocol V2."""
    body = _body(parts().settings.max_json_bytes)
    check_protocol_headers(request.headers.get)

    def answer(model: LiveModel) -> bytes:
        asked = oip.decode_request(body, model.signature)
        return encode(asked, _predict(model, asked.inputs), model)

    return Response(_counted(name, version, answer), mimetype=JSON)


@blueprint.post("/v2/models/<name>/predict")
@blueprint.post("/v2/models/<name>/versions/<version>/predict")
def predict(name: str, version: str | None = None) -> Response:
    """Answer what people send by hand: a picture, CSV rows, lines of text, or `{"inputs": …}`."""
    body = _body(parts().settings.max_media_bytes)
    content_type = request.content_type or ""

    def answer(model: LiveModel) -> bytes:
        inputs = media.decode(body, content_type, model.manifest)
        model.signature.check(inputs)
        outputs = _predict(model, inputs)
        return media.encode(outputs, model.manifest, model_name=model.name, model_version=model.version)

    return Response(_counted(name, version, answer), mimetype=JSON)


def check_protocol_headers(header: Callable[[str], str | None]) -> None:
    """Raise `UnsupportedMedia` for what a request's headers announce and this server does not read."""
    encoding = header("Content-Encoding")
    if encoding and encoding.lower() != "identity":
        raise UnsupportedMedia(f"content encoding {encoding!r} is not supported, send the body as it is")
    if header("Inference-Header-Content-Length"):
        raise UnsupportedMedia("binary tensors are not supported, send the tensors as JSON")


def encode(asked: oip.InferenceRequest, outputs: Arrays, model: LiveModel) -> bytes:
    """Encode a model's outputs as the protocol's response."""
    return oip.encode_response(
        outputs, model.signature, request=asked, model_name=model.name, model_version=model.version
    )


def count_failure(found: Parts, error: ServiceError, name: str, version: str | None) -> None:
    """Count a request that failed; only names that the repository knows become label values."""
    known = not isinstance(error, NotFound)
    found.metrics.count_error(type(error).__name__, model=name if known else "", version=version or "" if known else "")


def _counted(name: str, version: str | None, answer: Callable[[LiveModel], bytes]) -> bytes:
    found, started = parts(), time.monotonic()
    try:
        model = found.repository.get(name, version)
        body = answer(model)
    except ServiceError as error:
        count_failure(found, error, name, version)
        raise
    model.metrics.answered(time.monotonic() - started)
    return body


def _predict(model: LiveModel, inputs: Arrays) -> Arrays:
    found = parts()
    timeout = found.settings.request_timeout
    # The batcher answers 504 itself; the margin only bounds a loop that does not answer at all.
    return found.loop.call(model.predict(inputs, timeout=timeout), timeout=timeout + 5)


def _body(limit: int) -> bytes:
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
