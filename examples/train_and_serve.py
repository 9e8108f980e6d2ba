"""`make train`: train one model of each kind on data that needs no download, while a service watches the store.

Each new version is published into a store of your own; the running service picks it up by itself, and is asked
about real held-out inputs. Run it again, and it publishes and serves the next version.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import background_service
from background_service import Service, ServiceFailed
from showing import show

from model_store import Store, StoredVersion

# name, recipe, data set: all from what scikit-learn and Python bring along.
JOBS = (
    ("digits-dnn", "dnn", "digits"),
    ("digits-cnn", "cnn", "digits"),
    ("digits-autoencoder", "autoencoder", "digits"),
    ("code-or-prose", "text", "stdlib"),
)
PICK_UP_SECONDS = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("store"), help="your own store (default: ./store)")
    parser.add_argument("--port", type=int, default=8001, help="the first port to try (default: 8001)")
    arguments = parser.parse_args()
    try:
        train_and_serve(arguments.store, arguments.port)
    except ServiceFailed as error:
        sys.exit(f"error: {error}")


def train_and_serve(folder: Path, port: int) -> None:
    """Start a service on the store; then train, publish, and see each model served."""
    folder.mkdir(exist_ok=True)
    service = background_service.start("train", store=folder, port=port)
    print(f"a service watches {folder}: {service.url}")
    published = []
    for name, recipe, data in JOBS:
        print(f"\n══ ovenbird train {recipe} --data {data} --name {name} --store {folder}", flush=True)
        command = [Path(sys.executable).with_name("ovenbird"), "train", recipe]
        options = ["--data", data, "--name", name, "--store", folder]
        subprocess.run([str(part) for part in (*command, *options)], check=True)
        published.append(Store(folder).resolve(name))
        _wait_until_served(service, published[-1])
    print("\n══ The running service picked them all up. Asked about held-out inputs, it answers:")
    for stored in published:
        show(service, stored)
    print(f"\nThe service goes on running at {service.url}/ ; log: {service.log_file}; stop it with: make stop")


def _wait_until_served(service: Service, stored: StoredVersion) -> None:
    deadline = time.monotonic() + PICK_UP_SECONDS
    wanted = {"name": stored.model, "version": str(stored.version)}
    while True:
        index = service.ask("/v2/repository/index", {})
        state = next((entry for entry in index if wanted.items() <= entry.items()), {"state": "not seen yet"})
        if state["state"] == "READY":
            print(f"served: {stored} at {service.url}/v2/models/{stored.model}")
            return
        if time.monotonic() > deadline:
            raise ServiceFailed(f"{stored} is {state['state']} after {PICK_UP_SECONDS:g} s: {state.get('reason', '')}")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
