"""What can go wrong in a training job, named by cause.

TrainingError
├── WrongUse                what was asked for cannot be done; found before any training starts
│   ├── UnknownRecipe       no recipe has this name
│   ├── UnknownDataset      no data set has this name, and no file lies there
│   ├── UnknownParameter    neither the recipe nor the fit nor the data has such a parameter
│   ├── ForeignParameter    other recipes have such a parameter, this one has not
│   ├── InvalidParameter    a value that does not parse or is out of range
│   ├── UnusableData        the user's file is missing, lacks a column, holds NaN, one class, too few rows
│   ├── UnfitDataset        the data set is not what the recipe learns from
│   ├── UnusableStore       nothing can be published there
│   ├── UnusableCluster     TF_CONFIG does not say which machines fit together, or they cannot
│   ├── OtherJob            the machines of one fit were given different jobs
│   └── OtherTrials         a journal holds the trials of another search
├── DatasetAbsent           the data set's file is not here and could not be downloaded
├── DatasetAltered          the data set's file is not the one that is known
├── WeightsAbsent           the weights of a base are not here and could not be downloaded
├── MissingPackage          a Python package that the job needs is not installed, or destroyed by another one
├── FitDiverged             the loss became NaN or infinite
├── OutOfMemory             the rows of a step, or the network, do not fit into the memory
├── CheckpointUnwritable    where the fit stands could not be saved: a full disk
├── CheckpointUnfit         what was saved belongs to another network
├── MachineLost             another machine of the fit ended, or fell silent
└── ExportRefused           the ONNX file is not what training computed: nothing is published
    ├── UnconvertedLayers   tf2onnx left operators that ONNX does not have
    ├── InvalidGraph        the ONNX checker or onnxruntime refuses the file
    ├── ParityBroken        the file's outputs differ from those of Keras, or NumPy
    └── QuantizationRefused int8 would cost more quality than is allowed

Beside it stands Interrupted, a KeyboardInterrupt that says how to go on.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class TrainingError(Exception):
    """A training job cannot start or cannot finish."""


class WrongUse(TrainingError):
    """What was asked for cannot be done; the message says what can."""


class _UnknownName(WrongUse):
    """A name that is not in a list: the message holds the list and the nearest entry."""

    what = "name"

    def __init__(self, name: str, *, known: Iterable[str], hint: str = "") -> None:
        names = list(known)
        nearest = difflib.get_close_matches(name, names, n=1)
        question = f" (did you mean {nearest[0]!r}?)" if nearest else ""
        super().__init__(f"unknown {self.what} {name!r}{question}; known: {', '.join(names)}{hint}")


class UnknownRecipe(_UnknownName):
    """No recipe has this name."""

    what = "recipe"


class UnknownDataset(_UnknownName):
    """No data set has this name, and no file lies there."""

    what = "data set"


class UnknownParameter(_UnknownName):
    """Neither the recipe nor the fit nor the data has such a parameter."""

    what = "parameter"


class ForeignParameter(WrongUse):
    """A parameter that other recipes have, and this one has not."""

    def __init__(self, name: str, *, recipe: str, known: Iterable[str], owners: Iterable[str]) -> None:
        super().__init__(
            f"unknown parameter {name!r}: a parameter of {', '.join(owners)}; {recipe} has {', '.join(known)}, "
            "and those that every recipe has (ovenbird train --list)"
        )


class InvalidParameter(WrongUse):
    """A parameter's value that does not parse or is out of range."""

    def __init__(self, name: str, value: object, *, expected: str) -> None:
        super().__init__(f"parameter {name}={value}: expected {expected}")


class UnusableData(WrongUse):
    """A file of the user's that cannot be learned from."""


class UnfitDataset(WrongUse):
    """A data set that is not what the recipe learns from."""


class UnusableStore(WrongUse):
    """A place where nothing can be published."""


class UnusableCluster(WrongUse):
    """A TF_CONFIG that does not say which machines fit together, or machines that cannot."""


class OtherJob(WrongUse):
    """Machines of one fit that were given different jobs."""


class OtherTrials(WrongUse):
    """A journal with the trials of another search than the one that is asked for."""


class DatasetAbsent(TrainingError):
    """A data set's file that is not here and could not be downloaded."""


class DatasetAltered(TrainingError):
    """A data set's file that is not the one that is known."""


class WeightsAbsent(TrainingError):
    """Weights of a base that are not here and could not be downloaded."""


class MissingPackage(TrainingError):
    """A Python package that the job needs is not installed, or was overwritten by another one."""


class FitDiverged(TrainingError):
    """A fit whose loss became NaN or infinite."""


class OutOfMemory(TrainingError):
    """The rows of a step, or the network, do not fit into the memory."""

    def __init__(self, batch_size: int) -> None:
        super().__init__(
            f"out of memory: try a smaller network, or a smaller batch_size than {batch_size}; nothing was published"
        )


class CheckpointUnwritable(TrainingError):
    """Where the fit stands could not be saved; what was saved before is still there."""

    def __init__(self, path: Path, error: OSError, *, epochs: int) -> None:
        then = f"goes on after epoch {epochs}" if epochs else "starts anew"
        super().__init__(
            f"cannot write the checkpoint {path}: {error.strerror or error}; "
            f"make room there: the same command then {then}"
        )


class CheckpointUnfit(TrainingError):
    """What was saved belongs to another network."""


class MachineLost(TrainingError):
    """Another machine of the fit ended, or fell silent."""


class Interrupted(KeyboardInterrupt):
    """A job that was interrupted; the message says how to go on."""


class ExportRefused(TrainingError):
    """An ONNX file that is not what training computed."""


class UnconvertedLayers(ExportRefused):
    """tf2onnx left operators that ONNX does not have."""


class InvalidGraph(ExportRefused):
    """The ONNX checker or onnxruntime refuses the file."""


class ParityBroken(ExportRefused):
    """The file's outputs differ from those of Keras, or of NumPy where that computed them."""


class QuantizationRefused(ExportRefused):
    """An int8 file that is worse than is allowed, or no different from float32."""
