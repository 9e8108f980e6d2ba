"""The arrows between the packages, and what the service may not need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_import_contracts_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")

    shown = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert shown.returncode == 0, shown.stdout


BLOCKED = ("tensorflow", "keras", "tf2onnx", "sklearn", "matplotlib", "onnx", "training")


@pytest.mark.parametrize(
    "module",
    ["service.asgi", "service.app", "service.bench_cli", "service.cli", "service.predict_cli", "model_store.cli"],
)
def test_the_service_runs_where_nothing_of_training_is_installed(module: str) -> None:
    program = f"""
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)

sys.meta_path.insert(0, Blocker())
import {module}
from service.app import create_app
from service.settings import Settings
client = create_app(Settings(store={str(ROOT / "model_store" / "models")!r}, control="none")).test_client()
assert client.get("/v2/health/live").status_code == 200
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OVENBIRD_")}

    shown = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )

    assert shown.returncode == 0, shown.stderr


def test_no_file_names_a_package_index_or_a_path_of_the_machine_it_was_made_on() -> None:
    shown = subprocess.run(["git", "grep", "-nIE", r"pypi\.|index-url|/root/|/home/[a-z]"], cwd=ROOT,
                           capture_output=True, text=True, check=False)  # fmt: skip
    if shown.returncode not in (0, 1):
        pytest.skip("not a git checkout")

    assert [line for line in shown.stdout.splitlines() if not line.startswith("tests/test_layers.py")] == []
