"""`ovenbird store label | policy | rollback`, as somebody types them."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
from click.testing import CliRunner, Result

from model_store import Store
from model_store.cli import main


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """double@1, double@2, double@3."""
    opened = Store(tmp_path / "store")
    for factor in (1, 2, 3):
        tiny_models.publish_affine(opened, factor=factor)
    return opened


def ovenbird(store: Store, *words: str) -> Result:
    return CliRunner().invoke(main, ["store", *words, "--store", str(store.root)])


def roles(store: Store) -> dict[str, str]:
    lines = [line.split() for line in ovenbird(store, "list").stdout.splitlines()[1:]]
    return {words[1]: " ".join(words[2 : words.index("tiny")]) for words in lines}


def test_a_rollback_says_what_it_did_and_the_list_shows_it(store: Store) -> None:
    ovenbird(store, "label", "double@3", "stable")
    result = ovenbird(store, "rollback", "double")

    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["withdrawn: double@3", "label stable moved along", "double: serves 2"]
    assert roles(store) == {"1": "no", "2": "yes, stable", "3": "withdrawn"}


def test_labels_are_set_listed_and_removed(store: Store) -> None:
    assert ovenbird(store, "label", "double@1", "stable").stdout == "stable is double@1\n"
    assert ovenbird(store, "label", "double@3", "canary").stdout == "canary is double@3\n"
    assert ovenbird(store, "label", "double").stdout.splitlines() == ["canary  double@3", "stable  double@1"]
    assert ovenbird(store, "label", "double", "canary", "--remove").exit_code == 0
    assert roles(store) == {"1": "yes, stable", "2": "no", "3": "yes"}


def test_a_policy_is_set_and_shown_with_what_it_chooses(store: Store) -> None:
    assert ovenbird(store, "policy", "double").stdout == "double: latest:1, which serves 3\n"
    assert ovenbird(store, "policy", "double", "latest:2").stdout == "double: latest:2, which serves 2, 3\n"
    ovenbird(store, "rollback", "double", "--to", "1")
    assert ovenbird(store, "policy", "double").stdout.splitlines() == [
        "double: latest:2, which serves 1",
        "withdrawn: 2, 3",
    ]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["label", "double", "stable"], 2, "which version? double@VERSION, for example double@3"),
        (["label", "double@9", "stable"], 1, "model 'double' has no version 9; it has: 1, 2, 3"),
        (["label", "double@one", "stable"], 1, "version 'one': expected a whole number from 1"),
        (["label", "nobody"], 1, "unknown model 'nobody'"),
        (["label", "nobody", "stable"], 1, "unknown model 'nobody'"),
        (["label", "double", "canary", "--remove"], 1, "model 'double' has no label 'canary'; it has: none"),
        (["policy", "double", "newest"], 2, "version policy 'newest': expected latest:N, all, or specific:N,N"),
        (["policy", "nobody", "all"], 1, "unknown model 'nobody'"),
        (["policy", "double", "specific:1,7"], 1, "has no version 7"),
        (["rollback", "nobody"], 1, "unknown model 'nobody'"),
        (["rollback", "double", "--to", "0"], 1, "version 0: expected a whole number from 1"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(store: Store, words: list[str], code: int, message: str) -> None:
    result = ovenbird(store, *words)

    assert result.exit_code == code
    assert message in result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_a_serving_json_that_cannot_be_used_is_said_and_not_overwritten(store: Store) -> None:
    file = store.root / "double" / "serving.json"
    file.write_text('{"treads": 1}')

    result = ovenbird(store, "rollback", "double")

    assert result.exit_code == 1
    assert "treads: Extra inputs are not permitted" in result.stderr
    assert file.read_text() == '{"treads": 1}'
