"""Puts the parts together: the one module that knows them all.

`create_app` gives a complete Flask application, which runs alone under any WSGI server. `service/asgi.py` puts an
asyncio front before it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

from flask import Flask
from prometheus_client import CollectorRegistry

from model_store import OneModelStore, choose_store, open_store
from service.control import Control
from service.errors import DeadlineExceeded
from service.repository import Repository
from service.runtime.processors import usable_processors
from service.runtime.providers import Asked
from service.runtime.session import check_provider
from service.scheduler.loops import OwningLoop
from service.settings import PROCESSORS, Settings
from service.telemetry import logs
from service.telemetry.logs import LOGGER
from service.telemetry.metrics import Metrics
from service.telemetry.processes import Processes
from service.telemetry.statistics import Statistics
from service.web import (
    configuration,
    health,
    inference,
    log_settings,
    metadata,
    metrics,
    openapi,
    pages,
    problems,
    repository,
    statistics,
    tfserving,
)
from service.web.parts import KEY, Parts, parts


def build_parts(settings: Settings, *, registry: CollectorRegistry | None = None) -> Parts:
    """Make the parts of one process's service. Loads nothing yet: that is `start`."""
    folder = os.environ.get("OVENBIRD_RUN_DIR") if settings.workers > 1 else None
    shared = Path(folder) if folder else None
    levels = logs.configure(settings.log_level, shared / "logging" if shared else None)
    choice = choose_store(settings.store or None)
    store = (
        OneModelStore(choice.location, settings.model_name)
        if settings.model_name
        else open_store(choice.location, cache=settings.cache)
    )
    later = "; a ./store made later is served after a restart" if choice.is_instead else ""
    LOGGER.info("store: %s (%s%s)", store.location, choice.reason, later)
    statistics = Statistics(shared / "statistics" if shared else None)
    numbers = Metrics(registry, statistics=statistics, processes=Processes(shared))
    processors = int(os.environ.get(PROCESSORS) or max(1, usable_processors() // settings.workers))
    models = Repository(store, settings, numbers, processors=processors)
    control = Control(models, explicit=settings.control == "explicit", run_dir=shared)
    return Parts(settings, numbers, models, control, OwningLoop(), levels)


async def start(found: Parts) -> None:
    """Load the models on the loop that will own them.

    Raises:
        InvalidSettings: there is no provider of a name that was asked for.
        ProviderUnavailable: no provider that was asked for is in this build of onnxruntime.
        DeadlineExceeded: it takes too long.
    """
    check_provider(Asked.of(found.settings))
    seconds = found.settings.load_timeout
    try:
        await asyncio.wait_for(found.control.start(), seconds)
    except TimeoutError:
        raise DeadlineExceeded(f"the models were not loaded within {seconds:g} seconds") from None


async def stop(found: Parts) -> None:
    """Let go of the models, on the loop that owns them."""
    await found.control.stop()
    await found.repository.stop()


def create_app(
    settings: Settings | None = None, *, registry: CollectorRegistry | None = None, served: Parts | None = None
) -> Flask:
    """Make the Flask application.

    Args:
        settings: by default read from `OVENBIRD_*`.
        registry: where the metrics live; by default one of their own.
        served: parts that a front has made and starts itself. Without them the models are loaded before the first
            request is answered, on a loop of the application's own.
    """
    found = served or build_parts(settings or Settings.from_env(), registry=registry)
    app = Flask(__name__, template_folder="web/templates")
    # An empty step in a path leads nowhere, instead of being redirected to a path without it.
    app.url_map.merge_slashes = False
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.config["MAX_CONTENT_LENGTH"] = found.settings.max_binary_bytes
    app.extensions[KEY] = found
    problems.register(app)
    for module in (
        health,
        metadata,
        configuration,
        statistics,
        inference,
        repository,
        log_settings,
        tfserving,
        metrics,
        openapi,
        pages,
    ):
        app.register_blueprint(module.blueprint)
    app.wsgi_app = tfserving.AnyCase(app.wsgi_app)  # type: ignore[method-assign]
    if served is None:
        _start_before_first_request(app)
    return app


def _start_before_first_request(app: Flask) -> None:
    """Load the models in the process that serves, after any fork, when the first request comes."""
    lock = threading.Lock()
    started = False

    @app.before_request
    def _ensure_started() -> None:
        nonlocal started
        if started:
            return
        with lock:
            if not started:
                found = parts()
                found.loop.call(start(found), timeout=found.settings.load_timeout + 5)
                started = True
