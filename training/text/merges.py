"""Learns the pieces that words are made of: byte-pair encoding over the characters of training texts.

The most frequent pair of neighbouring pieces becomes one piece, again and again (R. Sennrich, arXiv:1508.07909).
A unit is what one sees as one character; one that begins a word has a blank before it. Knows no ONNX and no Keras.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise

Piece = tuple[str, ...]
Pair = tuple[Piece, Piece]

# A pair that was seen once says nothing about other texts.
FEWEST_SEEN = 2


def words(units: list[str]) -> Iterator[Piece]:
    """Cut a text's units into words: at blanks, and between letters or digits and anything else."""
    word: list[str] = []
    for unit in units:
        if word and (unit[0] == " " or unit[0].isalnum() != word[-1].lstrip(" ")[0].isalnum()):
            yield tuple(word)
            word = []
        word.append(unit)
    if word:
        yield tuple(word)


def learn_pieces(counted: Mapping[Piece, int], size: int, longest: int) -> tuple[Piece, ...]:
    """Choose at most `size` pieces of at most `longest` units: pairs that were merged, then single units.

    `counted` holds words as their units, with how often each occurs. Half of the pieces are kept for single units.
    """
    units: Counter[str] = Counter()
    for word, count in counted.items():
        for unit in word:
            units[unit] += count
    ranked = sorted(units, key=lambda unit: (-units[unit], unit))
    alphabet: list[Piece] = [(unit,) for unit in ranked[: (size + 1) // 2]]
    merges = _Merges(counted, longest)
    pieces: dict[Piece, None] = {}
    while len(pieces) + len(alphabet) < size and (merged := merges.next()) is not None:
        pieces[merged] = None
    return (*pieces, *alphabet)


class _Merges:
    """Finds the most frequent pair and makes one piece of it wherever it stands.

    The mutable state: the words as they are merged so far, how often each pair stands in them, in which words, and
    a heap of pairs. A merge makes other pairs rarer, but not their entries in the heap: these are corrected when
    they come up.
    """

    def __init__(self, counted: Mapping[Piece, int], longest: int) -> None:
        self._words: list[list[Piece]] = [[(unit,) for unit in word] for word in counted]
        self._weights = list(counted.values())
        self._longest = longest
        self._counts: Counter[Pair] = Counter()
        self._places: defaultdict[Pair, set[int]] = defaultdict(set)
        for index in range(len(self._words)):
            self._count(index, self._weights[index])
        self._heap = [(-count, pair) for pair, count in self._counts.items() if count >= FEWEST_SEEN]
        heapq.heapify(self._heap)

    def next(self) -> Piece | None:
        """Merge the most frequent pair, the first by spelling among equals; None when no pair is left."""
        while self._heap:
            negative, pair = heapq.heappop(self._heap)
            count = self._counts[pair]
            if count == -negative:
                self._merge(pair)
                return pair[0] + pair[1]
            if count >= FEWEST_SEEN:
                heapq.heappush(self._heap, (-count, pair))
        return None

    def _merge(self, pair: Pair) -> None:
        merged = pair[0] + pair[1]
        made: set[Pair] = set()
        for index in self._places.pop(pair):
            self._count(index, -self._weights[index])
            self._words[index] = _joined(self._words[index], pair)
            self._count(index, self._weights[index])
            made.update(other for other in pairwise(self._words[index]) if merged in other)
        for other in made:
            if self._counts[other] >= FEWEST_SEEN:
                heapq.heappush(self._heap, (-self._counts[other], other))

    def _count(self, index: int, weight: int) -> None:
        for pair in pairwise(self._words[index]):
            if len(pair[0]) + len(pair[1]) <= self._longest:
                self._counts[pair] += weight
                self._places[pair].add(index)


def _joined(word: list[Piece], pair: tuple[Piece, Piece]) -> list[Piece]:
    joined: list[Piece] = []
    for piece in word:
        if joined and (joined[-1], piece) == pair:
            joined[-1] = joined[-1] + piece
        else:
            joined.append(piece)
    return joined
