"""`ovenbird bench`: measure a running service with one of its models."""

from __future__ import annotations

import json
import mimetypes
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import uvloop

from service.http_call import Refused, call, url_option
from service.load_generator import Load, Target, closed_loop, open_loop
from service.sample_requests import Payload, encode, random_inputs

# Different requests that take turns, so that no cache answers for the model.
VARIANTS = 8
WARM_UP_SECONDS = 1.0
# From here on the client's own speed is what was measured.
BUSY = 0.9


@dataclass(frozen=True)
class Work:
    """The requests to send, bodies with their headers, and the rows that each holds, if that is known."""

    path: str
    requests: tuple[tuple[bytes, dict[str, str]], ...]
    rows: int | None


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", metavar="MODEL[@VERSION]")
@url_option
@click.option("--clients", type=click.IntRange(1, 1024), help="Closed loop: connections that send.  [default: 16]")
@click.option("--rate", type=click.FloatRange(0, 1e6, min_open=True), help="Open loop: requests a second, on average.")
@click.option("--rows", type=click.IntRange(1), default=1, show_default=True, help="Rows of each request.")
@click.option("--payload", type=click.Choice(["json", "binary"]), default="binary", show_default=True,
              help="How tensors are sent and answered.")  # fmt: skip
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Send this file: .json to infer, others to predict.")  # fmt: skip
@click.option(
    "--seconds", type=click.FloatRange(0.1, 86400), default=10.0, show_default=True, help="How long to measure."
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON; times in seconds.")
def bench(
    model: str, url: str, clients: int | None, rate: float | None, rows: int, payload: Payload, data: Path | None,
    seconds: float, as_json: bool,
) -> None:  # fmt: skip
    """Measure a running service: requests a second, latency, and how its batches were.

    \b
    Examples:
      ovenbird bench mnist-cnn                                 16 clients, as fast as they are answered
      ovenbird bench mnist-cnn --clients 64 --rows 8 --payload json
      ovenbird bench mnist-cnn --rate 2000                     2000 requests a second, at random moments
      ovenbird bench mnist-cnn --data digit.png                what `ovenbird predict` would send
      ovenbird bench nsmc-text@1 --data request.json --json

    Values are random and fit the model's inputs. With --clients each client sends its next request when the last one
    is answered: this shows how much the service can take. With --rate requests come whether or not others have been
    answered, and latency counts from the moment a request was due: this shows what users feel. Find the most that it
    takes with the first, then its latency at half of that with the second.

    The client is written in Python and needs a processor of its own; where it was the slower side, the output says so,
    and the service can do more than what is shown. Statistics are those of everybody who asked meanwhile.
    """
    if clients is not None and rate is not None:
        raise click.UsageError("--clients is a closed loop, --rate an open one: give one of them")
    try:
        target = Target.of(url)
    except ValueError as error:
        raise click.UsageError(f"--url {error}") from None
    try:
        work = _from_file(model, data) if data else _from_metadata(url, model, rows, payload)
        # Asked once before anything is measured: a mistake gets the service's own words.
        call(url, work.path, *work.requests[0])
        _run(target, work, clients=clients, rate=rate, seconds=min(WARM_UP_SECONDS, seconds))
        before = _statistics(url, model)
        load = _run(target, work, clients=clients, rate=rate, seconds=seconds)
        after = _statistics(url, model)
    except Refused as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"no answer from {url}: {error.strerror or error}") from None
    report = _report(load, work.rows, served=_difference(before, after), rate=rate)
    report = {"model": model, "clients": None if rate else clients or 16, **report}
    click.echo(json.dumps(report) if as_json else _readable(report))
    if not load.latencies:
        raise click.ClickException("no request was answered")


def _base(model: str) -> str:
    name, _, version = model.partition("@")
    steps = [name] + (["versions", version] if version else [])
    return f"/v2/models/{'/'.join(urllib.parse.quote(step, safe='') for step in steps)}"


def _from_metadata(url: str, model: str, rows: int, payload: Payload) -> Work:
    """Make requests that fit what the service says of the model."""
    metadata = json.loads(call(url, _base(model)))
    tensors, known = metadata["inputs"], _categories(metadata.get("properties", {}))
    datatypes = {tensor["name"]: tensor["datatype"] for tensor in tensors}
    chance = np.random.default_rng(0)
    try:
        made = [
            encode(random_inputs(tensors, rows, chance, categories=known), datatypes, payload) for _ in range(VARIANTS)
        ]
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return Work(f"{_base(model)}/infer", tuple(made), rows)


def _categories(properties: Mapping[str, str]) -> dict[str, list[str]]:
    """Read the categories that a model knows of its columns."""
    mark = "categories."
    return {name.removeprefix(mark): json.loads(known) for name, known in properties.items() if name.startswith(mark)}


def _from_file(model: str, file: Path) -> Work:
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    route = "infer" if kind == "application/json" else "predict"
    return Work(f"{_base(model)}/{route}", ((file.read_bytes(), {"Content-Type": kind}),), None)


def _run(target: Target, work: Work, *, clients: int | None, rate: float | None, seconds: float) -> Load:
    requests = [target.request(work.path, *request) for request in work.requests]
    if rate is not None:
        return uvloop.run(open_loop(target, requests, rate=rate, seconds=seconds))
    return uvloop.run(closed_loop(target, requests, clients=clients or 16, seconds=seconds))


def _statistics(url: str, model: str) -> dict[str, float]:
    """Read what the service has counted for the model, over all its versions that serve or the one that is named."""
    total: dict[str, float] = {}
    for version in json.loads(call(url, f"{_base(model)}/stats"))["model_stats"]:
        batches = version["batch_stats"]
        counted = {
            "rows": version["inference_count"],
            "batches": version["execution_count"],
            "queued": version["inference_stats"]["queue"]["count"],
            "queue_ns": version["inference_stats"]["queue"]["ns"],
            "compute_ns": sum(entry["compute_infer"]["ns"] for entry in batches),
        }
        total = {name: total.get(name, 0) + value for name, value in counted.items()}
    return total


def _difference(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    # A version that went out of service meanwhile took its counts with it.
    return {name: max(0.0, after[name] - before.get(name, 0)) for name in after}


def _report(load: Load, rows: int | None, *, served: dict[str, float], rate: float | None) -> dict[str, Any]:
    answered = len(load.latencies)
    computed = served["rows"] if rows is None else answered * rows
    lateness = _quantile(load.lateness, 0.99)
    return {
        "rate": rate,
        "seconds": load.seconds,
        "requests": answered,
        "requests_per_second": answered / load.seconds,
        "rows_per_second": computed / load.seconds,
        "latency": {name: _quantile(load.latencies, share) for name, share in
                    (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))},
        "failures": dict(load.failures),
        "server": {
            "rows_per_batch": _ratio(served["rows"], served["batches"]),
            "queue_seconds_per_request": _ratio(served["queue_ns"], served["queued"], 1e-9),
            "compute_seconds_per_batch": _ratio(served["compute_ns"], served["batches"], 1e-9),
        },
        "client": {"busy": load.busy, "lateness_p99": lateness},
    }  # fmt: skip


def _quantile(values: Sequence[float], share: float) -> float | None:
    return float(np.quantile(values, share)) if values else None


def _ratio(total: float, count: float, unit: float = 1.0) -> float | None:
    return total / count * unit if count else None


def _readable(report: dict[str, Any]) -> str:
    latency, server = report["latency"], report["server"]
    loop = (
        f"{report['rate']:g} requests/s due" if report["rate"] else f"{report['clients']} clients, one after the other"
    )
    failures = ", ".join(f"{count} x {what}" for what, count in report["failures"].items()) or "none"
    lines = [
        f"{report['model']}: {loop}, {report['seconds']:.1f} s",
        f"  requests/s  {report['requests_per_second']:,.0f}",
        f"  rows/s      {report['rows_per_second']:,.0f}",
        "  latency     " + "   ".join(f"{name} {_milliseconds(value)}" for name, value in latency.items()),
        f"  failures    {failures}",
    ]
    if server["rows_per_batch"]:
        lines.append(
            f"  batches     {server['rows_per_batch']:.1f} rows each; a request waited "
            f"{_milliseconds(server['queue_seconds_per_request'])}, a batch ran "
            f"{_milliseconds(server['compute_seconds_per_batch'])}"
        )
    return "\n".join(lines + _doubts(report))


def _doubts(report: dict[str, Any]) -> list[str]:
    """Say where the figures are those of the client rather than of the service."""
    client, latency = report["client"], report["latency"]["p50"]
    if report["rate"] is None:
        if client["busy"] > BUSY:
            return ["the client (Python, one processor) was the slower side: the service can take more than this"]
    elif client["lateness_p99"] is not None and latency is not None and client["lateness_p99"] > latency:
        late = _milliseconds(client["lateness_p99"])
        return [f"the client did not keep up: it sent 1 % of the requests {late} late or more; try a lower --rate"]
    return []


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1e3:.2f} ms"
