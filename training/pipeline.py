"""One job, one straight line: data set → recipe → fit → evaluate → export → verify → publish.

The one place that knows the seven steps; they do not know each other.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_store import Draft, StoredVersion
from model_store.manifest import MODEL_FILE, Group, Parity, sha256_of
from training.commit import current_commit
from training.datasets import Dataset
from training.datasets.dataset import Array
from training.draft import dataset_facts, draft, libraries, write_golden
from training.errors import UnusableCluster
from training.evidence.data_report import DataReport, data_report
from training.evidence.evaluate import evaluate, no_better_than_guessing
from training.evidence.exhibit import Evaluation
from training.evidence.report import write_page, write_report
from training.evidence.report_page import FileFacts
from training.exporting.export import export
from training.exporting.latency import measure_latency
from training.exporting.quantize import computed_by, quantize, quantize_part
from training.exporting.verify import measure_int8, verify, with_int8_margin
from training.fitting.devices import device_names, spread_over
from training.fitting.fit import Company, Fit, Say, fit, validation
from training.fitting.machines import VARIABLE, Machines
from training.fitting.precision import check_fitted_by_keras, computing_in, take_over
from training.fitting.safety import digest, guarded
from training.job import Job
from training.network import Graph, Network

if TYPE_CHECKING:
    import keras


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
    """What is known of a file beside the graph that it computes; `quantization` is said of it if it is in int8."""

    graph: Graph
    parity: Parity
    evaluation: Evaluation
    quantization: dict[str, Any] | None = None


def run(
    job: Job,
    *,
    say: Say,
    show: Say | None = None,
    fresh: bool = False,
    tensorboard: Path | None = None,
    machines: Machines | None = None,
) -> list[StoredVersion]:
    """Run a job whose data set is loaded; return what was published, the main model first.

    A job that was killed goes on after the last epoch that it finished, unless it shall start `fresh`. `say` is told
    each step in a line; `show`, if there is one, the text of a line that stays alive during the fit. `machines`, if
    there are several, fit together; of them, this is the chief.
    """
    say(f"data set  {job.dataset.name}: {', '.join(f'{size} {part} rows' for part, size in job.dataset.sizes.items())}")
    data = look_over(job.dataset, say)
    with guarded(job, fresh=fresh, say=say) as checkpoint:
        network = build(job)
        if machines is not None:
            join(job, network, machines)
            say(f"machines  {len(machines.place.workers)} fit together")
        say(f"recipe    {job.recipe.name}: {network.parameter_count:,} parameters")
        company = Company(
            checkpoint=checkpoint, say=say, show=show, callbacks=logging_to(tensorboard, job), machines=machines
        )
        network, fitted = learn(job, network, company)
        say(f"fit       {how_fitted(fitted)}")
        if job.recipe.uses_keras:
            compute_in_full_float32()
        evaluation = evaluate(network, job.dataset)
        say(f"evaluate  {described(evaluation.metrics)}")
        for complaint in no_better_than_guessing(network.task, evaluation.metrics, job.dataset):
            say(f"warning   {complaint}")
        return publish(Trained(job, network, fitted, evaluation, data), say)


def look_over(dataset: Dataset, say: Say) -> DataReport:
    """Say what was noticed while the data set was read, and what is suspicious about its rows."""
    for note in dataset.notes:
        say(f"noticed   {note}")
    data = data_report(dataset)
    for warning in data[0]["warnings"]:
        say(f"warning   {warning}")
    return data


def fit_along(job: Job, machines: Machines, *, say: Say) -> None:
    """Do this machine's share of the fit of a job that another machine, the chief, runs and publishes."""
    network = dataclasses.replace(build(job), after_fit=None)
    join(job, network, machines)
    fitted = fit(network, job.dataset, job.fit, Company(machines=machines))
    say(f"{machines.place}: {fitted.epochs} epochs done; worker 0 publishes")


def join(job: Job, network: Network, machines: Machines) -> None:
    """Make sure that the machines do the same, and that it can be done together.

    Raises:
        UnusableCluster: the recipe fits in its own way, or a process was given several devices.
        OtherJob: another machine was given another job.
    """
    if network.learn is not None or network.fitted is None:
        raise UnusableCluster(f"recipe {job.recipe.name!r} fits by itself, on one machine: unset {VARIABLE}")
    if job.fit.devices > 1:
        raise UnusableCluster(
            f"devices={job.fit.devices}: of several machines each process has one device: start one process per GPU"
        )
    machines.check_same(digest(job))


def build(job: Job) -> Network:
    """Build the recipe's network from a clean start, with every source of chance seeded."""
    network = build_with_keras(job) if job.recipe.uses_keras else job.recipe.build(job.parameters, job.dataset)
    if not job.exhibits:
        return network
    return dataclasses.replace(network, exhibits=lambda *given: (*network.exhibits(*given), *job.exhibits))


def build_with_keras(job: Job) -> Network:
    """Build a network of Keras's layers, in the precision that it is fitted in."""
    import keras

    # A job predicts with several small models: each is traced anew, of which TensorFlow warns as of a loop.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    keras.utils.clear_session()
    keras.utils.set_random_seed(job.fit.seed)
    if job.fit.deterministic:
        compute_the_same_each_time()
    with computing_in(job.fit.precision), spread_over(device_names(job.fit.devices)):
        return job.recipe.build(job.parameters, job.dataset)


def learn(job: Job, network: Network, company: Company) -> tuple[Network, Fit]:
    """Fit the network; return what is published of it, which computes in float32 on one device."""
    if not job.recipe.uses_keras:
        return network, fit(network, job.dataset, job.fit, company)
    plain = dataclasses.replace(job, fit=dataclasses.replace(job.fit, precision="float32", devices=1))
    changed = [name for name in ("precision", "devices") if getattr(job.fit, name) != getattr(plain.fit, name)]
    if job.fit.devices == 0 and len(device_names(0)) == 1:
        changed.remove("devices")
    if not changed:
        return network, fit(network, job.dataset, job.fit, company)
    for name in changed:
        check_fitted_by_keras(name, getattr(job.fit, name), network)
    fitted = fit(dataclasses.replace(network, after_fit=None), job.dataset, job.fit, company)
    published = take_over(build(plain), network)
    if published.after_fit is not None:
        published.after_fit(*validation(job.dataset, job.fit))
    return published, fitted


def how_fitted(fitted: Fit) -> str:
    """Say how long the fit went on, if there was one."""
    return f"{fitted.epochs} epochs in {fitted.seconds:.0f} s" if fitted.epochs else "nothing: the weights are given"


def logging_to(folder: Path | None, job: Job) -> list[keras.callbacks.Callback]:
    """Log the fit for TensorBoard, in a folder of the model's name."""
    if folder is None:
        return []
    import keras

    return [keras.callbacks.TensorBoard(folder / job.name, write_graph=False)]


def publish(trained: Trained, say: Say) -> list[StoredVersion]:
    """Export and verify every graph, then publish them together."""
    job, network = trained.job, trained.network
    group = group_of(job, network)
    with tempfile.TemporaryDirectory(prefix="ovenbird-") as scratch:
        drafts = [bake(trained, graph, Path(scratch), group, say) for graph in network.graphs]
        say(f"publish   {', '.join(entry.model for entry in drafts)} → {job.store.root}")
        return job.store.publish(*drafts)


def bake(trained: Trained, graph: Graph, scratch: Path, group: Group | None, say: Say) -> Draft:
    """Export one graph, verify the file, and put beside it all that is published with it."""
    job = trained.job
    is_main = graph is trained.network.main
    model = job.name + graph.suffix
    folder = scratch / model
    folder.mkdir()
    path, sample = folder / MODEL_FILE, graph.sample(job.dataset.test.inputs[:100])
    export(graph, path, properties={"name": model, "recipe": job.recipe.name})
    say(f"export    {model}: {path.stat().st_size / 1000:.0f} kB")
    exported = Exported(graph, verify(graph, path, sample), trained.evaluation)
    say(f"verify    {model}: within {max(exported.parity.max_abs_difference.values()):.2g} of {job.recipe.computed_by}")
    if job.export.quantize != "none":
        exported = in_int8(trained, exported, path, sample, say)
    write_golden(exported.graph, job.dataset, folder)
    created, extra = datetime.now(UTC), {**origin(exported.quantization), **job.extra}
    if is_main:
        trained.network.write_beside(folder)
        # Latency is measured for it, which takes a while.
        say(f"report    {model}")
        report(trained, exported.evaluation, folder, parity=exported.parity, created=created, extra=extra)
    return draft(
        model,
        folder,
        graph,
        job.dataset,
        recipe=job.recipe.name,
        parameters=job.parameters_as_json(),
        metrics=exported.evaluation.metrics if is_main else metrics_of_a_part(exported, path, trained),
        parity=exported.parity,
        group=group,
        created=created,
        extra=extra,
    )


def in_int8(trained: Trained, exported: Exported, path: Path, sample: Array, say: Say) -> Exported:
    """Turn the file into int8: the main model if it stays as good, or nothing is published; a part if it is near."""
    job, graph, evaluation = trained.job, exported.graph, trained.evaluation
    model, facts = job.name + graph.suffix, None
    if graph is trained.network.main:
        quantized = quantize(trained.network, job.dataset, path, job.export, evaluation)
        evaluation, facts = quantized.evaluation, quantized.facts
    else:
        facts = quantize_part(graph, job.dataset, path)
    if facts is None:
        say(f"quantise  {model}: stays float32")
        return exported
    found = described(evaluation.metrics) if graph is trained.network.main else f"noise {facts['noise']:.2g}"
    say(f"quantise  {model}: {path.stat().st_size / 1000:.0f} kB, {found}")
    graph = with_int8_margin(graph, path)
    return Exported(graph, measure_int8(graph, path, sample), evaluation, facts)


def report(
    trained: Trained, evaluation: Evaluation, folder: Path, *, parity: Parity, created: datetime, extra: dict[str, Any]
) -> None:
    """Write the report of the main model, whose files lie in the folder."""
    job, main, path = trained.job, trained.network.main, folder / MODEL_FILE
    latency = measure_latency(main, path, main.sample(job.dataset.test.inputs[:MOST_TIMED]))
    evidence = write_report(
        folder / "report",
        trained.network,
        job.dataset,
        trained.fit,
        evaluation,
        latency=latency,
        data=trained.data,
    )
    file = FileFacts(
        model=job.name,
        recipe=job.recipe.name,
        computed_by=job.recipe.computed_by,
        created=created,
        parameters=job.parameters_as_json(),
        libraries=libraries(),
        parity=parity,
        extra=extra,
        sha256=sha256_of(path),
        sizes={entry.name: entry.stat().st_size for entry in sorted(folder.iterdir()) if entry.is_file()},
        dataset=dataset_facts(job.dataset),
    )
    write_page(folder, evidence, file, about_data=trained.data[1])


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


def group_of(job: Job, network: Network) -> Group | None:
    """Bind the models of one job together, where there are several."""
    if len(network.graphs) == 1:
        return None
    return Group(id=uuid.uuid4().hex, members=tuple(job.name + graph.suffix for graph in network.graphs))


def metrics_of_a_part(exported: Exported, path: Path, trained: Trained) -> dict[str, float]:
    """Measure a part by itself, or give it the quality of the whole by another name: a decoder has none of its own."""
    graph = computed_by(exported.graph, path) if exported.quantization else exported.graph
    if graph.metrics is not None:
        return graph.metrics(graph, trained.job.dataset)
    name, value = next(iter(trained.evaluation.metrics.items()))
    return {f"whole_{name}": value}


def compute_in_full_float32() -> None:
    """Turn off the shortened multiplication of newer GPUs: what the file repeats must be computed in full."""
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)


def compute_the_same_each_time() -> None:
    """Let TensorFlow take ways whose sums have one order; where it knows none, it refuses the layer."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
