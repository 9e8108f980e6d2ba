"""A fitted network → what is published of it: file, golden rows, report and manifest of each graph, in a folder.

Knows how files are exported and proved; neither how a network is fitted nor how a store publishes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model_store import Draft
from model_store.manifest import MODEL_FILE, Group, Parity, sha256_of
from training.commit import current_commit
from training.datasets.dataset import Array
from training.draft import dataset_facts, draft, libraries, write_golden
from training.evidence.data_report import DataReport
from training.evidence.exhibit import Evaluation
from training.evidence.int8_speed import slower_than_float32
from training.evidence.report import write_page, write_report
from training.evidence.report_page import FileFacts
from training.exporting.export import export
from training.exporting.latency import measure_latency
from training.exporting.onnx_session import Session
from training.exporting.quantize import computed_by, quantize, quantize_part
from training.exporting.verify import measure_int8, verify, with_int8_margin
from training.fitting.fit import Fit, Say
from training.job import Job
from training.network import Graph, Network

# As many rows as the largest batch that is timed.
MOST_TIMED = 256


@dataclass(frozen=True)
class Trained:
    """What a job has come to before anything is exported."""

    job: Job
    network: Network
    fit: Fit
    evaluation: Evaluation
    data: DataReport


@dataclass(frozen=True)
class Exported:
    """A file that is loaded, and what is known of it; `quantization` is said of it if it is in int8."""

    graph: Graph
    file: Session
    parity: Parity
    evaluation: Evaluation
    quantization: dict[str, Any] | None = None


def bake(trained: Trained, graph: Graph, scratch: Path, group: Group | None, say: Say) -> Draft:
    """Export one graph, verify the file, and put beside it all that is published with it."""
    job = trained.job
    is_main = graph is trained.network.main
    model = job.name + graph.suffix
    folder = scratch / model
    folder.mkdir()
    path, sample = folder / MODEL_FILE, graph.sample(job.dataset.test.inputs[:100])
    file = export(graph, path, properties={"name": model, "recipe": job.recipe.name})
    say(f"export    {model}: {path.stat().st_size / 1000:.0f} kB")
    parity = verify(graph, file, sample, computed_by=job.recipe.computed_by)
    say(f"verify    {model}: within {max(parity.max_abs_difference.values()):.2g} of {job.recipe.computed_by}")
    exported = Exported(graph, file, parity, trained.evaluation)
    if job.export.quantize != "none":
        exported = in_int8(trained, exported, path, sample, say)
    write_golden(exported.graph, exported.file, job.dataset, folder)
    created, extra = datetime.now(UTC), {**origin(exported.quantization), **job.extra}
    if is_main:
        trained.network.write_beside(folder)
        # Latency is measured for it, which takes a while.
        say(f"report    {model}")
        report(trained, exported, folder, created=created, extra=extra)
    return draft(
        model,
        folder,
        graph,
        job.dataset,
        recipe=job.recipe.name,
        parameters=job.parameters_as_json(),
        metrics=exported.evaluation.metrics if is_main else metrics_of_a_part(exported, trained),
        parity=exported.parity,
        group=group,
        created=created,
        extra=extra,
    )


def in_int8(trained: Trained, exported: Exported, path: Path, sample: Array, say: Say) -> Exported:
    """Turn the file into int8: the main model if it stays as good, or nothing is published; a part if it is near."""
    if exported.graph is trained.network.main:
        return main_in_int8(trained, exported, path, sample, say)
    job, graph = trained.job, exported.graph
    quantized = quantize_part(graph, job.dataset, path, exported.file)
    if quantized is None:
        say(f"quantise  {job.name + graph.suffix}: stays float32")
        return exported
    file, facts = quantized
    say(f"quantise  {job.name + graph.suffix}: {path.stat().st_size / 1000:.0f} kB, noise {facts['noise']:.2g}")
    warn_if_slower(job.name + graph.suffix, facts, say)
    graph = with_int8_margin(graph, file)
    return Exported(graph, file, measure_int8(graph, file, sample), exported.evaluation, facts)


def main_in_int8(trained: Trained, exported: Exported, path: Path, sample: Array, say: Say) -> Exported:
    """Turn the main model's file into int8; raises `QuantizationRefused` if it does not stay as good."""
    job = trained.job
    small = quantize(trained.network, job.dataset, path, exported.file, job.export, trained.evaluation)
    say(f"quantise  {job.name}: {path.stat().st_size / 1000:.0f} kB, {described(small.evaluation.metrics)}")
    warn_if_slower(job.name, small.facts, say)
    graph = with_int8_margin(exported.graph, small.file)
    return Exported(graph, small.file, measure_int8(graph, small.file, sample), small.evaluation, small.facts)


def warn_if_slower(model: str, quantization: Mapping[str, Any], say: Say) -> None:
    """Say so where int8, which is asked for its speed, made a file slower."""
    if complaint := slower_than_float32(quantization):
        say(f"warning   {model}: {complaint}")


def report(trained: Trained, exported: Exported, folder: Path, *, created: datetime, extra: dict[str, Any]) -> None:
    """Write the report of the main model, whose files lie in the folder."""
    job, main = trained.job, trained.network.main
    latency = measure_latency(main, exported.file, main.sample(job.dataset.test.inputs[:MOST_TIMED]))
    evidence = write_report(
        folder / "report",
        trained.network,
        job.dataset,
        trained.fit,
        exported.evaluation,
        latency=latency,
        data=trained.data,
    )
    facts = FileFacts(
        model=job.name,
        recipe=job.recipe.name,
        computed_by=job.recipe.computed_by,
        created=created,
        parameters=job.parameters_as_json(),
        libraries=libraries(),
        parity=exported.parity,
        extra=extra,
        sha256=sha256_of(folder / MODEL_FILE),
        sizes={entry.name: entry.stat().st_size for entry in sorted(folder.iterdir()) if entry.is_file()},
        dataset=dataset_facts(job.dataset),
    )
    write_page(folder, evidence, facts, about_data=trained.data[1])


def origin(quantization: dict[str, Any] | None) -> dict[str, Any]:
    """Say from which commit a job was run, and what was done to its file."""
    commit = current_commit()
    return {
        **({"commit": commit} if commit else {}),
        **({"quantization": quantization} if quantization else {}),
    }


def described(metrics: Mapping[str, float]) -> str:
    """Write metrics in a line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def metrics_of_a_part(exported: Exported, trained: Trained) -> dict[str, float]:
    """Measure a part by itself, or give it the quality of the whole by another name: a decoder has none of its own."""
    graph = computed_by(exported.graph, exported.file) if exported.quantization else exported.graph
    if graph.metrics is not None:
        return graph.metrics(graph, trained.job.dataset)
    name, value = next(iter(trained.evaluation.metrics.items()))
    return {f"whole_{name}": value}
