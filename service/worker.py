"""The gunicorn worker: uvicorn's, with our bounds on connections, and graceful on every signal to stop."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any, ClassVar

from gunicorn.arbiter import Arbiter
from uvicorn import Server
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

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = Server(config=self.config)

        def stop() -> None:
            server.should_exit = True

        # The arbiter passes Ctrl-C on as SIGQUIT, which uvicorn's worker only notes: it would go on serving until it
        # is killed. Here it means what SIGTERM means: finish what was accepted, then end.
        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, stop)
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
