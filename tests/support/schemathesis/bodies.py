"""Bodies that schemathesis cannot make from a schema: its hooks, read in its own process."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import strategies

for media_type in ("image/png", "image/jpeg", "image/webp", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, strategies.binary())


@schemathesis.serializer("text/csv")
def rows(context: Any, value: Any) -> Any:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
