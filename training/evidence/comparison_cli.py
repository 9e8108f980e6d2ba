"""`ovenbird store compare`: two versions side by side, as text, JSON or a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from model_store import Store, StoredVersion
from model_store.metrics import label_of
from model_store.store import LATEST
from model_store.store_options import fail_in_one_line, open_store, store_option
from training.evidence import comparison
from training.evidence.comparison import Side

# From here on a number's fraction says nothing more.
WHOLE_FROM = 10_000


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@store_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with the figures.")
def compare(first: str, second: str, store_location: str | None, as_json: bool, page: Path | None) -> None:
    """Set two versions side by side, and test on the same held-out rows whether they really differ.

    A and B are MODEL, which is its newest version that was not withdrawn, MODEL@VERSION or MODEL@LABEL. Differences
    are B less A. Versions that were measured on different rows are refused; where one has no predictions.npz, only
    the published metrics are shown.

    Classes are tested by McNemar's test, errors of values and of reconstructed pictures by a paired bootstrap. Of
    detectors the difference of mAP@0.5 is bounded by drawing held-out pictures, of clusterings the agreement with one
    another and, where there are classes, the difference of their agreement with these (adjusted Rand index).

    \b
    Examples:
      ovenbird store compare mnist-dnn mnist-cnn
      ovenbird store compare mnist-cnn@1 mnist-cnn@2 --json
      ovenbird store compare mnist-cnn@stable mnist-cnn --html comparison.html
    """
    opened = open_store(store_location, announce=not as_json)
    sides = [fail_in_one_line(lambda name=name: Side.read(_fetched(opened, name))) for name in (first, second)]  # type: ignore[misc]
    found = fail_in_one_line(lambda: comparison.compare(*sides))
    if page is not None:
        _write_page(page, found, sides)
    click.echo(json.dumps(found, indent=2) if as_json else as_text(found))


def _fetched(opened: Store, name: str) -> StoredVersion:
    """Find a version, and have its files at hand."""
    stored = find(opened, name)
    opened.fetch(stored)
    return stored


def find(opened: Store, name: str) -> StoredVersion:
    """Find MODEL, its newest version that was not withdrawn, MODEL@VERSION or MODEL@LABEL; raises `StoreError`."""
    model, _, version = name.partition("@")
    labels = opened.labels(model) if version else {}
    if version in ("", LATEST) and version not in labels:
        return opened.newest(model)
    return opened.resolve(model, labels.get(version, version))


def _write_page(path: Path, found: dict[str, Any], sides: list[Side]) -> None:
    try:
        from training.evidence.comparison_page import render
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"--html needs the Python package {error.name!r}: pip install 'ovenbird[train]'"
        ) from None
    try:
        path.write_text(render(found, *sides), encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None


def as_text(found: dict[str, Any]) -> str:
    """Write a comparison as a table and what the test says."""
    rows = [["", *found["versions"], "difference"], ["recipe", *found["recipes"], ""], *measured_rows(found)]
    rows += [
        [name, *(_short(pair[side]) for side in ("first", "second")), ""] for name, pair in found["parameters"].items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", *verdict(found)])


def measured_rows(found: dict[str, Any]) -> list[list[str]]:
    """List metrics, size and latency: name, of the first, of the second, difference."""
    named = {
        **{label_of(name): pair for name, pair in found["metrics"].items()},
        "bytes": found["bytes"],
        **{f"µs, {name}": pair for name, pair in found["latency_us"].items()},
    }
    return [[name, *_cells(pair)] for name, pair in named.items()]


def class_rows(found: dict[str, Any]) -> list[list[str]]:
    """List a detector's average precision per class, like the metrics."""
    return [[label, *_cells(pair)] for label, pair in found["per_class"].items()]


def _cells(pair: dict[str, Any]) -> list[str]:
    return [_short(pair["first"]), _short(pair["second"]), _short(pair["difference"], signed=True)]


def verdict(found: dict[str, Any]) -> list[str]:
    """Say in a line or two what the test found, or why there was none."""
    test = found["test"]
    if test is None:
        return [f"note: {found['note']}"]
    return [*_WORDS[found["kind"]](test, *found["versions"]), f"{test['name']}: {_says(test)}"]


def _says(test: dict[str, Any]) -> str:
    return test["says"] if test["p_value"] is None else f"p = {test['p_value']:.3g}: {test['says']}"


def _of_classes(test: dict[str, Any], first: str, second: str) -> list[str]:
    return [
        f"of {test['rows']} held-out rows {test['both_right']} are right in both, "
        f"{test['only_first_right']} only in {first}, "
        f"{test['only_second_right']} only in {second}, {test['both_wrong']} in neither"
    ]


def _of_errors(test: dict[str, Any], first: str, second: str) -> list[str]:
    bounds = f"{test['mean_difference']:+.4g} ({test['low']:+.4g} to {test['high']:+.4g})"
    return [f"the errors of {second} are {bounds} beside those of {first}, over {test['rows']} held-out rows"]


def _of_detections(test: dict[str, Any], first: str, second: str) -> list[str]:
    return [f"mAP@0.5 {_difference(test, first, second)}, over {test['rows']} held-out pictures"]


def _of_clusters(test: dict[str, Any], first: str, second: str) -> list[str]:
    found = test["agreement"]
    bounds = f"{found['value']:.4g} ({found['low']:.4g} to {found['high']:.4g})"
    lines = [f"the clusters of {first} and {second} agree by {bounds}, over {test['rows']} held-out rows"]
    if "difference" in test:
        lines.append(f"agreement with the classes {_difference(test, first, second)}")
    return lines


def _difference(test: dict[str, Any], first: str, second: str) -> str:
    bounds = f"{test['difference']:+.4g} ({test['low']:+.4g} to {test['high']:+.4g})"
    return f"{test['first']:.4g} of {first}, {test['second']:.4g} of {second}, a difference of {bounds}"


_WORDS: dict[str, Callable[[dict[str, Any], str, str], list[str]]] = {
    "classification": _of_classes,
    "regression": _of_errors,
    "reconstruction": _of_errors,
    "detection": _of_detections,
    "clustering": _of_clusters,
}


def _short(value: Any, *, signed: bool = False) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ",".join(map(str, value)) if isinstance(value, list) else str(value)
    sign = "+" if signed and value else ""
    is_whole = isinstance(value, int) or abs(value) >= WHOLE_FROM
    return f"{value:{sign},.0f}" if is_whole else f"{value:{sign}.4g}"
