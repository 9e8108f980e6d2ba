"""How much memory a training takes whose pictures are larger than it: `python -m bench.streaming`.

Trains on more and more pictures, each time in a process of its own, and shows the most memory that the process
called its own: without the pages of files, which the system takes back when it needs them. With --limit-mb the
process runs in a memory cgroup (where this user may make one) that holds no more than so much, file pages included.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from PIL import Image

SIDE, DISTINCT = 160, 16
CGROUPS = Path("/sys/fs/cgroup")
# The older hierarchy has a folder for the memory; the newer one has other names.
LIMITS = {CGROUPS / "memory": "memory.limit_in_bytes", CGROUPS: "memory.max"}


@click.command()
@click.option("--pictures", default="2000,8000,16000", help="How many, for each training.")
@click.option("--limit-mb", type=int, help="Run in a memory cgroup of this size.")
def main(pictures: str, limit_mb: int | None) -> None:
    """Train on several numbers of pictures."""
    click.echo(f"{'pictures':>9} {'pixels MB':>10} {'own memory MB':>14} {'seconds':>8}")
    with tempfile.TemporaryDirectory() as scratch, _cgroup(limit_mb) as group:
        for count in map(int, pictures.split(",")):
            listing = _listing(Path(scratch), count)
            began = time.monotonic()
            peak = _train(listing, Path(scratch), group)
            pixels = count * SIDE * SIDE * 3 / 1e6
            click.echo(f"{count:9} {pixels:10.0f} {peak:14.0f} {time.monotonic() - began:8.0f}")


def _listing(folder: Path, count: int) -> Path:
    """List a few files again and again: each entry is decoded and kept for itself."""
    random = np.random.default_rng(0)
    for number in range(DISTINCT):
        pixels = random.integers(0, 256, (SIDE // 8, SIDE // 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((SIDE, SIDE)).save(folder / f"{number}.jpg")
    listing = folder / f"pictures-{count}.jsonl"
    rows = ({"picture": f"{index % DISTINCT}.jpg", "label": index % 2} for index in range(count))
    listing.write_text("\n".join(map(json.dumps, rows)))
    return listing


def _train(listing: Path, folder: Path, group: Path | None) -> float:
    """Train a small network; return the most anonymous memory in MB."""
    settings = ["epochs=1", "filters=4,4", "batch_size=32", "units=8"]
    words = [*("train", "cnn", "--data", str(listing), "--store", str(folder / "store"))]
    words += [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-c", "from model_store.cli import main; main()", *words]
    join = None if group is None else lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=join)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, _anonymous_mb(process.pid))
            time.sleep(0.05)
        log.seek(0)
        if process.returncode:
            raise click.ClickException(f"the training ended with {process.returncode}: {log.read()[-500:]}")
    return peak


def _anonymous_mb(process: int) -> float:
    with contextlib.suppress(OSError):
        found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
        return int(found[1]) / 1000 if found else 0.0
    return 0.0


@contextlib.contextmanager
def _cgroup(limit_mb: int | None) -> Iterator[Path | None]:
    """Make a memory cgroup, and remove it in the end."""
    if limit_mb is None:
        yield None
        return
    root = next(folder for folder in LIMITS if folder.is_dir())
    group = root / f"ovenbird-{os.getpid()}"
    try:
        group.mkdir()
        (group / LIMITS[root]).write_text(str(limit_mb * 1_000_000))
    except OSError as error:
        raise click.ClickException(f"no memory cgroup can be made here: {error}") from None
    try:
        yield group
    finally:
        group.rmdir()


if __name__ == "__main__":
    main()
