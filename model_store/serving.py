"""How a model is to be served: what may change after publishing, beside the versions and never in them.

    <store>/<model>/serving.json   which versions, on which providers, in how large batches
    <store>/<model>/labels.json    names of versions: {"stable": 3, "canary": 4}

Both are replaced atomically, by `ovenbird store` or by hand, and read by a service that watches the store. The version
policy is written as in Triton's model configuration (model_config.proto, `ModelVersionPolicy`), the providers as in
the argument of onnxruntime's `InferenceSession`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from model_store.errors import InvalidServing
from model_store.manifest import lines_of
from model_store.providers import OptionValue, split

SERVING_FILE = "serving.json"
LABELS_FILE = "labels.json"

VersionNumber = Annotated[int, Field(ge=1, lt=10**18, strict=True)]
Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,128}$")]
Provider = str | tuple[str, dict[str, OptionValue]]
Size = Annotated[int, Field(ge=1, strict=True)]

_LABELS: TypeAdapter[dict[str, int]] = TypeAdapter(dict[Label, VersionNumber])
_SHORT = re.compile(r"all|latest:([1-9][0-9]{0,8})|specific:([1-9][0-9]{0,17}(?:,[1-9][0-9]{0,17})*)")


class _Part(BaseModel):
    """A frozen piece of these files that refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Latest(_Part):
    """The newest versions, so many of them."""

    num_versions: Size = 1


class All(_Part):
    """Every version."""


class Specific(_Part):
    """These versions and no others."""

    versions: Annotated[tuple[VersionNumber, ...], Field(min_length=1)]


class VersionPolicy(_Part):
    """Which versions are served: exactly one of the three is set."""

    latest: Latest | None = None
    all: All | None = None
    specific: Specific | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(choice is not None for choice in (self.latest, self.all, self.specific)) != 1:
            raise ValueError(
                'expected exactly one of {"latest": {"num_versions": 2}}, {"all": {}}, {"specific": {"versions": [1]}}'
            )
        return self

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the short form: `latest:2`, `all` or `specific:1,3`; raise ValueError for anything else."""
        found = _SHORT.fullmatch(text)
        if found is None:
            raise ValueError(f"version policy {text!r}: expected latest:N, all, or specific:N,N,…")
        if found[1]:
            return cls(latest=Latest(num_versions=int(found[1])))
        if found[2]:
            return cls(specific=Specific(versions=tuple(int(number) for number in found[2].split(","))))
        return cls(all=All())

    def __str__(self) -> str:
        if self.specific is not None:
            return "specific:" + ",".join(map(str, self.specific.versions))
        return f"latest:{self.latest.num_versions}" if self.latest is not None else "all"

    def select(self, versions: Sequence[int], may_serve: Callable[[int], bool]) -> list[int]:
        """Choose from a model's versions (oldest first) those that it lets serve; asks about no more than it must."""
        if self.specific is not None:
            return [version for version in versions if version in self.specific.versions and may_serve(version)]
        usable = (version for version in reversed(versions) if may_serve(version))
        newest_first = islice(usable, None if self.latest is None else self.latest.num_versions)
        return sorted(newest_first)


class Serving(_Part):
    """One model's serving.json. Whatever is not set is as the service's settings have it.

    `withdrawn` are versions that no policy brings back: what `ovenbird store rollback` took out of service.
    `providers` stand in order of preference; with `require_provider` the first of them or none.
    """

    version_policy: VersionPolicy = VersionPolicy(latest=Latest())
    withdrawn: tuple[VersionNumber, ...] = ()
    providers: Annotated[tuple[Provider, ...], Field(min_length=1)] | None = None
    require_provider: bool | None = None
    threads: Size | None = None
    instances: Size | None = None
    max_batch_size: Size | None = None
    max_queue_rows: Size | None = None
    max_queue_bytes: Size | None = None
    p99_ms: Annotated[int, Field(ge=0, strict=True)] | None = None

    @field_validator("providers")
    @classmethod
    def _can_be_had_in_turn(cls, providers: tuple[Provider, ...] | None) -> tuple[Provider, ...] | None:
        if providers is not None:
            split(providers)
        return providers

    @property
    def of_session(self) -> Self:
        """What is said here of how a version is run, without which version it is."""
        return self.model_copy(update={"version_policy": VersionPolicy(latest=Latest()), "withdrawn": ()})

    def to_json(self) -> str:
        """Write what is set as indented JSON."""
        return self.model_dump_json(indent=2, exclude_defaults=True) + "\n"

    @classmethod
    def read(cls, model_folder: Path) -> Self:
        """Read a model's serving.json; the defaults where there is none.

        Raises:
            InvalidServing: it is unreadable, not JSON, or breaks the schema; names every field that is wrong.
        """
        text = _read(model_folder / SERVING_FILE)
        try:
            return cls() if text is None else cls.model_validate_json(text)
        except ValidationError as error:
            raise InvalidServing(model_folder / SERVING_FILE, lines_of(error)) from None


@dataclass(frozen=True)
class Selection:
    """Which versions of a model shall serve, oldest first; to which a label shall lead; and the policy that chose."""

    versions: tuple[int, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)
    policy: str = "latest:1"


def read_labels(model_folder: Path) -> dict[str, int]:
    """Read a model's labels: label → version; none where there is no file. Raises as `Serving.read`."""
    text = _read(model_folder / LABELS_FILE)
    try:
        return {} if text is None else _LABELS.validate_json(text)
    except ValidationError as error:
        raise InvalidServing(model_folder / LABELS_FILE, lines_of(error)) from None


def labels_to_json(labels: Mapping[str, int]) -> str:
    """Write labels as indented JSON; raise `InvalidServing` for a label that cannot be one."""
    try:
        return json.dumps(_LABELS.validate_python(dict(labels)), indent=2, sort_keys=True) + "\n"
    except ValidationError as error:
        raise InvalidServing(None, lines_of(error)) from None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidServing(path, [error.strerror or str(error)]) from None
