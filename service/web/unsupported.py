"""Paths of Triton's extensions that are not supported here: a client is told so, instead of "nothing there"."""

from __future__ import annotations

import re

# Path → what is not supported, and the way out.
_PATHS = (
    (
        re.compile(r"/v2(/models/[^/]+)?/trace/setting"),
        "tracing is not supported; /v2/models/stats tells where time goes",
    ),
    (
        re.compile(r"/v2/(system|cuda)sharedmemory/.+"),
        "shared memory is not supported; send tensors in the body, as binary data if they are large",
    ),
    (
        re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?/generate(_stream)?"),
        "the generate extension is not supported; ask the model's /infer",
    ),
)


def reason_at(path: str) -> str | None:
    """Say what is not supported at a path; None for a path that none of these extensions has."""
    return next((reason for pattern, reason in _PATHS if pattern.fullmatch(path)), None)
