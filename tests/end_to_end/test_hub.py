"""`hf://` through Hugging Face's own client: listed, mirrored, followed and outlived."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import tiny_models
from hub import REPOSITORY, TOKEN, Hub, hub_of
from service_process import OVENBIRD, affine_body, running, wait_for

from model_store import Store

pytestmark = pytest.mark.system

URL = f"hf://{REPOSITORY}"
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The files of the revision `main`, two models among other things."""
    root = tmp_path / "repository"
    tiny_models.publish_affine(Store(root))
    tiny_models.publish_affine(Store(root), name="half", factor=0.5)
    (root / "README.md").write_text("# Models\n")
    (root / ".gitattributes").write_text("*.onnx filter=lfs diff=lfs merge=lfs -text\n")
    return root


@pytest.fixture
def hub(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    pytest.importorskip("huggingface_hub")
    other = tmp_path / "other"
    shutil.copytree(repository, other)
    tiny_models.publish_affine(Store(other), factor=5.0)
    (tmp_path / "folder").mkdir()
    shutil.copytree(repository, tmp_path / "folder" / "zoo")
    revisions = {"main": repository, "refs/pr/1": other, "next/try": other, "folder": tmp_path / "folder"}
    monkeypatch.setenv("OVENBIRD_CACHE", str(tmp_path / "cache"))
    with hub_of(revisions, monkeypatch) as found:
        yield found


@pytest.fixture
def store_command() -> Command:
    """Run `ovenbird store …` in a process of its own: the client reads its environment once."""

    def run(*words: str, url: str = URL) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*OVENBIRD, "store", *words, "--store", url], capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize(
    ("url", "newest"),
    [(URL, 1), (f"{URL}@main", 1), (f"{URL}@refs/pr/1", 2), (f"{URL}@next%2Ftry", 2), (f"{URL}@folder/zoo", 1)],
    ids=lambda value: str(value).replace("/", "_"),
)
def test_a_repository_is_listed_and_mirrored_at_any_revision(
    hub: Hub, store_command: Command, url: str, newest: int
) -> None:
    listed, verified = (store_command(command, url=url) for command in ("list", "verify"))

    assert (listed.returncode, verified.returncode) == (0, 0), listed.stderr + verified.stderr
    assert [line.split()[:2] for line in listed.stdout.splitlines()[1:]] == [
        *(["double", str(version)] for version in range(1, newest + 1)), ["half", "1"],
    ]  # fmt: skip
    assert verified.stdout.splitlines() == [
        *(f"ok  double@{version}" for version in range(1, newest + 1)), "ok  half@1",
    ]  # fmt: skip
    assert TOKEN not in listed.stderr + verified.stderr + listed.stdout + verified.stdout


def test_a_look_reads_what_changed_and_tells_nobody_that_it_looks(
    hub: Hub, store_command: Command, repository: Path
) -> None:
    store_command("list")
    first = [path for path in hub.asked if "/resolve/" in path]
    hub.forget()
    store_command("list")
    again = list(hub.asked)
    tiny_models.publish_affine(Store(repository), factor=3.0)
    hub.forget()
    store_command("list")

    assert sorted(first) == [f"GET /{REPOSITORY}/resolve/main/{model}/1/manifest.json" for model in ("double", "half")]
    assert {path.partition("/tree/")[0] for path in again} == {f"GET /api/models/{REPOSITORY}"}
    assert [path for path in hub.asked if "/resolve/" in path] == [
        f"GET /{REPOSITORY}/resolve/main/double/2/manifest.json"
    ]


def test_a_service_follows_a_repository_outlives_the_hub_and_starts_without_it(
    hub: Hub, repository: Path, tmp_path: Path
) -> None:
    options = {"poll_interval": 0.2, "cache": tmp_path / "service"}
    with running(URL, **options) as service:  # type: ignore[arg-type]
        service.wait_for_state("double", 1, "READY")
        # A commit brings all files at once.
        made = tmp_path / "commit"
        shutil.copytree(repository, made)
        tiny_models.publish_affine(Store(made), factor=3.0)
        hub.revisions["main"] = made
        service.wait_for_state("double", 2, "READY")
        hub.stop()
        wait_for(lambda: service.metric("ovenbird_store_sync_failures_total"), "the death to be seen", seconds=60)
        answer = httpx.post(f"{service.url}/v2/models/double/infer", json=affine_body([1, 2, 3])).json()
        log = service.log()

    with running(URL, **options) as again:  # type: ignore[arg-type]
        index = {key: entry["state"] for key, entry in again.index().items()}
        log += again.log()

    assert answer["outputs"][0]["data"] == [3, 6, 9]
    assert index == {("double", 1): "UNAVAILABLE", ("double", 2): "READY", ("half", 1): "READY"}
    assert log.count("WARNING") == 2, "one for each time that the hub went away"
    assert TOKEN not in log


def test_what_a_hub_refuses_or_lacks_is_told_in_one_line(
    hub: Hub, store_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = store_command("list", url="hf://team/nowhere")
    no_revision = store_command("list", url=f"{URL}@never")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong-secret")
    refused = store_command("list")

    for result, place in ((nowhere, "hf://team/nowhere"), (no_revision, f"{URL}@never"), (refused, URL)):
        assert result.returncode == 1
        said, error = result.stderr.strip().splitlines()
        assert said == f"store: {place} (as asked)"
        assert error.startswith(f"Error: store '{place}': there is no such place or file: {place[5:]}"), error
    assert "repository not found" in nowhere.stderr
    assert "revision not found" in no_revision.stderr
    assert "wrong-secret" not in refused.stderr


# The bounds are those of a hub that answers in a moment or never.
LOOKS = """
import sys
from model_store import open_store
from model_store.remote import waits

waits.READ_SECONDS, waits.PART_SECONDS = 0.5, 2.0
open_store(sys.argv[1]).refresh()
"""


@pytest.mark.parametrize("what", ["/api/models/team/models", "/tree/", "/resolve/"])
@pytest.mark.parametrize("how", ["hangs", "busy"])
def test_a_hub_that_hangs_or_wants_to_be_left_alone_is_given_up(hub: Hub, what: str, how: str) -> None:
    setattr(hub, how, what)

    looked = subprocess.run([sys.executable, "-c", LOOKS, URL], capture_output=True, text=True, timeout=60, check=False)

    *_, said = looked.stderr.strip().splitlines()
    assert said.startswith(f"model_store.errors.StoreAway: store '{URL}': ")
    assert ("429 Too Many Requests" in said) == (how == "busy")
    assert "Retry" not in looked.stderr
    assert sum(what in path for path in hub.asked) <= 3 * 2, "two manifests are read at once"


def test_a_file_that_is_not_what_the_manifest_says_is_named(hub: Hub, store_command: Command, repository: Path) -> None:
    model = repository / "double" / "1" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")

    verified = store_command("verify")

    assert verified.returncode == 1
    assert verified.stdout.splitlines() == [
        "BAD double@1", "      double@1: model.onnx: the sha256 in the store differs from the manifest's", "ok  half@1",
    ]  # fmt: skip
