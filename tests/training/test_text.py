"""Text models: strings in, tokens made inside the graph. The file must agree with Keras for any text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from model_store import StoredVersion
from training.datasets.dataset import texts
from training.exporting import onnx_check
from training.text.front import TextFront

LENGTH = 12

# Texts that a service will meet and training may not.
STRANGE = {
    "empty": "",
    "blanks": " \t\n ",
    "unknown": "zzz qqq",
    "punctuation": "?!?!…—",
    "long": "good " * 20_000,
    "one-long-word": "good" * 25_000,
    "capitals": "GOOD Film İSTANBUL",
    "korean": "영화 최고!",
    "emoji": "🎬👨‍👩‍👧 great",
    "combining": "cafe\u0301",
    "right-to-left": "فيلم جيد",
    "one": "a",
}


# The front alone: no TensorFlow


def front(*known: str, tokens: str = "words", length: int = 6) -> TextFront:
    return TextFront(tokens=tokens, vocabulary=known, length=length)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        pytest.param("good film", [2, 3], id="known"),
        pytest.param("Good FILM", [2, 3], id="capitals"),
        pytest.param("good,film!", [2, 1, 3, 4], id="punctuation-is-a-token"),
        pytest.param("bad film", [1, 3], id="unknown"),
        pytest.param("don't", [5], id="apostrophe"),
        pytest.param("'good'", [1, 2, 1], id="quotes"),
        pytest.param("최고 영화", [6, 1], id="korean"),
        pytest.param("", [], id="empty"),
        pytest.param("  \n ", [], id="blanks"),
        pytest.param("good " * 50, [2] * 6, id="cut"),
    ],
)
def test_words_become_ids(text: str, ids: list[int]) -> None:
    encoded = front("good", "film", "!", "don't", "최고").encode(texts([text]))

    assert encoded.dtype == np.int32
    assert encoded.tolist() == [ids + [0] * (6 - len(ids))]


def test_characters_become_ids_blanks_included() -> None:
    encoded = front("가", " ", "나", tokens="characters").encode(texts(["가 나다🎬", "", "나\n가"]))

    assert encoded.tolist() == [[2, 3, 4, 1, 1, 0], [0] * 6, [4, 1, 2, 0, 0, 0]]


def test_a_text_has_the_same_ids_in_any_company() -> None:
    everything = texts(STRANGE.values())
    reader = front("good", "film", length=LENGTH)

    together = reader.encode(everything)

    assert [reader.encode(everything[index : index + 1])[0].tolist() for index in range(len(everything))] == (
        together.tolist()
    )


def test_the_vocabulary_is_the_most_frequent_tokens_and_ties_go_by_spelling() -> None:
    chosen = TextFront.for_texts(texts(["b a c", "c B a", "c d", ""]), tokens="words", vocabulary=3, length=5)

    assert chosen.vocabulary == ("c", "a", "b")
    assert chosen.size == 5


def test_texts_without_any_token_leave_an_empty_vocabulary() -> None:
    chosen = TextFront.for_texts(texts(["", " "]), tokens="words", vocabulary=3, length=5)

    assert chosen.encode(texts(["word", ""])).tolist() == [[1, 0, 0, 0, 0], [0] * 5]


# Whole models


@pytest.fixture(scope="module", params=["pooling", "lstm", "gru", "conv1d"])
def stored(request: pytest.FixtureRequest, train_into, opinions_csv: Path) -> StoredVersion:
    (published,) = train_into(
        "text", opinions_csv, name=f"opinions-{request.param}", layer=request.param, length=LENGTH, units=16, epochs=12,
        learning_rate=0.01,
    )  # fmt: skip
    return published


def ask(stored: StoredVersion, *rows: str) -> np.ndarray:
    session = onnxruntime.InferenceSession(stored.onnx_path, providers=["CPUExecutionProvider"])
    (answers,) = session.run(["probabilities"], {"text": texts(rows)})
    assert isinstance(answers, np.ndarray)
    return answers


class TestAPublishedTextModel:
    pytestmark = pytest.mark.tensorflow

    def test_takes_strings_and_gives_a_probability_per_label(self, stored: StoredVersion) -> None:
        manifest = stored.manifest

        assert (manifest.inputs[0].name, manifest.inputs[0].dtype, manifest.inputs[0].shape) == (
            "text",
            "string",
            (None,),
        )
        assert manifest.outputs[0].labels == ("down", "up")
        assert manifest.parity.batch_sizes == (1, 7, 100)
        assert onnx_check.check(stored) == []

    def test_has_learned_the_words(self, stored: StoredVersion) -> None:
        assert stored.manifest.metrics["accuracy"] > 0.85
        assert ask(stored, "great fine good", "bad awful poor").argmax(axis=1).tolist() == [1, 0]

    def test_answers_any_text_with_probabilities(self, stored: StoredVersion) -> None:
        answers = ask(stored, *STRANGE.values())

        assert np.isfinite(answers).all()
        np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)

    def test_answers_a_text_alike_alone_and_among_others(self, stored: StoredVersion) -> None:
        together = ask(stored, *STRANGE.values())

        for row, text in zip(together, STRANGE.values(), strict=True):
            np.testing.assert_allclose(ask(stored, text)[0], row, atol=1e-6)

    def test_does_not_mind_trailing_blanks(self, stored: StoredVersion) -> None:
        np.testing.assert_array_equal(ask(stored, "good film   \n"), ask(stored, "good film"))

    def test_uses_the_fast_operators(self, stored: StoredVersion) -> None:
        import onnx

        operators = {node.op_type for node in onnx.load(stored.onnx_path).graph.node}

        assert "Loop" not in operators
        layer = stored.manifest.parameters["layer"]
        assert {"lstm": "LSTM", "gru": "GRU", "conv1d": "Conv", "pooling": "Gather"}[layer] in operators

    def test_keeps_texts_in_its_golden_rows(self, stored: StoredVersion) -> None:
        rows = stored.golden()

        assert rows.inputs["text"].dtype == object
        assert len(rows.inputs["text"]) == 10
        assert set(np.asarray(rows.truth).tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("layer", "tokens", "keep", "depth"),
    [
        ("pooling", "subwords", "end", 1),
        ("conv1d", "characters", "end", 2),
        ("simple_rnn", "words", "start", 1),
        ("lstm", "words", "end", 2),
        ("gru", "subwords", "start", 2),
        ("bi_lstm", "words", "start", 2),
        ("transformer", "subwords", "start", 1),
        ("transformer", "words", "end", 2),
    ],
)
class TestKerasAndTheFile:
    pytestmark = pytest.mark.tensorflow

    def test_agree_on_strange_texts(
        self, layer: str, tokens: str, keep: str, depth: int, opinions_csv: Path, tmp_path: Path
    ) -> None:
        """Verification sees the data set's own rows; these are the others. Random weights are as good as any."""
        from training.exporting.export import export
        from training.exporting.onnx_session import Session
        from training.job import prepare
        from training.pipeline import build

        parameters = {
            "layer": layer, "tokens": tokens, "keep": keep, "depth": depth, "length": LENGTH, "units": 8,
            "embedding": 6, "vocabulary": 300,
        }  # fmt: skip
        job = prepare("text", opinions_csv, store=tmp_path / "store", name=None, parameters=parameters)
        graph = build(job).main
        export(graph, tmp_path / "model.onnx", properties={})
        rows = texts(STRANGE.values())

        received = Session(tmp_path / "model.onnx").run_one(rows)

        assert np.isfinite(received).all()
        np.testing.assert_allclose(received.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(received, graph.answer(rows)["probabilities"], rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def pieces(train_into, opinions_csv: Path) -> StoredVersion:
    (published,) = train_into(
        "text", opinions_csv, name="pieces", tokens="subwords", layer="transformer", length=LENGTH, units=16,
        vocabulary=200, epochs=6, learning_rate=0.01,
    )  # fmt: skip
    return published


class TestSubwordsReadByATransformer:
    pytestmark = pytest.mark.tensorflow

    def test_tell_the_classes_apart(self, pieces: StoredVersion) -> None:
        assert pieces.manifest.metrics["accuracy"] > 0.85

    def test_answer_over_http_what_the_file_answers(self, pieces: StoredVersion) -> None:
        from service.app import create_app
        from service.settings import Settings

        rows = ["영화 최고!", "", "bad 👨\u200d👩\u200d👧 awful"]
        client = create_app(Settings(store=str(pieces.path.parents[1]), control="none")).test_client()
        tensor = {"name": "text", "shape": [len(rows)], "datatype": "BYTES", "data": rows}

        answer = client.post(f"/v2/models/{pieces.model}/infer", json={"inputs": [tensor]})

        assert answer.status_code == 200, answer.text
        received = np.array(answer.get_json()["outputs"][0]["data"]).reshape(len(rows), 2)
        np.testing.assert_allclose(received, ask(pieces, *rows), atol=1e-6)

    def test_are_shown_in_the_report(self, pieces: StoredVersion) -> None:
        names = {path.name for path in (pieces.path / "report").iterdir()}

        assert {"tokens.png", "telling_tokens.png"} <= names


class TestTheExhibits:
    pytestmark = pytest.mark.tensorflow

    def test_say_how_much_is_cut_and_which_tokens_speak_for_a_class(self, opinions_csv: Path) -> None:
        """A model that is all hand: token 2 speaks for `up`, everything else for `down`."""
        import keras

        from training.datasets import load
        from training.options import FileOptions
        from training.text.exhibits import telling_tokens, token_statistics

        dataset = load(str(opinions_csv), FileOptions(), form="texts")
        ids = keras.Input((2,), dtype="int32")
        is_good = keras.ops.cast(keras.ops.equal(ids[:, :1], 2), "float32") * 0.5 + 0.25
        model = keras.Model(ids, keras.ops.concatenate([1 - is_good, is_good], axis=1))
        reader = front("good", "bad", length=2)

        statistics, telling = token_statistics(reader, dataset), telling_tokens(reader, model, dataset)

        assert "32 texts: 100.0% are longer than the 2 tokens that are read" in statistics.text
        assert telling.table[1:] == (("down", "bad, good"), ("up", "good, bad"))
        assert statistics.figure is not None
        assert telling.figure is not None


@pytest.mark.tensorflow
def test_characters_are_read_by_a_convolution(train_into, opinions_csv: Path) -> None:
    (stored,) = train_into(
        "text",
        opinions_csv,
        name="letters",
        tokens="characters",
        layer="conv1d",
        length=30,
        epochs=8,
        learning_rate=0.01,
    )

    assert stored.manifest.metrics["accuracy"] > 0.8
    assert ask(stored, "", "최고!").shape == (2, 2)
