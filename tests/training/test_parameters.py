"""Parameters: read from text, checked when they are built, and told to people from one declaration."""

from __future__ import annotations

import dataclasses

import pytest

from training.errors import InvalidParameter, UnknownParameter
from training.options import FileOptions, FitOptions
from training.parameters import describe, read_parameters, written
from training.recipes import RECIPES
from training.recipes.cnn import ConvolutionalParameters
from training.recipes.dnn import DenseParameters
from training.recipes.text import TextParameters


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param({"hidden": "100,32"}, {"hidden": (100, 32)}, id="tuple"),
        pytest.param({"hidden": "64"}, {"hidden": (64,)}, id="tuple-of-one"),
        pytest.param({"hidden": ""}, {"hidden": ()}, id="empty-tuple"),
        pytest.param({"hidden": [100, 32]}, {"hidden": (100, 32)}, id="list-from-python"),
        pytest.param({"dropout": "0"}, {"dropout": 0.0}, id="float"),
        pytest.param({"dropout": 0}, {"dropout": 0.0}, id="int-from-python-for-a-float"),
        pytest.param({"activation": " tanh "}, {"activation": "tanh"}, id="word-with-blanks"),
    ],
)
def test_reads_values_as_text_and_as_they_are(text: dict[str, object], value: dict[str, object]) -> None:
    (parameters,) = read_parameters(text, DenseParameters())

    assert parameters == dataclasses.replace(DenseParameters(), **value)


@pytest.mark.parametrize(("short", "loss"), [("mae", "mean_absolute_error"), ("mse", "mean_squared_error")])
def test_reads_a_loss_by_its_short_name(short: str, loss: str) -> None:
    (fit,) = read_parameters({"loss": short}, FitOptions())

    assert fit.loss == loss


def test_reads_names_between_commas() -> None:
    (file,) = read_parameters({"drop": 'id, "a, b",größe', "numbers": ""}, FileOptions())

    assert file == FileOptions(drop=("id", "a, b", "größe"))


@pytest.mark.parametrize(("text", "value"), [("true", True), ("No", False), ("0", False)])
def test_reads_true_and_false(text: str, value: bool) -> None:
    (parameters,) = read_parameters({"batch_normalization": text}, ConvolutionalParameters())

    assert parameters == ConvolutionalParameters(batch_normalization=value)


def test_shares_values_out_among_groups() -> None:
    own, fit, file = read_parameters(
        {"dropout": "0.5", "epochs": "3", "target": "price"}, DenseParameters(), FitOptions(), FileOptions()
    )

    assert own == DenseParameters(dropout=0.5)
    assert fit == FitOptions(epochs=3)
    assert file == FileOptions(target="price")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        pytest.param("epochs", "0", "a whole number from 1 up to 10000", id="too-small"),
        pytest.param("epochs", "many", "a whole number from 1 up to 10000", id="no-number"),
        pytest.param("epochs", "1.5", "a whole number from 1 up to 10000", id="not-whole"),
        pytest.param("learning_rate", "nan", "a number above 0 up to 10", id="nan"),
        pytest.param("learning_rate", "0", "a number above 0 up to 10", id="at-an-open-bound"),
        pytest.param("validation_split", "0.6", "a number above 0 up to 0.5", id="too-large"),
        pytest.param("optimizer", "magic", "one of adam, adamw, nadam, rmsprop, sgd, adagrad", id="no-choice"),
        pytest.param("hidden", "32,x", "whole numbers separated by commas from 1 up to 16384", id="tuple-of-words"),
        pytest.param("hidden", "32,0", "whole numbers separated by commas from 1 up to 16384", id="tuple-out-of-range"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_what_is_expected(name: str, value: str, expected: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        read_parameters({name: value}, DenseParameters(), FitOptions())

    assert str(caught.value) == f"parameter {name}={value}: expected {expected}"


@pytest.mark.parametrize("wrong", [{"hidden": 5}, {"hidden": (1.5,)}, {"dropout": True}, {"dropout": "0.1"}])
def test_a_value_of_the_wrong_type_is_refused_when_it_is_built(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidParameter):
        DenseParameters(**wrong)  # type: ignore[arg-type]


def test_an_unknown_name_is_answered_with_the_nearest_and_all() -> None:
    with pytest.raises(UnknownParameter) as caught:
        read_parameters({"epoch": "3"}, DenseParameters(), FitOptions())

    assert "unknown parameter 'epoch' (did you mean 'epochs'?); known: hidden, activation" in str(caught.value)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_every_default_reads_back_from_the_way_it_is_written(recipe) -> None:
    for group in (recipe.parameters, recipe.fit):
        settings = {field.name: written(getattr(group, field.name)) for field in describe(type(group))}

        assert read_parameters(settings, group) == [group]


def test_as_json_holds_lists_for_tuples() -> None:
    assert TextParameters().as_json()["layer"] == "pooling"
    assert DenseParameters(hidden=(3, 4)).as_json()["hidden"] == [3, 4]
