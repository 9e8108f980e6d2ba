"""One job, one straight line: data set → recipe → fit → evaluate → export → verify → publish.

The one place that knows the seven steps; they do not know each other.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model_store import Draft, StoredVersion
from model_store.manifest import MODEL_FILE, Group
from training.draft import draft, write_golden
from training.evaluate import evaluate
from training.evidence import Evaluation
from training.export import export
from training.fit import Fit, fit
from training.job import Job
from training.network import Graph, Network
from training.report import write_report
from training.verify import verify

Say = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """What a job has come to before anything is exported."""

    job: Job
    network: Network
    fit: Fit
    evaluation: Evaluation


def run(job: Job, *, say: Say) -> list[StoredVersion]:
    """Run a job whose data set is loaded; return what was published, the main model first."""
    say(f"data set  {job.dataset.name}: {', '.join(f'{size} {part} rows' for part, size in job.dataset.sizes.items())}")
    network = build(job)
    say(f"recipe    {job.recipe.name}: {network.parameter_count:,} parameters")
    fitted = fit(network, job.dataset, job.fit)
    say(f"fit       {fitted.epochs} epochs in {fitted.seconds:.0f} s")
    compute_in_full_float32()
    evaluation = evaluate(network, job.dataset)
    say(f"evaluate  {', '.join(f'{name} {value:.4g}' for name, value in evaluation.metrics.items())}")
    trained, group = Trained(job, network, fitted, evaluation), group_of(job)
    with tempfile.TemporaryDirectory(prefix="ovenbird-") as scratch:
        drafts = [bake(trained, graph, Path(scratch), group, say) for graph in network.graphs]
        say(f"publish   {', '.join(entry.model for entry in drafts)} → {job.store.root}")
        return job.store.publish(*drafts)


def build(job: Job) -> Network:
    """Build the recipe's network from a clean start, with every source of chance seeded."""
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(job.fit.seed)
    return job.recipe.build(job.parameters, job.dataset)


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
        trained.network.write_beside(folder)
        write_report(folder / "report", trained.network, job.dataset, trained.fit, evaluation)
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
