"""The user's own files: what kind a path is for a recipe, who reads it, and which options that reader heeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from training.datasets import annotated_pictures, files, picture_files, tables, text_files
from training.datasets.dataset import Dataset, Kind
from training.errors import InvalidParameter, UnusableData
from training.options import FileOptions

Form = Literal["annotations", "arrays", "pictures", "texts", "folder of texts", "mixed table", "numbers"]

TABLE_SUFFIXES = (".csv", ".parquet", ".jsonl")
FILE_SUFFIXES = (*TABLE_SUFFIXES, ".npz")
# Pictures with boxes in them.
ANNOTATION_SUFFIX = ".json"
HINT = (
    f"; or the path of a file ({', '.join((*FILE_SUFFIXES, ANNOTATION_SUFFIX))}), or of a folder of pictures or texts"
)

OPTIONS: dict[Form, tuple[str, ...]] = {
    "annotations": ("images", "picture_size"),
    "arrays": (),
    "pictures": ("picture_size", "colour", "broken_pictures"),
    "texts": ("target", "text"),
    "folder of texts": (),
    "mixed table": ("target", "task", "numbers", "categories", "drop"),
    "numbers": ("target", "task"),
}
# What a reader must be given for an option to mean something.
NEEDED = {
    "target": "a table as data (.csv, .parquet, .jsonl)",
    "text": "a table as data, and the recipe text",
    "task": "a table as data (.csv, .parquet, .jsonl)",
    "numbers": "a table as data, and the recipe tabular",
    "categories": "a table as data, and the recipe tabular",
    "drop": "a table as data, and the recipe tabular",
    "picture_size": "files of pictures as data",
    "colour": "files of pictures as data",
    "broken_pictures": "files of pictures as data",
    "images": "annotated pictures as data, and the recipe detector",
}


def form_of(path: Path, kinds: Collection[Kind]) -> Form:
    """Tell how a recipe that takes these kinds of data reads a path."""
    suffix = path.suffix.lower()
    if "boxes" in kinds:
        return "annotations"
    if "text" in kinds:
        return "folder of texts" if path.is_dir() else "texts"
    if suffix == ".npz":
        return "arrays"
    if picture_files.is_folder_or_list(path):
        return "pictures"
    return "mixed table" if "table" in kinds else "numbers"


def load(path: Path, options: FileOptions, form: Form, *, needs_target: bool = True) -> Dataset:
    """Read the user's file in a form that `form_of` told; raises `UnusableData` where nothing can be learned of it."""
    if form == "annotations":
        return annotated_pictures.load(path, options)
    if form in ("texts", "folder of texts"):
        return text_files.load(path, options)
    if form == "pictures":
        return picture_files.load(path, options, needs_target=needs_target)
    if not path.is_file():
        raise UnusableData(f"{path}: no such file")
    if form == "arrays":
        return files.load_pictures(path, needs_target=needs_target)
    suffix = path.suffix.lower()
    if form == "mixed table" and suffix in TABLE_SUFFIXES:
        return tables.load_mixed(path, options)
    if form == "numbers" and suffix == ".csv":
        return files.load_table(path, options, needs_target=needs_target)
    if form == "numbers" and suffix in TABLE_SUFFIXES:
        raise UnusableData(f"{path}: a {suffix} file is read by the recipe tabular alone; others take .csv")
    raise UnusableData(f"{path}: expected a file that ends in {', '.join(FILE_SUFFIXES)}")


def check_options(source: str, form: Form | None, given: Mapping[str, Any]) -> None:
    """Refuse an option that the reader of this source does not heed; `form` is None for a named data set."""
    heeded = OPTIONS[form] if form else ()
    for name in FileOptions().as_json().keys() & given.keys():
        if name not in heeded:
            raise InvalidParameter(name, given[name], expected=f"{NEEDED[name]}; {source} is none")


def heeded(options: FileOptions, form: Form | None) -> dict[str, Any]:
    """Give the options that mean something for a form, as plain JSON."""
    values = options.as_json()
    return {name: values[name] for name in OPTIONS[form]} if form else {}
