"""The manifest: who made a model, from what, what goes in and out, how good it is.

`manifest.json` is validated when it is read and when it is written; every problem is named by its field.
Unknown fields are refused (a typing error must not pass for a fact); what later features need to say goes
into `extra`, which is kept as it is.
"""

from __future__ import annotations

import hashlib
import json
import math
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from model_store.errors import InvalidManifest

MODEL_FILE = "model.onnx"
GOLDEN_FILE = "golden.npz"
MANIFEST_FILE = "manifest.json"
REPORT_FILE = "report/report.html"
# A publisher that cannot rename writes this file first and removes it last: readers skip the folder meanwhile.
PUBLISHING_MARK = ".publishing"

# What `extra.quantization.format` says of a file that computes in int8.
INT8 = "int8"

MODEL_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"

DType = Literal[
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
    "string",
]
InputKind = Literal["image", "text", "features", "column", "vector", "tensor"]
OutputKind = Literal["probabilities", "value", "embedding", "reconstruction", "label", "score", "boxes", "tensor"]

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ModelName = Annotated[str, StringConstraints(pattern=MODEL_NAME_PATTERN)]
NonEmpty = Annotated[str, StringConstraints(min_length=1)]
Shape = tuple[Annotated[int, Field(ge=1)] | None, ...]


class _Part(BaseModel):
    """A frozen piece of the manifest that refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ImageFormat(_Part):
    """The picture that an input of kind `image` holds: pixels by row, channels last."""

    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    channels: Literal[1, 3]


class InputSpec(_Part):
    """One input of the graph. `shape` has null for a dynamic dimension; the first is the batch.

    An input of kind `column` is one column of a table, by its name: a number (NaN: missing) or a text ("": missing)
    for each row, shape [null]. `categories` are the texts that the model knows; all others are one to it.
    """

    name: NonEmpty
    dtype: DType
    shape: Shape
    kind: InputKind
    image: ImageFormat | None = None
    columns: tuple[NonEmpty, ...] | None = None
    categories: tuple[NonEmpty, ...] | None = None

    @model_validator(mode="after")
    def _meaning_fits_the_shape(self) -> Self:
        if self.kind == "image":
            if self.image is None:
                raise ValueError("an input of kind 'image' needs the field 'image'")
            pixels = (self.image.height, self.image.width, self.image.channels)
            if self.shape[1:] != pixels:
                raise ValueError(f"shape {list(self.shape)} does not hold pictures of {pixels}")
        if self.columns is not None and self.shape[1:] != (len(self.columns),):
            raise ValueError(f"{len(self.columns)} columns do not fit shape {list(self.shape)}")
        if self.categories is not None and (self.kind, self.dtype) != ("column", "string"):
            raise ValueError(f"categories belong to a column of strings, not to {self.kind!r} of {self.dtype}")
        return self


class OutputSpec(_Part):
    """One output of the graph.

    `labels` names the entries of its last dimension; of an output of kind `label`, whose values are class indices, it
    names the classes. Boxes are left, top, right, bottom in pixels of the graph's picture.
    """

    name: NonEmpty
    dtype: DType
    shape: Shape
    kind: OutputKind
    labels: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _labels_fit_the_shape(self) -> Self:
        if self.labels is not None and self.kind == "probabilities":
            count = len(self.labels)
            if self.shape[-1:] not in ((None,), (count,)):
                raise ValueError(f"{count} labels do not fit shape {list(self.shape)}")
        return self


class DatasetFacts(_Part):
    """What the model learned from, and under which licence."""

    name: NonEmpty
    sha256: Sha256
    license: NonEmpty
    source: str = ""
    sizes: dict[str, Annotated[int, Field(ge=0)]]


class Tolerance(_Part):
    """How far an output may be off: `rtol` x |expected| + `atol` x the output's largest expected magnitude."""

    rtol: Annotated[float, Field(ge=0)] = 1e-4
    atol: Annotated[float, Field(ge=0)] = 1e-5


# int8 rounds differently where another processor or provider computes it: off by a step or two of 255, at times.
INT8_TOLERANCE = Tolerance(rtol=0.02, atol=0.02)


class Parity(_Part):
    """How closely the ONNX file repeats Keras: the largest absolute difference per output.

    `tolerance` is for the golden rows: against Keras's answers, or against the file's own where it computes in int8.
    """

    batch_sizes: tuple[Annotated[int, Field(ge=1)], ...]
    max_abs_difference: dict[str, Annotated[float, Field(ge=0)]]
    tolerance: Tolerance = Tolerance()


class Group(_Part):
    """Models that were published by one job under one version number and belong together."""

    id: NonEmpty
    members: Annotated[tuple[ModelName, ...], Field(min_length=1)]


class Manifest(_Part):
    """Everything that is known about one published version."""

    format_version: Literal[1] = 1
    created: datetime
    recipe: NonEmpty
    parameters: dict[str, Any]
    seed: int
    dataset: DatasetFacts
    inputs: Annotated[tuple[InputSpec, ...], Field(min_length=1)]
    outputs: Annotated[tuple[OutputSpec, ...], Field(min_length=1)]
    metrics: dict[str, float]
    parity: Parity
    libraries: dict[str, str]
    files: dict[str, Sha256]
    group: Group | None = None
    extra: dict[str, Any] = {}

    @field_validator("inputs", "outputs")
    @classmethod
    def _names_differ(cls, specs: tuple[InputSpec | OutputSpec, ...]) -> tuple[InputSpec | OutputSpec, ...]:
        names = [spec.name for spec in specs]
        if len(set(names)) < len(names):
            raise ValueError(f"names must differ, got {names}")
        return specs

    @field_validator("metrics")
    @classmethod
    def _metrics_are_numbers(cls, metrics: dict[str, float]) -> dict[str, float]:
        bad = [name for name, value in metrics.items() if not math.isfinite(value)]
        if bad:
            raise ValueError(f"must be finite: {', '.join(bad)}")
        return metrics

    @field_validator("parameters", "extra")
    @classmethod
    def _survive_json(cls, facts: dict[str, Any]) -> dict[str, Any]:
        # NaN would be written as null, and half a surrogate pair not at all.
        json.dumps(facts, allow_nan=False, ensure_ascii=False, default=str).encode()
        return facts

    @field_validator("files")
    @classmethod
    def _files_stay_inside(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or name != str(path) or name == "." or "\0" in name:
                raise ValueError(f"{name!r} is not a plain path inside the version's folder")
            if name in (MANIFEST_FILE, PUBLISHING_MARK):
                raise ValueError(f"{name!r} is not one of a model's files")
        missing = {MODEL_FILE, GOLDEN_FILE} - files.keys()
        if missing:
            raise ValueError(f"must name {', '.join(sorted(missing))}")
        return files

    @property
    def digest(self) -> str:
        """The sha256 of model.onnx, in hexadecimal."""
        return self.files[MODEL_FILE]

    @property
    def is_quantized(self) -> bool:
        """Whether the file computes in int8: then it repeats its own golden answers, and Keras's only roughly."""
        facts = self.extra.get("quantization")
        return isinstance(facts, dict) and facts.get("format") == INT8

    def to_json(self) -> str:
        """Write the manifest as indented JSON."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_facts(cls, **facts: Any) -> Self:
        """Build a manifest; raise `InvalidManifest` naming every field that is wrong."""
        try:
            return cls(**facts)
        except ValidationError as error:
            raise InvalidManifest(None, lines_of(error)) from None

    @classmethod
    def from_json(cls, text: str | bytes, *, path: Path | None = None) -> Self:
        """Read a manifest; raise `InvalidManifest` naming every field that is wrong."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InvalidManifest(path, lines_of(error)) from None

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest of one version's folder.

        Raises:
            InvalidManifest: it is missing, unreadable, not JSON, or breaks the schema.
        """
        path = folder / MANIFEST_FILE
        try:
            text = path.read_bytes()
        except OSError as error:
            raise InvalidManifest(path, [error.strerror or str(error)]) from None
        return cls.from_json(text, path=path)


def lines_of(error: ValidationError) -> list[str]:
    """One line for each wrong field: where, what is wrong, what was found."""
    lines = []
    for problem in error.errors(include_url=False):
        field = ".".join(str(part) for part in problem["loc"])
        received = "" if problem["type"] in ("missing", "json_invalid") else f" (received {_short(problem['input'])})"
        lines.append(f"{field + ': ' if field else ''}{problem['msg']}{received}")
    return lines


def _short(value: object, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def sha256_of(path: Path) -> str:
    """Hash a file in pieces; hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_files(folder: Path) -> dict[str, str]:
    """Hash every file below a folder but the manifest: path with forward slashes → sha256."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: sha256_of(path) for name, path in names.items() if name != MANIFEST_FILE}
