"""The gunicorn worker: uvicorn's, with our bounds on connections."""

from __future__ import annotations

from typing import Any, ClassVar

from uvicorn_worker import UvicornWorker

from service.settings import Settings


class Worker(UvicornWorker):  # type: ignore[misc]
    """Serves the asyncio front."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        "http": "service.http_protocol:BoundedHttpProtocol",
        "lifespan": "on",
        "ws": "none",
        "server_header": False,
        "access_log": False,
        "timeout_graceful_shutdown": int(Settings.from_env().graceful_timeout) or 1,
    }
