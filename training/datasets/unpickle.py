"""Reads the object arrays in Keras's .npz files, and CIFAR's batches, without giving a pickle its powers.

A pickle may call anything; these files need three names of NumPy, so three names is what they get.
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.lib.format
import numpy.typing as npt
from numpy._core.multiarray import _reconstruct

from training.errors import DatasetAltered

ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler that knows NumPy's arrays alone."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the three allowed names, else raise `pickle.UnpicklingError`."""
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"the name {module}.{name} is not allowed") from None


def read_pickle(path: Path) -> dict[bytes, Any]:
    """Read a file that is one pickle of Python 2: a dictionary of plain values and arrays, its texts as bytes.

    Raises:
        DatasetAltered: the file is no such pickle, or asks for more than arrays.
    """
    try:
        with path.open("rb") as file:
            content = ArrayUnpickler(file, encoding="bytes").load()
    except (OSError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise DatasetAltered(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise DatasetAltered(f"{path}: a pickle of a {type(content).__name__}, not of a dictionary")
    return content


def read_object_array(path: Path, name: str) -> npt.NDArray[np.object_]:
    """Read one array of an .npz file that may hold a pickle of plain lists.

    Raises:
        DatasetAltered: the file is no such .npz, or its pickle asks for more than arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
            version = numpy.lib.format.read_magic(member)
            read_header = {
                (1, 0): numpy.lib.format.read_array_header_1_0,
                (2, 0): numpy.lib.format.read_array_header_2_0,
            }
            read_header[version](member)
            array: npt.NDArray[np.object_] = ArrayUnpickler(member, encoding="latin1").load()
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise DatasetAltered(f"{path}: array {name!r}: {error}") from None
    return array
