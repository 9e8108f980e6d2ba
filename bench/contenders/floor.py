"""The front's floor: a bare ASGI application that reads a POST and answers so many bytes, without a model."""

from __future__ import annotations

import os
from typing import Any

ANSWER = b"x" * int(os.environ.get("ANSWER_BYTES", "200"))
HEADERS = [(b"content-type", b"application/octet-stream"), (b"content-length", str(len(ANSWER)).encode())]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = []
    while True:
        message = await receive()
        body.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})
