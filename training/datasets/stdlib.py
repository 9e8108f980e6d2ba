"""Code against prose, made from what every Python has: lines of its standard library against its docstrings.

object [n] of `str`, as many lines of code as sentences of prose, no text twice; 20 % held out, stratified. The
modules (not the packages) are read, never imported, in the order of their names; what a slim Python lacks is
skipped, so the number of rows depends on the Python at hand (at most 6 000 of each class).
"""

from __future__ import annotations

import ast
import io
import re
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from training.datasets.dataset import Dataset, Rows, digest, held_out, texts
from training.datasets.description import Description
from training.errors import DatasetAbsent

MOST_PER_CLASS = 6_000
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
NOT_PROSE = re.compile(r">>>|::|[{}=<>|]|__|--|->|\w\(")
BETWEEN_TOKENS = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}

DESCRIPTION = Description(
    name="stdlib",
    kind="text",
    task="classification",
    summary="lines of code and sentences of prose from Python's standard library",
    license="PSF License Agreement, Python Software Foundation",
    source="the standard library of the Python that trains",
)


def load() -> Dataset:
    """Read the standard library; raises `DatasetAbsent` where its sources are not installed."""
    code, prose = _gather(Path(sysconfig.get_paths()["stdlib"]))
    count = min(len(code), len(prose), MOST_PER_CLASS)
    if count < 100:
        raise DatasetAbsent("data set stdlib: this Python came without the sources of its standard library")
    inputs = texts(text for pair in zip(_evenly(code, count), _evenly(prose, count), strict=True) for text in pair)
    targets = np.tile(np.arange(2, dtype=np.int64), count)
    train, test = held_out(Rows(inputs, targets), stratified=True)
    return DESCRIPTION.dataset(train, test, labels=("code", "prose"), sha256=digest(inputs, targets))


def _gather(folder: Path) -> tuple[list[str], list[str]]:
    """Collect (lines of code, sentences of prose), each text once, in the order of the files."""
    code: dict[str, None] = {}
    prose: dict[str, None] = {}
    for path in sorted(folder.glob("*.py")):
        try:
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source)
            lines = list(_code_lines(source))
        except (OSError, SyntaxError, ValueError, tokenize.TokenError):
            continue
        code.update(dict.fromkeys(lines))
        prose.update(dict.fromkeys(_sentences(tree)))
    return list(code), list(prose)


def _code_lines(source: str) -> Iterator[str]:
    """Give the lines that hold code: no comment lines, nothing of strings over several lines, no single words."""
    lines = source.splitlines()
    tokens: dict[int, int] = {}
    in_strings: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.start[0] < token.end[0]:
            in_strings.update(range(token.start[0], token.end[0] + 1))
        elif token.type not in BETWEEN_TOKENS and token.type != tokenize.COMMENT:
            tokens[token.start[0]] = tokens.get(token.start[0], 0) + 1
    for number, count in tokens.items():
        line = lines[number - 1].strip() if number <= len(lines) else ""
        if count >= 3 and number not in in_strings and 8 <= len(line) <= 160 and not line.startswith(('"', "'")):
            yield line


def _sentences(tree: ast.Module) -> Iterator[str]:
    """Give the sentences of all docstrings that read as prose: at least four words and no code among them."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        docstring = ast.get_docstring(node) if isinstance(node, documented) else None
        for paragraph in (docstring or "").split("\n\n"):
            for sentence in SENTENCE_END.split(" ".join(paragraph.split())):
                if len(sentence.split()) >= 4 and len(sentence) <= 200 and not NOT_PROSE.search(sentence):
                    yield sentence


def _evenly(values: list[str], count: int) -> list[str]:
    """Choose `count` values spread evenly over all modules."""
    return [values[index * len(values) // count] for index in range(count)]
