"""The headers that the reading and the answering of an inference request depend on, the same for both routes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from service.codec import compression
from service.codec.oip import InferenceRequest, decode_request
from service.codec.oip_response import encode_response
from service.live_model import LiveModel
from service.settings import Settings
from service.tensors import Arrays
from service.web.problems import JSON

# Bodies and outputs of more bytes are read and written in a thread: unpacking 100 MB takes seconds.
ASIDE_BYTES = 2**20

HEADER_LENGTH = "Inference-Header-Content-Length"
BINARY = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Answer:
    """A body and its headers (Content-Length left to the server)."""

    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", JSON),)


@dataclass(frozen=True, slots=True)
class Wire:
    """How a request's body is written, and how its answer may be."""

    header_length: str | None = None
    content_encoding: str = ""
    accept_encoding: str = ""

    @staticmethod
    @lru_cache(maxsize=64)
    def of(header_length: str | None, content_encoding: str, accept_encoding: str) -> Wire:
        """Make one, or take the one that was made of the same headers before."""
        return Wire(header_length, content_encoding, accept_encoding)

    @classmethod
    def from_headers(cls, headers: Iterable[tuple[bytes, bytes]]) -> Wire:
        """Read the headers of an ASGI request (names in lower case)."""
        header_length, content_encoding, accept_encoding = None, "", ""
        for name, value in headers:
            if name == b"inference-header-content-length":
                header_length = value.decode("latin-1")
            elif name == b"content-encoding":
                content_encoding = value.decode("latin-1")
            elif name == b"accept-encoding":
                accept_encoding = value.decode("latin-1")
        return cls.of(header_length, content_encoding, accept_encoding)

    def limit(self, settings: Settings) -> int:
        """Return the largest body that is read, in bytes, as sent and as decompressed."""
        return settings.max_json_bytes if self.header_length is None else settings.max_binary_bytes

    def plain(self, body: bytes, settings: Settings) -> bytes:
        """Undo the body's compression."""
        return compression.decompress(body, self.content_encoding, limit=self.limit(settings))

    def decode(self, body: bytes, model: LiveModel, settings: Settings) -> InferenceRequest:
        """Decode an inference request of the Open Inference Protocol for a model.

        Raises:
            BadRequest, BodyTooLarge, UnsupportedMedia: see `decompress` and `decode_request`.
        """
        plain = self.plain(body, settings)
        return decode_request(
            plain, model.signature, header_length=self.header_length, max_header_length=settings.max_json_bytes
        )

    def encode(self, request: InferenceRequest, outputs: Arrays, model: LiveModel) -> Answer:
        """Encode a model's outputs as the protocol's response, compressed if the client accepts it."""
        response = encode_response(
            outputs,
            model.signature,
            request=request,
            model_name=model.name,
            model_version=model.version,
            labels=model.entry_labels,
        )
        if response.header_length is None:
            return self.compressed(Answer(response.body))
        headers = (("Content-Type", BINARY), (HEADER_LENGTH, str(response.header_length)))
        return self.compressed(Answer(response.body, headers))

    def compressed(self, answer: Answer) -> Answer:
        """Compress a long answer, if the client accepts it."""
        if len(answer.body) < compression.COMPRESS_FROM_BYTES or not self.accept_encoding:
            return answer
        encoding = compression.accepted(self.accept_encoding)
        if encoding is None:
            return answer
        body = compression.compress(answer.body, encoding)
        return Answer(body, (*answer.headers, ("Content-Encoding", encoding), ("Vary", "Accept-Encoding")))
