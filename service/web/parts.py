"""What the routes work with, and how they find it: the parts that `create_app` puts together."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from service.control import Control
from service.repository import Repository
from service.scheduler.loops import OwningLoop
from service.settings import Settings
from service.telemetry.logs import LogLevels
from service.telemetry.metrics import Metrics

KEY = "ovenbird"


@dataclass(frozen=True)
class Parts:
    """The parts of one process's service."""

    settings: Settings
    metrics: Metrics
    repository: Repository
    control: Control
    loop: OwningLoop
    log_levels: LogLevels


def parts() -> Parts:
    """Return the parts of the application that answers this request."""
    found = current_app.extensions[KEY]
    assert isinstance(found, Parts)
    return found
