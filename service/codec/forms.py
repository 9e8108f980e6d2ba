"""Forms: what browsers, `curl -F` and HTTP libraries send when there are files or several values.

Source: RFC 7578 (multipart/form-data), and the URL standard for application/x-www-form-urlencoded. Does not know what
a model takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from service.errors import MalformedBody

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"

MAX_PARTS = 1000
# The decoder is fed so much at a time, and may hold twice as much: the headers of a part are no longer.
PIECE_BYTES = 64 * 2**10


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form. `filename` is None for a plain field, which has a value and is no file."""

    field: str
    body: bytes
    filename: str | None = None
    content_type: str = ""

    def __str__(self) -> str:
        return f"file {self.filename!r}" if self.filename else f"field {self.field!r}"


def multipart(body: bytes, content_type: str) -> list[Part]:
    """Take a multipart form apart, in the order in which it was sent; file fields that were left empty are left out.

    Raises:
        MalformedBody: it is no such form, has too many parts, or has none.
    """
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    if not boundary or not boundary.isascii():
        raise MalformedBody(f"content type {content_type!r}: multipart/form-data needs a boundary")
    try:
        found = _parts(body, boundary.encode())
    except RequestEntityTooLarge:
        raise MalformedBody(
            f"the form has more than {MAX_PARTS} parts, or headers of more than {PIECE_BYTES} bytes"
        ) from None
    except ValueError as error:
        raise MalformedBody(f"the body is not a whole multipart form: {error}") from None
    chosen = [part for part in found if part.filename != "" or part.body]
    if not chosen:
        raise MalformedBody("the form is empty: send one file or more, with curl as -F file=@FILE")
    return chosen


def _parts(body: bytes, boundary: bytes) -> list[Part]:
    decoder = MultipartDecoder(boundary, 2 * PIECE_BYTES, max_parts=MAX_PARTS)
    heads: list[Field | File] = []
    data: list[list[bytes]] = []
    for event in _events(decoder, body):
        if isinstance(event, (Field, File)):
            heads.append(event)
            data.append([])
        elif isinstance(event, Data):
            data[-1].append(event.data)
    return [_part(head, b"".join(pieces)) for head, pieces in zip(heads, data, strict=True)]


def _events(decoder: MultipartDecoder, body: bytes) -> Iterator[Event]:
    for start in range(0, len(body), PIECE_BYTES):
        decoder.receive_data(body[start : start + PIECE_BYTES])
        while not isinstance(event := decoder.next_event(), NeedData):
            yield event
    decoder.receive_data(None)
    while not isinstance(event := decoder.next_event(), Epilogue):
        yield event


def _part(head: Field | File, body: bytes) -> Part:
    content_type = parse_options_header(head.headers.get("content-type", ""))[0].lower()
    return Part(head.name or "", body, head.filename if isinstance(head, File) else None, content_type)


def urlencoded(body: bytes) -> list[tuple[str, str]]:
    """Read the fields of a form without files; none if the body is not such a form."""
    try:
        return parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_PARTS, errors="strict")
    except ValueError:
        return []
