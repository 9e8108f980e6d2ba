"""Jobs that are broken off: killed, interrupted, out of room. What is left, and how the same command goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest

from model_store import Store, StoredVersion
from training import pipeline, train
from training.datasets import Dataset
from training.errors import CheckpointUnfit, CheckpointUnwritable, FitDiverged, Interrupted, OutOfMemory
from training.exporting.keras_graph import classifier
from training.fitting.checkpoint import Checkpoint
from training.fitting.safety import digest
from training.job import Job, prepare
from training.network import Network, Stage
from training.recipes import dnn

pytestmark = pytest.mark.tensorflow

PARAMETERS = {"epochs": 6, "patience": 6, "hidden": "8", "deterministic": True, "schedule": "cosine"}

# It is killed between two epochs, as at any other time: the third has begun when it waits to be killed.
KILLED_JOB = f"""
import sys
from training import train

def say(line):
    print(line, flush=True)
    if line.strip().startswith("epoch 2/"):
        sys.stdin.read()

train("dnn", "iris", store=sys.argv[1], parameters={PARAMETERS!r}, say=say)
"""


@pytest.fixture(autouse=True)
def deterministic_for_once() -> Iterator[None]:
    """Determinism is switched on for a process; the other tests shall run without it."""
    yield
    from tensorflow.python.framework import config

    config.disable_op_determinism()


def weights_digest(stored: StoredVersion) -> str:
    properties = {entry.key: entry.value for entry in onnx.load(stored.onnx_path).metadata_props}
    return properties["weights_sha256"]


def history(stored: StoredVersion) -> dict[str, list[float]]:
    facts: dict[str, dict[str, list[float]]] = json.loads((stored.path / "report/evaluation.json").read_text())
    return facts["history"]


def checkpoints(store: Path) -> list[Path]:
    return sorted((store / ".checkpoints").glob("*.npz"))


@pytest.fixture(autouse=True)
def ctrl_c_interrupts() -> Iterator[None]:
    """Have Ctrl-C raise, as it does in a process of one's own: a test runner's workers may ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupting(after: str) -> Callable[[str], None]:
    """Press Ctrl-C when a line is said."""

    def say(line: str) -> None:
        if after in line:
            os.kill(os.getpid(), signal.SIGINT)

    return say


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> StoredVersion:
    (stored,) = train("dnn", "iris", store=tmp_path_factory.mktemp("whole"), parameters=PARAMETERS)
    return stored


def test_a_killed_job_goes_on_and_ends_as_if_nothing_had_been(uninterrupted: StoredVersion, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_JOB, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        assert any(line.strip().startswith("epoch 2/") for line in killed.stdout)
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    assert len(checkpoints(tmp_path)) == 1
    assert Store(tmp_path).models() == []

    lines: list[str] = []
    (stored,) = train("dnn", "iris", store=tmp_path, parameters=PARAMETERS, say=lines.append)

    assert sum("resume    after epoch 2, from " in line for line in lines) == 1
    assert sum(line.strip().startswith("epoch") for line in lines) == 4
    assert history(stored) == history(uninterrupted)
    assert weights_digest(stored) == weights_digest(uninterrupted)
    assert not (tmp_path / ".checkpoints").exists()


def test_ctrl_c_ends_in_one_line_with_130_and_the_job_goes_on(
    uninterrupted: StoredVersion, command, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [f"--set={name}={str(value).lower()}" for name, value in PARAMETERS.items()]

    def run_and_interrupt(*arguments: object, **keywords: object) -> list[StoredVersion]:
        return train(*arguments, **{**keywords, "say": interrupting("epoch 3/")})  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr("training.cli.run_job", run_and_interrupt)
        result = command("dnn", "--data", "iris", *settings)

    assert result.exit_code == 130
    assert result.stderr == "Error: interrupted; the same command goes on after epoch 3\n"
    assert Store("store").models() == []

    resumed = command("dnn", "--data", "iris", *settings)

    assert resumed.exit_code == 0, resumed.output
    assert "resume    after epoch 3" in resumed.stdout
    assert weights_digest(Store("store").resolve("iris-dnn")) == weights_digest(uninterrupted)


def test_a_job_interrupted_after_the_fit_does_not_fit_again(uninterrupted: StoredVersion, tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="goes on after epoch 6"):
        train("dnn", "iris", store=tmp_path, parameters=PARAMETERS, say=interrupting("export"))

    lines: list[str] = []
    (stored,) = train("dnn", "iris", store=tmp_path, parameters=PARAMETERS, say=lines.append)

    assert not any(line.strip().startswith("epoch") for line in lines)
    assert weights_digest(stored) == weights_digest(uninterrupted)


def test_a_fresh_job_starts_anew_and_another_job_is_another(uninterrupted: StoredVersion, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train("dnn", "iris", store=tmp_path, parameters=PARAMETERS, say=interrupting("epoch 1/"))

    shorter = prepare("dnn", "iris", store=tmp_path, name=None, parameters={**PARAMETERS, "epochs": 1})
    assert [path.stem for path in checkpoints(tmp_path)] != [digest(shorter)]

    lines: list[str] = []
    (stored,) = train("dnn", "iris", store=tmp_path, parameters=PARAMETERS, say=lines.append, fresh=True)

    assert not any("resume" in line or "--fresh" in line for line in lines)
    assert weights_digest(stored) == weights_digest(uninterrupted)


@pytest.mark.parametrize("recipe", ["scratch", "perceptron"])
def test_where_every_fit_starts_anew_fresh_is_said_to_change_nothing(recipe: str, tmp_path: Path) -> None:
    lines: list[str] = []
    train(recipe, "iris", store=tmp_path, parameters={"epochs": 1}, say=lines.append, fresh=True)

    assert f"noticed   --fresh changes nothing: {recipe} fits in its own way and always starts anew" in lines


def test_an_equal_job_beside_it_works_without_a_checkpoint(uninterrupted: StoredVersion, tmp_path: Path) -> None:
    job = prepare("dnn", "iris", store=tmp_path, name=None, parameters=PARAMETERS)
    other = Checkpoint.claim(tmp_path / ".checkpoints", digest(job))
    assert other is not None

    lines: list[str] = []
    (stored,) = pipeline.run(job, say=lines.append)

    assert "parallel  an equal job is running: this one keeps no checkpoint" in lines
    assert weights_digest(stored) == weights_digest(uninterrupted)
    other.discard()


# Stages, and networks that changed


@pytest.fixture
def job_with(empty_store: Store) -> Callable[[Callable[[dnn.DenseParameters, Dataset], Network]], Job]:
    def make(build: Callable[[dnn.DenseParameters, Dataset], Network]) -> Job:
        job = prepare("dnn", "iris", store=empty_store.root, name=None, parameters=PARAMETERS)
        return dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, build=build))

    return make


def in_two_stages(parameters: dnn.DenseParameters, dataset: Dataset) -> Network:
    """The first stage fits the last layer alone."""
    network = dnn.build(parameters, dataset)
    assert network.fitted is not None
    hidden = next(layer for layer in network.fitted.layers if layer.name.startswith("dense"))

    def freeze() -> None:
        hidden.trainable = False

    def thaw() -> None:
        hidden.trainable = True

    stages = (
        Stage(name="head", epochs=2, learning_rate=0.01, begin=freeze),
        Stage(name="whole", epochs=3, learning_rate=0.001, begin=thaw),
    )
    return dataclasses.replace(network, stages=stages)


def test_a_job_in_stages_goes_on_in_its_stage(job_with, empty_store: Store) -> None:
    job = job_with(in_two_stages)
    (whole,) = pipeline.run(job, say=lambda _: None)
    for moment in ("epoch 2/2", "epoch 2/3"):
        with pytest.raises(Interrupted):
            pipeline.run(job, say=interrupting(moment))

    (stored,) = pipeline.run(job, say=lambda _: None)

    assert len(history(stored)["loss"]) == 5
    assert history(stored) == history(whole)
    assert weights_digest(stored) == weights_digest(whole)


def test_a_checkpoint_of_another_network_is_refused(job_with) -> None:
    job = job_with(dnn.build)
    with pytest.raises(Interrupted):
        pipeline.run(job, say=interrupting("epoch 1/"))

    def wider(parameters: dnn.DenseParameters, dataset: Dataset) -> Network:
        return dnn.build(dataclasses.replace(parameters, hidden=(9,)), dataset)

    with pytest.raises(CheckpointUnfit, match="start anew with --fresh"):
        pipeline.run(job_with(wider), say=lambda _: None)


# What else can end a job


def test_a_loss_that_is_not_finite_ends_the_fit_at_once(tmp_path: Path) -> None:
    lines: list[str] = []

    with pytest.raises(FitDiverged, match=r"the loss became (inf|nan) in epoch 1: .* than 10"):
        train(
            "dnn",
            "diabetes",
            store=tmp_path,
            parameters={"optimizer": "sgd", "learning_rate": 10, "epochs": 500},
            say=lines.append,
        )

    assert not any("epoch" in line for line in lines)
    assert not (tmp_path / ".checkpoints").exists()


def test_too_little_memory_is_told_in_one_line(job_with) -> None:
    def build(parameters: dnn.DenseParameters, dataset: Dataset) -> Network:
        import keras
        from keras import layers

        inputs = keras.Input((4,))
        huge = layers.Dense(2**40)(inputs)  # 16 TB of weights
        return classifier(keras.Model(inputs, layers.Dense(3, activation="softmax")(huge)), dataset)

    with pytest.raises(OutOfMemory, match="out of memory: try a smaller network, or a smaller batch_size than 32"):
        pipeline.run(job_with(build), say=lambda _: None)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for little more than the store's folders."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk], capture_output=True)
    except OSError:
        pytest.skip("no mount here")
    if mounted.returncode != 0:
        pytest.skip("a file system can be mounted by root alone")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_told_and_the_job_goes_on_when_there_is_room(small_disk: Path) -> None:
    parameters = {**PARAMETERS, "epochs": 2, "hidden": "400"}
    with pytest.raises(CheckpointUnwritable, match=r"No space left on device; make room there: .* starts anew"):
        train("dnn", "iris", store=small_disk, parameters=parameters)
    assert Store(small_disk).models() == []

    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    (stored,) = train("dnn", "iris", store=small_disk, parameters=parameters)

    assert Store(small_disk).verify(stored) == []
