"""Servers that need nothing installed: this one, and naive Flask; what they answer is checked before it is measured."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from bench import models, open_loop
from bench.catalogue import CONTENDERS, V2
from bench.figures import SMALL
from bench.loads import check
from bench.requests import rows
from service.load_generator import arrivals


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.path_of(SMALL, tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("name", ["ovenbird", "naive"])
def test_every_way_to_ask_gives_what_onnxruntime_computes(name: str, model: Path, tmp_path: Path) -> None:
    contender = CONTENDERS[name]

    with contender.serving(model, tmp_path / name) as server:
        sizes = {payload: check(server, way, model) for payload, way in contender.ways.items()}

    assert set(sizes) == {"json", "binary"}
    assert sizes["binary"] >= 10 * 4


def test_a_wrong_answer_is_not_measured(model: Path, tmp_path: Path) -> None:
    other = models.path_of("784-1024-1024-10", tmp_path)

    with (
        CONTENDERS["naive"].serving(model, tmp_path / "naive") as server,
        pytest.raises(RuntimeError, match="a wrong answer"),
    ):
        check(server, CONTENDERS["naive"].ways["binary"], other)


def test_the_floor_reads_the_post_and_answers_as_many_bytes_as_it_is_told(model: Path, tmp_path: Path) -> None:
    request = V2["binary"].ask(rows(1))

    with CONTENDERS["floor"].serving(model, tmp_path / "floor", ANSWER_BYTES="321") as server:
        answer = httpx.post(
            f"http://127.0.0.1:{server.port}{request.path}", content=request.body, headers=request.headers
        )

    assert (answer.status_code, len(answer.content)) == (200, 321)


def test_an_open_loop_runs_in_a_process_of_its_own(model: Path, tmp_path: Path) -> None:
    with CONTENDERS["ovenbird"].serving(model, tmp_path / "ovenbird") as server:
        seen = open_loop.run(server.port, V2["binary"].ask(rows(1)), rate=50, seconds=0.5)

    assert seen.answered == len(list(arrivals(50, 0.5)))
    assert seen.failures == {}
    assert 0 < seen.p50_seconds <= seen.p99_seconds <= seen.p999_seconds
