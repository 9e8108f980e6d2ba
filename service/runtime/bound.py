"""Batches on a GPU: padded to a size that was warmed, and run from and into buffers that stay where they are.

A new shape costs a GPU the choice of its kernels anew, and new memory on the device each time; a CUDA graph runs with
the shape and the addresses it was captured with, and no others. On the CPU none of this pays: it is one copy more.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from service.runtime import onnxruntime_build, padding, providers, turns
from service.runtime.providers import Obtained
from service.runtime.session import Session
from service.tensors import NUMPY_DTYPES, Array, Arrays, Signature, TensorSpec, pieces, rows_of

# onnxruntime's names of the devices that the providers run on whose batches are bound.
DEVICES: Mapping[str, str] = MappingProxyType({providers.CUDA: "cuda"})

# A batch fills its buffers while another one runs.
SETS = 2

# onnxruntime runs a model twice before it captures it; most of its versions do all three within the first call.
RUNS_TO_CAPTURE = 3

_T = TypeVar("_T")


def runner_for(session: Session, signature: Signature) -> Session | BoundSession:
    """Choose what runs a session's batches: itself, or, on a GPU, for a model that can be bound, a `BoundSession`.

    `signature` is what is known of the model beyond its file: whether its rows may run together.
    """
    device = DEVICES.get(session.obtained.first)
    if device is None or not signature.batched or not can_be_bound(session.signature):
        return session
    return BoundSession(session, device=device)


def can_be_bound(signature: Signature) -> bool:
    """Tell whether buffers can be made for so many rows: all tensors are numbers, and open in the batch alone."""
    return all(
        spec.datatype != "BYTES" and spec.shape and spec.shape[0] is None and None not in spec.shape[1:]
        for spec in (*signature.inputs, *signature.outputs)
    )


class BoundSession:
    """Runs the batches of one session in buffers of a few sizes; any number of threads may call `run` at once.

    The buffers belong to this object, for ever: a run takes a set of its size, or waits until one is given back, copies
    its rows in, and copies the outputs out before it gives the set back. So what goes in stays the caller's, and what
    comes out becomes the caller's; no array of either is kept or written to.

    `prepare` and `settle` are for the thread that loads the model, before others call `run`.

    If the session captures CUDA graphs, all of this happens in one thread, which belongs to this object too:
    onnxruntime keeps a captured graph for the thread that captured it, and all graphs of a session share one stream.
    A graph is its buffers' own, so that each size has a single set, and a number.

    Attributes:
        obtained: the session's execution providers.
        sizes: the numbers of rows that there are buffers for, ascending.
    """

    def __init__(self, session: Session, *, device: str, graphs: bool | None = None) -> None:
        """Bind nothing yet.

        Args:
            session: the session, whose signature `can_be_bound`.
            device: where it runs, as onnxruntime names it: cuda, or cpu.
            graphs: whether its runs are captured; None: as the session was asked to.
        """
        self._session = session
        cuda = session.cuda or providers.Cuda()
        self._device = (device, cuda.device)
        self._rows = {spec.name: (_row_shape(spec), NUMPY_DTYPES[spec.datatype]) for spec in session.signature.inputs}
        self._free: dict[int, SimpleQueue[_Buffers]] = {}
        self._graphs = itertools.count(1)
        self._thread = ThreadPoolExecutor(1) if (cuda.graphs if graphs is None else graphs) else None
        self.obtained: Obtained = session.obtained
        self.sizes: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"<BoundSession: buffers of {', '.join(map(str, self.sizes)) or 'no'} rows on {self._device[0]}>"

    def prepare(self, batch: Arrays) -> None:
        """Make buffers for as many rows as are in a batch, and run it in them: that captures its graph.

        Raises:
            InputRejected: the model refuses this batch.
            InferenceFailed: there is no memory for the buffers, or the model does not run from them.
        """
        rows = rows_of(batch)
        if rows in self.sizes:
            return
        try:
            buffers = self._made(rows)
            self._in_thread(lambda: self._try(buffers, batch))
        except Exception as error:  # onnxruntime's errors share no base class
            # An input that is bad is told from a failure by the session alone.
            self._in_thread(lambda: self._session.run(batch))
            raise self._session.translated(error) from error
        self._free[rows] = SimpleQueue()
        self._free[rows].put(buffers)
        self.sizes = tuple(sorted((*self.sizes, rows)))

    def _try(self, buffers: _Buffers, batch: Arrays) -> None:
        if self._thread is None:
            with turns.GPU.running():
                buffers.run(batch)
        else:
            with turns.GPU.capturing():
                buffers.capture(next(self._graphs), batch)

    def settle(self, max_batch_size: int) -> None:
        """Let go of the sizes that batches of so many rows do not need; of the others make all sets."""
        largest = padding.padded_rows(max_batch_size, self.sizes) or math.inf
        self.sizes = tuple(size for size in self.sizes if size <= largest)
        self._free = {size: self._free[size] for size in self.sizes}
        if self._thread is None:
            for rows, free in self._free.items():
                # Where there is no memory for another set, one does: the next batch waits for it.
                with suppress(Exception):  # onnxruntime's errors share no base class
                    while free.qsize() < SETS:
                        free.put(self._made(rows))

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Compute all outputs, by name; more rows than the largest size holds run one piece after the other.

        What does not fit the buffers, or fails in them, the session itself runs, or refuses as ever.

        Raises:
            InputRejected: the model refuses the values.
            InferenceFailed: the runtime failed otherwise.
        """
        rows = self._rows_that_fit(inputs) if self.sizes else 0
        if not rows:
            return self._in_thread(lambda: self._session.run(inputs))
        if rows <= self.sizes[-1]:
            return self._in_thread(lambda: self._run_padded(inputs, rows))
        parts = [
            self.run({name: array[piece] for name, array in inputs.items()}) for piece in pieces(rows, self.sizes[-1])
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def give_memory_back(self, inputs: Arrays) -> None:
        """Do nothing: graphs that were captured keep the memory that their runs take."""

    def _in_thread(self, work: Callable[[], _T]) -> _T:
        return work() if self._thread is None else self._thread.submit(work).result()

    def _rows_that_fit(self, inputs: Arrays) -> int:
        """Count the rows of inputs that the buffers take; 0 for any others."""
        counts = {
            array.shape[0] if array.ndim and (array.shape[1:], array.dtype) == self._rows.get(name) else 0
            for name, array in inputs.items()
        }
        return counts.pop() if len(counts) == 1 and len(inputs) == len(self._rows) else 0

    def _run_padded(self, inputs: Arrays, rows: int) -> dict[str, Array]:
        size = padding.padded_rows(rows, self.sizes)
        assert size is not None
        free = self._free[size]
        buffers = free.get()
        try:
            with turns.GPU.running():
                outputs = buffers.run(inputs)
        except Exception:
            # A bound run has one error for all: whether the input is to blame the session tells.
            return self._session.run(inputs)
        finally:
            free.put(buffers)
        return outputs if rows == size else {name: array[:rows] for name, array in outputs.items()}

    def _made(self, rows: int) -> _Buffers:
        with turns.GPU.running():
            return _Buffers(self._session, rows, *self._device)


class _Buffers:
    """One set of buffers for so many rows, bound to a session; who holds it runs alone in it."""

    def __init__(self, session: Session, rows: int, device: str, device_id: int) -> None:
        onnxruntime = onnxruntime_build.load()
        self._session = session
        self._binding = session.io_binding()
        self._options = onnxruntime.RunOptions()
        self._on_device: dict[str, Any] = {}
        self._on_host: dict[str, Array] = {}
        for spec in session.signature.inputs:
            shape, dtype = (rows, *_row_shape(spec)), NUMPY_DTYPES[spec.datatype]
            if device == "cpu":
                # This one is the array's own memory.
                self._on_host[spec.name] = np.empty(shape, dtype)
                value = onnxruntime.OrtValue.ortvalue_from_numpy(self._on_host[spec.name])
            else:
                self._on_host[spec.name] = _copied_fast(onnxruntime, shape, dtype)
                value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, dtype, device, device_id)
                self._on_device[spec.name] = value
            self._binding.bind_ortvalue_input(spec.name, value)
        for spec in session.signature.outputs:
            shape, dtype = (rows, *_row_shape(spec)), NUMPY_DTYPES[spec.datatype]
            value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, dtype, device, device_id)
            self._binding.bind_ortvalue_output(spec.name, value)

    def capture(self, graph: int, batch: Arrays) -> None:
        """Run a batch until its graph is captured under this number, which no other buffers of the session may have."""
        self._options.add_run_config_entry("gpu_graph_id", str(graph))
        for _ in range(RUNS_TO_CAPTURE):
            self.run(batch)

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Run rows, as many as there are buffers for or fewer; the outputs are copies, with all rows of the buffers."""
        for name, array in inputs.items():
            padding.fill(self._on_host[name], array)
        for name, value in self._on_device.items():
            value.update_inplace(self._on_host[name])
        return self._session.run_bound(self._binding, self._options)


def _copied_fast(onnxruntime: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Make an array in pinned memory, where onnxruntime gives it to Python; else in any.

    It does from the version on in which OrtValues are made by `memory_info`, if its CUDA provider lists its devices.
    """
    try:
        memory = next(
            device.memory_info(onnxruntime.OrtDeviceMemoryType.HOST_ACCESSIBLE)
            for device in onnxruntime.get_ep_devices()
            if device.ep_name == providers.CUDA
        )
        value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, dtype, memory_info=memory)
        array: Array = value.numpy()
        if array.flags.writeable and array.ctypes.data == value.data_ptr():
            return array
    except Exception:  # older versions lack one of these names, and this is about speed alone
        return np.empty(shape, dtype)
    return np.empty(shape, dtype)


def _row_shape(spec: TensorSpec) -> tuple[int, ...]:
    """Read the shape of one row; every dimension of it is known."""
    return tuple(size for size in spec.shape[1:] if size is not None)
