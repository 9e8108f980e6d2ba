"""Make the contenders' virtual environments below run/bench: `python -m bench.prepare [NAME …]`.

Each has its own, since what they pin does not agree. One that cannot be installed is named with the reason, and the
others are measured all the same.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / "run" / "bench"
REQUIREMENTS = Path(__file__).parent / "contenders" / "requirements"


def python_of(name: str) -> Path:
    """The Python of a contender's environment, whether or not it was made."""
    return ENVIRONMENTS / name / "bin" / "python"


def is_prepared(name: str) -> bool:
    """Whether a contender's environment holds what its requirements say now."""
    made = ENVIRONMENTS / name / "requirements.txt"
    return made.is_file() and made.read_text() == (REQUIREMENTS / f"{name}.txt").read_text()


def why_absent(name: str) -> str:
    """Say why an environment does not hold what its requirements say."""
    log = ENVIRONMENTS / f"{name}.log"
    errors = [line for line in log.read_text().splitlines() if line.startswith("ERROR")] if log.is_file() else []
    return errors[0] if errors else f"not installed: python -m bench.prepare {name}"


def prepare(name: str) -> str | None:
    """Make one environment; return why it could not be made, or None."""
    folder, requirements = ENVIRONMENTS / name, REQUIREMENTS / f"{name}.txt"
    venv.create(folder, with_pip=True, symlinks=True)
    command = [str(python_of(name)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]
    done = subprocess.run([*command, str(requirements)], capture_output=True, text=True, check=False)
    (ENVIRONMENTS / f"{name}.log").write_text(done.stdout + done.stderr)
    if done.returncode:
        return why_absent(name)
    (folder / "requirements.txt").write_text(requirements.read_text())
    return None


def main() -> None:
    for name in sys.argv[1:] or sorted(path.stem for path in REQUIREMENTS.glob("*.txt")):
        if is_prepared(name):
            continue
        print(f"{name}: installing …", flush=True)
        if problem := prepare(name):
            print(f"{name}: cannot be installed here: {problem}")


if __name__ == "__main__":
    main()
