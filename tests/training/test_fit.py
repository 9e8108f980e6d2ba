"""How models are fitted: batches, schedules, optimizers, the best epoch, precision, and options that contradict."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from model_store import Store
from training.datasets import Dataset, Rows
from training.errors import InvalidParameter
from training.fitting.checkpoint import FitState
from training.fitting.consistency import check_fit
from training.fitting.feeding import Feed, balanced_weights, steps_per_epoch
from training.fitting.fit import Fit, validation
from training.fitting.schedule import optimizer_for, scheduled_rate
from training.network import Network
from training.options import FitOptions, Task
from training.parameters import describe
from training.plan import loss_told
from training.recipes import RECIPES

needs_tensorflow = pytest.mark.tensorflow


@pytest.fixture
def dataset() -> Dataset:
    """40 rows to learn from, 10 of the second class, and 5 to test."""
    targets = np.array([0, 0, 0, 1] * 10)
    train = Rows(np.arange(80, dtype=np.float32).reshape(40, 2), targets)
    return Dataset(
        name="made",
        kind="features",
        train=train,
        test=train.take(np.arange(5)),
        labels=("often", "rare"),
        license="",
        source="",
        sha256="",
    )


# Schedules


def rates(epochs: int, **options: object) -> list[float]:
    chosen = FitOptions(**options)  # type: ignore[arg-type]
    return [round(scheduled_rate(chosen, 1.0, epoch, epochs), 4) for epoch in range(epochs)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, [1, 1, 1, 1], id="constant"),
        pytest.param({"schedule": "plateau"}, [1, 1, 1, 1], id="plateau"),
        pytest.param({"schedule": "cosine"}, [1, 0.8536, 0.5, 0.1464], id="cosine"),
        pytest.param({"schedule": "step", "rate_decay": 0.1, "rate_decay_epochs": 2}, [1, 1, 0.1, 0.1], id="step"),
        pytest.param(
            {"schedule": "exponential", "rate_decay": 0.25, "rate_decay_epochs": 2},
            [1, 0.5, 0.25, 0.125],
            id="exponential",
        ),
        pytest.param({"warmup_epochs": 3}, [0.25, 0.5, 0.75, 1], id="warm-up"),
        pytest.param({"schedule": "cosine", "warmup_epochs": 2}, [0.3333, 0.6667, 1, 0.5], id="warm-up-then-cosine"),
    ],
)
def test_a_schedule_gives_each_epoch_its_rate(options: dict[str, object], expected: list[float]) -> None:
    assert rates(4, **options) == expected


@needs_tensorflow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"optimizer": "sgd", "momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "nesterov": True}),
        ({"optimizer": "rmsprop", "momentum": 0.5}, {"momentum": 0.5}),
        ({"optimizer": "adamw", "weight_decay": 0.01}, {"weight_decay": 0.01}),
        ({"optimizer": "adagrad"}, {}),
        ({"optimizer": "nadam", "clip_norm": 2.0}, {"global_clipnorm": 2.0}),
        ({"optimizer": "adam"}, {"global_clipnorm": None, "weight_decay": None}),
    ],
)
def test_an_optimizer_gets_its_options(options: dict[str, object], expected: dict[str, object]) -> None:
    optimizer = optimizer_for(FitOptions(**options), 0.25)  # type: ignore[arg-type]
    config = optimizer.get_config()

    assert type(optimizer).__name__.lower() == options["optimizer"]
    assert config["learning_rate"] == pytest.approx(0.25)
    assert {name: config[name] for name in expected} == pytest.approx(expected)


# Batches


@needs_tensorflow
def test_every_epoch_gives_each_row_once_in_an_order_of_its_own() -> None:
    named = Network(task="classification", graphs=(), encode=lambda inputs: {"inputs": inputs})  # type: ignore[arg-type, return-value]
    feed = Feed(named, Rows(np.arange(10), -np.arange(10)))

    def epochs(first: int, last: int, seed: int = 0) -> list[list[int]]:
        given = [batch for batch, _ in feed.shuffled(4, seed=seed, first=first, last=last)]
        flat = np.concatenate([batch["inputs"] for batch in given])
        return flat.reshape(-1, 10).tolist()  # type: ignore[no-any-return]

    whole = epochs(0, 3)

    assert [sorted(epoch) for epoch in whole] == [list(range(10))] * 3
    assert len({tuple(epoch) for epoch in whole}) == 3
    assert epochs(1, 3) == whole[1:]
    assert epochs(0, 3, seed=1) != whole
    assert [len(targets) for _, targets in feed.shuffled(4, seed=0, first=0, last=1)] == [4, 4, 2]
    assert steps_per_epoch(10, 4) == 3
    inputs, targets = next(iter(feed.shuffled(4, seed=0, first=0, last=1)))
    assert np.array_equal(inputs["inputs"], -targets)


def test_balanced_weights_make_classes_count_alike(dataset: Dataset) -> None:
    weights = balanced_weights(dataset.train.targets)

    assert weights == {0: pytest.approx(2 / 3), 1: 2.0}
    assert sum(weights[target] for target in dataset.train.targets.tolist()) == pytest.approx(40)


# Splits


def test_validation_rows_are_held_back_of_each_class_alike_or_come_with_the_data(dataset: Dataset) -> None:
    kept, held = validation(dataset, FitOptions(validation_split=0.2))

    assert (len(kept), len(held)) == (32, 8)
    assert np.bincount(held.targets).tolist() == [6, 2]
    assert dataset.sizes == {"train": 40, "test": 5}

    own = dataclasses.replace(dataset, validation=dataset.train.take(np.arange(3)))
    kept, held = validation(own, FitOptions())

    assert (len(kept), len(held)) == (40, 3)
    assert own.sizes == {"train": 40, "validation": 3, "test": 5}


# Options that contradict each other


@pytest.mark.parametrize(
    ("options", "task", "message"),
    [
        ({"momentum": 0.9}, "classification", "momentum=0.9: expected optimizer=sgd or rmsprop with it"),
        ({"optimizer": "sgd", "nesterov": True}, "classification", "nesterov=True: expected a momentum above 0"),
        ({"weight_decay": 0.1}, "classification", "weight_decay=0.1: expected optimizer=adamw with it"),
        ({"rate_decay": 0.1}, "classification", "rate_decay=0.1: expected schedule=exponential or step or plateau"),
        ({"warmup_epochs": 30}, "classification", "warmup_epochs=30: expected fewer than epochs=30"),
        ({"schedule": "plateau"}, "classification", "rate_decay_epochs=5: expected fewer than patience=3"),
        ({"class_weights": "balanced"}, "regression", "class_weights=balanced: expected classification"),
        ({"label_smoothing": 0.1}, "reconstruction", "label_smoothing=0.1: expected classification"),
        ({"monitor": "val_accuracy"}, "regression", "expected one that regression has: val_loss, val_mean_absolute"),
        ({"loss": "huber"}, "classification", "loss=huber: expected auto or one that fits"),
        ({"validation_split": 0.01}, "classification", "validation_split=0.01: expected a share"),
    ],
)
def test_options_that_contradict_are_refused(
    dataset: Dataset, options: dict[str, object], task: Task, message: str
) -> None:
    check_fit(FitOptions(), task, dataset)

    with pytest.raises(InvalidParameter, match=message):
        check_fit(FitOptions(**options), task, dataset)  # type: ignore[arg-type]


def test_a_share_for_validation_is_refused_where_there_are_such_rows(dataset: Dataset) -> None:
    own = dataclasses.replace(dataset, validation=dataset.train.take(np.arange(3)))

    with pytest.raises(InvalidParameter, match=r"validation_split=0.2: expected nothing: made has validation rows"):
        check_fit(FitOptions(validation_split=0.2), "classification", own)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_no_recipe_names_a_parameter_as_the_fit_does(recipe) -> None:
    shared = {field.name for field in describe(FitOptions)}

    assert shared.isdisjoint(recipe.parameters.as_json())


# The best epoch


def followed(values: list[float], **options: object) -> tuple[FitState, list[int]]:
    """Let KeepBest see epochs; return the state, and the number of plateaus after each epoch."""
    from training.fitting.callbacks import KeepBest

    state, lowered = FitState(), []
    chosen = FitOptions(**options)  # type: ignore[arg-type]
    callback = KeepBest(state, chosen)
    model = SimpleNamespace(stop_training=False, get_weights=lambda: [np.array(state.epoch)])
    callback.set_model(model)
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {"loss": 0.0, chosen.monitor: value})
        lowered.append(state.lowered)
        if model.stop_training:
            break
    return state, lowered


@needs_tensorflow
def test_the_fit_stops_a_while_after_the_best_epoch() -> None:
    state, _ = followed([3, 1, 2, 2, 0, 5, 5], patience=2)

    assert state.is_over
    assert state.epoch == 4
    assert (state.best, state.best_weights[0].item()) == (1, 2)


@needs_tensorflow
def test_of_an_accuracy_more_is_better() -> None:
    state, _ = followed([0.1, 0.9, 0.5], monitor="val_accuracy")

    assert not state.is_over
    assert (state.best, state.best_weights[0].item()) == (0.9, 2)


@needs_tensorflow
def test_a_plateau_lowers_the_rate() -> None:
    _, lowered = followed([1, 2, 2, 2, 2, 0.5, 2, 2], schedule="plateau", rate_decay_epochs=2, patience=9)

    assert lowered == [0, 0, 1, 1, 2, 2, 2, 3]


@pytest.mark.parametrize(("monitor", "kept"), [("val_loss", 2), ("val_accuracy", 3), ("val_mean_absolute_error", 1)])
def test_the_epoch_that_was_kept_is_the_first_best_by_the_monitor(monitor: str, kept: int) -> None:
    history = {
        "loss": [3.0, 2.0, 1.0, 1.0],
        "val_loss": [3.0, 1.0, 2.0, 1.0],
        "val_accuracy": [0.1, 0.2, 0.9, 0.9],
        "val_mean_absolute_error": [0.5, 0.6, 0.7, 0.5],
    }

    assert Fit(history=history, seconds=0.0, monitor=monitor).kept_epoch == kept
    assert Fit(history={}, seconds=0.0, monitor=monitor).kept_epoch == 0


# Whole jobs


# Keras converts the learning rate for TensorBoard in a way that NumPy 2 deprecates.
@needs_tensorflow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_job_takes_all_options_at_once_and_logs_for_tensorboard(empty_store: Store, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from training import train

    parameters = {
        "optimizer": "sgd",
        "momentum": 0.9,
        "nesterov": True,
        "learning_rate": 0.1,
        "clip_norm": 1,
        "schedule": "cosine",
        "warmup_epochs": 2,
        "label_smoothing": 0.1,
        "class_weights": "balanced",
        "monitor": "val_accuracy",
        "epochs": 8,
        "patience": 8,
    }
    (stored,) = train("dnn", "iris", store=empty_store.root, parameters=parameters, tensorboard=tmp_path / "logs")

    assert stored.manifest.metrics["accuracy"] > 0.8
    assert parameters.items() <= stored.manifest.parameters.items()
    facts = json.loads((stored.path / "report/evaluation.json").read_text())
    found = facts["history"]["val_accuracy"]
    assert facts["kept_epoch"] == 1 + found.index(max(found))
    logs = EventAccumulator(str(tmp_path / "logs/iris-dnn/validation"))
    logs.Reload()
    assert "epoch_loss" in logs.Tags()["tensors"]


@pytest.fixture
def float32_for_others() -> Iterator[None]:
    yield
    import keras

    assert keras.config.dtype_policy().name == "float32"


@needs_tensorflow
def test_a_fit_in_fewer_bits_is_published_in_float32(empty_store: Store, float32_for_others: None) -> None:
    from training import train

    (stored,) = train("dnn", store=empty_store.root, parameters={"precision": "mixed_float16", "epochs": 5})

    assert stored.manifest.metrics["accuracy"] > 0.8
    assert stored.manifest.parameters["precision"] == "mixed_float16"
    assert max(stored.manifest.parity.max_abs_difference.values()) < 1e-5
    assert {spec.dtype for spec in stored.manifest.outputs} == {"float32"}


@needs_tensorflow
def test_numbers_too_large_for_few_bits_are_scaled_before_they_are_cut(
    empty_store: Store, float32_for_others: None, write_csv, tmp_path: Path
) -> None:
    """A float16 ends at 65504."""
    from training import train

    incomes = np.random.default_rng(0).normal(2e6, 3e5, 200).round().tolist()
    rows = [[income, 5, "rich" if income > 2e6 else "poor"] for income in incomes]
    people = write_csv(tmp_path / "people.csv", ["income", "age", "target"], rows)

    parameters = {"precision": "mixed_float16", "epochs": 8, "learning_rate": 0.01}
    (stored,) = train("dnn", people, store=empty_store.root, parameters=parameters)

    assert stored.manifest.metrics["accuracy"] > 0.8


@needs_tensorflow
def test_a_dry_run_tells_layers_and_plan_and_writes_nothing(command) -> None:
    result = command("cnn", "--dry-run", "--set", "schedule=cosine", "--set", "optimizer=sgd", "--set", "momentum=0.9")

    assert result.exit_code == 0, result.output
    assert re.search(r"^conv2d_1 +Conv2D +\(None, 4, 4, 64\) +18,432$", result.stdout, re.MULTILINE)
    assert re.search(r"^all +61,034$", result.stdout, re.MULTILINE)
    plan = dict(line.split(maxsplit=1) for line in result.stdout.splitlines() if line.startswith(("fit", "optimizer")))
    assert plan == {
        "fit": "at most 15 epochs of 21 steps of 64 rows, in float32",
        "optimizer": "sgd, learning rate 0.001, momentum 0.9, nesterov 0",
    }
    assert "data set   digits: 1294 rows to learn from, 144 to validate, 359 to test" in result.stdout
    assert "publish    digits-cnn → store" in result.stdout
    assert not Path("store").exists()


def own_loss(_: object, __: object) -> None:
    """Stand for a loss that a recipe writes itself."""


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        ("binary_crossentropy", "binary_crossentropy"),
        (SimpleNamespace(name="focal_crossentropy"), "focal_crossentropy"),
        (own_loss, "own_loss"),
        (object(), "the recipe's own"),
    ],
)
def test_a_plan_names_a_loss_that_has_a_name(loss: object, told: str) -> None:
    network = Network(task="classification", graphs=(), loss=loss)

    assert loss_told(network, FitOptions()) == told


@needs_tensorflow
def test_a_live_line_takes_the_place_of_the_epochs(empty_store: Store) -> None:
    from training import train

    said: list[str] = []
    shown: list[str] = []
    train("dnn", store=empty_store.root, parameters={"epochs": 2}, say=said.append, show=shown.append)

    assert not any("epoch 1/" in line for line in said)
    assert shown[-1] == ""
    assert json.dumps(shown).count("\\n") == 0
