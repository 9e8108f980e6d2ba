"""What Keras is given to fit: arrays, or, of rows on disk, batches that are read while another is learned.

Knows no file and no picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from training.datasets import Rows
from training.datasets.on_disk import RowsOnDisk
from training.network import Network

# A batch that is learned, and as many that are ready.
READY_BATCHES = 2


def examples(network: Network, rows: Rows, batch_size: int, *, shuffled: bool = False) -> tuple[Any, ...]:
    """Give what stands first in Keras's `fit`: (inputs, targets), or (batches,) of a `tf.data.Dataset`.

    Of rows on disk, only the batches that are worked on are in the memory; all are shuffled anew in each epoch.
    """
    inputs: Any = rows.inputs
    if not isinstance(inputs, RowsOnDisk):
        return network.encode(rows.inputs), network.targets(rows)
    return (_batches(network, rows, batch_size, shuffled=shuffled),)


def _batches(network: Network, rows: Rows, batch_size: int, *, shuffled: bool) -> Any:
    """Shuffle numbers of rows, which are small, and read the rows of a batch together."""
    import keras
    import tensorflow as tf

    def read(indices: np.ndarray[Any, Any]) -> list[Any]:
        batch = rows.take(np.sort(indices))
        return list(keras.tree.flatten((network.encode(batch.inputs), network.targets(batch))))

    first = rows.take(np.arange(1))
    structure = (network.encode(first.inputs), network.targets(first))
    shapes = [(None, *array.shape[1:]) for array in keras.tree.flatten(structure)]
    dtypes = [array.dtype for array in keras.tree.flatten(structure)]

    def tensors(indices: Any) -> Any:
        flat = tf.numpy_function(read, [indices], dtypes)
        shaped = [tf.ensure_shape(tensor, shape) for tensor, shape in zip(flat, shapes, strict=True)]
        return keras.tree.pack_sequence_as(structure, shaped)

    numbers = tf.data.Dataset.range(len(rows))
    if shuffled:
        numbers = numbers.shuffle(len(rows), reshuffle_each_iteration=True)
    return numbers.batch(batch_size).map(tensors).prefetch(READY_BATCHES)
