"""Texts, as they are, to classes: tokens, embedding, layers that read the sequence, probabilities.

The tokens are made inside the published graph (`training.text.front`), and the ids that are fitted come from
running that very front, so that serving cannot differ from training. An empty text is no tokens at all: every
layer gives it an answer of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.datasets import Dataset
from training.evidence.exhibit import Exhibit
from training.exporting.keras_graph import OnnxPiece, keras_graph
from training.network import Network, probabilities, raw_input
from training.options import FitOptions
from training.parameters import Parameters, parameter
from training.recipes.recipe import Recipe

if TYPE_CHECKING:
    import keras

    from training.text.front import TextFront
    from training.text.subwords import SubwordFront

    Front = TextFront | SubwordFront

LAYERS = ("pooling", "conv1d", "simple_rnn", "lstm", "gru", "bi_lstm", "transformer")
RECURRENT = ("simple_rnn", "lstm", "gru", "bi_lstm")


@dataclass(frozen=True, kw_only=True)
class TextParameters(Parameters):
    """How texts are cut into tokens, and the layers that read them."""

    tokens: str = parameter(
        "words",
        "what a text is cut into; characters and subwords (pieces learned from the texts) suit Korean or Japanese",
        choices=("words", "characters", "subwords"),
    )
    vocabulary: int = parameter(10_000, "tokens that are known: the most frequent ones", at_least=1, at_most=1_000_000)
    length: int = parameter(200, "tokens of a text that are read; the rest is cut off", at_least=1, at_most=10_000)
    keep: str = parameter("start", "the end of a longer text that is read", choices=("start", "end"))
    embedding: int = parameter(32, "numbers that stand for a token", at_least=1, at_most=4096)
    layer: str = parameter("pooling", "what reads the tokens", choices=LAYERS)
    depth: int = parameter(1, "such layers, one on top of the other; pooling has one", at_least=1, at_most=8)
    units: int = parameter(64, "units of such a layer; pooling has none", at_least=1, at_most=4096)
    kernel_size: int = parameter(5, "conv1d: tokens seen at once", at_least=1, at_most=100)
    heads: int = parameter(2, "transformer: attentions side by side", at_least=1, at_most=64)
    dropout: float = parameter(0.3, "share of the units that is dropped before the answer", at_least=0, below=1)


def build(parameters: TextParameters, dataset: Dataset) -> Network:
    """Build the network: raw texts in, probabilities out."""
    import keras
    from keras import layers

    assert dataset.labels is not None
    front = _front(parameters, dataset)
    is_recurrent = parameters.layer in RECURRENT
    ids = keras.Input((parameters.length,), dtype="int32")
    embedding = layers.Embedding(front.size, parameters.embedding, mask_zero=is_recurrent)
    stack = _recurrent_layers(parameters) if is_recurrent else ()
    state = _read(parameters, ids, embedding(ids), stack)

    answer_input = keras.Input(state.shape[1:])
    dropped = layers.Dropout(parameters.dropout)(answer_input)
    answer = keras.Model(answer_input, layers.Dense(len(dataset.labels), activation="softmax")(dropped))
    model = keras.Model(ids, answer(state))

    graph = keras_graph(
        model,
        raw_input(dataset),
        probabilities(dataset),
        converted=answer if is_recurrent else model,
        before=(front, _onnx_recurrent(embedding, stack)) if is_recurrent else (front,),
        encode=front.encode,
    )
    return Network(
        task="classification",
        fitted=model,
        graphs=(graph,),
        encode=front.encode,
        exhibits=lambda dataset, _: _exhibits(front, model, dataset),
    )


def _front(parameters: TextParameters, dataset: Dataset) -> Front:
    from training.text.front import TextFront
    from training.text.subwords import SubwordFront

    texts, length, keep = dataset.train.inputs, parameters.length, parameters.keep
    if parameters.tokens == "subwords":
        return SubwordFront.for_texts(texts, vocabulary=parameters.vocabulary, length=length, keep=keep)
    return TextFront.for_texts(
        texts, tokens=parameters.tokens, vocabulary=parameters.vocabulary, length=length, keep=keep
    )


def _read(parameters: TextParameters, ids: Any, embedded: Any, stack: tuple[Any, ...]) -> Any:
    """Make one vector of the tokens."""
    if parameters.layer == "pooling":
        return _mean_of_tokens(ids, embedded)
    if parameters.layer == "conv1d":
        return _convolutions(parameters, embedded)
    if parameters.layer == "transformer":
        return _transformer(parameters, ids, embedded)
    x = embedded
    for layer in stack:
        x = layer(x)
    return x


def _mean_of_tokens(ids: Any, vectors: Any) -> Any:
    """Average the vectors of the tokens that are there; of none, zero."""
    from keras import ops

    is_token = ops.expand_dims(ops.cast(ops.not_equal(ids, 0), "float32"), -1)
    count = ops.maximum(ops.sum(is_token, axis=1), 1.0)
    return ops.sum(vectors * is_token, axis=1) / count


def _convolutions(parameters: TextParameters, x: Any) -> Any:
    """Look for patterns of neighbouring tokens anywhere in the text (Y. Kim, arXiv:1408.5882)."""
    from keras import layers

    for _ in range(parameters.depth):
        x = layers.Conv1D(parameters.units, parameters.kernel_size, padding="same", activation="relu")(x)
    return layers.GlobalMaxPooling1D()(x)


def _transformer(parameters: TextParameters, ids: Any, embedded: Any) -> Any:
    """Let every token look at every other (A. Vaswani, arXiv:1706.03762), normalised first (arXiv:2002.04745)."""
    from keras import layers, ops

    # No token looks at padding. In an empty text all look at all padding alike, and their mean is zero.
    may_look_at = ops.expand_dims(ops.not_equal(ids, 0), 1)
    position = ops.cumsum(ops.ones_like(ids), axis=1) - 1
    x = embedded + layers.Embedding(parameters.length, parameters.embedding)(position)
    for _ in range(parameters.depth):
        normed = layers.LayerNormalization()(x)
        attention = layers.MultiHeadAttention(parameters.heads, max(1, parameters.embedding // parameters.heads))
        x = x + attention(normed, normed, attention_mask=may_look_at)
        hidden = layers.Dense(parameters.units, activation="relu")(layers.LayerNormalization()(x))
        x = x + layers.Dense(parameters.embedding)(hidden)
    return _mean_of_tokens(ids, layers.LayerNormalization()(x))


def _recurrent_layers(parameters: TextParameters) -> tuple[Any, ...]:
    """Make layers that read the tokens in their order, padding left out: all but the last give a vector per token.

    J. Elman 1990; S. Hochreiter 1997; M. Schuster 1997 for both directions; K. Cho, arXiv:1406.1078.
    """
    from keras import layers

    kinds = {"simple_rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU, "bi_lstm": layers.LSTM}
    stack = [
        kinds[parameters.layer](parameters.units, return_sequences=number < parameters.depth)
        for number in range(1, parameters.depth + 1)
    ]
    return tuple(map(layers.Bidirectional, stack)) if parameters.layer == "bi_lstm" else tuple(stack)


def _onnx_recurrent(embedding: keras.layers.Layer, stack: tuple[Any, ...]) -> OnnxPiece:
    from training.text.recurrent import OnnxRecurrent

    return OnnxRecurrent(embedding, stack)


def _exhibits(front: Front, model: keras.Model, dataset: Dataset) -> list[Exhibit]:
    from training.text.exhibits import telling_tokens, token_statistics

    return [token_statistics(front, dataset), telling_tokens(front, model, dataset)]


RECIPE = Recipe(
    name="text",
    summary="raw texts → classes; tokens are made inside the published graph",
    parameters=TextParameters(),
    fit=FitOptions(epochs=15, batch_size=64),
    default_dataset="stdlib",
    learns={"text": ("classification",)},
    build=build,
)
