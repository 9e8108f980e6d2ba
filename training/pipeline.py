"""One job, one straight line: data set → recipe → fit → evaluate → export → verify → publish.

The one place that knows the seven steps; they do not know each other. `baking` takes the last ones graph by graph.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

from model_store import Draft, StoredVersion
from model_store.manifest import Group
from training.baking import Trained, bake, described
from training.datasets import Dataset
from training.errors import UnusableCluster
from training.evidence.data_report import DataReport, data_report
from training.evidence.evaluate import evaluate, no_better_than_guessing
from training.fitting import tensorboard_log
from training.fitting.devices import device_names, spread_over
from training.fitting.fit import Company, Fit, Say, fit, validation
from training.fitting.machines import VARIABLE, Machines
from training.fitting.precision import check_fitted_by_keras, computing_in, take_over
from training.fitting.safety import digest, guarded
from training.job import Job
from training.network import Network

Gate = Callable[[Draft], bool]


def let_through(_: Draft) -> bool:
    """Publish whatever was verified."""
    return True


def run(
    job: Job,
    *,
    say: Say,
    show: Say | None = None,
    fresh: bool = False,
    tensorboard: Path | None = None,
    machines: Machines | None = None,
    gate: Gate = let_through,
) -> list[StoredVersion]:
    """Run a job whose data set is loaded; return what was published, the main model first.

    A job that was killed goes on after the last epoch that it finished, unless it shall start `fresh`. `say` is told
    each step in a line; `show`, if there is one, the text of a line that stays alive during the fit. `machines`, if
    there are several, fit together; of them, this is the chief. `gate` is asked about the main model when all is
    verified; where it says no, nothing is published.
    """
    say(f"data set  {job.dataset.name}: {', '.join(f'{size} {part} rows' for part, size in job.dataset.sizes.items())}")
    data = look_over(job.dataset, say)
    with guarded(job, fresh=fresh, say=say) as checkpoint:
        network = build(job)
        if machines is not None:
            join(job, network, machines)
            say(f"machines  {len(machines.place.workers)} fit together")
        say(f"recipe    {job.recipe.name}: {network.parameter_count:,} parameters")
        if fresh and network.learn is not None:
            say(f"noticed   --fresh changes nothing: {job.recipe.name} fits in its own way and always starts anew")
        log = tensorboard / job.name if tensorboard else None
        logging = tensorboard_log.callbacks(log) if log and network.learn is None else []
        company = Company(checkpoint=checkpoint, say=say, show=show, callbacks=logging, machines=machines)
        network, fitted = learn(job, network, company)
        if log and network.learn is not None:
            tensorboard_log.write_history(log, fitted.history)
        say(f"fit       {how_fitted(fitted)}")
        if job.recipe.uses_keras:
            compute_in_full_float32()
        evaluation = evaluate(network, job.dataset)
        say(f"evaluate  {described(evaluation.metrics)}")
        for complaint in no_better_than_guessing(network.task, evaluation.metrics, job.dataset):
            say(f"warning   {complaint}")
        return publish(Trained(job, network, fitted, evaluation, data), say, gate)


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


def publish(trained: Trained, say: Say, gate: Gate) -> list[StoredVersion]:
    """Export and verify every graph, then publish them together, if the gate lets the main one through."""
    job, network = trained.job, trained.network
    group = group_of(job, network)
    with tempfile.TemporaryDirectory(prefix="ovenbird-") as scratch:
        drafts = [bake(trained, graph, Path(scratch), group, say) for graph in network.graphs]
        if not gate(drafts[0]):
            return []
        say(f"publish   {', '.join(entry.model for entry in drafts)} → {job.store.location}")
        return job.store.publish(*drafts)


def group_of(job: Job, network: Network) -> Group | None:
    """Bind the models of one job together, where there are several."""
    if len(network.graphs) == 1:
        return None
    return Group(id=uuid.uuid4().hex, members=tuple(job.name + graph.suffix for graph in network.graphs))


def compute_in_full_float32() -> None:
    """Turn off the shortened multiplication of newer GPUs: what the file repeats must be computed in full."""
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)


def compute_the_same_each_time() -> None:
    """Let TensorFlow take ways whose sums have one order; where it knows none, it refuses the layer."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
