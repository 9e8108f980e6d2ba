"""Publishes a draft in a remote store, a number of times: `remote_publisher.py URL CACHE TIMES MODEL FOLDER`.

Says "ready" first, and begins when a line comes in: several can be made to begin at once.
"""

from __future__ import annotations

import sys
from pathlib import Path

from model_store import Draft, Manifest, open_store

url, cache, times, model, folder = sys.argv[1:]
store = open_store(url, cache=Path(cache))
store.refresh()
draft = Draft(model, Path(folder), Manifest.read(Path(folder)))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(times)):
    print(store.publish(draft)[0].version, flush=True)
