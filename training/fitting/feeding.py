"""Rows to a fit, batch by batch, from the memory or from disk. The order of an epoch depends on seed and epoch alone.

So a fit that is taken up again sees the very batches that it would have seen. Knows no file and no picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from training.datasets import Rows
from training.datasets.dataset import Array
from training.datasets.on_disk import RowsOnDisk
from training.network import Network

# Of rows on disk: the batch that is learned, and as many that are ready.
READY_BATCHES = 2


@dataclass(frozen=True)
class Feed:
    """Rows as a network learns them. Of rows on disk only the batches that are worked on are in the memory.

    `share` is which machine of how many this is: of every batch it is given its rows alone, or one where it has none.
    """

    network: Network
    rows: Rows
    share: tuple[int, int] = (0, 1)

    def __len__(self) -> int:
        return len(self.rows)

    def shuffled(self, batch_size: int, *, seed: int, first: int, last: int) -> Any:
        """Give the batches of the epochs `first` to `last - 1` (from 0) as one tf.data.Dataset.

        The last batch of an epoch may be smaller; `seed` is what the order of every epoch is made from.
        """
        import tensorflow as tf

        def order(epoch: Any) -> Any:
            seeds = tf.stack([tf.constant(seed, tf.int64), epoch])
            numbers = tf.random.experimental.stateless_shuffle(tf.range(len(self), dtype=tf.int64), seed=seeds)
            return tf.data.Dataset.from_tensor_slices(numbers).batch(batch_size)

        return self._taken(tf.data.Dataset.range(first, last).flat_map(order))

    def in_order(self, batch_size: int) -> Any:
        """Give all rows once, in their order, as a tf.data.Dataset."""
        import tensorflow as tf

        return self._taken(tf.data.Dataset.range(len(self)).batch(batch_size))

    def _taken(self, indices: Any) -> Any:
        """Turn batches of indices into batches of (inputs, targets)."""
        import tensorflow as tf

        if self.share != (0, 1):
            indices = indices.map(self._shared)
        inputs: Any = self.rows.inputs
        if isinstance(inputs, RowsOnDisk):
            return indices.map(self._from_disk()).prefetch(READY_BATCHES)

        def take(indices: Any, arrays: Any) -> Any:
            return tf.nest.map_structure(lambda array: tf.gather(array, indices), arrays)

        arrays = tf.data.Dataset.from_tensors(self._learned).repeat()
        taken = tf.data.Dataset.zip((indices, arrays)).map(take, num_parallel_calls=tf.data.AUTOTUNE)
        return taken.prefetch(tf.data.AUTOTUNE)

    def _shared(self, indices: Any) -> Any:
        import tensorflow as tf

        index, count = self.share
        return indices[tf.minimum(index, tf.size(indices) - 1) :: count]

    @cached_property
    def _learned(self) -> tuple[Any, Any]:
        return self._of(self.rows)

    def _of(self, rows: Rows) -> tuple[Any, Any]:
        return self.network.encode(rows.inputs), self.network.targets(rows)

    def _from_disk(self) -> Callable[[Any], Any]:
        """Make the function that reads the rows of a batch together."""
        import tensorflow as tf

        first = self._of(self.rows.take(np.arange(1)))
        shapes = [(None, *array.shape[1:]) for array in tf.nest.flatten(first)]
        dtypes = [array.dtype for array in tf.nest.flatten(first)]

        def read(indices: npt.NDArray[np.int64]) -> list[Array]:
            return list(tf.nest.flatten(self._of(self.rows.take(np.sort(indices)))))

        def tensors(indices: Any) -> Any:
            flat = tf.numpy_function(read, [indices], dtypes)
            shaped = [tf.ensure_shape(tensor, shape) for tensor, shape in zip(flat, shapes, strict=True)]
            return tf.nest.pack_sequence_as(first, shaped)

        return tensors


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Count the batches of an epoch; the last may be smaller."""
    return math.ceil(rows / batch_size)


def batch_sizes(rows: int, batch_size: int) -> list[int]:
    """Count the rows of each batch of an epoch."""
    return [min(batch_size, rows - start) for start in range(0, rows, batch_size)]


def rows_of_share(size: int, share: tuple[int, int]) -> int:
    """Count the rows of a batch that are a machine's own; none where there are more machines than rows."""
    index, count = share
    return len(range(index, size, count))


def balanced_weights(targets: Array) -> dict[int, float]:
    """Weigh each class so that all of them count alike and the mean over the rows is 1."""
    found, counts = np.unique(targets.astype(np.int64), return_counts=True)
    return {int(index): len(targets) / (len(found) * int(count)) for index, count in zip(found, counts, strict=True)}
