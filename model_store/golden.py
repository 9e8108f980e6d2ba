"""golden.npz: a few real inputs, and the outputs that Keras and the published file gave for them.

The file holds plain arrays only (never a pickle), under `inputs/NAME`, `keras/NAME`, `onnx/NAME`, and `truth`:
what the data set says is right, where it says so. Knows neither Keras nor onnxruntime: `compare` is given arrays.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model_store.errors import InvalidGolden
from model_store.manifest import Tolerance

Arrays = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Inputs with their expected outputs, all with the same number of rows; strings are object arrays of `str`."""

    inputs: Arrays
    keras: Arrays
    onnx: Arrays
    truth: npt.NDArray[np.generic] | None = None

    def write(self, path: Path) -> None:
        """Write one compressed file without pickles; strings are stored as fixed-width Unicode."""
        arrays = {
            f"{part}/{name}": _storable(array)
            for part, group in (("inputs", self.inputs), ("keras", self.keras), ("onnx", self.onnx))
            for name, array in group.items()
        }
        if self.truth is not None:
            arrays["truth"] = _storable(self.truth)
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def read(cls, path: Path) -> Golden:
        """Read a golden file.

        Raises:
            InvalidGolden: the file is missing, is no .npz of plain arrays, or lacks inputs or outputs.
        """
        try:
            # Not np.load: it would take a file with a single array too.
            with np.lib.npyio.NpzFile(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                arrays = {name: _usable(np.asarray(stored[name])) for name in stored.files}
        # RuntimeError: zipfile's word for a member that claims to be encrypted, or compressed in a way it lacks.
        except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise InvalidGolden(f"{path}: {error}") from None
        parts: dict[str, dict[str, npt.NDArray[np.generic]]] = {"inputs": {}, "keras": {}, "onnx": {}}
        for name, array in arrays.items():
            part, _, tensor = name.partition("/")
            if part in parts and tensor:
                parts[part][tensor] = array
        empty = [part for part, group in parts.items() if not group]
        if empty:
            raise InvalidGolden(f"{path}: holds no {' and no '.join(empty)}")
        return cls(truth=arrays.get("truth"), **parts)


def _storable(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return array.astype(np.str_) if array.dtype == object else array


def _usable(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return array.astype(object) if array.dtype.kind == "U" else array


def compare(expected: Arrays, actual: Arrays, tolerance: Tolerance) -> list[str]:
    """Compare outputs by name; one line for each that is missing, misshapen or off.

    Floating-point outputs may differ by `rtol` x |expected| + `atol` x the largest expected magnitude of that
    output; others must be equal.
    """
    problems = []
    for name, wanted in expected.items():
        if name not in actual:
            problems.append(f"output {name!r} is missing")
            continue
        problem = _difference(wanted, actual[name], tolerance)
        if problem:
            problems.append(f"output {name!r}: {problem}")
    return problems


def _difference(wanted: npt.NDArray[np.generic], got: npt.NDArray[np.generic], tolerance: Tolerance) -> str | None:
    if wanted.shape != got.shape:
        return f"expected shape {list(wanted.shape)}, received {list(got.shape)}"
    if wanted.dtype.kind != got.dtype.kind:
        return f"expected {wanted.dtype}, received {got.dtype}"
    if wanted.dtype.kind != "f":
        differing = int(np.sum(wanted != got))
        return f"{differing} of {wanted.size} values differ" if differing else None
    reference, candidate = wanted.astype(np.float64), got.astype(np.float64)
    scale = float(np.max(np.abs(reference), initial=0.0, where=np.isfinite(reference)))
    close = np.isclose(candidate, reference, rtol=tolerance.rtol, atol=tolerance.atol * scale, equal_nan=True)
    if close.all():
        return None
    worst = max_abs_difference(reference, candidate)
    return f"{np.sum(~close)} of {close.size} values are off, by up to {worst:.3g} at a scale of {scale:.3g}"


def max_abs_difference(expected: npt.NDArray[np.generic], actual: npt.NDArray[np.generic]) -> float:
    """Return the largest absolute difference; 1 if any two strings differ, infinity where only one is NaN."""
    if expected.dtype.kind not in "biuf":
        return float(np.any(expected != actual))
    with np.errstate(invalid="ignore"):
        difference = np.abs(expected.astype(np.float64) - actual.astype(np.float64))
    one_sided_nan = np.isnan(expected.astype(np.float64)) != np.isnan(actual.astype(np.float64))
    return float(
        np.max(np.where(one_sided_nan, np.inf, np.nan_to_num(difference, nan=0.0, posinf=np.inf)), initial=0.0)
    )
