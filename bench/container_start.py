"""How long a container takes from `docker run` until it is ready, hardened as it is meant to run.

    python -m bench.container_start ovenbird

Each round starts a container with the starter models that lie in the image, and removes it. Processor time is the
container's own, as its control group counts it.
"""

from __future__ import annotations

import subprocess
import time

import click
import numpy as np

from bench.processes import wait_until_ready

HARDENED = ["--read-only", "--tmpfs", "/tmp", "--cap-drop=ALL", "--security-opt", "no-new-privileges"]
# Microseconds: cgroup v2 says them in the first file, v1 nanoseconds in the second.
PROCESSOR_TIME = (
    "sed -n 's/usage_usec //p' /sys/fs/cgroup/cpu.stat 2>/dev/null"
    " || expr $(cat /sys/fs/cgroup/cpuacct/cpuacct.usage) / 1000"
)
PATIENCE_SECONDS = 120


def docker(*words: str) -> str:
    """Run docker and return what it says; raise `subprocess.CalledProcessError` if it fails."""
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.strip()


def seconds_to_ready(image: str, options: tuple[str, ...]) -> tuple[float, float]:
    """Start a container; return the seconds that passed until it was ready, and those that it computed."""
    began = time.monotonic()
    name = docker("run", "--detach", *HARDENED, "--publish", "127.0.0.1::8000", *options, image)
    try:
        url = f"http://{docker('port', name, '8000/tcp').splitlines()[0]}/v2/health/ready"
        if not wait_until_ready(url, timeout=PATIENCE_SECONDS):
            raise click.ClickException(f"not ready after {PATIENCE_SECONDS} s:\n{docker('logs', name)}")
        passed = time.monotonic() - began
        return passed, float(docker("exec", name, "sh", "-c", PROCESSOR_TIME)) / 1e6
    finally:
        docker("rm", "--force", "--volumes", name)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("image", default="ovenbird")
@click.option("--rounds", default=5, help="How often a container is started.")
@click.option("--option", "options", multiple=True, help="What else `docker run` is told, such as --memory=512m.")
def main(image: str, rounds: int, options: tuple[str, ...]) -> None:
    """Time containers of IMAGE from `docker run` until they are ready."""
    passed, used = np.transpose([seconds_to_ready(image, options) for _ in range(rounds)])
    print(
        "ready after:    " + ", ".join(f"{seconds:.2f}" for seconds in passed) + f" s; median {np.median(passed):.2f}"
    )
    print("processor time: " + ", ".join(f"{seconds:.2f}" for seconds in used) + f" s; median {np.median(used):.2f}")


if __name__ == "__main__":
    main()
