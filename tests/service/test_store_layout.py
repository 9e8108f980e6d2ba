"""What is put where no reader looks is named when the service starts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import tiny_models
from service_process import OVENBIRD, running

from service.store_layout import MOST, misplaced


def test_a_store_as_it_should_be_is_passed_in_silence(tmp_path: Path) -> None:
    tiny_models.publish_affine(tmp_path)
    tiny_models.put(tmp_path, "bare", tiny_models.affine())
    tiny_models.put(tmp_path / "double", ".staging-1", b"")
    tiny_models.put(tmp_path, ".hidden", b"")

    assert misplaced(tmp_path) == []
    assert misplaced(tmp_path / "not-there-yet") == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("net.onnx", "{root} holds an ONNX file that is not served: expected <store>/<model>/<version>/model.onnx"),
        ("m/net.onnx", "{root}/m holds an ONNX file that is not served: expected <store>/<model>/<version>/model.onnx"),
        (
            "1/model.onnx",
            "store '{root}' looks like the folder of one model; the store is the folder above it, "
            "or --model-name says how to call the model",
        ),
        ("m/v2/model.onnx", "{root}/m/v2 is not served: a version's folder is called by a whole number, such as 1"),
        ("m/02/model.onnx", "{root}/m/02 is not served: a version's folder is called by a whole number, such as 1"),
        ("a b/1/model.onnx", "{root}/a b/1 is not served: a model's name has letters, digits, '.', '_' and '-' only"),
    ],
)
def test_what_no_reader_finds_is_named_with_the_reason(tmp_path: Path, path: str, message: str) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"")

    (line,) = misplaced(tmp_path)

    assert line == message.format(root=tmp_path)


def test_a_folder_that_is_no_store_is_told_in_a_few_lines(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"m{number}").mkdir()
        (tmp_path / f"m{number}" / "net.onnx").touch()

    lines = misplaced(tmp_path)

    assert len(lines) == MOST + 1
    assert lines[-1] == "… and 20 more such folders"


def test_it_is_logged_once_whatever_the_number_of_workers(tmp_path: Path) -> None:
    tiny_models.publish_affine(tmp_path)

    with running(tmp_path / "double", workers=2) as service:
        log = service.log()

    assert log.count("looks like the folder of one model") == 1
    assert " WARNING [" in log


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()

    shown = subprocess.run([*OVENBIRD, "serve", "--store", str(tmp_path / "model.onnx")], capture_output=True,
                           text=True, check=False, timeout=60)  # fmt: skip

    assert shown.returncode == 2
    assert "model.onnx' is a file; expected the folder in which the models lie" in shown.stderr


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("store", "store: store (found ./store)"),
        ("other", "(no ./store here, so the starter models; a ./store made later is served after a restart)"),
    ],
)
def test_the_log_says_whether_the_own_store_or_the_starter_models_serve(tmp_path: Path, folder: str, said: str) -> None:
    (tmp_path / folder).mkdir()

    with running(Path(), cwd=tmp_path, command=[*OVENBIRD, "serve", "--store", ""], control="explicit") as service:
        (line,) = [line for line in service.log().splitlines() if " store: " in line]

    assert line.endswith(said)
