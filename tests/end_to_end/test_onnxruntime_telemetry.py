"""onnxruntime's telemetry is off wherever we import it: it must be told before the import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models
from service_process import OVENBIRD, running, wait_for

# Python imports this first in every process: it notes what the environment says when onnxruntime is imported.
WITNESS = """
import importlib.abc, os, sys

class Witness(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            told = [os.environ.get(name) for name in ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED")]
            with open(os.environ["WITNESSED"], "a") as notes:
                print(os.getpid(), *told, file=notes)

sys.meta_path.insert(0, Witness())
"""


@pytest.fixture
def witnessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "witness").mkdir()
    (tmp_path / "witness" / "sitecustomize.py").write_text(WITNESS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "witness"))
    monkeypatch.setenv("WITNESSED", str(tmp_path / "notes"))
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    monkeypatch.delenv("ORT_TELEMETRY_DISABLED", raising=False)
    return tmp_path / "notes"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    tiny_models.publish_affine(tmp_path / "store")
    return tmp_path / "store"


def told(notes: Path) -> dict[str, str]:
    """Process → what it was told when it imported onnxruntime."""
    return dict(line.split(" ", 1) for line in notes.read_text().splitlines())


def test_in_every_process_of_a_service(store: Path, witnessed: Path) -> None:
    # The command itself looks for the provider, then becomes the arbiter; two workers follow.
    with running(store, workers=2, provider="cuda,cpu"):
        processes = wait_for(
            lambda: notes if len(notes := told(witnessed)) == 3 else None, "the second worker's import"
        )

    assert list(processes.values()) == ["1 1"] * 3


@pytest.mark.parametrize(
    "command",
    [
        pytest.param([*OVENBIRD, "store", "verify", "--store", "STORE"], id="verify"),
        pytest.param([sys.executable, "-c", "import sys; from pathlib import Path; "
                      "from training.exporting.onnx_session import Session; "
                      "Session(Path(sys.argv[1], 'double/1/model.onnx'))",
                      "STORE"], id="training"),
    ],
)  # fmt: skip
def test_in_commands(command: list[str], store: Path, witnessed: Path) -> None:
    words = [str(store) if word == "STORE" else word for word in command]

    subprocess.run(words, capture_output=True, check=True)

    assert list(told(witnessed).values()) == ["1 1"]
