"""Rows to a fit, batch by batch. The order of an epoch depends on seed and epoch alone.

So a fit that is taken up again sees the very batches that it would have seen. Knows neither networks nor files.
"""

from __future__ import annotations

import math
from typing import Any

from training.datasets.dataset import Array


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Count the batches of an epoch; the last may be smaller."""
    return math.ceil(rows / batch_size)


def batches(learned: Any, rows: int, batch_size: int, *, seed: int, first: int, last: int) -> Any:
    """Give the batches of the epochs `first` to `last - 1` as one tf.data.Dataset.

    Args:
        learned: arrays of `rows` rows each, in any nesting of tuples and dictionaries; batches have the same.
        rows: how many there are.
        batch_size: rows per batch; an epoch's last batch may be smaller.
        seed: what the order of every epoch is made from.
        first: the first epoch, counted from 0.
        last: the epoch before which to end.
    """
    import tensorflow as tf

    def order(epoch: Any) -> Any:
        seeds = tf.stack([tf.constant(seed, tf.int64), epoch])
        shuffled = tf.random.experimental.stateless_shuffle(tf.range(rows, dtype=tf.int64), seed=seeds)
        return tf.data.Dataset.from_tensor_slices(shuffled).batch(batch_size)

    def take(indices: Any, arrays: Any) -> Any:
        return tf.nest.map_structure(lambda array: tf.gather(array, indices), arrays)

    indices = tf.data.Dataset.range(first, last).flat_map(order)
    arrays = tf.data.Dataset.from_tensors(learned).repeat()
    taken = tf.data.Dataset.zip((indices, arrays)).map(take, num_parallel_calls=tf.data.AUTOTUNE)
    return taken.prefetch(tf.data.AUTOTUNE)


def balanced_weights(targets: Array) -> dict[int, float]:
    """Weigh each class so that all of them count alike and the mean over the rows is 1."""
    import numpy as np

    found, counts = np.unique(targets.astype(np.int64), return_counts=True)
    return {int(index): len(targets) / (len(found) * int(count)) for index, count in zip(found, counts, strict=True)}
