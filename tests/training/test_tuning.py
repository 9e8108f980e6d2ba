"""`ovenbird tune`: what is tried, that an interrupted search goes on, and that the best trial is published."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import tiny_models
from click.testing import CliRunner, Result

from model_store import Draft, Store
from model_store.steering import roll_back
from training.cli import train
from training.datasets import Dataset
from training.errors import FitDiverged, TrainingError
from training.fitting.fit import Fit, fit
from training.job import prepare
from training.network import Network
from training.options import FitOptions
from training.parameters import describe
from training.recipes import RECIPES
from training.tuning import study
from training.tuning.search_space import Choices, Range, default_space, read_space
from training.tuning.standing import as_good_already
from training.tuning.tune_cli import tune

QUICK = ["scratch", "--data", "iris", "--set", "epochs=4", "--set", "scale=true"]
SEARCH = ["--search", "hidden=4..12", "--search", "learning_rate=0.05..1", "--search", "activation=tanh,relu"]


@pytest.fixture(scope="module")
def run() -> Callable[..., Result]:
    def run(*words: str) -> Result:
        return CliRunner().invoke(tune, list(words))

    return run


@pytest.fixture(scope="module")
def searched(run: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("tuning")
    return folder, run(*QUICK, *SEARCH, "--trials", "4", "--store", str(folder / "store"))


def rows_of(table: Path) -> list[dict[str, str]]:
    """Read a table of trials, without how long each took."""
    with table.open(newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def test_the_best_trial_is_trained_again_and_published(searched: tuple[Path, Result]) -> None:
    folder, result = searched
    rows = rows_of(folder / "store.tuning/iris-scratch.csv")

    assert result.exit_code == 0, result.output
    assert len(rows) == 4
    best = min(rows, key=lambda row: float(row["val_loss"]))
    stored = Store(folder / "store").resolve("iris-scratch")
    parameters = stored.manifest.parameters
    assert (str(parameters["hidden"][0]), parameters["activation"]) == (best["hidden"], best["activation"])
    assert parameters["learning_rate"] == float(best["learning_rate"])
    facts = json.loads((stored.path / "report/evaluation.json").read_text())
    assert min(facts["history"]["val_loss"]) == pytest.approx(float(best["val_loss"]), rel=1e-4)


def test_every_trial_is_told_kept_and_shown(searched: tuple[Path, Result]) -> None:
    folder, result = searched
    stored = Store(folder / "store").resolve("iris-scratch")
    told = stored.manifest.extra["tuning"]

    assert result.output.count("trial   ") == 8, "once as it ends, once among the best"
    assert told["search"] == {"hidden": "4..12", "learning_rate": "0.05..1", "activation": "tanh,relu"}
    assert [trial["number"] for trial in told["trials"]] == [1, 2, 3, 4]
    assert told["trials"][told["best_trial"] - 1]["val_loss"] == min(trial["val_loss"] for trial in told["trials"])
    assert "report/tuning.png" in stored.manifest.files
    assert Store(folder / "store").verify(stored) == []


def test_it_ends_as_training_does(searched: tuple[Path, Result]) -> None:
    told = [line[:10].rstrip() for line in searched[1].output.splitlines()[-5:]]

    assert told == ["published", "held-out", "parity", "serve it", "ask it"]


def test_what_the_store_has_as_good_already_is_not_published_again(
    searched: tuple[Path, Result], run: Callable[..., Result], tmp_path: Path
) -> None:
    shutil.copytree(searched[0], tmp_path / "again")
    store = tmp_path / "again/store"
    words = [*QUICK, *SEARCH, "--trials", "4", "--store", str(store)]

    again = run(*words)

    assert again.exit_code == 0, again.output
    assert Store(store).versions("iris-scratch") == [1]
    (line,) = [line for line in again.output.splitlines() if line.startswith("kept ")]
    accuracy = Store(store).resolve("iris-scratch").manifest.metrics["accuracy"]
    assert f"iris-scratch@1, accuracy {accuracy:.4g} on the same test rows; the best trial has {accuracy:.4g}" in line
    command = line.partition("to publish it all the same: ")[2]
    assert f"the best one: {command}" in again.output

    trained = CliRunner().invoke(train, shlex.split(command)[2:])

    assert trained.exit_code == 0, trained.output
    one, other = (Store(store).resolve("iris-scratch", version).manifest for version in (1, 2))
    assert (one.metrics, one.parameters) == (other.metrics, other.parameters)


def test_a_version_that_is_worse_withdrawn_or_measured_elsewhere_holds_nothing_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")

    def draft(name: str, **facts: Any) -> Draft:
        return tiny_models.draft(tmp_path / name, "double", tiny_models.affine(), **facts)

    found = draft("found", metrics={"accuracy": 0.8})
    assert as_good_already(store, found) is None, "nothing is there"
    store.publish(draft("worse", metrics={"accuracy": 0.7}))
    assert as_good_already(store, found) is None
    store.publish(draft("error", metrics={"mean_absolute_error": 0.1}))
    assert as_good_already(store, found) is None, "another metric"
    store.publish(draft("as-good", metrics={"accuracy": 0.8}))
    assert str(as_good_already(store, found)) == "double@3"
    dataset = found.manifest.dataset.model_copy(update={"sha256": "1" * 64}).model_dump()
    assert as_good_already(store, draft("other", metrics={"accuracy": 0.8}, dataset=dataset)) is None
    roll_back(store, "double", to=1)
    assert as_good_already(store, found) is None, "it was withdrawn"


def test_an_interrupted_search_goes_on_and_ends_as_if_it_had_not_been(
    searched: tuple[Path, Result], run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*QUICK, *SEARCH, "--trials", "4", "--store", str(tmp_path / "store")]
    fits = []

    def interrupted(*given: object) -> object:
        fits.append(given)
        if len(fits) == 3:
            raise KeyboardInterrupt
        return fit(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(study, "fit", interrupted)
    stopped = run(*words)
    assert stopped.exit_code == 130
    assert stopped.stderr == "Error: interrupted; the same command goes on from the last whole trial\n"
    assert not (tmp_path / "store").exists()

    finished = run(*words)

    assert finished.output.count("(from ") == 2
    assert len(fits) == 5
    whole = searched[0] / "store.tuning/iris-scratch.csv"
    assert rows_of(tmp_path / "store.tuning/iris-scratch.csv") == rows_of(whole)


def test_trials_of_another_search_are_not_mixed_in(
    searched: tuple[Path, Result], run: Callable[..., Result], tmp_path: Path
) -> None:
    journal = str(searched[0] / "store.tuning/iris-scratch.journal")
    words = ["--journal", journal, "--store", str(tmp_path / "store")]

    result = run(*QUICK, "--search", "hidden=4..13", *words)

    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert "holds trials with other search: name another --journal, or remove it" in result.stderr


def test_a_trial_that_fails_is_a_result_too(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverging(network: Network, dataset: Dataset, options: FitOptions, callbacks: object) -> Fit:
        if options.learning_rate == 10:
            raise FitDiverged("the loss became nan")
        return fit(network, dataset, options)

    monkeypatch.setattr(study, "fit", diverging)
    words = ["--search", "learning_rate=0.1,10", "--trials", "5", "--store", str(tmp_path / "store")]

    result = run(*QUICK, *words)

    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "store.tuning/iris-scratch.csv")
    assert {(row["learning_rate"], row["outcome"]) for row in rows} == {
        ("0.1", "complete"),
        ("10", "the loss became nan"),
    }


def test_no_trial_at_its_end_is_told_in_words() -> None:
    failed = study.Trial(number=1, values={}, outcome="the loss became nan", val_loss=None, epochs=1, seconds=0)

    with pytest.raises(TrainingError, match="none of 1 trials came to its end: the loss became nan"):
        study.best_of([failed])


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_has_a_search_of_its_own_within_its_limits(recipe: str) -> None:
    chosen = RECIPES[recipe]
    fields = {field.name: field for group in (chosen.parameters, chosen.fit) for field in describe(type(group))}

    space = default_space(chosen.parameters, chosen.fit)

    assert {"learning_rate", "batch_size"} <= space.keys()
    for name, found in space.items():
        ends = [str(found.low), str(found.high)] if isinstance(found, Range) else found.values
        for end in ends:
            fields[name].check(fields[name].read(end))


def test_ranges_and_choices_are_read_as_they_are_written() -> None:
    chosen = RECIPES["dnn"]

    space = read_space(
        {"learning_rate": "1e-4..1e-2", "hidden": "64/128,32", "dropout": "0..0.5", "batch_size": "16,32"},
        chosen.parameters,
        chosen.fit,
    )

    assert space == {
        "learning_rate": Range(1e-4, 1e-2, is_whole=False),
        "hidden": Choices(("64", "128,32")),
        "dropout": Range(0.0, 0.5, is_whole=False),
        "batch_size": Choices(("16", "32")),
    }
    assert space["learning_rate"].is_wide
    assert not space["dropout"].is_wide


def test_what_is_set_is_not_searched() -> None:
    chosen = RECIPES["dnn"]

    assert "dropout" not in default_space(chosen.parameters, chosen.fit, fixed=["dropout"])


@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        ("detector", {"objects", "max_objects", "score", "iou"}),
        ("autoencoder", {"beta", "anomaly", "false_alarm_rate", "classifier"}),
        ("cnn", {"keep_keras"}),
        ("perceptron", {"activation"}),
        ("tabular", {"labels"}),
    ],
)
def test_what_changes_no_loss_is_searched_only_where_it_is_named(recipe: str, names: set[str]) -> None:
    chosen = RECIPES[recipe]
    fields = {field.name: field for field in describe(type(chosen.parameters))}

    assert not names & default_space(chosen.parameters, chosen.fit).keys()
    for name in names:
        choices = {bool: "true,false", int: "1..2", float: "0.1..0.5"}
        text = choices.get(fields[name].type) or ",".join(fields[name].limits.choices or ())
        assert name in read_space({name: text}, chosen.parameters, chosen.fit)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["dn"], "unknown recipe 'dn' (did you mean 'dnn'?)", id="recipe"),
        pytest.param(["dnn", "--search", "drop=0..1"], "unknown parameter 'drop'", id="parameter"),
        pytest.param(["dnn", "--search", "dropout"], "--search dropout: expected NAME=VALUE", id="no-equals-sign"),
        pytest.param(["dnn", "--search", "dropout=0..1"], "dropout=1: expected a number from 0 below 1", id="limits"),
        pytest.param(["dnn", "--search", "dropout=0.5..0.1"], "the lower one first", id="upside-down"),
        pytest.param(["dnn", "--search", "dropout=0.5"], "at least two values to choose from", id="one-value"),
        pytest.param(["dnn", "--search", "activation=a..b"], "values separated by commas", id="range-of-words"),
        pytest.param(["dnn", "--search", "activation=relu,rely"], "expected one of relu", id="choice"),
        pytest.param(["dnn", "--search", "hidden=8,4..16"], "a range LOW..HIGH of two numbers", id="range-of-lists"),
        pytest.param(["dnn", "--search", "seed=0..5"], "trials must differ in how well they learn", id="seed"),
        pytest.param(
            ["dnn", "--search", "dropout=0..0.5", "--set", "dropout=0"], "either --set or --search", id="both"
        ),
        pytest.param(["cluster", "--search", "batch_size=8,16"], "means nothing to such a fit", id="idle-option"),
        pytest.param(["scratch", "--set", "weights=w.npz"], "the weights are given", id="given-weights"),
        pytest.param(["cnn", "--data", "iris"], "cannot learn from 'iris'", id="data"),
    ],
)
def test_wrong_use_is_told_in_one_line(
    run: Callable[..., Result], words: list[str], message: str, tmp_path: Path
) -> None:
    result = run(*words, "--store", str(tmp_path / "store"))

    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_teaches_by_example(run: Callable[..., Result]) -> None:
    shown = run("--help").output

    assert shown.count("  ovenbird tune ") >= 4
    assert "goes on after an interruption" in shown


class WithoutHope:
    """A trial that Optuna gives up after its second epoch."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def report(self, _: float, epoch: int) -> None:
        self.epochs.append(epoch)

    def should_prune(self) -> bool:
        return len(self.epochs) == 2


@pytest.mark.tensorflow
def test_a_trial_without_hope_is_stopped_in_the_midst_of_its_fit(tmp_path: Path) -> None:
    job = prepare("mlp", "xor", store=tmp_path / "store", name=None, parameters={"epochs": 5})
    trial, reported = WithoutHope(), []

    with pytest.raises(optuna.TrialPruned):
        study._fit(job, trial, reported)  # type: ignore[arg-type]

    assert trial.epochs == [0, 1]
    assert len(reported) == 2
