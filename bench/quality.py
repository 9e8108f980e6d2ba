"""How good the models are that the recipes make: trained by the command, asked through HTTP on held-out data.

`python -m bench.quality [NAME…]` trains each goal's model with `ovenbird train`, serves the store, asks every
held-out row with Triton's client, and compares the figure with the goal. Needs the data sets in Keras's cache
(KERAS_HOME) and, all together, about two hours on two cores; bench/quality.md keeps what came out.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from bench.auroc import area_under_roc
from bench.processes import free_port, running
from training import datasets
from training.datasets import Dataset
from training.detection.evaluation import average_precision_interval, detections
from training.detection.metrics import average_precision
from training.evidence.measures import wilson_interval
from training.options import FileOptions

ROWS_AT_ONCE = 100
OVENBIRD = str(Path(sys.executable).with_name("ovenbird"))
Answers = dict[str, npt.NDArray[np.generic]]
Ask = Callable[[str, npt.NDArray[np.generic]], Answers]
Result = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A figure with its 95 % interval, and over how many held-out rows."""

    value: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A model to train, and how good it must be."""

    name: str
    recipe: str
    data: str
    settings: dict[str, str] = field(default_factory=dict)
    metric: str
    at_least: float
    measure: Callable[[Goal, Dataset, Ask], Measured]

    def command(self, store: str) -> list[str]:
        """Give the command that trains it."""
        pairs = [word for name, value in self.settings.items() for word in ("--set", f"{name}={value}")]
        return ["train", self.recipe, "--data", self.data, "--name", self.name, *pairs, "--store", store]


def accuracy(goal: Goal, dataset: Dataset, ask: Ask) -> Measured:
    """Count the held-out rows whose most probable class is right."""
    answers, count = ask(goal.name, dataset.test.inputs)["probabilities"], len(dataset.test)
    right = int(np.sum(answers.argmax(axis=1) == dataset.test.targets))
    bounds = wilson_interval(right, count)
    return Measured(value=right / count, low=bounds["low"], high=bounds["high"], rows=count)


def mean_average_precision(goal: Goal, dataset: Dataset, ask: Ask) -> Measured:
    """Compute mAP@0.5 as COCO does; the interval is that of the scenes drawn anew (bootstrap)."""
    truths, found = list(dataset.test.targets), detections(ask(goal.name, dataset.test.inputs))
    assert dataset.labels is not None
    value = average_precision(truths, found, len(dataset.labels)).mean_at_half
    bounds = average_precision_interval(truths, found)
    return Measured(value=value, low=bounds["low"], high=bounds["high"], rows=len(truths))


def anomaly_auroc(goal: Goal, dataset: Dataset, ask: Ask) -> Measured:
    """Tell the model's own held-out pictures from Fashion-MNIST's by score."""
    foreign = datasets.load("fashion-mnist", FileOptions()).test.inputs
    usual, strange = (ask(f"{goal.name}-anomaly", rows)["score"] for rows in (dataset.test.inputs, foreign))
    area = area_under_roc(usual, strange)
    return Measured(value=area.value, low=area.low, high=area.high, rows=len(usual) + len(strange))


GOALS: tuple[Goal, ...] = (
    Goal(
        name="mnist-dnn",
        recipe="dnn",
        data="mnist",
        settings={"hidden": "512,256", "dropout": "0.4", "batch_size": "128", "epochs": "40", "patience": "8"},
        metric="accuracy",
        at_least=0.98,
        measure=accuracy,
    ),
    Goal(
        name="mnist-cnn",
        recipe="cnn",
        data="mnist",
        settings={"epochs": "10", "batch_size": "128", "schedule": "cosine", "patience": "10"},
        metric="accuracy",
        at_least=0.992,
        measure=accuracy,
    ),
    Goal(
        name="fashion-mnist-cnn",
        recipe="cnn",
        data="fashion-mnist",
        settings={
            "filters": "32,64,128", "dropout": "0.4", "batch_size": "128", "epochs": "12", "schedule": "cosine",
            "patience": "12",
        },
        metric="accuracy",
        at_least=0.92,
        measure=accuracy,
    ),
    Goal(
        name="cifar10-cnn",
        recipe="cnn",
        data="cifar10-subset",
        settings={
            "filters": "32,64,128", "convolutions": "2", "pooling": "average", "units": "128", "epochs": "25",
            "augmentation": "flip,translation", "schedule": "cosine", "patience": "10",
        },
        metric="accuracy",
        at_least=0.62,
        measure=accuracy,
    ),
    Goal(
        name="digit-detector",
        recipe="detector",
        data="digit-scenes",
        settings={"epochs": "20"},
        metric="mAP@0.5",
        at_least=0.90,
        measure=mean_average_precision,
    ),
    Goal(
        name="mnist-autoencoder",
        recipe="autoencoder",
        data="mnist",
        settings={"epochs": "8", "batch_size": "128"},
        metric="AUROC, anomalies against fashion-mnist",
        at_least=0.95,
        measure=anomaly_auroc,
    ),
    Goal(
        name="reuters-text",
        recipe="text",
        data="reuters",
        settings={"layer": "conv1d", "units": "256", "embedding": "64", "dropout": "0.5", "epochs": "12"},
        metric="accuracy",
        at_least=0.79,
        measure=accuracy,
    ),
    Goal(
        name="imdb-text", recipe="text", data="imdb", settings={"length": "400"},
        metric="accuracy", at_least=0.87, measure=accuracy,
    ),
    Goal(
        name="nsmc-text",
        recipe="text",
        data="nsmc",
        settings={
            "tokens": "characters", "layer": "conv1d", "vocabulary": "2500", "length": "100", "batch_size": "128",
            "epochs": "8",
        },
        metric="accuracy",
        at_least=0.84,
        measure=accuracy,
    ),
)  # fmt: skip


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]…", type=click.Choice([goal.name for goal in GOALS]))
@click.option("--store", type=click.Path(path_type=Path), default=Path("run/quality/store"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("run/quality/results.json"), show_default=True)
@click.option("--keep", is_flag=True, help="Ask the models that are in the store already, instead of training them.")
def main(names: tuple[str, ...], store: Path, out: Path, keep: bool) -> None:
    """Train the goals' models, or those that are named, and measure them through HTTP."""
    goals = [goal for goal in GOALS if not names or goal.name in names]
    results: dict[str, Result] = json.loads(out.read_text()) if out.exists() else {}
    for goal in goals:
        seconds = results.get(goal.name, {}).get("seconds") if keep else train(goal, store)
        with serving(store) as ask:
            measured = goal.measure(goal, datasets.load(goal.data, FileOptions()), ask)
        results[goal.name] = as_json(goal, measured, seconds)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(results, indent=1) + "\n")
        click.echo(line(goal.name, results[goal.name]))
    click.echo("\n" + table(results))


def train(goal: Goal, store: Path) -> float:
    """Train one model by the command; return how many seconds it took."""
    began = time.monotonic()
    subprocess.run([OVENBIRD, *goal.command(str(store))], check=True)
    return time.monotonic() - began


@contextmanager
def serving(store: Path) -> Iterator[Ask]:
    """Serve the store, and give a function that asks a model of it all rows of an array, in batches."""
    import tritonclient.http as triton

    port = free_port()
    command = [OVENBIRD, "serve", "--store", str(store), "--port", str(port)]
    with running(command, port=port, ready="/v2/health/ready", log=store.parent / "service.log"):
        client = triton.InferenceServerClient(f"127.0.0.1:{port}", network_timeout=600)

        def ask_together(model: str, rows: npt.NDArray[np.generic]) -> Answers:
            known = client.get_model_metadata(model)
            (given,) = known["inputs"]
            tensor = triton.InferInput(given["name"], list(rows.shape), given["datatype"])
            tensor.set_data_from_numpy(rows)
            answer = client.infer(model, [tensor])
            return {output["name"]: answer.as_numpy(output["name"]) for output in known["outputs"]}

        def ask(model: str, rows: npt.NDArray[np.generic]) -> Answers:
            parts = [ask_together(model, rows[at : at + ROWS_AT_ONCE]) for at in range(0, len(rows), ROWS_AT_ONCE)]
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

        yield ask


def as_json(goal: Goal, measured: Measured, seconds: float | None) -> Result:
    """Say what came out, and by which command."""
    return {
        "metric": goal.metric,
        "value": round(measured.value, 4),
        "interval": [round(measured.low, 4), round(measured.high, 4)],
        "rows": measured.rows,
        "goal": goal.at_least,
        "reached": measured.value >= goal.at_least,
        "seconds": None if seconds is None else round(seconds),
        "command": shlex.join(["ovenbird", *goal.command("store")]),
    }


def line(name: str, result: Result) -> str:
    """Write one row of the table."""
    low, high = result["interval"]
    reached = "yes" if result["reached"] else "no"
    cells = (name, result["metric"], f"{result['value']:.4f}", f"{low:.4f} to {high:.4f}", result["rows"],
             result["goal"], reached, result["seconds"], f"`{result['command']}`")  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def table(results: dict[str, Result]) -> str:
    """Write all results as a Markdown table."""
    header = "| model | metric | measured | 95 % interval | rows | goal | reached | seconds | command |"
    return "\n".join(
        [header, "|---|---|--:|---|--:|--:|---|--:|---|", *(line(name, results[name]) for name in results)]
    )


if __name__ == "__main__":
    main()
