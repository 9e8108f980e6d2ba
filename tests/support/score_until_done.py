"""Scores in a child process that is killed again and again, until one gets to the end; says how often it was killed.

    python score_until_done.py STORE IN OUT SEED

The children are forked before anything is loaded into onnxruntime, so that each starts at once. Each is killed a random
moment after a random number of further parts; none after so many kills.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from model_store import Store
from service.scoring import job
from service.scoring.planning import Options
from service.settings import Settings

KILLS = 6


def main(store: Path, source: Path, target: Path, seed: int) -> int:
    chance = random.Random(seed)
    kills = 0
    while True:
        child = os.fork()
        if child == 0:
            # Never back into this loop; what stands in buffers is the parent's.
            os._exit(score(store, source, target))
        if kills < KILLS and is_running_after(child, target, parts(target) + chance.randint(0, 120)):
            time.sleep(chance.uniform(0, 0.02))
            os.kill(child, signal.SIGKILL)
            kills += 1
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            print(kills)
            return os.WEXITSTATUS(status)


def is_running_after(child: int, target: Path, count: int) -> bool:
    """Wait until there are so many parts, or all were joined; tell whether the child still runs."""
    while parts(target) < count and not target.exists():
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return False
        time.sleep(0.001)
    return True


def parts(target: Path) -> int:
    folder = target.with_name(target.name + ".parts")
    return sum(not path.name.endswith(".tmp") for path in folder.iterdir()) if folder.is_dir() else 0


def score(store: Path, source: Path, target: Path) -> int:
    stored = Store(store).resolve("double")
    job.score(stored, Settings(), source, target, Options(part_rows=5, null_errors=True), fresh=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:4]), int(sys.argv[4])))
