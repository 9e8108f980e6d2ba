"""A folder with one model, under another name: whatever KServe's storageUri has put there."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_store import InvalidName, OneModelStore, UnknownModel


def lay(root: Path, *files: str) -> Path:
    """Make these files; a folder is written as `name/`."""
    for name in files:
        path = root / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text("{}")
    return root


@pytest.mark.parametrize(
    ("files", "found"),
    [
        pytest.param(["model.onnx", "manifest.json", "golden.npz", "report/"], {1: "."}, id="one version's files"),
        pytest.param(["1/model.onnx", "2/model.onnx", "12/model.onnx"], {1: "1", 2: "2", 12: "12"}, id="a model"),
        pytest.param(["wine-dnn/3/model.onnx"], {3: "wine-dnn/3"}, id="a store with one model"),
        pytest.param(["other/1/model.onnx", "wine/7/model.onnx"], {7: "wine/7"}, id="a store with one of that name"),
        pytest.param(["wine-dnn/model.onnx"], {1: "wine-dnn"}, id="a version's files in a folder"),
        # Object storage has no folders: a prefix fetches what begins alike, too.
        pytest.param(["model.onnx", "2/model.onnx", "0/model.onnx"], {1: "."}, id="versions 1, 12 and 10, asked for 1"),
        pytest.param(["1/model.onnx", "-encoder/1/model.onnx"], {1: "1"}, id="a model and one that begins alike"),
        pytest.param(["1/model.onnx", "2/.publishing"], {1: "1"}, id="a version that is being written"),
        pytest.param(["a/1/model.onnx", "b/1/model.onnx"], {}, id="several models"),
        pytest.param(["notes/readme.txt", "net.onnx"], {}, id="none"),
        pytest.param([], {}, id="nothing"),
    ],
)
def test_finds_the_model_whatever_its_folder_is_called(tmp_path: Path, files: list[str], found: dict[int, str]) -> None:
    store = OneModelStore(lay(tmp_path, *files), "wine")

    assert store.models() == (["wine"] if found else [])
    assert {number: store.stored("wine", number).path for number in store.versions("wine")} == {
        number: tmp_path / path for number, path in found.items()
    }


def test_what_stands_beside_the_versions_is_heeded(tmp_path: Path) -> None:
    lay(tmp_path, "1/model.onnx", "2/model.onnx")
    (tmp_path / "labels.json").write_text('{"stable": 1}')
    (tmp_path / "serving.json").write_text('{"withdrawn": [2]}')
    store = OneModelStore(tmp_path, "wine")

    assert store.select("wine").versions == (1,)
    assert store.labels("wine") == {"stable": 1}


def test_no_other_model_is_there(tmp_path: Path) -> None:
    store = OneModelStore(lay(tmp_path, "wine/1/model.onnx", "other/1/model.onnx"), "wine")

    assert store.versions("other") == []
    with pytest.raises(UnknownModel):
        store.resolve("other")


def test_a_model_that_comes_later_is_found(tmp_path: Path) -> None:
    store = OneModelStore(tmp_path / "later", "wine")
    before = store.models()
    lay(tmp_path / "later", "4/model.onnx")

    assert (before, store.versions("wine")) == ([], [4])


@pytest.mark.parametrize(
    ("files", "trouble"),
    [
        (["model.onnx"], ""),
        (["net.onnx"], "'{root}' holds no model: expected model.onnx, or folders called 1, 2, … that hold one"),
        (
            ["a/1/model.onnx", "b/2/model.onnx"],
            "'{root}' holds several models, and none of them is called 'wine': a, b",
        ),
    ],
)
def test_says_why_there_is_nothing_to_serve(tmp_path: Path, files: list[str], trouble: str) -> None:
    assert OneModelStore(lay(tmp_path, *files), "wine").trouble() == trouble.format(root=tmp_path)


def test_a_name_that_no_path_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidName):
        OneModelStore(tmp_path, "../wine")
