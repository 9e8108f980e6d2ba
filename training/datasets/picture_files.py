"""Pictures of the user's own: a folder for each class, a list of paths with labels, or one folder without classes.

FOLDER/CLASS/*.png, or FOLDER/train/CLASS/… with FOLDER/test/CLASS/… (and validation: the fit holds back rows of its
own, so these are learned from; without a test folder they are what is held out). A list is a .csv or .jsonl file
with `picture` (a path, from the list's folder), `label`, and perhaps `split` (train or test). Pictures are
decoded once, as the service decodes them, to a file without a name: a data set may be larger than the memory.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image, UnidentifiedImageError

from model_store.manifest import ImageFormat
from model_store.pictures import DAMAGE, pixels_of
from training.datasets.dataset import Array, Dataset, Rows, classes, held_out, no_targets
from training.datasets.files import LICENSE
from training.datasets.on_disk import RowsOnDisk, empty_on_disk
from training.errors import InvalidParameter, UnusableData
from training.options import FileOptions

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
TRAIN, TEST, VALIDATION = "train", "test", ("validation", "val", "valid")
# Grey, with transparency, black and white, and 16 bits of grey in Pillow's several ways.
GREY_MODES = {"L", "LA", "1", "I", "I;16", "I;16B", "I;16L"}
LARGEST_OWN_SIZE = 256
USUAL_SIZE = (96, 96)
NAMED_AT_MOST = 5


@dataclass(frozen=True)
class Listed:
    """A picture by its path; `split` is train or test, or nothing: then chance decides."""

    path: Path
    label: str
    split: str = ""


@dataclass(frozen=True)
class Decoded:
    """What became of a file: the digest of its bytes, and what is wrong with it if it is no picture."""

    sha256: str = ""
    problem: str = ""


def is_folder_or_list(path: Path) -> bool:
    """Tell whether the path is a folder, or a file whose first line speaks of a `picture`."""
    if path.is_dir():
        return True
    if path.suffix.lower() not in (".csv", ".jsonl") or not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = file.readline()
    return '"picture"' in first if path.suffix.lower() == ".jsonl" else "picture" in first.strip().split(",")


def load(path: Path, options: FileOptions, *, needs_target: bool = True) -> Dataset:
    """Decode all pictures of a folder or a list.

    Without a split of their own, 20 % are held out, of each class alike. Without `needs_target` a folder may hold
    pictures themselves, and no other folder: then they have no classes.

    Raises:
        UnusableData: there are no pictures, some cannot be decoded, or the disk is too small for them.
        InvalidParameter: `picture_size` is not one number or two.
    """
    is_flat = path.is_dir() and not needs_target and not _folders_in(path)
    listed = _listed(path, is_flat=is_flat)
    if not listed:
        where = "; each folder is a class" if path.is_dir() and needs_target else ""
        raise UnusableData(f"{path}: no pictures ({', '.join(sorted(SUFFIXES))}){where}")
    wanted, notes = _format(listed, options)
    pixels, decoded = _decode_all(path, listed, wanted)
    broken = [index for index, one in enumerate(decoded) if one.problem]
    if broken:
        names = _named(path, [listed[index].path for index in broken])
        if options.broken_pictures == "refuse":
            raise UnusableData(_complaint(path, names, len(broken), decoded[broken[0]].problem))
        notes.append(f"{_left_out(len(broken))}: {names}")
    good = np.array([index for index, one in enumerate(decoded) if not one.problem], dtype=np.int64)
    labels, targets = (None, no_targets(len(good))) if is_flat else classes(listed[index].label for index in good)
    rows = Rows(cast(Array, RowsOnDisk(pixels, good)), targets)
    train, test = _parted(path, rows, [listed[index].split for index in good])
    return Dataset(
        name=path.resolve().name if path.is_dir() else path.stem,
        kind="image",
        train=train,
        test=test,
        labels=labels,
        license=LICENSE,
        source=path.resolve().name + (f", {_left_out(len(broken))}" if broken else ""),
        sha256=_digest(path, [(listed[index], decoded[index]) for index in good]),
        notes=tuple(notes),
    )


def _listed(path: Path, *, is_flat: bool) -> list[Listed]:
    if is_flat:
        return [Listed(picture, "") for picture in _pictures_in(path.iterdir())]
    return _listed_in_folder(path) if path.is_dir() else _listed_in_file(path)


def _listed_in_folder(folder: Path) -> list[Listed]:
    names = {child.name.lower(): child for child in _folders_in(folder)}
    validation = next((names[name] for name in VALIDATION if name in names), None)
    if TRAIN not in names or (TEST not in names and validation is None):
        return _classes_in(folder, "")
    parts = [(names[TRAIN], TRAIN)]
    if TEST in names:
        parts += [(names[TEST], TEST), *([(validation, TRAIN)] if validation else [])]
    elif validation:
        parts += [(validation, TEST)]
    return [picture for part, split in parts for picture in _classes_in(part, split)]


def _classes_in(folder: Path, split: str) -> list[Listed]:
    """List the pictures of each class, however deep they lie; a folder without any is refused."""
    found = []
    for named in _folders_in(folder):
        paths = _pictures_in(named.rglob("*"))
        if not paths:
            raise UnusableData(f"{named}: no pictures ({', '.join(sorted(SUFFIXES))}); each folder is a class")
        found += [Listed(path, named.name, split) for path in paths]
    return found


def _pictures_in(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file())


def _folders_in(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _listed_in_file(path: Path) -> list[Listed]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = _json_lines(text) if path.suffix.lower() == ".jsonl" else list(csv.DictReader(io.StringIO(text)))
    except (OSError, ValueError, csv.Error) as error:
        raise UnusableData(f"{path}: {error}") from None
    return [_entry(path, number, line) for number, line in enumerate(lines, start=1)]


def _json_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _entry(path: Path, number: int, line: Any) -> Listed:
    given: Mapping[str, Any] = line if isinstance(line, dict) else {}
    picture, label, split = given.get("picture"), given.get("label"), given.get("split") or ""
    if not picture or label in (None, "") or split not in ("", TRAIN, TEST):
        raise UnusableData(f"{path}: entry {number}: expected picture, label and perhaps split ({TRAIN} or {TEST})")
    return Listed(path.parent / str(picture), str(label), split)


def _format(listed: list[Listed], options: FileOptions) -> tuple[ImageFormat, list[str]]:
    """Choose size and colours, by the headers of the files where the options leave it open; say what follows."""
    asked, colour = options.picture_size, options.colour
    if len(asked) > 2:
        raise InvalidParameter("picture_size", asked, expected="height,width")
    sizes, modes = _headers(listed) if not asked or colour == "auto" else ({USUAL_SIZE}, set())
    own = next(iter(sizes), USUAL_SIZE)
    fits = len(sizes) == 1 and max(own) <= LARGEST_OWN_SIZE
    height, width = (asked[0], asked[-1]) if asked else own if fits else USUAL_SIZE
    is_grey = colour == "grey" or (colour == "auto" and bool(modes) and modes <= GREY_MODES)
    notes = [] if asked or fits or not sizes else [_brought_to(sizes, height, width)]
    return ImageFormat(height=height, width=width, channels=1 if is_grey else 3), notes


def _brought_to(sizes: set[tuple[int, int]], height: int, width: int) -> str:
    own = " x ".join(map(str, next(iter(sizes)))) if len(sizes) == 1 else "several sizes"
    return f"pictures of {own} are brought to {height} x {width}: choose a size with --set picture_size=HEIGHT,WIDTH"


def _headers(listed: Iterable[Listed]) -> tuple[set[tuple[int, int]], set[str]]:
    """Read (height, width) and Pillow's modes of all pictures; decoding will complain of what is none."""
    sizes, modes = set(), set()
    for picture in listed:
        try:
            with Image.open(picture.path, formats=FORMATS) as opened:
                sizes.add((opened.height, opened.width))
                modes.add(opened.mode)
        except DAMAGE:
            continue
    return sizes, modes


def _decode_all(path: Path, listed: list[Listed], wanted: ImageFormat) -> tuple[Any, list[Decoded]]:
    """Decode into a file on disk, as many at once as there are processors: Pillow lets go of Python's lock."""
    shape = (len(listed), wanted.height, wanted.width, wanted.channels)
    try:
        pixels = empty_on_disk(shape, np.uint8)
    except OSError as error:
        size = np.prod(shape, dtype=np.int64) / 1e9
        raise UnusableData(
            f"{path}: no room for {size:.1f} GB of pixels ({error.strerror}): set TMPDIR or a smaller picture_size"
        ) from None

    def decode(index: int) -> Decoded:
        try:
            content = listed[index].path.read_bytes()
            with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
                pixels[index] = pixels_of(opened, wanted)
        except DAMAGE as error:
            return Decoded(problem=_problem(error))
        return Decoded(sha256=hashlib.sha256(content).hexdigest())

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return pixels, list(pool.map(decode, range(len(listed))))


def _problem(error: Exception) -> str:
    """Say why a picture cannot be decoded; Pillow would name the buffer that it was read from."""
    if isinstance(error, UnidentifiedImageError):
        return f"not a picture in {', '.join(FORMATS)}"
    return " ".join(str(error).split())


def _complaint(path: Path, names: str, count: int, problem: str) -> str:
    them = "it" if count == 1 else "them"
    return (
        f"{path}: {count} cannot be decoded: {names} ({problem[:120]}): "
        f"remove {them}, or leave {them} out with --set broken_pictures=skip"
    )


def _left_out(count: int) -> str:
    return f"{count} broken picture{'' if count == 1 else 's'} left out"


def _named(path: Path, files: list[Path]) -> str:
    """Name the first few files, from the folder that holds them all."""
    root = _root(path)
    named = ", ".join(os.path.relpath(file, root) for file in files[:NAMED_AT_MOST])
    return named + (f" and {len(files) - NAMED_AT_MOST} more" if len(files) > NAMED_AT_MOST else "")


def _parted(path: Path, rows: Rows, splits: list[str]) -> tuple[Rows, Rows]:
    if not any(splits):
        return held_out(rows, stratified=rows.targets.dtype.kind == "i")
    if not all(splits):
        raise UnusableData(f"{path}: some pictures have a split and some have none")
    is_test = np.array([split == TEST for split in splits])
    return rows.part(np.flatnonzero(~is_test)), rows.part(np.flatnonzero(is_test))


def _root(path: Path) -> Path:
    """Tell what the pictures' paths are told from: the folder, or the one that the list lies in."""
    return path if path.is_dir() else path.parent


def _digest(path: Path, pictures: Iterable[tuple[Listed, Decoded]]) -> str:
    """Hash names, labels and contents: the same pictures in another place are the same data set."""
    root = _root(path)
    total = hashlib.sha256()
    for picture, decoded in pictures:
        name = os.path.relpath(picture.path, root)
        total.update(f"{name}\0{picture.label}\0{picture.split}\0{decoded.sha256}\n".encode())
    return total.hexdigest()
