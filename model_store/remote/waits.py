"""Bounds on every wait for a remote store: one that accepts and never answers, or answers drop by drop, is away.

A look holds the cache's lock, and a service starts with one: all tries of a request together end within half a minute.
Who publishes waits longer, for large files and slow disks, and holds no lock.
"""

from __future__ import annotations

import base64
import os
from typing import Any

from model_store.remote.address import Address

CONNECT_SECONDS = 5.0
# A request of which nothing has come for so long is tried once more.
READ_SECONDS = 10.0
WRITE_SECONDS = 30.0
# For one folder of a web server, or some small files, in all.
PART_SECONDS = 30.0
# For a listing of everything, in all: 1000 files take a request of a tenth of a second.
LISTING_SECONDS = 60.0
TRIES = 2


def options(address: Address, *, writes: bool = False) -> dict[str, Any]:
    """Say what fsspec's defaults leave open: how long to wait, and who asks a web server."""
    if address.scheme in ("s3", "s3a"):
        return {"config_kwargs": _s3_config(WRITE_SECONDS if writes else READ_SECONDS)}
    if address.scheme in ("http", "https"):
        return {"client_kwargs": _web_client(address)}
    return {}


def bound(system: Any, *, writes: bool = False) -> Any:
    """Take from a file system the tries of its own: s3fs has five, each with all of those below it."""
    if not writes and hasattr(system, "s3_additional_kwargs"):
        system.retries = 1
    return system


def within(system: Any, seconds: float) -> dict[str, float]:
    """Give the arguments that end a call after so long; those of a disk have none."""
    return {"timeout": seconds} if getattr(system, "async_impl", False) else {}


def _s3_config(read_seconds: float) -> dict[str, Any]:
    retries = {"total_max_attempts": TRIES}
    config = {"connect_timeout": CONNECT_SECONDS, "read_timeout": read_seconds, "retries": retries}
    # Servers that are not Amazon's often lack the checksums; every file is compared with its sha256 here anyway.
    for name in ("request_checksum_calculation", "response_checksum_validation"):
        if f"AWS_{name.upper()}" not in os.environ:
            config[name] = "when_required"
    return config


def _web_client(address: Address) -> dict[str, Any]:
    import aiohttp

    # Nothing is tried again here.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=TRIES * READ_SECONDS)
    client: dict[str, Any] = {"timeout": timeout, "trust_env": True}
    if address.credentials is not None:
        pair = base64.b64encode(":".join(address.credentials).encode()).decode()
        client["headers"] = {"Authorization": f"Basic {pair}"}
    return client
