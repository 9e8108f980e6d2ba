"""One fit on several devices: TensorFlow makes two of one processor, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from model_store import Store, StoredVersion
from training import train
from training.errors import InvalidParameter

pytestmark = pytest.mark.tensorflow

PARAMETERS = {"epochs": 3, "hidden": "8", "dropout": 0}

ON_TWO_DEVICES_AND_ON_ONE = f"""
import sys
import training
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
for devices in (2, 1):
    training.train("dnn", "iris", store=sys.argv[1], parameters={{**{PARAMETERS!r}, "devices": devices}})
"""


def losses(stored: StoredVersion) -> list[float]:
    facts = json.loads((stored.path / "report/evaluation.json").read_text())
    return [*facts["history"]["loss"], *facts["history"]["val_loss"]]


def test_two_devices_fit_as_one_does(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ON_TWO_DEVICES_AND_ON_ONE, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), "not a line of TensorFlow's"
    two, one = (Store(tmp_path).resolve("iris-dnn", version) for version in (1, 2))

    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert two.manifest.metrics == pytest.approx(one.manifest.metrics, rel=1e-4)


def test_more_devices_than_there_are_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"devices=64: expected at most \d+: /device"):
        train("dnn", "iris", store=tmp_path, parameters={**PARAMETERS, "devices": 64})
