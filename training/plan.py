"""What a job would do, in words: its layers and its numbers. Builds the network, fits and writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from training.fitting.feeding import steps_per_epoch
from training.fitting.fit import loss_for, stages_of, validation
from training.fitting.schedule import OWN_OPTIONS
from training.job import Job
from training.network import Network
from training.options import LOSSES, FitOptions

if TYPE_CHECKING:
    import keras


def tell(job: Job, *, say: Callable[[str], None]) -> None:
    """Build the job's network, and tell it and the plan for it."""
    from training.pipeline import build, look_over

    look_over(job.dataset, say)
    network = build(job)
    if network.fitted is not None:
        for line in layers(network.fitted):
            say(line)
    for name, fact in facts(job, network).items():
        say(f"{name:10} {fact}")


def layers(model: keras.Model) -> list[str]:
    """Describe a model layer by layer: name, kind, shape of the output, number of weights."""
    table = [
        ("layer", "", "output", "weights"),
        *(
            (layer.name, type(layer).__name__, _output_shape(layer), f"{layer.count_params():,}")
            for layer in model.layers
        ),
        ("all", "", "", f"{model.count_params():,}"),
    ]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    return [
        f"{name:{widths[0]}}  {kind:{widths[1]}}  {shape:{widths[2]}}  {count:>{widths[3]}}"
        for name, kind, shape, count in table
    ]


def _output_shape(layer: keras.layers.Layer) -> str:
    try:
        return str(layer.output.shape)
    except AttributeError:  # it was never called with a symbolic tensor
        return ""


def facts(job: Job, network: Network) -> dict[str, str]:
    """List the plan: fact by name."""
    kept, held = validation(job.dataset, job.fit)
    steps = steps_per_epoch(len(kept), job.fit.batch_size)
    fitted = {
        "fit": f"at most {sum(stage.epochs for stage in stages_of(network, job.fit))} epochs of {steps} steps "
        f"of {job.fit.batch_size} rows, in {job.fit.precision}",
        "optimizer": _optimizer(job.fit),
        "schedule": _schedule(job.fit),
        "loss": loss_told(network, job.fit),
        "stop": f"{job.fit.patience} epochs after the best {job.fit.monitor}",
    }
    return {
        "data set": f"{job.dataset.name}: {len(kept)} rows to learn from, {len(held)} to validate, "
        f"{len(job.dataset.test)} to test",
        "recipe": f"{job.recipe.name}: {network.parameter_count:,} parameters",
        **({"fit": _own_way(job)} if network.learn is not None else fitted),
        "publish": f"{', '.join(job.name + graph.suffix for graph in network.graphs)} → {job.store.location}",
    }


def _own_way(job: Job) -> str:
    return "by the recipe's own way" if job.recipe.heeds(job.parameters) else "nothing: the weights are given"


def _optimizer(options: FitOptions) -> str:
    own = [f"{name} {getattr(options, name):g}" for name in OWN_OPTIONS.get(options.optimizer, ())]
    clipped = [f"gradients clipped at a norm of {options.clip_norm:g}"] if options.clip_norm else []
    return ", ".join([options.optimizer, f"learning rate {options.learning_rate:g}", *own, *clipped])


def _schedule(options: FitOptions) -> str:
    warmup = f", after {options.warmup_epochs} epochs of warm-up" if options.warmup_epochs else ""
    return options.schedule + warmup


def loss_told(network: Network, options: FitOptions) -> str:
    """Name the loss that is made small, where it has a name."""
    if network.loss is not None or not LOSSES[network.task]:
        return _name_of(network.loss)
    return loss_for(network.task, options.loss)


def _name_of(loss: Any) -> str:
    """Name a loss as Keras does: it is a name itself, an object that has one, or a function."""
    if isinstance(loss, str):
        return loss
    return getattr(loss, "name", None) or getattr(loss, "__name__", None) or "the recipe's own"
