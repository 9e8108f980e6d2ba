"""Several devices of one machine for one fit: each computes a share of every step, and all keep equal weights.

Knows neither data sets nor stores. The losses are those of one device, up to the order in which floats are added.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from training.errors import InvalidParameter


def device_names(devices: int) -> list[str]:
    """Choose devices: so many GPUs, or CPUs where there is no GPU; 0: all GPUs.

    Raises:
        InvalidParameter: there are fewer.
    """
    import tensorflow as tf

    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    found = gpus or [device.name for device in tf.config.list_logical_devices("CPU")]
    if devices == 0:
        return gpus or found[:1]
    if devices > len(found):
        raise InvalidParameter("devices", devices, expected=f"at most {len(found)}: {', '.join(found)}")
    return found[:devices]


@contextmanager
def spread_over(names: list[str]) -> Iterator[None]:
    """Let a model that is built now keep its weights on several devices; on one, nothing changes."""
    if len(names) == 1:
        yield
        return
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(names).scope():
        yield
