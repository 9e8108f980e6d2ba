"""`/` for people: what is served here, how good it is, and a line to try."""

from __future__ import annotations

import shlex

from flask import Blueprint, render_template, request

from service.live_model import LiveModel
from service.web.parts import parts

blueprint = Blueprint("pages", __name__)

# What to send to a model whose first input is of this kind, as arguments of curl.
EXAMPLES = {
    "image": ["--data-binary", "@picture.png"],
    "text": ["-H", "Content-Type: text/plain", "-d", "a sentence to judge"],
    "features": ["-H", "Content-Type: text/csv", "--data-binary", "@rows.csv"],
}


@blueprint.get("/")
def overview() -> str:
    """Show the models."""
    repository = parts().repository
    rows = [
        {"model": model, "metric": _headline(model), "command": example_command(model, request.url_root)}
        for model in repository.live()
    ]
    refused = [status for status in repository.index() if status.state != "READY"]
    return render_template("overview.html", rows=rows, refused=refused)


def _headline(model: LiveModel) -> str:
    return next((f"{name.replace('_', ' ')} {value:.4g}" for name, value in model.manifest.metrics.items()), "")


def example_command(model: LiveModel, root: str) -> str:
    """Write a curl line that asks this model."""
    fallback = ["-H", "Content-Type: application/json", "-d", '{"inputs": [[0.5, …]]}']
    arguments = EXAMPLES.get(model.manifest.inputs[0].kind, fallback)
    return shlex.join(["curl", *arguments, f"{root}v2/models/{model.name}/predict"])
