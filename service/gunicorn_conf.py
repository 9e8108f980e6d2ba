"""gunicorn's configuration: `gunicorn -c service/gunicorn_conf.py` does the same as `ovenbird serve`.

Read in the arbiter before any worker exists. Nothing is preloaded: sessions, threads and loops start in the worker.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from model_store import OneModelStore, StoreError, choose_store
from model_store.remote.address import Address, is_url
from service import devices, placement, run_dir
from service.errors import InvalidSettings
from service.settings import Settings
from service.store_layout import misplaced
from service.telemetry import logs

try:
    _settings = Settings.from_env()
    placement.check(_settings)
    if is_url(_settings.store):
        Address.parse(_settings.store).check_installed()
except InvalidSettings as error:
    sys.exit("\n".join(f"error: {problem}" for problem in error.problems))
except StoreError as error:
    sys.exit(f"error: {error}")

wsgi_app = "service.asgi:create_front()"
worker_class = "service.worker.Worker"
bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
workers = _settings.workers
loglevel = "warning" if _settings.log_level == "info" else _settings.log_level
# Idle connections outlive those of usual balancers (60 s): the other order gives them resets.
keepalive = 75
# A worker that does not answer the arbiter for so long is replaced; models run in threads, so it always can.
timeout = 60
graceful_timeout = int(_settings.graceful_timeout) + 5
preload_app = False
# gunicorn's control socket lies in the home directory, which a read-only container does not have.
control_socket_disable = True
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  (for heartbeats: no disk)

_run_dir: str | None = None

if _settings.workers > 1:
    # Workers share their metrics through files; the variable must be set before prometheus_client is imported.
    _run_dir = os.environ.get("OVENBIRD_RUN_DIR") or tempfile.mkdtemp(prefix="ovenbird-", dir=worker_tmp_dir)
    os.environ["OVENBIRD_RUN_DIR"] = _run_dir
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(Path(_run_dir, "metrics"))
else:
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)


def on_starting(_arbiter: Any) -> None:
    """Say once what is never served, and empty what an earlier run left in the run directory."""
    logs.configure(_settings.log_level)
    for line in _never_served(choose_store(_settings.store or None).location, _settings.model_name):
        logs.LOGGER.warning("%s", line)
    if _run_dir is not None:
        metrics = Path(_run_dir, "metrics")
        shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir(parents=True)
        run_dir.prepare(Path(_run_dir))


def _never_served(location: str, model_name: str) -> list[str]:
    if is_url(location):
        return []
    if not model_name:
        return misplaced(Path(location))
    trouble = OneModelStore(location, model_name).trouble()
    return [trouble] if trouble else []


def pre_fork(arbiter: Any, worker: Any) -> None:
    """Choose a new worker's device: the arbiter knows those of the others, so one that died is replaced on its own."""
    taken = (other.slot for other in arbiter.WORKERS.values())
    worker.slot = devices.free_slot(taken, max(1, len(_settings.devices)))


def post_fork(_arbiter: Any, worker: Any) -> None:
    """Take the device, before anything is imported that would look for one."""
    if _settings.devices:
        taken = placement.take(_settings.devices[worker.slot], _settings)
        logs.LOGGER.info("worker %d of %d: %s", worker.slot + 1, _settings.workers, taken)


def child_exit(_arbiter: Any, worker: Any) -> None:
    """Drop a dead worker's gauges and what it agreed to; its counters stay in the sum."""
    if _run_dir is not None:
        run_dir.worker_went(Path(_run_dir), worker.pid)
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(_arbiter: Any) -> None:
    """Remove the run directory."""
    if _run_dir is not None:
        shutil.rmtree(_run_dir, ignore_errors=True)
