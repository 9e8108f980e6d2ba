from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store import InvalidManifest, Manifest
from model_store.manifest import MANIFEST_FILE

SHA256 = "0123456789abcdef" * 4


def valid() -> dict[str, Any]:
    """A manifest as JSON: pictures of digits in, probabilities out."""
    return {
        "format_version": 1,
        "created": "2026-11-21T12:00:00Z",
        "recipe": "cnn",
        "parameters": {"epochs": 5, "hidden": [100, 32]},
        "seed": 1,
        "dataset": {
            "name": "mnist",
            "sha256": SHA256,
            "license": "CC BY-SA 3.0",
            "source": "https://example.org/mnist.npz",
            "sizes": {"train": 60000, "test": 10000},
        },
        "inputs": [
            {
                "name": "image",
                "dtype": "uint8",
                "shape": [None, 28, 28, 1],
                "kind": "image",
                "image": {"height": 28, "width": 28, "channels": 1},
                "columns": None,
                "categories": None,
            }
        ],
        "outputs": [
            {
                "name": "probabilities",
                "dtype": "float32",
                "shape": [None, 2],
                "kind": "probabilities",
                "labels": ["no", "yes"],
            }
        ],
        "metrics": {"accuracy": 0.99},
        "parity": {
            "batch_sizes": [1, 7],
            "max_abs_difference": {"probabilities": 1e-7},
            "tolerance": {"rtol": 1e-4, "atol": 1e-5},
        },
        "libraries": {"keras": "3.15.1"},
        "files": {"model.onnx": SHA256, "golden.npz": SHA256, "report/curves.png": SHA256},
        "group": {"id": "8f14e45f", "members": ["encoder", "decoder"]},
        "extra": {},
    }


def features(**changed: object) -> dict[str, Any]:
    return {
        "name": "x",
        "dtype": "float32",
        "shape": [None, 3],
        "kind": "features",
        "columns": ["a", "b", "c"],
    } | changed


def test_a_manifest_is_written_as_it_was_read() -> None:
    written = Manifest.from_json(json.dumps(valid())).to_json()

    assert json.loads(written) == valid()


def test_what_a_later_version_adds_to_extra_is_kept() -> None:
    added = {"quantized": {"from": 3, "drop": 0.001}, "tags": ["ü", None, True], "long": 2**80}

    read = Manifest.from_json(json.dumps(valid() | {"extra": added}))

    assert read.extra == added
    assert json.loads(read.to_json())["extra"] == added


def test_the_digest_of_a_version_is_its_models() -> None:
    assert Manifest.from_json(json.dumps(valid())).digest == SHA256


def _set(*path: str | int, to: object) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        place: Any = manifest
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return change


def _drop(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        place: Any = manifest
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(_set("acuracy", to=1), "acuracy", id="unknown-field"),
        pytest.param(_set("inputs", 0, "size", to=1), "inputs.0.size", id="unknown-field-of-an-input"),
        pytest.param(_drop("seed"), "seed", id="missing-field"),
        pytest.param(_drop("dataset", "license"), "dataset.license", id="missing-licence"),
        pytest.param(_set("seed", to="one"), "seed", id="seed-in-words"),
        pytest.param(_set("created", to="yesterday"), "created", id="no-time"),
        pytest.param(_set("recipe", to=""), "recipe", id="empty-recipe"),
        pytest.param(_set("format_version", to=2), "format_version", id="format-of-the-future"),
        pytest.param(_set("inputs", to=[]), "inputs", id="no-inputs"),
        pytest.param(_set("inputs", 0, "dtype", to="float31"), "inputs.0.dtype", id="unknown-dtype"),
        pytest.param(_set("inputs", 0, "kind", to="sound"), "inputs.0.kind", id="unknown-kind"),
        pytest.param(_set("inputs", 0, "shape", to=[None, 0]), "inputs.0.shape.1", id="dimension-zero"),
        pytest.param(_set("inputs", 0, "shape", to=[None, 28, 28]), "inputs.0", id="shape-without-channels"),
        pytest.param(_set("inputs", 0, "image", "height", to=27), "inputs.0", id="image-of-another-height"),
        pytest.param(_set("inputs", 0, "image", "channels", to=2), "inputs.0.image.channels", id="two-channels"),
        pytest.param(_set("inputs", 0, "image", to=None), "inputs.0", id="image-without-format"),
        pytest.param(_set("inputs", to=[features(columns=["a"])]), "inputs.0", id="columns-that-do-not-fit"),
        pytest.param(_set("inputs", to=[features(categories=["a"])]), "inputs.0", id="categories-of-numbers"),
        pytest.param(_set("inputs", to=[features(), features()]), "inputs", id="two-inputs-of-one-name"),
        pytest.param(_set("outputs", 0, "labels", to=["no"]), "outputs.0", id="labels-that-do-not-fit"),
        pytest.param(_set("outputs", 0, "shape", to=[]), "outputs.0", id="labels-of-a-scalar"),
        pytest.param(_set("metrics", "accuracy", to=float("nan")), "metrics.accuracy", id="metric-is-nan"),
        pytest.param(_set("metrics", "accuracy", to=float("inf")), "metrics.accuracy", id="metric-is-infinite"),
        pytest.param(_set("parameters", "rate", to=float("nan")), "parameters", id="parameter-is-nan"),
        pytest.param(_set("extra", "best", to=[float("inf")]), "extra", id="extra-is-infinite"),
        pytest.param(_set("dataset", "sha256", to="abc"), "dataset.sha256", id="short-digest"),
        pytest.param(_set("dataset", "sizes", "test", to=-1), "dataset.sizes.test", id="negative-size"),
        pytest.param(_set("parity", "batch_sizes", to=[0]), "parity.batch_sizes.0", id="empty-batch"),
        pytest.param(_set("parity", "tolerance", to={"rtol": -1}), "parity.tolerance.rtol", id="negative-tolerance"),
        pytest.param(_drop("files", "model.onnx"), "files", id="files-without-the-model"),
        pytest.param(_drop("files", "golden.npz"), "files", id="files-without-the-golden"),
        pytest.param(_set("files", "../other/model.onnx", to=SHA256), "files", id="file-outside"),
        pytest.param(_set("files", "report/../../x", to=SHA256), "files", id="file-outside-by-a-detour"),
        pytest.param(_set("files", "/etc/passwd", to=SHA256), "files", id="absolute-file"),
        pytest.param(_set("files", "report//x", to=SHA256), "files", id="file-under-two-names"),
        pytest.param(_set("files", ".", to=SHA256), "files", id="folder-itself"),
        pytest.param(_set("files", "", to=SHA256), "files", id="file-without-name"),
        pytest.param(_set("files", "a\0b", to=SHA256), "files", id="file-with-a-zero-byte"),
        pytest.param(_set("files", "manifest.json", to=SHA256), "files", id="manifest-in-the-manifest"),
        pytest.param(_set("files", ".publishing", to=SHA256), "files", id="mark-that-hides-the-version"),
        pytest.param(_set("files", "model.onnx", to=SHA256.upper()), "files.model.onnx", id="digest-in-capitals"),
        pytest.param(_set("group", "members", to=[]), "group.members", id="group-of-nobody"),
        pytest.param(_set("group", "members", to=["../x"]), "group.members.0", id="group-with-a-bad-name"),
    ],
)
def test_names_the_field_that_is_wrong(change: Callable[[dict[str, Any]], None], named: str) -> None:
    manifest = valid()
    change(manifest)

    with pytest.raises(InvalidManifest) as raised:
        Manifest.from_json(json.dumps(manifest))

    assert f"{named}: " in str(raised.value)


def test_names_every_field_that_is_wrong_at_once() -> None:
    wrong = valid() | {"seed": "x", "recipe": "", "typo": 1}

    with pytest.raises(InvalidManifest) as raised:
        Manifest.from_json(json.dumps(wrong))

    assert all(f"{field}: " in str(raised.value) for field in ("seed", "recipe", "typo"))
    assert "\n" not in str(raised.value)


def test_refuses_the_same_facts_when_a_manifest_is_made_as_when_it_is_read() -> None:
    wrong = valid() | {"metrics": {"loss": float("nan")}}

    with pytest.raises(InvalidManifest, match=r"metrics\.loss"):
        Manifest.from_facts(**wrong)


def test_half_a_surrogate_pair_is_refused_before_anything_is_written() -> None:
    with pytest.raises(InvalidManifest, match="parameters"):
        Manifest.from_facts(**valid() | {"parameters": {"separator": "\ud83d"}})


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut-off"),
        pytest.param(b"recipe: cnn", id="yaml"),
        pytest.param(b"\xff\xfe{}", id="not-utf8"),
        pytest.param(b"[]", id="a-list"),
    ],
)
def test_says_which_file_is_not_a_manifest(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST_FILE).write_bytes(content)

    with pytest.raises(InvalidManifest) as raised:
        Manifest.read(tmp_path)

    assert str(raised.value).startswith(f"{tmp_path / MANIFEST_FILE}: ")


def test_says_that_a_manifest_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match=r"manifest\.json: No such file"):
        Manifest.read(tmp_path)


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(min_value=1, max_value=2**31)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
dtypes = st.sampled_from(["bool", "uint8", "int64", "float16", "float32", "string"])
shapes = st.lists(st.none() | counts, max_size=4)
file_names = st.from_regex(r"\Areport/[a-zä][a-zä_-]{0,9}\.png\Z")


@st.composite
def tensors(draw: st.DrawFn, kinds: list[str]) -> dict[str, Any]:
    return {
        "name": draw(words),
        "dtype": draw(dtypes),
        "shape": draw(shapes),
        "kind": draw(st.sampled_from(kinds)),
    }


@st.composite
def pictures(draw: st.DrawFn) -> dict[str, Any]:
    height, width, channels = draw(counts), draw(counts), draw(st.sampled_from([1, 3]))
    image = {"height": height, "width": width, "channels": channels}
    return {"name": "p", "dtype": "uint8", "shape": [None, *image.values()], "kind": "image", "image": image}


@st.composite
def classes(draw: st.DrawFn) -> dict[str, Any]:
    labels = draw(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
    size = draw(st.sampled_from([None, len(labels)]))
    return {"name": "c", "dtype": "float32", "shape": [None, size], "kind": "probabilities", "labels": labels}


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    by_name: Any = lambda spec: spec["name"]  # noqa: E731
    return {
        "created": draw(st.datetimes(timezones=st.just(UTC))),
        "recipe": draw(words),
        "parameters": draw(st.dictionaries(words, plain, max_size=3)),
        "seed": draw(st.integers()),
        "dataset": {
            "name": draw(words),
            "sha256": draw(digests),
            "license": draw(words),
            "sizes": draw(st.dictionaries(words, st.integers(0, 2**40), max_size=3)),
        },
        "inputs": draw(
            st.lists(
                pictures() | tensors(["text", "vector", "tensor", "features"]),
                min_size=1,
                max_size=3,
                unique_by=by_name,
            )
        ),
        "outputs": draw(
            st.lists(classes() | tensors(["value", "embedding", "boxes"]), min_size=1, max_size=3, unique_by=by_name)
        ),
        "metrics": draw(st.dictionaries(words, finite, max_size=3)),
        "parity": {
            "batch_sizes": draw(st.lists(counts, max_size=3)),
            "max_abs_difference": draw(st.dictionaries(words, finite.map(abs), max_size=2)),
        },
        "libraries": draw(st.dictionaries(words, words, max_size=2)),
        "files": {"model.onnx": draw(digests), "golden.npz": draw(digests)}
        | draw(st.dictionaries(file_names, digests, max_size=2)),
        "group": draw(st.none() | st.just({"id": "g", "members": ["a", "b"]})),
        "extra": draw(st.dictionaries(words, plain, max_size=3)),
    }


@given(manifests())
def test_any_valid_manifest_survives_its_file(facts: dict[str, Any]) -> None:
    manifest = Manifest.from_facts(**facts)

    assert Manifest.from_json(manifest.to_json()) == manifest


def test_the_time_of_creation_keeps_its_zone() -> None:
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)

    assert Manifest.from_json(Manifest.from_facts(**valid() | {"created": noon}).to_json()).created == noon
