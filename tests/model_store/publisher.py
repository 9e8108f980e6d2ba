"""Publishes when it is told to, in a forked child of its own that can be killed: the other process of these tests.

Each line on stdin is a job in JSON: `store`, `drafts` (model → folder), `times`, and perhaps `kill_at` and `of`: then
the child kills itself, with SIGKILL, when it comes to that line, counted over the code of those modules. The answers
are two lines: the child's process id when it begins, and its exit status (negative: the signal) when it has ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from model_store import Draft, Manifest, Store


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            work(json.loads(line))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def work(job: dict[str, Any]) -> None:
    drafts = [Draft(model, Path(folder), Manifest.read(Path(folder))) for model, folder in job["drafts"].items()]
    store = Store(job["store"])
    if job["kill_at"]:
        die_at_line(job["kill_at"], {sys.modules[module].__file__ for module in job["of"]})
    for _ in range(job["times"]):
        store.publish(*drafts)
    os._exit(0)


def die_at_line(number: int, files: set[str | None]) -> None:
    lines = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal lines
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            lines += 1
            if lines == number:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


main()
