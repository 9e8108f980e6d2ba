from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tiny_models import publish_affine, publish_brightness

from model_store import Store, steering
from model_store.cli import main


@pytest.fixture
def filled(store: Store) -> Store:
    """brightness@1, double@1, double@2."""
    publish_brightness(store)
    publish_affine(store)
    publish_affine(store)
    return store


def ovenbird(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def corrupt(store: Store) -> None:
    path = store.resolve("double", 1).onnx_path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["verify"], ["show", "double"]], ids=" ".join)
def test_a_store_that_is_away_and_was_never_seen_fails_in_one_line(tmp_path: Path, words: list[str]) -> None:
    pytest.importorskip("aiohttp")

    result = CliRunner(env={"OVENBIRD_CACHE": str(tmp_path)}).invoke(
        main, ["store", *words, "--store", "http://127.0.0.1:1/models"]
    )

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1].startswith("Error: store 'http://127.0.0.1:1/models': Cannot connect")
    assert result.stderr.endswith("; nothing of it is in the cache\n")


def test_a_store_that_is_away_is_listed_as_it_was_seen_last(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    bucket, url = tmp_path / "bucket", f"file://{tmp_path}/bucket"
    publish_affine(Store(bucket))
    cli, words = CliRunner(env={"OVENBIRD_CACHE": str(tmp_path / "cache")}), ["store", "list", "--store", url]
    here = cli.invoke(main, words)
    shutil.move(bucket, tmp_path / "elsewhere")

    away = cli.invoke(main, words)

    assert (away.exit_code, away.stdout) == (0, here.stdout)
    assert "double" in away.stdout
    assert away.stderr.endswith("; shown as it was seen last\n")


def test_list_shows_a_line_for_each_version(filled: Store) -> None:
    result = ovenbird("store", "list", "--store", filled.root)

    assert result.exit_code == 0
    assert [line.split()[:3] for line in result.stdout.splitlines()] == [
        ["MODEL", "VERSION", "CHOSEN"],
        ["brightness", "1", "yes"],
        ["double", "1", "no"],
        ["double", "2", "yes"],
    ]


def test_list_says_on_stderr_which_store_it_read(filled: Store) -> None:
    result = ovenbird("store", "list", "--store", filled.root)

    assert result.stderr == f"store: {filled.root} (as asked)\n"


def test_list_as_json_is_for_scripts(filled: Store) -> None:
    result = ovenbird("store", "list", "--store", filled.root, "--json")

    rows = json.loads(result.output)
    folder = filled.resolve("double", 1).path
    assert [(row["model"], row["version"]) for row in rows] == [("brightness", 1), ("double", 1), ("double", 2)]
    assert rows[1] == {
        "model": "double",
        "version": 1,
        "chosen": "no",
        "recipe": "tiny",
        "dataset": "made-up",
        "quality": "accuracy 1",
        "size_kb": sum(path.stat().st_size for path in folder.iterdir()) // 1000,
        "digest": filled.resolve("double", 1).manifest.digest[:12],
    }


def test_list_shows_a_broken_version_with_its_problem_beside_the_others(filled: Store) -> None:
    (filled.root / "double" / "1" / "manifest.json").write_text("{}")

    result = ovenbird("store", "list", "--store", filled.root)

    assert result.exit_code == 0
    assert "recipe: Field required" in result.stdout.splitlines()[2]
    assert "accuracy 1" in result.stdout.splitlines()[3]


def test_an_empty_store_says_how_to_fill_it(tmp_path: Path) -> None:
    result = ovenbird("store", "list", "--store", tmp_path)

    assert (result.exit_code, result.stdout) == (0, "the store is empty; publish a model with `ovenbird train`\n")


def test_the_store_may_be_named_in_the_environment(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVENBIRD_STORE", str(filled.root))

    assert len(json.loads(ovenbird("store", "list", "--json").output)) == 3


def test_without_a_name_the_store_of_the_current_folder_is_read(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVENBIRD_STORE", raising=False)
    monkeypatch.chdir(filled.root.parent)

    result = ovenbird("store", "list")

    assert "double" in result.stdout
    assert result.stderr == "store: store (found ./store)\n"


def test_without_a_name_and_a_store_the_starter_models_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OVENBIRD_STORE", raising=False)
    monkeypatch.chdir(tmp_path)

    result = ovenbird("store", "list")

    assert result.exit_code == 0
    assert "(no ./store here, so the starter models)" in result.stderr


def test_show_describes_the_latest_version(filled: Store) -> None:
    result = ovenbird("store", "show", "brightness", "--store", filled.root)

    assert result.exit_code == 0
    for said in (
        "model:       brightness@1",
        "recipe:      tiny, seed 1",
        "quality:     accuracy 1",
        "input:       image uint8[batch, 4, 6, 1] image",
        "output:      probabilities float32[batch, 2] probabilities (dark, bright)",
    ):
        assert said in result.stdout.splitlines()


def test_show_passes_over_withdrawn_versions(filled: Store) -> None:
    steering.roll_back(filled, "double")

    result = ovenbird("store", "show", "double", "--store", filled.root)

    assert "model:       double@1" in result.stdout.splitlines()
    assert "model:       double@2" in ovenbird("store", "show", "double@2", "--store", filled.root).stdout.splitlines()


def test_show_says_that_every_version_is_withdrawn_and_what_to_do(filled: Store) -> None:
    (filled.root / "double" / "serving.json").write_text('{"withdrawn": [1, 2]}')

    result = ovenbird("store", "show", "double", "--store", filled.root)

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "Error: model 'double': every version is withdrawn (1, 2); name one, such as double@2, "
        "or bring one back: ovenbird store rollback double --to 2"
    )


def test_show_tells_the_time_of_creation_in_utc(store: Store, drafts: Any) -> None:
    seoul = timezone(timedelta(hours=9))
    store.publish(drafts.one(created=datetime(2026, 11, 21, 8, 30, tzinfo=seoul)))

    assert "created:     2026-11-20 23:30 UTC" in ovenbird("store", "show", "double", "--store", store.root).stdout


def test_show_as_json_is_the_manifest_as_it_is_stored(filled: Store) -> None:
    result = ovenbird("store", "show", "double@1", "--store", filled.root, "--json")

    assert result.output == (filled.root / "double" / "1" / "manifest.json").read_text()


def test_verify_looks_at_everything(filled: Store) -> None:
    result = ovenbird("store", "verify", "--store", filled.root)

    assert (result.exit_code, result.stdout) == (0, "ok  brightness@1\nok  double@1\nok  double@2\n")


def test_verify_may_be_asked_for_one_model_or_one_version(filled: Store) -> None:
    model = ovenbird("store", "verify", "double", "--store", filled.root)
    version = ovenbird("store", "verify", "double@2", "--store", filled.root)

    assert (model.stdout, version.stdout) == ("ok  double@1\nok  double@2\n", "ok  double@2\n")


def test_verify_names_what_is_bad_and_fails(filled: Store) -> None:
    corrupt(filled)

    result = ovenbird("store", "verify", "--store", filled.root)

    assert result.exit_code == 1
    ok, bad, why, last = result.stdout.splitlines()
    assert (ok, bad, last) == ("ok  brightness@1", "BAD double@1", "ok  double@2")
    assert why.startswith("      double@1: model.onnx: sha256 is ")
    assert result.stderr.splitlines()[-1] == "Error: 1 of 3 versions are bad"


def test_verify_replays_the_golden_rows(store: Store, drafts: Any) -> None:
    pytest.importorskip("onnxruntime")
    store.publish(drafts.one(content=b"published with true digests, but no ONNX file"))

    result = ovenbird("store", "verify", "--store", store.root)

    assert result.exit_code == 1
    assert "      golden replay: " in result.stdout


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        pytest.param(["show", "duoble"], 1, "unknown model 'duoble'; the store has: brightness, double", id="model"),
        pytest.param(["show", "double@9"], 1, "model 'double' has no version 9; it has: 1, 2", id="version"),
        pytest.param(["show", "double@x"], 1, "version 'x': expected a whole number", id="version-in-words"),
        pytest.param(["verify", "../x"], 1, "model name '../x': expected letters, digits", id="path"),
        pytest.param(["list", "--store", "nowhere"], 1, "store 'nowhere': no such folder", id="no-store"),
        pytest.param(["list", "--store", "nfs://b"], 1, "expected a folder, or a URL with one of s3", id="url"),
        pytest.param(["show"], 2, "Missing argument 'MODEL[@VERSION]'", id="no-model"),
        pytest.param(["list", "--jsn"], 2, "No such option '--jsn'", id="unknown-option"),
        pytest.param(["lst"], 2, "No such command 'lst'", id="unknown-command"),
    ],
)
def test_what_fails_is_told_in_one_line(
    filled: Store, monkeypatch: pytest.MonkeyPatch, words: list[str], status: int, message: str
) -> None:
    monkeypatch.setenv("OVENBIRD_STORE", str(filled.root))

    result = ovenbird("store", *words)

    assert (result.exit_code, result.stdout) == (status, "")
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert result.stderr.endswith(errors[0] + "\n")


@pytest.mark.parametrize("words", [[], ["store"], ["store", "list"], ["store", "show"], ["store", "verify"]])
def test_help_shows_examples_that_can_be_copied(words: list[str]) -> None:
    result = ovenbird(*words, "--help")

    assert result.exit_code == 0
    assert "\n    ovenbird " in result.output


def test_an_example_in_the_help_is_not_wrapped() -> None:
    lines = ovenbird("store", "--help").output.splitlines()

    assert (
        "    ovenbird store verify --store ./store            digests, ONNX checker and golden replay of everything"
        in lines
    )


def test_the_real_command_does_the_same(filled: Store) -> None:
    command = [Path(sys.executable).with_name("ovenbird"), "store"]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *words, "--store", filled.root], capture_output=True, text=True, timeout=60)

    listed, unknown, wrong = run("list", "--json"), run("show", "nobody"), run("show")
    corrupt(filled)
    bad = run("verify", "double@1")

    assert [row["version"] for row in json.loads(listed.stdout)] == [1, 1, 2]
    assert [done.returncode for done in (listed, unknown, wrong, bad)] == [0, 1, 2, 1]
    assert "Traceback" not in listed.stderr + unknown.stderr + wrong.stderr + bad.stderr


def test_a_model_without_a_manifest_is_listed_and_shown(filled: Store) -> None:
    folder = filled.root / "bare" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"as good as any")

    listed = ovenbird("store", "list", "--store", filled.root).stdout
    shown = ovenbird("store", "show", "bare", "--store", filled.root)

    assert ["bare", "1", "yes", "no", "manifest"] in [line.split()[:5] for line in listed.splitlines()]
    assert "PROBLEM" not in listed
    assert shown.exit_code == 0
    assert "tells its inputs at /v2/models/bare" in shown.stdout


def test_a_version_without_a_model_says_what_is_missing(filled: Store) -> None:
    (filled.root / "empty" / "1").mkdir(parents=True)

    assert "empty/1: there is no model.onnx" in ovenbird("store", "list", "--store", filled.root).stdout
