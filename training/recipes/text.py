"""Texts, as they are, to classes: tokens, embedding, one layer that reads the sequence, probabilities.

The tokens are made inside the published graph (`training.text.front`), and the ids that are fitted come from
running that very front, so that serving cannot differ from training. An empty text is no tokens at all: every
layer gives it an answer of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.datasets import Dataset
from training.keras_graph import OnnxPiece, keras_graph
from training.network import Network, probabilities, raw_input
from training.options import FitOptions
from training.parameters import Parameters, parameter
from training.recipes.recipe import Recipe

if TYPE_CHECKING:
    import keras

EMBEDDING_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class TextParameters(Parameters):
    """How texts are cut into tokens, and the layer that reads them."""

    tokens: str = parameter(
        "words", "what a text is cut into; characters suit Korean, Chinese, Japanese", choices=("words", "characters")
    )
    vocabulary: int = parameter(10_000, "tokens that are known: the most frequent ones", at_least=1, at_most=1_000_000)
    length: int = parameter(200, "tokens of a text that are read; the rest is cut off", at_least=1, at_most=10_000)
    layer: str = parameter("pooling", "what reads the tokens", choices=("pooling", "lstm", "gru", "conv1d"))
    units: int = parameter(64, "units of that layer; pooling has none", at_least=1, at_most=4096)
    kernel_size: int = parameter(5, "conv1d: tokens seen at once", at_least=1, at_most=100)
    dropout: float = parameter(0.3, "share of the units that is dropped before the answer", at_least=0, below=1)


def build(parameters: TextParameters, dataset: Dataset) -> Network:
    """Build the network: raw texts in, probabilities out."""
    import keras
    from keras import layers

    from training.text.front import TextFront

    assert dataset.labels is not None
    front = TextFront.for_texts(
        dataset.train.inputs, tokens=parameters.tokens, vocabulary=parameters.vocabulary, length=parameters.length
    )
    ids = keras.Input((parameters.length,), dtype="int32")
    is_recurrent = parameters.layer in ("lstm", "gru")
    embedding = layers.Embedding(front.size, EMBEDDING_SIZE, mask_zero=is_recurrent)
    read = {"pooling": _pooling, "lstm": _recurrent, "gru": _recurrent, "conv1d": _convolution}[parameters.layer]
    state, recurrent_layer = read(parameters, ids, embedding(ids))

    answer_input = keras.Input(state.shape[1:])
    dropped = layers.Dropout(parameters.dropout)(answer_input)
    answer = keras.Model(answer_input, layers.Dense(len(dataset.labels), activation="softmax")(dropped))
    model = keras.Model(ids, answer(state))

    before: tuple[OnnxPiece, ...] = (front,)
    if recurrent_layer is not None:
        before = (front, _onnx_recurrent(embedding, recurrent_layer))
    graph = keras_graph(
        model,
        raw_input(dataset),
        probabilities(dataset),
        converted=model if recurrent_layer is None else answer,
        before=before,
        encode=front.encode,
    )
    return Network(task="classification", fitted=model, graphs=(graph,), encode=front.encode)


def _pooling(_: TextParameters, ids: Any, embedded: Any) -> tuple[Any, None]:
    """Average the embeddings of the tokens that are there; of none, zero."""
    from keras import ops

    is_token = ops.expand_dims(ops.cast(ops.not_equal(ids, 0), "float32"), -1)
    count = ops.maximum(ops.sum(is_token, axis=1), 1.0)
    return ops.sum(embedded * is_token, axis=1) / count, None


def _convolution(parameters: TextParameters, _: Any, embedded: Any) -> tuple[Any, None]:
    """Look for patterns of neighbouring tokens anywhere in the text (Y. Kim, arXiv:1408.5882)."""
    from keras import layers

    x = layers.Conv1D(parameters.units, parameters.kernel_size, padding="same", activation="relu")(embedded)
    return layers.GlobalMaxPooling1D()(x), None


def _recurrent(parameters: TextParameters, _: Any, embedded: Any) -> tuple[Any, Any]:
    """Read the tokens in their order, padding left out (S. Hochreiter 1997; K. Cho, arXiv:1406.1078)."""
    from keras import layers

    layer = {"lstm": layers.LSTM, "gru": layers.GRU}[parameters.layer](parameters.units)
    return layer(embedded), layer


def _onnx_recurrent(embedding: keras.layers.Layer, layer: keras.layers.Layer) -> OnnxPiece:
    from training.text.recurrent import OnnxRecurrent

    return OnnxRecurrent(embedding, layer)


RECIPE = Recipe(
    name="text",
    summary="raw texts → classes; tokens are made inside the published graph",
    parameters=TextParameters(),
    fit=FitOptions(epochs=15, batch_size=64),
    default_dataset="stdlib",
    learns={"text": ("classification",)},
    build=build,
)
