"""Compressed bodies: gzip and deflate (RFC 1950, which is what HTTP calls deflate; RFC 1952)."""

from __future__ import annotations

import gzip
import zlib

from service.errors import BodyTooLarge, MalformedBody, UnsupportedMedia

# zlib's window sizes that stand for a format: gzip (16 +), and zlib's own.
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}

# Shorter answers are sent as they are: compressing them costs more than it saves.
COMPRESS_FROM_BYTES = 500
LEVEL = 1


def decompress(body: bytes, encoding: str, *, limit: int) -> bytes:
    """Undo a body's Content-Encoding.

    Raises:
        UnsupportedMedia: an encoding other than gzip and deflate, or several.
        BodyTooLarge: it would be larger than `limit` bytes; no more than that is ever held.
        MalformedBody: it is not what the encoding says, or it is cut off.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in _WINDOWS:
        raise UnsupportedMedia(f"content encoding {encoding!r} is not supported, only gzip, deflate and identity")
    stream = zlib.decompressobj(_WINDOWS[name])
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise MalformedBody(f"the body is not {name}: {error}") from None
    if len(plain) > limit:
        raise BodyTooLarge(limit)
    if not stream.eof:
        raise MalformedBody(f"the {name} body is cut off")
    return plain


def hint(body: bytes) -> str:
    """Say that a body which could not be read begins as gzip does (RFC 1952); nothing for any other."""
    return "; it is compressed by gzip: say so with Content-Encoding: gzip" if body[:2] == b"\x1f\x8b" else ""


def accepted(accept_encoding: str) -> str | None:
    """Choose the encoding of an answer from Accept-Encoding: gzip, deflate, or None for neither."""
    weights = {}
    for entry in accept_encoding.lower().split(","):
        name, _, parameters = entry.partition(";")
        weights[name.strip()] = _quality(parameters)
    for name in ("gzip", "deflate"):
        if weights.get(name, weights.get("*", 0.0) if name == "gzip" else 0.0) > 0:
            return name
    return None


def _quality(parameters: str) -> float:
    _, _, value = parameters.partition("q=")
    try:
        return float(value) if value else 1.0
    except ValueError:
        return 0.0


def compress(body: bytes, encoding: str) -> bytes:
    """Compress an answer with an encoding that `accepted` chose."""
    return gzip.compress(body, LEVEL, mtime=0) if encoding == "gzip" else zlib.compress(body, LEVEL)
