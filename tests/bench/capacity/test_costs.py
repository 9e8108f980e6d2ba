"""Costs are fitted, kept in a file, and turned into a plan; the command says what is wrong in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bench.capacity.__main__ import main
from bench.capacity.costs import Costs, NothingMeasured, Point, entry, errors, fit, load
from bench.capacity.sizing import Demand, OutOfReach, plan

CNN = Costs(request_seconds=100e-6, batch_seconds=300e-6, row_seconds=200e-6, largest_batch=8, worker_bytes=10**8)
costs_of_parts = st.floats(0, 1e-2)


def points_of(costs: Costs) -> list[Point]:
    return [
        Point(rows=rows, requests_per_batch=batch, cpu_seconds=costs.cycle(batch, rows) / batch)
        for rows in (1, 8)
        for batch in (1, 2, 8)
    ]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "measured.json"
    path.write_text(json.dumps({"models": {"cnn": entry(CNN, points_of(CNN))}}))
    return path


@given(request=costs_of_parts, batch=costs_of_parts, row=st.floats(1e-6, 1e-2))
def test_costs_are_found_again_from_what_they_bring_about(request: float, batch: float, row: float) -> None:
    costs = Costs(request_seconds=request, batch_seconds=batch, row_seconds=row)

    found = fit(points_of(costs))

    assert found == pytest.approx((request, batch, row), rel=1e-4, abs=1e-7)


def test_no_cost_is_negative_whatever_was_measured() -> None:
    falling = [
        Point(rows=rows, requests_per_batch=batch, cpu_seconds=1e-3 / rows + 1e-5 * batch)
        for rows in (1, 8)
        for batch in (1, 16)
    ]

    assert min(fit(falling)) >= 0


def test_two_measurements_say_nothing_of_three_costs() -> None:
    with pytest.raises(NothingMeasured, match="three measurements or more, not 2"):
        fit(points_of(CNN)[:2])


def test_errors_are_parts_of_what_was_measured() -> None:
    twice = Costs(request_seconds=200e-6, batch_seconds=600e-6, row_seconds=400e-6)

    assert errors(twice, points_of(CNN)) == pytest.approx([1.0] * 6)


def test_a_file_gives_back_what_it_was_given(results: Path) -> None:
    assert load("cnn", results) == (CNN, results)


def test_the_results_that_ship_hold_the_starter_models() -> None:
    for model in ("mnist-dnn", "mnist-cnn", "nsmc-text"):
        costs, _ = load(model)
        assert costs.capacity() > 0


def test_a_plan_holds_what_is_demanded() -> None:
    demand = Demand(rate=10_000, p99=0.01, headroom=0.3, spare=2, core_hour=0.05)

    found = plan(CNN, demand)

    # A full batch of 8 takes 2.7 ms: 2,963 requests/s, 2,074 with headroom.
    assert found.for_throughput == 5
    assert found.replicas == max(found.for_throughput, found.for_latency) + 2
    assert found.without_spare.p99 <= 0.01
    assert found.utilisation == pytest.approx(10_000 / (found.replicas * 8 / 2.7e-3))
    assert found.bytes == found.replicas * 10**8
    assert found.per_million == pytest.approx(found.replicas * 0.05 / 36)


def test_a_tighter_objective_never_takes_fewer_replicas() -> None:
    wanted = [plan(CNN, Demand(rate=5_000, p99=p99, headroom=0.0)).replicas for p99 in (0.0015, 0.003, 0.01, 0.1)]

    assert wanted == sorted(wanted, reverse=True)
    assert wanted[0] > wanted[-1]


def test_an_objective_below_one_run_is_out_of_reach() -> None:
    with pytest.raises(OutOfReach, match=r"waits for nobody takes 0\.6 ms"):
        plan(CNN, Demand(rate=10, p99=0.0005))


def test_the_command_prints_replicas_and_cost_and_checks_them_by_simulation(results: Path) -> None:
    words = ["--model", "cnn", "--rate", "10000", "--p99-ms", "50", "--core-hour", "0.04", "--costs", str(results)]

    shown = CliRunner().invoke(main, [*words, "--simulate"])

    assert shown.exit_code == 0, shown.output
    assert "replicas     6: 5 workers for the rate with 30% headroom, 4 for p99, and 1 spare" in shown.output
    assert "0.0067 per million requests" in shown.output
    assert "all restarted in turn, least connections" in shown.output
    told = json.loads(CliRunner().invoke(main, [*words, "--json"]).output)
    assert told["plan"]["replicas"] == 6


@pytest.mark.parametrize(
    ("words", "error"),
    [
        pytest.param(["--model", "cnn"], "give --rate", id="no-rate"),
        pytest.param(["--rate", "1"], "--rate needs one --model, not 0", id="no-model"),
        pytest.param(["--rate", "1", "--model", "gnn"], "no costs of model 'gnn'; measured are: cnn", id="unknown"),
        pytest.param(["--rate", "1", "--model", "cnn", "--p99-ms", "0.1"], "waits for nobody", id="too-soon"),
    ],
)
def test_the_command_says_what_is_wrong(results: Path, words: list[str], error: str) -> None:
    shown = CliRunner().invoke(main, [*words, "--costs", str(results)])

    assert shown.exit_code != 0
    assert error in shown.output


def test_a_file_that_holds_no_results_is_named(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("[]")

    shown = CliRunner().invoke(main, ["--rate", "1", "--model", "cnn", "--costs", str(tmp_path / "other.json")])

    assert "other.json: expected the JSON that --measure writes" in shown.output
