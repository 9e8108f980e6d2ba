"""Fits in fewer bits, publishes in float32: weights are float32 either way, only what is computed differs."""

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


def check_precision(precision: str, network: Network) -> None:
    """Raise `InvalidParameter` for a network that Keras does not fit."""
    if network.learn is not None or network.fitted is None:
        raise InvalidParameter("precision", precision, expected="float32: this recipe fits by itself")


def take_over(network: Network, fitted: Network) -> Network:
    """Give a network the weights of another that was fitted in a different precision."""
    assert network.fitted is not None
    assert fitted.fitted is not None
    network.fitted.set_weights(fitted.fitted.get_weights())
    return network
