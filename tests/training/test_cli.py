"""`ovenbird train`: what it says, and how it ends. Every error is one line, before anything is trained."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models

from model_store import STARTER_MODELS, Store
from model_store.onnxruntime_builds import installed_builds
from training.cli_parts import outcome
from training.datasets import DESCRIPTIONS
from training.recipes import RECIPES

PETS = "x,kind\n" + "".join(f"{index},{'cat' if index % 2 else 'dog'}\n" for index in range(20))


def assert_one_line(result, exit_code: int, message: str) -> None:
    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], f"name a recipe: {', '.join(RECIPES)} (ovenbird train --list", id="no-recipe"),
        pytest.param(["dn"], "unknown recipe 'dn' (did you mean 'dnn'?); known: dnn, ", id="recipe"),
        pytest.param(["dnn", "--data", "digit"], "unknown data set 'digit' (did you mean 'digits'?)", id="data-set"),
        pytest.param(["dnn", "--data", "absent.csv"], "absent.csv: no such file", id="file-missing"),
        pytest.param(["dnn", "--data", "pets.csv"], "no column 'target'; it has: x, kind", id="column-missing"),
        pytest.param(
            ["cnn", "--data", "pets.csv", "--set", "target=kind"], "cannot learn from 'pets'", id="table-in-cnn"
        ),
        pytest.param(["cnn", "--data", "nsmc"], "recipe 'cnn' cannot learn from 'nsmc' (text for", id="text-in-cnn"),
        pytest.param(["text", "--data", "digits"], "it can from: stdlib, imdb, reuters, nsmc", id="pictures-in-text"),
        pytest.param(["cnn", "--data", "diabetes"], "(features for regression)", id="regression-in-cnn"),
        pytest.param(["dnn", "--set", "epoch=3"], "unknown parameter 'epoch' (did you mean 'epochs'?)", id="parameter"),
        pytest.param(
            ["dnn", "--set", "filters=3"],
            "unknown parameter 'filters': a parameter of ",
            id="parameter-of-another-recipe",
        ),
        pytest.param(["detector", "--data", "absent"], ".npz, .json), or of a folder", id="no-annotations"),
        pytest.param(["dnn", "--data", "absent.json"], "absent.json: no such file", id="no-json"),
        pytest.param(
            ["transfer", "--set", f"base={STARTER_MODELS}/mnist-cnn", "--data", "absent/"],
            "lacks: train it with cnn and --set keep_keras=true",
            id="base-without-keras",
        ),
        pytest.param(["dnn", "--set", "epochs=no"], "parameter epochs=no: expected a whole number from 1", id="value"),
        pytest.param(
            ["dnn", "--set", "dropout=1"], "parameter dropout=1: expected a number from 0 below 1", id="range"
        ),
        pytest.param(["dnn", "--set", "epochs"], "--set epochs: expected NAME=VALUE", id="no-equals-sign"),
        pytest.param(
            ["cnn", "--learning-rate=1"],
            "--learning-rate: learning_rate is a parameter; write --set learning_rate=VALUE",
            id="parameter-as-an-option",
        ),
        pytest.param(
            ["dnn", "--set", "loss=huber"],
            "parameter loss=huber: expected auto or one that fits classification",
            id="loss",
        ),
        pytest.param(
            ["dnn", "--set", "target=x"],
            "parameter target=x: expected a table as data (.csv, .parquet, .jsonl); digits is none",
            id="column-of-a-data-set",
        ),
        pytest.param(
            ["dnn", "--data", "iris", "--set", "validation_split=0.004"],
            "parameter validation_split=0.004: expected a share that is at least one of 120 training rows",
            id="no-validation-row",
        ),
        pytest.param(["dnn", "--store", "pets.csv"], "pets.csv is not a folder", id="store-is-a-file"),
        pytest.param(["dnn", "--store", "pets.csv/store"], "pets.csv is not a folder", id="store-below-a-file"),
        pytest.param(
            ["dnn", "--store", "nfs://bucket"], "expected a folder, or a URL with one of s3", id="store-is-no-url"
        ),
        pytest.param(["dnn", "--store", str(STARTER_MODELS)], "holds the starter models", id="store-of-the-starters"),
        pytest.param(["dnn", "--store", f"{STARTER_MODELS}/x"], "holds the starter models", id="below-the-starters"),
        pytest.param(["dnn", "--name", "a/b"], "model name 'a/b': expected letters", id="model-name"),
        pytest.param(["autoencoder", "--name", "a" * 125], "at most 128 characters", id="model-name-of-a-part"),
    ],
)
def test_wrong_use_is_told_in_one_line(command, arguments: list[str], message: str) -> None:
    Path("pets.csv").write_text(PETS)

    assert_one_line(command(*arguments), 2, message)

    assert not Path("store").exists()


def test_an_absent_data_set_is_a_failure_in_one_line(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    assert_one_line(
        command("text", "--data", "nsmc"), 1, "ratings_train.txt is missing: put it there, or set KERAS_HOME"
    )


def test_an_altered_data_set_is_a_failure_in_one_line(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/mnist.npz").write_bytes(b"")

    assert_one_line(command("cnn", "--data", "mnist"), 1, "its sha256 is")


def test_the_list_names_every_recipe_parameter_and_data_set(command) -> None:
    output = command("--list").stdout

    for recipe in RECIPES.values():
        assert recipe.name + ": " + recipe.summary in output
        assert all(f"  {name}=" in output for name in {**recipe.parameters.as_json(), **recipe.fit.as_json()})
    for description in DESCRIPTIONS.values():
        assert f"licence: {description.license}; needs {description.needs}" in output


def test_the_list_of_one_recipe_leaves_out_the_others(command) -> None:
    output = command("tabular", "--list").stdout

    assert "  rare_rows=" in output
    assert "  epochs=" in output
    assert "  filters=" not in output


def test_the_list_of_no_recipe_names_those_that_there_are(command) -> None:
    assert_one_line(command("nonsense", "--list"), 2, "nonsense")


def test_help_teaches_by_example(command) -> None:
    output = command("--help").stdout

    assert "ovenbird train dnn --data houses.csv --set target=price" in output
    assert "Exit codes: 0 done, 1 the work failed, 2 wrong use, 130 interrupted." in output


def run_python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, timeout=60, check=False
    )


@pytest.mark.parametrize("arguments", [["--help"], ["--list"], ["nonsense"], ["dnn", "--set", "epochs=0"]])
def test_what_needs_no_training_needs_no_tensorflow(tmp_path: Path, arguments: list[str]) -> None:
    code = f"""
import sys
from training.cli import train
train.main({arguments!r}, standalone_mode=False) if {arguments[0].startswith("--")} else None
if not {arguments[0].startswith("--")}:
    try:
        train.main({arguments!r}, standalone_mode=False)
    except Exception as error:
        assert error.exit_code == 2, error
heavy = {{"tensorflow", "keras", "tf2onnx", "onnxruntime", "sklearn", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""
    finished = run_python(code, tmp_path)

    assert finished.returncode == 0, finished.stderr


def test_tensorflow_is_kept_quiet_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    code = "import os, training; print(os.environ['TF_CPP_MIN_LOG_LEVEL'], os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    bare = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}

    def levels(**variables: str) -> str:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=bare | variables, capture_output=True, text=True, check=True).stdout

    assert levels() == "3 0\n"
    assert levels(TF_CPP_MIN_LOG_LEVEL="0", TF_ENABLE_ONEDNN_OPTS="1") == "0 1\n"


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (
            ["onnxruntime"],
            "onnxruntime; pip install 'ovenbird[cpu]' (gpu or openvino instead of cpu), or '.[cpu]' from a clone",
        ),
        (
            ["tensorflow", "keras"],
            "tensorflow, keras; pip install 'ovenbird[train]' (train-gpu instead of train), or '.[train]' from a clone",
        ),
        (
            ["onnxruntime", "tensorflow"],
            "onnxruntime, tensorflow; pip install 'ovenbird[cpu,train]' "
            "(gpu or openvino instead of cpu; or train-gpu instead of train), or '.[cpu,train]' from a clone",
        ),
    ],
)
def test_missing_packages_are_told_in_one_line_with_their_extras(
    tmp_path: Path, modules: list[str], message: str
) -> None:
    """`sys.modules[name] = None` is Python's own way to make a module unimportable."""
    blocked = dict.fromkeys(modules)
    code = f"import sys; sys.modules |= {blocked!r}; from training.cli import train; train.main(['dnn'])"

    finished = run_python(code, tmp_path)

    assert finished.returncode == 1
    assert finished.stderr == f"Error: not installed: {message}\n"


def test_the_outcome_names_the_other_models_of_a_group(tmp_path: Path) -> None:
    sizes = {"name": "x", "sha256": "0" * 64, "license": "none", "sizes": {"train": 2, "test": 1}}
    names = ("whole", "whole-encoder", "whole-decoder")
    facts = {"recipe": "autoencoder", "dataset": sizes}
    drafts = [tiny_models.draft(tmp_path / name, name, tiny_models.affine(), **facts) for name in names]
    store = Store(tmp_path / "store")

    alone, together = (outcome(store.publish(*some), store.root).splitlines() for some in (drafts[:1], drafts))

    assert alone[-1] == "ask it     ovenbird predict whole rows.csv"
    assert together[-1] == "also       whole-encoder, whole-decoder"


def test_two_builds_of_onnxruntime_end_a_job_before_it_begins(tmp_path: Path) -> None:
    other = "onnxruntime-gpu" if "onnxruntime" in installed_builds() else "onnxruntime"
    noted = tmp_path / f"{other.replace('-', '_')}-1.0.dist-info"
    noted.mkdir()
    (noted / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {other}\nVersion: 1.0\n")
    words = [str(Path(sys.executable).with_name("ovenbird")), "train", "perceptron", "--store", str(tmp_path / "store")]

    ended = subprocess.run(
        words, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert "are installed, and overwrite each other; uninstall them all, then install one" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "store").exists()
