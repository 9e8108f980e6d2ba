"""Strings to the ids of word pieces, inside the ONNX graph, in plain onnxruntime.

The pieces are learned from the training texts (`training.text.merges`); a text is cut from its beginning, each time
at the longest piece that fits. As ONNX: the characters are numbered; at every position at once, tables of the
pieces' prefixes are followed to the longest piece; and the positions that the cuts really reach are found by jumping
1, 2, 4, … pieces ahead. A regular expression of some thousand pieces would not do: RE2 runs out of the memory that
onnxruntime gives it. Knows no Keras.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from training.datasets.dataset import Array
from training.exporting.onnx_session import Session
from training.text.front import (
    FIRST_TOKEN,
    PADDING,
    UNKNOWN,
    constant,
    in_parts,
    last_nodes,
    lower_node,
    padding_constants,
    padding_nodes,
    text_model,
    tokenizer_node,
)
from training.text.merges import Piece, learn_pieces, words

LONGEST_PIECE = 8
# More than this changes the pieces little, and takes longer than the fit.
LEARNED_CHARACTERS = 2_000_000
# Fewer than words need: every character has a dozen numbers while the pieces are looked for.
ROWS_AT_ONCE = 128

# What one sees as one character: with its combining marks, skin tones, and what is joined to it by U+200D.
UNIT = r"[^\s\pZ](?:[\pM\x{1F3FB}-\x{1F3FF}]|\x{200D}[^\s\pZ])*"
LED_UNIT = r"[\s\pZ]*" + UNIT

NO_NODE = 0
END = np.iinfo(np.int64).max
BLANK = numpy_helper.from_array(np.array([" "], dtype=object), "front_blank")


@dataclass(frozen=True)
class SubwordFront:
    """Strings [batch] → int32 ids [batch, length]; `keep` says which end of a long text is read."""

    vocabulary: tuple[Piece, ...]
    length: int
    keep: str = "start"

    @classmethod
    def for_texts(cls, texts: Array, *, vocabulary: int, length: int, keep: str) -> SubwordFront:
        """Learn at most `vocabulary` pieces from some texts."""
        counted: Counter[Piece] = Counter()
        outputs = {"bare": TensorProto.STRING, "led": TensorProto.STRING}
        reader = Session(text_model(_unit_nodes(), outputs, "count", [BLANK]))
        # At regular distances, so that texts sorted by their class all have a part in it.
        step = max(1, math.ceil(sum(map(len, texts)) / LEARNED_CHARACTERS))
        for part in in_parts(texts[::step]):
            for row in zip(*(array.tolist() for array in reader.run(part).values()), strict=True):
                counted.update(words(_units(*row)))
        return cls(learn_pieces(counted, vocabulary, LONGEST_PIECE), length, keep)

    @property
    def size(self) -> int:
        """How many different ids there are."""
        return FIRST_TOKEN + len(self.vocabulary)

    @property
    def names(self) -> tuple[str, ...]:
        """The pieces in writing, in the order of their ids."""
        return tuple("".join(piece) for piece in self.vocabulary)

    def encode(self, texts: Array) -> npt.NDArray[np.int32]:
        """Run the front: object [n] of `str` → int32 [n, length]."""
        parts = [self._session.run_one(part) for part in in_parts(texts, ROWS_AT_ONCE)]
        return np.concatenate(parts).astype(np.int32, copy=False)

    @cached_property
    def _session(self) -> Session:
        return Session(self.to_onnx())

    def to_onnx(self) -> Any:
        """Write the front as an ONNX model."""
        return _Writer(self).model()


def _unit_nodes() -> list[Any]:
    """Write the nodes from `text` to its units: `bare` and, with the blanks before them, `led`, both [batch, count].

    Where the two differ a word begins. A blank before the text lets its first unit begin one.
    """
    return [
        lower_node(),
        helper.make_node("StringConcat", ["front_blank", "lowered"], ["spaced"]),
        helper.make_node("Reshape", ["spaced", "front_column"], ["column"]),
        tokenizer_node("column", "bare_tokens", UNIT),
        tokenizer_node("column", "led_tokens", LED_UNIT),
        helper.make_node("Squeeze", ["bare_tokens", "front_one"], ["bare"]),
        helper.make_node("Squeeze", ["led_tokens", "front_one"], ["led"]),
    ]


def _units(bare: list[str], led: list[str]) -> list[str]:
    """Put one blank before each unit that begins a word; leave padding out."""
    return [unit if unit == before else f" {unit}" for unit, before in zip(bare, led, strict=True) if unit]


class _Prefixes:
    """The pieces of several units as a tree of their prefixes: a node per prefix, node 0 for none.

    Units are numbered 2, 4, 6, …, and one more where they begin a word; 0 is padding, the last even number unknown.
    """

    def __init__(self, vocabulary: tuple[Piece, ...]) -> None:
        self.alphabet = sorted({unit.lstrip(" ") for piece in vocabulary for unit in piece})
        self.units = 2 * (len(self.alphabet) + 2)
        self.longest = max(map(len, vocabulary), default=1)
        self._numbers = {unit: 2 * number for number, unit in enumerate(self.alphabet, start=1)}
        self.nodes: dict[Piece, int] = {}
        for piece in vocabulary:
            for end in range(1, len(piece) + 1):
                self.nodes.setdefault(piece[:end], len(self.nodes) + 1)

    def number(self, unit: str) -> int:
        """Give the number of a unit."""
        return self._numbers[unit.lstrip(" ")] + (unit[0] == " ")

    def edges(self, depth: int) -> dict[int, int]:
        """Give the nodes of prefixes with `depth` units by their parent's node x units + the last unit."""
        return {
            self.nodes[prefix[:-1]] * self.units + self.number(prefix[-1]): node
            for prefix, node in self.nodes.items()
            if len(prefix) == depth
        }


class _Writer:
    """Writes one front. Its state: the nodes and constants so far."""

    def __init__(self, front: SubwordFront) -> None:
        self._front = front
        self._prefixes = _Prefixes(front.vocabulary)
        self._nodes = _unit_nodes()
        self._constants = [BLANK, *padding_constants(front.length)]

    def model(self) -> Any:
        """Write units → their numbers → the longest piece at each position → the pieces of the text."""
        front = self._front
        # No token that is kept lies farther from the kept end than this: what does is not followed.
        reach = front.length * self._prefixes.longest
        self._number_units()
        if front.keep == "end":
            self._nodes += last_nodes("numbers", "near", reach)
            self._find_longest()
            self._walk(reach)
            self._nodes += [*last_nodes("walked", "last_pieces", front.length), *padding_nodes("last_pieces")]
        else:
            self._slice("numbers", "near", 0, reach)
            self._find_longest()
            self._walk(front.length)
            self._nodes += padding_nodes("walked")
        return text_model(self._nodes, {"ids": TensorProto.INT32}, front.length, self._constants)

    def _number_units(self) -> None:
        """Write `bare` and `led` → `numbers`, both [batch, count]."""
        alphabet = self._prefixes.alphabet
        self._look_up(
            "bare",
            "spelled",
            keys_strings=["", *alphabet],
            values_int64s=[PADDING, *range(2, 2 * len(alphabet) + 2, 2)],
            default_int64=2 * len(alphabet) + 2,
        )
        self._add("Equal", ["bare", "led"], "goes_on")
        self._add("Not", ["goes_on"], "begins")
        self._add("Cast", ["begins"], "begin", to=TensorProto.INT64)
        self._add("Add", ["spelled", "begin"], "numbers")

    def _find_longest(self) -> None:
        """Write `near` [batch, count] → `longest` [batch, count + 1]: units of the longest piece x ids + its id.

        The last position is padding, so that there is a place to jump to behind every text.
        """
        longest, units = self._prefixes.longest, self._prefixes.units
        self._add("Pad", ["near", self._constant("unit_pads", [0, 0, 0, longest]), "front_padding"], "units")
        self._constant("unit_count", units)
        self._constant("values", [0, *map(self._value, self._prefixes.nodes)])
        self._slice("units", "units_1", 0, 1 - longest or END)
        self._add("Gather", [self._constant("single_units", self._single_units()), "units_1"], "value_1")
        self._add("Gather", [self._constant("first_nodes", self._first_nodes()), "units_1"], "node_1")
        for depth in range(2, longest + 1):
            self._follow(depth)
        self._add("Max", [f"value_{depth}" for depth in range(1, longest + 1)], "longest")

    def _follow(self, depth: int) -> None:
        """Write the step from the prefixes of `depth` - 1 units to those of `depth`, and what ends there."""
        edges = self._prefixes.edges(depth)
        self._slice("units", f"units_{depth}", depth - 1, depth - self._prefixes.longest or END)
        self._add("Mul", [f"node_{depth - 1}", "unit_count"], f"parent_{depth}")
        self._add("Add", [f"parent_{depth}", f"units_{depth}"], f"edge_{depth}")
        self._look_up(
            f"edge_{depth}",
            f"node_{depth}",
            keys_int64s=list(edges),
            values_int64s=list(edges.values()),
            default_int64=NO_NODE,
        )
        self._add("Gather", ["values", f"node_{depth}"], f"value_{depth}")

    def _walk(self, tokens: int) -> None:
        """Write `longest` → `walked`: the ids of the first `tokens` pieces, or up to as many again.

        Knowing the first n positions and where n jumps lead from anywhere, one knows the first 2 n positions.
        """
        self._constant("id_count", self._front.size)
        self._add("Mod", ["longest", "id_count"], "piece_ids")
        self._add("Div", ["longest", "id_count"], "lengths")
        self._add("Shape", ["longest"], "position_shape", start=1)
        self._add("Squeeze", ["position_shape"], "position_count")
        none, one = self._constant("no_position", 0), self._constant("one_position", 1)
        self._add("Range", [none, "position_count", one], "positions")
        self._add("Sub", ["position_count", one], "last_position")
        self._add("Add", ["lengths", "positions"], "far_jumps")
        self._add("Min", ["far_jumps", "last_position"], "jumps_0")
        self._slice("lengths", "any_length", 0, 1)
        self._add("Mul", ["any_length", none], "reached_0")
        doublings = math.ceil(math.log2(tokens))
        for turn in range(doublings):
            self._add("GatherElements", [f"jumps_{turn}", f"reached_{turn}"], f"next_{turn}", axis=1)
            self._add("Concat", [f"reached_{turn}", f"next_{turn}"], f"reached_{turn + 1}", axis=1)
            self._add("GatherElements", [f"jumps_{turn}", f"jumps_{turn}"], f"jumps_{turn + 1}", axis=1)
        self._add("GatherElements", ["piece_ids", f"reached_{doublings}"], "walked", axis=1)

    def _value(self, piece: Piece) -> int:
        """Pack a piece's length and id into one number, so that the longest has the largest; 0: not a piece."""
        piece_id = self._ids.get(piece)
        return 0 if piece_id is None else len(piece) * self._front.size + piece_id

    @cached_property
    def _ids(self) -> dict[Piece, int]:
        return {piece: number for number, piece in enumerate(self._front.vocabulary, start=FIRST_TOKEN)}

    def _single_units(self) -> list[int]:
        """Give the value of every unit alone: known as it stands, or elsewhere in a word, or not at all."""
        size, values = self._front.size, []
        for unit in self._prefixes.alphabet:
            plain, led = self._ids.get((unit,)), self._ids.get((f" {unit}",))
            values += [size + (plain or led or UNKNOWN), size + (led or plain or UNKNOWN)]
        return [size + PADDING, size + PADDING, *values, size + UNKNOWN, size + UNKNOWN]

    def _first_nodes(self) -> list[int]:
        nodes = [NO_NODE] * self._prefixes.units
        for prefix, node in self._prefixes.nodes.items():
            if len(prefix) == 1:
                nodes[self._prefixes.number(prefix[0])] = node
        return nodes

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))

    def _look_up(self, source: str, output: str, **table: Any) -> None:
        self._add("LabelEncoder", [source], output, domain="ai.onnx.ml", **table)

    def _slice(self, source: str, output: str, start: int, end: int) -> None:
        starts, ends = self._constant(f"{output}_start", [start]), self._constant(f"{output}_end", [end])
        self._add("Slice", [source, starts, ends, "front_axis"], output)

    def _constant(self, name: str, value: int | list[int]) -> str:
        self._constants.append(constant(name, value))
        return name
