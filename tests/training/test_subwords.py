"""Word pieces: learned from texts, and cut inside the graph as a few lines of Python would cut them."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.datasets.dataset import texts
from training.text.front import PADDING, TextFront
from training.text.merges import Piece, learn_pieces, words
from training.text.subwords import SubwordFront

FAMILY = "👨\u200d👩\u200d👧"
LENGTH = 6

# A blank begins a word; "ab" goes on, " ab" begins, and so on.
PIECES: tuple[Piece, ...] = (
    ("a",), (" a",), ("b",), (" c",), ("a", "b"), (" a", "b"), (" a", "b", "c", "a"), ("c", "a", "b"),
    (" 영", "화"), ("관",), (FAMILY,), ("e\u0301",), ("!", "!"), ("ß",),
)  # fmt: skip


def front(*, keep: str = "start", length: int = LENGTH, pieces: tuple[Piece, ...] = PIECES) -> SubwordFront:
    return SubwordFront(pieces, length, keep)


def cut(text: str, **options: object) -> list[str]:
    """Give the pieces that the front reads of a text, `?` for an unknown one."""
    reader = front(**options)  # type: ignore[arg-type]
    known = dict(enumerate(reader.names, start=2))
    return [known.get(number, "?") for number in reader.encode(texts([text]))[0].tolist() if number]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        pytest.param("ab", [" ab"], id="a-word-begins-the-text"),
        pytest.param("abab", [" ab", "ab"], id="begins-and-goes-on"),
        pytest.param("abca", [" abca"], id="the-longest-piece"),
        pytest.param("abcb", [" ab", " c", "b"], id="not-half-a-longer-piece"),
        pytest.param("ba", ["b", "a"], id="known-only-elsewhere-in-a-word"),
        pytest.param("ABCA", [" abca"], id="capitals"),
        pytest.param("b\n\t\u3000ab\u00a0 ", ["b", " ab"], id="any-blanks"),
        pytest.param("영화관", [" 영화", "관"], id="korean"),
        pytest.param("영화 관", [" 영화", "관"], id="korean-apart"),
        pytest.param("x영a", ["?", "?", "a"], id="unknown"),
        pytest.param(f"b{FAMILY}b", ["b", FAMILY, "b"], id="a-family-is-one-character"),
        pytest.param("👨👩", ["?", "?"], id="people-are-not-a-family"),
        pytest.param("👍🏽", ["?"], id="a-skin-tone-is-no-character"),
        pytest.param("be\u0301b", ["b", "e\u0301", "b"], id="combining-mark"),
        pytest.param("be", ["b", "?"], id="without-the-mark"),
        pytest.param("𝔊𠮷", ["?", "?"], id="beyond-the-first-plane"),
        pytest.param("a!!!!!", [" a", "!!", "!!", "?"], id="punctuation"),
        pytest.param("", [], id="empty"),
        pytest.param(" \t\n ", [], id="blanks"),
        pytest.param("ab " * 50, [" ab"] * LENGTH, id="cut"),
        pytest.param("a" * 100_000, [" a"] + ["a"] * (LENGTH - 1), id="very-long"),
    ],
)
def test_a_text_is_cut_at_the_longest_piece_that_fits(text: str, pieces: list[str]) -> None:
    assert cut(text) == pieces


def test_the_end_of_a_long_text_is_read_if_that_is_wanted() -> None:
    assert cut("c c c a b ab", keep="end", length=3) == [" a", "b", " ab"]
    assert cut("a b", keep="end", length=3) == [" a", "b"]
    assert cut("x" * 100_000 + "ab", keep="end", length=3) == ["?", "?", "ab"]


def greedy(text: str) -> list[int]:
    """Cut as the front should, in Python; for characters without marks."""
    lowered = re.sub(r"\s+", " ", f" {text}")
    units = re.findall(r" ?\S", lowered)
    ids, place = [], 0
    while place < len(units):
        fitting = [piece for piece in PIECES if tuple(units[place : place + len(piece)]) == piece]
        piece = max(fitting, key=len, default=None)
        bare = units[place].strip()
        spelled = next((known for known in ((bare,), (f" {bare}",)) if known in PIECES), None)
        found = piece or spelled
        ids.append(PIECES.index(found) + 2 if found else 1)
        place += len(piece) if piece else 1
    return ids


@given(st.lists(st.text("abc영화관! \n", max_size=40), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_any_texts_are_cut_as_python_cuts_them(rows: list[str]) -> None:
    encoded = FRONT.encode(texts(rows))

    assert [[number for number in row if number != PADDING] for row in encoded.tolist()] == [
        greedy(row)[:LENGTH] for row in rows
    ]


FRONT = front()


def test_a_text_has_the_same_ids_in_any_company() -> None:
    everything = texts(["ab", "", "abca " * 20, FAMILY, "영화관 abc"])

    for reader in (FRONT, front(keep="end")):
        together = reader.encode(everything)
        alone = [reader.encode(everything[index : index + 1])[0] for index in range(len(everything))]
        np.testing.assert_array_equal(together, alone)


# Learning


def test_words_are_cut_at_blanks_and_beside_punctuation() -> None:
    assert list(words([" a", "b", "!", "!", " c", "1", " ?"])) == [(" a", "b"), ("!", "!"), (" c", "1"), (" ?",)]


def test_the_most_frequent_pairs_become_pieces() -> None:
    counted = {(" l", "o", "w"): 5, (" l", "o", "w", "e", "r"): 2, (" n", "e", "w"): 6, (" w", "i", "d", "e"): 1}

    learned = learn_pieces(counted, size=9, longest=8)

    assert learned == (
        (" l", "o"), (" l", "o", "w"), (" n", "e"), (" n", "e", "w"), ("w",), ("e",), (" l",), ("o",), (" n",),
    )  # fmt: skip


def test_no_piece_is_longer_than_allowed_or_seen_once() -> None:
    assert max(map(len, learn_pieces({("a", "b", "c", "d"): 9}, size=50, longest=2))) == 2
    assert max(map(len, learn_pieces({("a", "b"): 1}, size=50, longest=8))) == 1


def test_pieces_are_learned_from_texts_as_the_graph_reads_them() -> None:
    learned = SubwordFront.for_texts(
        texts(["영화관에서 영화", "영화를", "GOOD  goods", "good"] * 3), vocabulary=40, length=5, keep="start"
    )

    assert {" 영화", " good"} <= set(learned.names)
    assert cut("영화 Good", pieces=learned.vocabulary) == [" 영화", " good"]


def test_texts_without_any_character_leave_no_pieces() -> None:
    learned = SubwordFront.for_texts(texts(["", " "]), vocabulary=3, length=4, keep="start")

    assert learned.encode(texts(["word", ""])).tolist() == [[1, 1, 1, 1], [0] * 4]


def test_every_character_of_unicode_is_some_token() -> None:
    points = [chr(point) for point in range(1, 0x110000, 97) if not 0xD800 <= point < 0xE000]
    visible = [point for point in points if unicodedata.category(point)[0] not in "ZMC"]

    encoded = FRONT.encode(texts(visible))

    assert (encoded[:, 0] != PADDING).all()


# The other front: which end is read


def test_words_are_read_from_the_end_if_that_is_wanted() -> None:
    reader = TextFront("words", ("a", "b", "c"), 2, "end")

    assert reader.encode(texts(["a b c", "c", "", "a b"])).tolist() == [[3, 4], [4, 0], [0, 0], [2, 3]]
    assert reader.encode(texts(["c"])).tolist() == [[4, 0]]
