from __future__ import annotations

import pkgutil
import subprocess
import sys

import model_store


def test_the_contract_loads_neither_side_and_no_onnx() -> None:
    """So a process that only looks into a store starts at once, and needs nothing but numpy, pydantic and click."""
    modules = [f"model_store.{module.name}" for module in pkgutil.iter_modules(model_store.__path__)]
    foreign = {"tensorflow", "keras", "onnx", "onnxruntime", "flask", "gunicorn", "service", "training"}

    script = f"import sys, {', '.join(modules)}; print(*{foreign!r}.intersection(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert len(modules) >= 7
    assert loaded.stdout.split() == []
