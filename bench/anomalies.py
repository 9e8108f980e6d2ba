"""How well NAME-anomaly tells pictures of one data set from another's: `python -m bench.anomalies MODEL`.

Asks a running service over HTTP about the test rows of both sets, and prints the area under the ROC curve, how many
alarms each set raises, and how the p-values of the usual set are spread: a share of x should lie below x.

    ovenbird train autoencoder --data mnist --set epochs=15
    ovenbird serve --store store
    python -m bench.anomalies mnist-autoencoder-anomaly --usual mnist --foreign fashion-mnist
"""

from __future__ import annotations

import json

import click
import numpy as np

from bench.auroc import area_under_roc
from service.http_call import post, url_option
from training import datasets
from training.options import FileOptions

ROWS_AT_ONCE = 500
Answers = dict[str, np.ndarray]


def ask(url: str, model: str, pictures: np.ndarray) -> Answers:
    """Send pictures uint8 [n, height, width, channels] in JSON; output name → array [n]."""
    parts = [
        _ask_once(url, model, pictures[start : start + ROWS_AT_ONCE]) for start in range(0, len(pictures), ROWS_AT_ONCE)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _ask_once(url: str, model: str, pictures: np.ndarray) -> Answers:
    tensor = {"name": "image", "shape": pictures.shape, "datatype": "UINT8", "data": pictures.ravel().tolist()}
    answer = json.loads(post(url, f"/v2/models/{model}/infer", json.dumps({"inputs": [tensor]}).encode()))
    return {output["name"]: np.array(output["data"]) for output in answer["outputs"]}


def figures(usual: Answers, foreign: Answers) -> dict[str, float]:
    """Measure the answers for usual rows against those for foreign ones."""
    return {
        "AUROC": area_under_roc(usual["score"], foreign["score"]).value,
        "alarms, usual": float(np.mean(usual["is_anomaly"])),
        "alarms, foreign": float(np.mean(foreign["is_anomaly"])),
        **{f"usual p-values up to {level}": float(np.mean(usual["p_value"] <= level)) for level in (0.01, 0.05, 0.5)},
    }


@click.command()
@click.argument("model")
@click.option("--usual", default="mnist", show_default=True, help="The data set that the model has learned.")
@click.option("--foreign", default="fashion-mnist", show_default=True, help="One with pictures of the same size.")
@url_option
def main(model: str, usual: str, foreign: str, url: str) -> None:
    """Ask a running service about the test rows of two data sets, and measure what it says."""
    answers = [ask(url, model, datasets.load(name, FileOptions()).test.inputs) for name in (usual, foreign)]
    for name, value in figures(*answers).items():
        click.echo(f"{name:28} {value:.4f}")


if __name__ == "__main__":
    main()
