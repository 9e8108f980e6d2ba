"""serving.json and labels.json: what may stand in them, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store import InvalidServing, Serving
from model_store.serving import VersionPolicy, labels_to_json, read_labels


def test_without_the_files_the_defaults_hold(tmp_path: Path) -> None:
    assert str(Serving.read(tmp_path).version_policy) == "latest:1"
    assert Serving.read(tmp_path) == Serving()
    assert read_labels(tmp_path) == {}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    written = Serving(
        version_policy=VersionPolicy.parse("specific:1,3"),
        withdrawn=(4,),
        providers=("CUDAExecutionProvider", ("CPUExecutionProvider", {"use_arena": True})),
        require_provider=True,
        threads=2,
        max_batch_size=16,
        p99_ms=25,
    )
    (tmp_path / "serving.json").write_text(written.to_json())
    (tmp_path / "labels.json").write_text(labels_to_json({"stable": 3, "canary": 4}))

    assert Serving.read(tmp_path) == written
    assert read_labels(tmp_path) == {"stable": 3, "canary": 4}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "serving.json: Invalid JSON"),
        ("[]", "Input should be an object"),
        ('{"version_polcy": {}}', "version_polcy: Extra inputs are not permitted"),
        ('{"version_policy": {}}', "version_policy: Value error, expected exactly one of"),
        ('{"version_policy": {"all": {}, "latest": {}}}', "expected exactly one of"),
        (
            '{"version_policy": {"latest": {"num_versions": 0}}}',
            "version_policy.latest.num_versions: Input should be gr",
        ),
        ('{"version_policy": {"specific": {"versions": []}}}', "version_policy.specific.versions"),
        ('{"version_policy": {"specific": {"versions": ["1"]}}}', "version_policy.specific.versions.0"),
        ('{"max_batch_size": "64"}', "max_batch_size: Input should be a valid integer"),
        ('{"p99_ms": -1}', "p99_ms: Input should be greater than or equal to 0"),
        ('{"providers": []}', "providers"),
    ],
)
def test_a_wrong_file_is_refused_with_the_field_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "serving.json").write_text(text)

    with pytest.raises(InvalidServing) as refused:
        Serving.read(tmp_path)
    assert message in str(refused.value)


@pytest.mark.parametrize("text", ['{"st able": 1}', '{"": 1}', '{"stable": 0}', '{"stable": "1"}', "[1]", "{"])
def test_a_wrong_label_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.json").write_text(text)

    with pytest.raises(InvalidServing, match=r"labels\.json"):
        read_labels(tmp_path)


@pytest.mark.parametrize(
    "text", ["latest", "latest:0", "latest:-1", "specific:", "specific:0", "specific:1,", "ALL", ""]
)
def test_a_policy_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected latest:N, all, or specific:N,N"):
        VersionPolicy.parse(text)


versions = st.lists(st.integers(1, 50), unique=True).map(sorted)


@given(versions, st.integers(1, 5), st.sets(st.integers(1, 50)))
def test_latest_takes_the_newest_that_may_serve(known: list[int], count: int, barred: set[int]) -> None:
    chosen = VersionPolicy.parse(f"latest:{count}").select(known, lambda version: version not in barred)

    assert chosen == [version for version in known if version not in barred][-count:]


@given(versions, st.sets(st.integers(1, 50), min_size=1), st.sets(st.integers(1, 50)))
def test_all_and_specific_take_what_they_name(known: list[int], named: set[int], barred: set[int]) -> None:
    specific = VersionPolicy.parse(f"specific:{','.join(map(str, named))}")

    assert VersionPolicy.parse("all").select(known, lambda v: v not in barred) == [v for v in known if v not in barred]
    assert specific.select(known, lambda v: v not in barred) == [v for v in known if v in named - barred]


def test_latest_asks_about_no_more_versions_than_it_must() -> None:
    asked: list[int] = []

    def may_serve(version: int) -> bool:
        asked.append(version)
        return version != 100

    assert VersionPolicy.parse("latest:1").select(range(1, 101), may_serve) == [99]
    assert asked == [100, 99]
