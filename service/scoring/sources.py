"""What is to be scored: files of rows in their order, or a folder of pictures; cut into numbered chunks.

The same files and the same number of rows give the same chunks, always: a scoring that was killed goes on by their
numbers. Knows no model.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from service.scoring.arrays import ArrayRows
from service.scoring.csv_rows import CsvRows
from service.scoring.errors import InvalidSource, UnknownSource
from service.scoring.json_rows import LINES_THAT_TELL, NAMED, JsonLineRows
from service.scoring.parquet_rows import ParquetRows
from service.scoring.tables import Tables

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
PATH = "path"
# So much of a file's beginning is hashed, beside its size and time.
HEAD_BYTES = 2**16


class RowFile(Protocol):
    """A file that holds rows; `count` of them, if that can be known without reading it."""

    path: Path
    schema: pa.Schema
    count: int | None

    def read(self, size: int, columns: Sequence[str], *, start: int = 0) -> Tables:
        """Yield so many rows at a time from row `start` on, and how much of the file lies before their end (0 to 1).

        A row that cannot be read alone is nulls, and `tables.unreadable` tells why.
        """

    def row_bytes(self, columns: Sequence[str], /) -> float:
        """Estimate what a row of these columns takes in memory."""


KINDS: dict[str, Callable[[Path], RowFile]] = {
    ".parquet": ParquetRows,
    ".csv": CsvRows,
    ".jsonl": JsonLineRows,
    ".ndjson": JsonLineRows,
    ".npy": ArrayRows,
    ".npz": ArrayRows,
}


class PictureRows:
    """The pictures below a folder, ordered by path; a row is a path relative to the folder."""

    schema = pa.schema([(PATH, pa.string())])

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path, self.names = path, names
        self.count: int | None = len(names)

    def read(self, size: int, columns: Sequence[str], *, start: int = 0) -> Tables:
        """Yield so many paths at a time."""
        for first in range(start, len(self.names), size):
            names = self.names[first : first + size]
            table = pa.table({PATH: pa.array(names, pa.string())})
            yield table.select(columns), (first + len(names)) / len(self.names)

    def row_bytes(self, _columns: Sequence[str], /) -> float:
        """Tell how long the paths are: of the pictures themselves, memory holds one for each processor at a time."""
        return sum(map(len, self.names)) / max(1, len(self.names))


@dataclass(frozen=True)
class Chunk:
    """Rows of one file, one after another. `first` counts the file's rows from 0; `progress` is that of all files."""

    number: int
    file: Path
    first: int
    table: pa.Table
    progress: float

    def place(self, row: int) -> str:
        """Name a row of the chunk for a person."""
        if PATH in self.table.column_names and self.file.is_dir():
            return str(self.file / self.table.column(PATH)[row].as_py())
        return f"{self.file} row {self.first + row + 1}"


@dataclass(frozen=True)
class Source:
    """All rows that are to be scored. `folder` is what the paths in a column of pictures are relative to."""

    folder: Path
    files: tuple[RowFile, ...]
    fingerprint: dict[str, Any]

    @property
    def schema(self) -> pa.Schema:
        """The columns, as the first file has them."""
        return self.files[0].schema

    def not_kept(self) -> list[str]:
        """Say what rows that were read have besides the columns: what only other files have, and late keys of JSON."""
        first, *others = self.files
        besides: dict[tuple[str, ...], list[Path]] = {}
        for file in others:
            names = tuple(name for name in file.schema.names if name not in first.schema.names)
            besides.setdefault(names, []).append(file.path)
        besides.pop((), None)
        late = {file.path: [*file.late] for file in self.files if isinstance(file, JsonLineRows) and file.late}
        return [
            *(
                f"{paths[0]}{_and_more(paths)}: not kept, as {first.path.name} lacks them: {_listed(names)}"
                for names, paths in besides.items()
            ),
            *(
                f"{path}: not kept, as none of the first {LINES_THAT_TELL:,} lines has them: {_listed(names)}"
                for path, names in late.items()
            ),
        ]

    @property
    def is_json(self) -> bool:
        """Tell whether all files are of JSON Lines."""
        return all(isinstance(file, JsonLineRows) for file in self.files)

    def row_bytes(self, columns: Sequence[str], /) -> float:
        """Estimate what a row takes in memory: by the first, the middle and the last file, the one with most."""
        last = len(self.files) - 1
        return max(self.files[index].row_bytes(columns) for index in {0, last // 2, last})

    def chunks(self, size: int, columns: Sequence[str], *, skip: int = 0) -> Iterator[Chunk]:
        """Yield chunks of at most so many rows, none of two files, with these columns; `skip` leaves out the first."""
        number = 0
        for index, file in enumerate(self.files):
            whole = None if file.count is None else -(-file.count // size)
            if whole is not None and number + whole <= skip:
                number += whole
                continue
            known = max(0, skip - number) if whole is not None else 0
            number += known
            for position, (table, progress) in enumerate(file.read(size, columns, start=known * size), known):
                if number >= skip:
                    yield Chunk(number, file.path, position * size, table, (index + progress) / len(self.files))
                number += 1


def _and_more(paths: Sequence[Path]) -> str:
    return f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


def open_source(path: Path) -> Source:
    """Open a file of rows, a folder of such files (read in the order of their names), or a folder of pictures.

    Raises:
        UnknownSource: there is no such file or folder, or it holds nothing that is read here; says what is.
        InvalidSource: it cannot be read.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise UnknownSource(f"{path}: no such file or folder")
    return Source(path.parent, (open_rows(path),), fingerprint([path], path.parent))


def _folder(path: Path) -> Source:
    found = sorted(entry for entry in path.rglob("*") if entry.is_file() and not _is_hidden(entry.relative_to(path)))
    tables = [file for file in found if file.suffix.lower() in KINDS]
    pictures = [file for file in found if file.suffix.lower() in PICTURES]
    if tables and pictures:
        raise UnknownSource(
            f"{path}: holds {len(pictures)} pictures and {len(tables)} tables, such as {tables[0].name}: "
            "give the table if it lists the pictures, or another folder"
        )
    if not found or not (tables or pictures):
        raise UnknownSource(f"{path}: holds no file of a kind that is read: {', '.join((*KINDS, *PICTURES))}")
    if pictures:
        names = [_as_text(picture.relative_to(path)) for picture in pictures]
        return Source(path, (PictureRows(path, names),), fingerprint(pictures, path))
    files = tuple(open_rows(file) for file in tables)
    _check_alike(files)
    return Source(path, files, fingerprint(tables, path))


def _as_text(path: Path) -> str:
    name = path.as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidSource(
            f"{name!a}: a picture's path stands beside its answer, and this is no UTF-8: rename it"
        ) from None
    return name


def _is_hidden(path: Path) -> bool:
    """Tell what other programs leave beside people's files: .ipynb_checkpoints, ._name, .name.swp."""
    return any(part.startswith(".") for part in path.parts)


def _check_alike(files: Sequence[RowFile]) -> None:
    for file in files[1:]:
        missing = [name for name in files[0].schema.names if name not in file.schema.names]
        if missing:
            raise InvalidSource(f"{file.path}: lacks the columns {', '.join(missing)} of {files[0].path.name}")


def open_rows(path: Path) -> RowFile:
    """Open a file of rows, by its name's ending. Raises `InvalidSource`."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise UnknownSource(f"{path}: cannot tell its format; a name ends in {', '.join(KINDS)}")
    try:
        opened = kind(path)
    except OSError as error:
        raise InvalidSource(f"{path}: {error.strerror or error}") from None
    names = opened.schema.names
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise InvalidSource(
            f"{path}: the column {twice[0]!r} stands there {names.count(twice[0])} times: rename all but one"
        )
    return opened


def fingerprint(files: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Tell an input from others without reading it whole: names, sizes, times, a digest of the beginnings.

    Of pictures only the first is looked into: there may be millions.
    """
    digest = hashlib.sha256()
    size = 0
    for file in files:
        status = file.stat()
        size += status.st_size
        # A name need not be text.
        digest.update(os.fsencode(file.relative_to(folder)))
        digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    for file in files[:1] if files[0].suffix.lower() in PICTURES else files:
        with file.open("rb") as opened:
            digest.update(opened.read(HEAD_BYTES))
    return {"files": len(files), "bytes": size, "sha256": digest.hexdigest()}
