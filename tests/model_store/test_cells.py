"""Cells: what training and the service must read alike."""

from __future__ import annotations

import math

import pytest

from model_store.cells import MISSING, Cell, category, is_missing, number, spellings


@pytest.mark.parametrize("cell", [*MISSING, " ", " NA\t", None, math.nan])
def test_what_is_missing_is_missing_as_anything(cell: Cell) -> None:
    assert is_missing(cell)
    assert math.isnan(number(cell))
    assert category(cell) == ""


@pytest.mark.parametrize(
    ("cell", "value"),
    [("1", 1), (" -2.50 ", -2.5), ("1e3", 1000), (".5", 0.5), ("5.", 5), ("+7", 7), (3, 3), (0.25, 0.25), ("007", 7)],
)
def test_numbers_are_read(cell: Cell, value: float) -> None:
    assert number(cell) == value


@pytest.mark.parametrize(
    "cell", ["abc", "1,5", "1_000", "inf", "-Infinity", "١", "0x10", "1e39", "--1", True, math.inf, 10**400]
)
def test_what_is_no_finite_number_is_refused_in_words(cell: Cell) -> None:
    with pytest.raises(ValueError, match="is not a finite number"):
        number(cell)


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        pytest.param(" clerk ", "clerk", id="blanks"),
        pytest.param("1.0", "1", id="whole-number-with-decimals"),
        pytest.param(1.0, "1", id="whole-float"),
        pytest.param(1, "1", id="int"),
        pytest.param(0.5, "0.5", id="fraction"),
        pytest.param("01234", "01234", id="postal-code"),
        pytest.param("01.0", "01.0", id="no-number"),
        pytest.param(True, "true", id="boolean"),
        pytest.param("FALSE", "false", id="boolean-as-text"),
        pytest.param("Größe 'x'", "Größe 'x'", id="any-text"),
    ],
)
def test_categories_have_one_spelling(cell: Cell, name: str) -> None:
    assert category(cell) == name
    assert category(name) == name


@pytest.mark.parametrize(("known", "others"), [("1", ("1.0",)), ("true", ("True", "TRUE")), ("clerk", ()), ("07", ())])
def test_other_spellings_are_the_same_category(known: str, others: tuple[str, ...]) -> None:
    assert spellings(known) == others
    assert {category(other) for other in others} <= {known}
