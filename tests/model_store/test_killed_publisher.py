"""What readers see of a publisher that is killed with SIGKILL: at each line of its code, and at any time."""

from __future__ import annotations

import itertools
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_store import Store

INCOMPLETE = ["its group is incomplete: publish the job again"]


def assert_only_whole_versions(store: Store, *, models: tuple[str, ...]) -> tuple[int, str]:
    """Every version that a reader sees verifies, but for a group cut in two, which `latest` passes over.

    Returns the latest whole version, and whether there is a cut group above it.
    """
    problems = [store.verify(stored) for stored in store.all_versions()]
    assert all(found in ([], INCOMPLETE) for found in problems)
    (latest,) = {store.resolve(model).version for model in models}
    assert [store.verify(store.resolve(model)) for model in models] == [[]] * len(models)
    return latest, "cut" if INCOMPLETE in problems else "whole"


def assert_the_next_publisher_clears_up(store: Store, drafts: list[Any]) -> None:
    highest = max(stored.version for stored in store.all_versions())

    published = store.publish(*drafts)

    assert {stored.version for stored in published} == {highest + 1}
    assert [store.verify(stored) for stored in published] == [[]] * len(drafts)
    assert list(store.root.rglob(".staging-*")) == []


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: hundreds of stores are written here, and no power will fail."""
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


def kill_at_every_line(folder: Path, publisher: Any, drafts: list[Any], *, of: list[str]) -> list[tuple[int, str]]:
    """Kill a publisher before its first line, its second, … until one lives; what a reader saw after each kill."""
    models = tuple(draft.model for draft in drafts)
    before = Store(folder / "before")
    before.publish(*drafts)
    # Something to clear up, so that publishers are killed while they do that too.
    shutil.copytree(before.root / models[0] / "1", before.root / models[0] / ".staging-0123")
    store = Store(folder / "store")
    seen = []
    for line in itertools.count(1):
        shutil.copytree(before.root, store.root)
        status = publisher.publish(store, drafts, kill_at=line, of=of)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        seen.append(assert_only_whole_versions(store, models=models))
        assert_the_next_publisher_clears_up(store, drafts)
        shutil.rmtree(store.root)
    return seen


def test_a_publisher_killed_at_any_line_has_published_all_or_nothing(memory: Path, drafts: Any, publisher: Any) -> None:
    seen = kill_at_every_line(memory, publisher, [drafts.one()], of=["model_store.store", "shutil"])

    assert len(seen) > 100
    assert [found for found, _ in itertools.groupby(seen)] == [(1, "whole"), (2, "whole")]


def test_a_group_whose_publisher_is_killed_at_any_line_is_never_mixed(
    memory: Path, drafts: Any, publisher: Any
) -> None:
    seen = kill_at_every_line(memory, publisher, drafts.group("encoder", "decoder"), of=["model_store.store"])

    assert len(seen) > 100
    assert [found for found, _ in itertools.groupby(seen)] == [(1, "whole"), (1, "cut"), (2, "whole")]


def test_a_publisher_killed_at_any_time_leaves_whole_versions_only(store: Store, drafts: Any, publisher: Any) -> None:
    group = drafts.group("autoencoder", "encoder", "decoder", content=os.urandom(3_000_000))
    models = ("autoencoder", "encoder", "decoder")
    began = time.monotonic()
    publisher.publish(store, group, times=3)
    once = (time.monotonic() - began) / 3
    cut_off = 0

    for instant in range(40):
        process = publisher.start(store, group, times=1000)
        select.select([], [], [], 2 * once * instant / 40)
        os.kill(process, signal.SIGKILL)
        assert publisher.wait() == -signal.SIGKILL
        cut_off += bool(list(store.root.rglob(".staging-*")))
        assert_only_whole_versions(store, models=models)
        if instant % 8 == 7:
            assert_the_next_publisher_clears_up(store, group)
            # Old versions are not looked at again and again.
            for model in models:
                for version in store.versions(model)[:-1]:
                    shutil.rmtree(store.root / model / str(version))

    assert cut_off > 10
