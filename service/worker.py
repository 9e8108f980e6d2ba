"""The gunicorn worker: uvicorn's, with our bounds on connections, and graceful on every signal to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
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
        # What is behind Flask reads them; inference does without.
        "proxy_headers": False,
        "access_log": False,
        "timeout_graceful_shutdown": int(Settings.from_env().graceful_timeout) or 1,
    }

    async def _stop_without_arbiter(self, stop: Callable[[], None]) -> None:
        """End when the arbiter is gone, however it ended: nobody could stop or replace this worker any more."""
        while os.getppid() == self.ppid:
            await asyncio.sleep(1)
        self.log.error("the arbiter is gone: stopping")
        stop()

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = Server(config=self.config)

        def stop() -> None:
            server.should_exit = True

        # The arbiter passes Ctrl-C on as SIGQUIT, which uvicorn's worker only notes: it would go on serving until it
        # is killed. Here it means what SIGTERM means: finish what was accepted, then end.
        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, stop)
        watch = asyncio.create_task(self._stop_without_arbiter(stop))
        await server.serve(sockets=self.sockets)
        watch.cancel()
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
