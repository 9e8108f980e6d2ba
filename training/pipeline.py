"""One job, one straight line: data set → recipe → fit → evaluate → export → verify → publish.

The one place that knows the seven steps; they do not know each other.
"""

from __future__ import annotations

import dataclasses
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model_store import Draft, StoredVersion
from model_store.manifest import MODEL_FILE, Group
from training.data_report import data_report
from training.devices import device_names, spread_over
from training.draft import draft, write_golden
from training.evaluate import evaluate
from training.evidence import Evaluation
from training.export import export
from training.fit import Company, Fit, Say, fit, validation
from training.job import Job
from training.network import Graph, Network
from training.precision import check_fitted_by_keras, computing_in, take_over
from training.report import DataReport, write_report
from training.safety import guarded
from training.verify import verify

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Trained:
    """What a job has come to before anything is exported."""

    job: Job
    network: Network
    fit: Fit
    evaluation: Evaluation
    data: DataReport


def run(
    job: Job, *, say: Say, show: Say | None = None, fresh: bool = False, tensorboard: Path | None = None
) -> list[StoredVersion]:
    """Run a job whose data set is loaded; return what was published, the main model first.

    A job that was killed goes on after the last epoch that it finished, unless it shall start `fresh`. `say` is told
    each step in a line; `show`, if there is one, the text of a line that stays alive during the fit.
    """
    say(f"data set  {job.dataset.name}: {', '.join(f'{size} {part} rows' for part, size in job.dataset.sizes.items())}")
    data = data_report(job.dataset)
    for warning in data[0]["warnings"]:
        say(f"warning   {warning}")
    with guarded(job, fresh=fresh, say=say) as checkpoint:
        network = build(job)
        say(f"recipe    {job.recipe.name}: {network.parameter_count:,} parameters")
        company = Company(checkpoint=checkpoint, say=say, show=show, callbacks=logging_to(tensorboard, job))
        network, fitted = learn(job, network, company)
        say(f"fit       {fitted.epochs} epochs in {fitted.seconds:.0f} s")
        compute_in_full_float32()
        evaluation = evaluate(network, job.dataset)
        say(f"evaluate  {', '.join(f'{name} {value:.4g}' for name, value in evaluation.metrics.items())}")
        return publish(Trained(job, network, fitted, evaluation, data), say)


def build(job: Job) -> Network:
    """Build the recipe's network from a clean start, with every source of chance seeded."""
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(job.fit.seed)
    if job.fit.deterministic:
        compute_the_same_each_time()
    with computing_in(job.fit.precision), spread_over(device_names(job.fit.devices)):
        return job.recipe.build(job.parameters, job.dataset)


def learn(job: Job, network: Network, company: Company) -> tuple[Network, Fit]:
    """Fit the network; return what is published of it, which computes in float32 on one device."""
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


def logging_to(folder: Path | None, job: Job) -> list[keras.callbacks.Callback]:
    """Log the fit for TensorBoard, in a folder of the model's name."""
    if folder is None:
        return []
    import keras

    return [keras.callbacks.TensorBoard(folder / job.name, write_graph=False)]


def publish(trained: Trained, say: Say) -> list[StoredVersion]:
    """Export and verify every graph, then publish them together."""
    job, network = trained.job, trained.network
    group = group_of(job)
    with tempfile.TemporaryDirectory(prefix="ovenbird-") as scratch:
        drafts = [bake(trained, graph, Path(scratch), group, say) for graph in network.graphs]
        say(f"publish   {', '.join(entry.model for entry in drafts)} → {job.store.root}")
        return job.store.publish(*drafts)


def bake(trained: Trained, graph: Graph, scratch: Path, group: Group | None, say: Say) -> Draft:
    """Export one graph, verify the file, and put beside it all that is published with it."""
    job, evaluation = trained.job, trained.evaluation
    model = job.name + graph.suffix
    folder = scratch / model
    folder.mkdir()
    export(graph, folder / MODEL_FILE, properties={"name": model, "recipe": job.recipe.name})
    say(f"export    {model}: {(folder / MODEL_FILE).stat().st_size / 1000:.0f} kB")
    parity = verify(graph, folder / MODEL_FILE, graph.sample(job.dataset.test.inputs[:100]))
    say(f"verify    {model}: within {max(parity.max_abs_difference.values()):.2g} of Keras")
    write_golden(graph, job.dataset, folder)
    is_main = graph is trained.network.main
    if is_main:
        write_report(folder / "report", trained.network, job.dataset, trained.fit, evaluation, trained.data)
    return draft(
        model,
        folder,
        graph,
        job.dataset,
        recipe=job.recipe.name,
        parameters=job.parameters_as_json(),
        metrics=evaluation.metrics if is_main else metrics_of_a_part(evaluation),
        parity=parity,
        group=group,
    )


def group_of(job: Job) -> Group | None:
    """Bind the models of one job together, where there are several."""
    if len(job.models) == 1:
        return None
    return Group(id=uuid.uuid4().hex, members=tuple(job.models))


def metrics_of_a_part(evaluation: Evaluation) -> dict[str, float]:
    """Give an encoder or a decoder the quality of the whole, by another name: alone it has none."""
    name, value = next(iter(evaluation.metrics.items()))
    return {f"whole_{name}": value}


def compute_in_full_float32() -> None:
    """Turn off the shortened multiplication of newer GPUs: what the file repeats must be computed in full."""
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)


def compute_the_same_each_time() -> None:
    """Let TensorFlow take ways whose sums have one order; where it knows none, it refuses the layer."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
