"""Steps of tests that look into a repository over a real store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from model_store import Store
from service.repository import Repository
from service.settings import Settings
from service.telemetry.metrics import Metrics

ROW = {"x": np.array([[1, 2, 3]], np.float32)}


def with_repository(
    store: Store, work: Callable[[Repository], Awaitable[Any]], *, metrics: Metrics | None = None, **settings: Any
) -> Any:
    """Start a repository, do something with it, stop it. Its watching is left to explicit calls of `refresh`."""

    async def main() -> Any:
        chosen = Settings(**({"control": "none"} | settings))
        repository = Repository(store, chosen, metrics or Metrics())
        await repository.start()
        try:
            return await work(repository)
        finally:
            await repository.stop()

    return asyncio.run(main())


def states(repository: Repository) -> dict[str, str]:
    return {f"{status.name}@{status.version}": status.state for status in repository.index()}


async def drained(repository: Repository) -> None:
    while any(state == "UNLOADING" for state in states(repository).values()):
        await asyncio.sleep(0.01)


async def factor(repository: Repository, name: str = "double", version: str | None = None) -> float:
    outputs = await repository.get(name, version).predict(ROW, timeout=5)
    return float(outputs["y"][0, 0])
