"""Fits in fewer bits or on several devices, publishes in float32 for one.

Weights are float32 either way: only what is computed of them differs, and where.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from training.errors import InvalidParameter
from training.network import Network


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Let layers that are made now compute in a precision; its name is a Keras dtype policy's."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def check_fitted_by_keras(name: str, value: object, network: Network) -> None:
    """Raise `InvalidParameter` for an option that only Keras's own fit follows."""
    if network.learn is not None or network.fitted is None:
        raise InvalidParameter(name, value, expected="the default: this recipe fits by itself")


def take_over(network: Network, fitted: Network) -> Network:
    """Give a network the weights of another that was fitted in another precision, or on several devices."""
    assert network.fitted is not None
    assert fitted.fitted is not None
    network.fitted.set_weights(fitted.fitted.get_weights())
    return network
