"""The parts of a run: each yields figures, and what they say about a goal, one value a round.

Two servers that are compared run at the same time and take turns under load, A B A B, so that both see the same
moods of the machine; a ratio is taken within each round, and the median of the rounds counts.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from bench import models, open_loop, requests
from bench.catalogue import CONTENDERS, V2, Contender, Place
from bench.figures import LARGE, SMALL, Figure
from bench.loads import Case, Measure, against, alone, check
from bench.open_loop import OpenLoop
from bench.prepare import ENVIRONMENTS, ROOT
from bench.processes import Server, free_port, resident_bytes, running

CLIENTS = (1, 16, 64)
STATISTICS = "/v2/models/dense/stats"
STARTERS = ROOT / "model_store" / "models"


@dataclass
class Run:
    """How long to measure, and what was found so far; `values` are by goal, `notes` say what could not be measured."""

    seconds: int = 3
    rounds: int = 3
    clients: tuple[int, ...] = CLIENTS
    figures: list[Figure] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    open_loops: list[tuple[str, OpenLoop]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def take_turns(self, *measures: Measure) -> list[tuple[Figure, ...]]:
        """Measure one after the other, round by round."""
        rounds = [tuple(measure(self.seconds) for measure in measures) for _ in range(self.rounds)]
        self.figures += [figure for figures in rounds for figure in figures]
        return rounds

    def note(self, goal: str, values: list[float]) -> None:
        self.values.setdefault(goal, []).extend(values)


def model_of(network: str) -> Path:
    return models.path_of(network, ENVIRONMENTS / "models")


@contextlib.contextmanager
def serving(contender: Contender, network: str = SMALL, **variables: str) -> Iterator[Server]:
    with contender.serving(model_of(network), ENVIRONMENTS / "serving" / contender.name, **variables) as server:
        yield server


def contender(name: str) -> Callable[[Run], None]:
    """Make the part that compares one contender with this service."""

    def section(run: Run) -> None:
        found = CONTENDERS[name]
        if found.why_absent:
            run.notes.append(f"{name} was not measured: {found.why_absent}")
            return
        ours = CONTENDERS["ovenbird"]
        with ExitStack() as stack:
            server = stack.enter_context(serving(ours))
            size = check(server, ours.ways["binary"], model_of(SMALL))
            other = stack.enter_context(serving(found, ANSWER_BYTES=str(size)))
            for payload, way in found.ways.items():
                if name != "floor":
                    check(other, way, model_of(SMALL))
                for clients in run.clients:
                    data = requests.rows(1)
                    case = Case(ours.name, SMALL, payload, 1, clients)
                    rounds = run.take_turns(
                        against(server, case, ours.ways[payload].ask(data), statistics=STATISTICS),
                        against(other, replace(case, who=name), way.ask(data)),
                    )
                    _note_ratio(run, name, payload, clients, rounds)

    return section


def _note_ratio(run: Run, name: str, payload: str, clients: int, rounds: list[tuple[Figure, ...]]) -> None:
    goals = {
        ("floor", "binary", 64): "floor", ("naive", "binary", 64): "naive",
        ("triton", "binary", 64): "triton-binary", ("triton", "json", 64): "triton-json",
        ("triton", "binary", 1): "triton-1",
        **{(peer, "json", 64): peer for peer in ("mlserver", "bentoml", "litserve", "ray")},
    }  # fmt: skip
    if goal := goals.get((name, payload, clients)):
        cost = name == "floor"
        run.note(goal, [
            mine.cpu_microseconds / other.cpu_microseconds if cost
            else mine.requests_per_second / other.requests_per_second
            for mine, other in rounds
        ])  # fmt: skip


def raw(run: Run) -> None:
    """Compare with onnxruntime alone: what is left of the limit."""
    for goal, network, count, clients, batch in (
        ("raw-large", LARGE, 1, 64, 32),
        ("raw-100-small", SMALL, 100, 16, 100),
        ("raw-100-large", LARGE, 100, 16, 100),
    ):
        with serving(CONTENDERS["ovenbird"], network) as server:
            case = Case("ovenbird", network, "binary", count, clients)
            rounds = run.take_turns(
                against(server, case, V2["binary"].ask(requests.rows(count)), statistics=STATISTICS),
                alone(network, model_of(network), batch=batch, threads=1),
            )
        run.note(goal, [mine.rows_per_second / limit.rows_per_second for mine, limit in rounds])


def json_parser(run: Run) -> None:
    """Compare reading 100 rows of JSON with the same service over the standard library's parser."""
    ours, case = CONTENDERS["ovenbird"], Case("ovenbird", SMALL, "json", 100, 4)
    usual = replace(ours, name="json-loads", command=_with_json_loads)
    request = V2["json"].ask(requests.rows(100))
    with serving(ours) as server, serving(usual) as other:
        check(other, V2["json"], model_of(SMALL))
        rounds = run.take_turns(
            against(server, case, request, statistics=STATISTICS),
            against(other, replace(case, who="with json.loads"), request, statistics=STATISTICS),
        )
    run.note("json", [mine.requests_per_second / other.requests_per_second for mine, other in rounds])


def _with_json_loads(place: Place) -> list[str]:
    return ["env", f"OVENBIRD_STORE={place.model.parents[2]}", f"OVENBIRD_PORT={place.port}", str(place.python),
            "-m", "gunicorn", "-c", "python:service.gunicorn_conf",
            "bench.contenders.json_loads:create_front()"]  # fmt: skip


def matrix(run: Run) -> None:
    """Measure this service alone: networks x payloads x rows x clients."""
    for network in (SMALL, LARGE):
        with serving(CONTENDERS["ovenbird"], network) as server:
            for payload, way in V2.items():
                for count in (1, 8, 100):
                    request = way.ask(requests.rows(count))
                    for clients in run.clients:
                        case = Case("ovenbird", network, payload, count, clients)
                        run.take_turns(against(server, case, request, statistics=STATISTICS))


def starters(run: Run) -> None:
    """Measure pictures and texts, as people send them, with models that ship."""
    texts = requests.v2_text("nsmc-text", ["정말 재미있는 영화였다"])
    with _starters() as server:
        for model, payload, request in (
            ("mnist-cnn", "picture", requests.picture("mnist-cnn")),
            ("nsmc-text", "text", texts),
        ):
            for clients in run.clients:
                case = Case("ovenbird", model, payload, 1, clients)
                run.take_turns(against(server, case, request, statistics=f"/v2/models/{model}/stats"))


def open_latency(run: Run) -> None:
    """Measure p99 against p50 at half of the greatest load, in an open loop; beside it the floor at the same rate.

    What the floor shows is the machine's and the generator's part. A round in which the generator was late is shown,
    but says nothing of the goal.
    """
    request = V2["binary"].ask(requests.rows(1))
    with serving(CONTENDERS["ovenbird"]) as server, serving(CONTENDERS["floor"], ANSWER_BYTES="200") as floor:
        case = Case("ovenbird", SMALL, "binary", 1, 64)
        for _ in range(run.rounds):
            greatest = against(server, case, request)(run.seconds).requests_per_second
            for who, port in (("ovenbird", server.port), ("floor", floor.port)):
                seen = open_loop.run(port, request, rate=greatest / 2, seconds=2 * run.seconds)
                run.open_loops.append((who, seen))
                if who == "ovenbird" and seen.kept_up:
                    run.note("open", [seen.p99_seconds / seen.p50_seconds])
    if "open" not in run.values:
        run.notes.append("open loop: the generator never kept up with half of the greatest load")


def lstm(run: Run) -> None:
    """Compare batching with none on texts of 200 words, read by an LSTM; threads and instances as found out at load."""
    ours, case = CONTENDERS["ovenbird"], Case("ovenbird", "lstm", "text", 1, 64)
    ours = replace(ours, ready="/v2/models/text/ready", variables={"OVENBIRD_CONTROL": "none"})
    request, statistics = requests.v2_text("text", models.texts(1)), "/v2/models/text/stats"
    single = replace(ours, name="max_batch_size 1")
    with serving(ours, "lstm") as server, serving(single, "lstm", OVENBIRD_MAX_BATCH_SIZE="1") as other:
        rounds = run.take_turns(
            against(server, case, request, statistics=statistics),
            against(other, replace(case, who=single.name), request, statistics=statistics),
        )
    run.note("lstm", [mine.requests_per_second / other.requests_per_second for mine, other in rounds])


def scaling(run: Run) -> None:
    """Measure how throughput grows with the workers, and what a worker takes: each has its share of the processors."""
    request = V2["binary"].ask(requests.rows(1))
    cores = len(os.sched_getaffinity(0))
    counts = [count for count in (1, 2, 4, 8, 16) if count <= cores]
    ours = replace(CONTENDERS["ovenbird"], variables={"OVENBIRD_CONTROL": "none"})
    for network in (SMALL, LARGE):
        with ExitStack() as stack:
            cases = []
            for count in counts:
                one = replace(ours, name=f"{count} worker{'s' * (count > 1)}")
                server = stack.enter_context(serving(one, network, OVENBIRD_WORKERS=str(count)))
                case = Case(one.name, network, "binary", 1, 64)
                cases.append(against(server, case, request, statistics=STATISTICS))
                memory = resident_bytes(server.pids) / 1e6
                run.notes.append(
                    f"{network}, {one.name}: ready after {server.seconds_to_ready:.1f} s, {memory:.0f} MB in all"
                )
            rounds = run.take_turns(*cases)
        for place, count in enumerate(counts[1:], 1):
            growth = median(figures[place].requests_per_second / figures[0].requests_per_second for figures in rounds)
            run.notes.append(f"{network}, {count} workers: {growth:.2f} times the requests/s of one")


def start(run: Run) -> None:
    """Measure the time from start to ready, and the memory, with the models that ship."""
    for _ in range(run.rounds):
        with _starters() as server:
            run.note("start-seconds", [server.seconds_to_ready])
            run.note("start-megabytes", [resident_bytes(server.pids) / 1e6])


@contextlib.contextmanager
def _starters() -> Iterator[Server]:
    port, log = free_port(), ENVIRONMENTS / "starters.log"
    command = [str(Path(sys.executable).with_name("ovenbird")), "serve", "--store", str(STARTERS), "--port", str(port)]
    with running(command, port=port, ready="/v2/health/ready", log=log) as server:
        yield server


SECTIONS: dict[str, Callable[[Run], None]] = {
    **{name: contender(name) for name in CONTENDERS if name != "ovenbird"},
    "raw": raw,
    "json": json_parser,
    "open": open_latency,
    "lstm": lstm,
    "scaling": scaling,
    "start": start,
    "matrix": matrix,
    "starters": starters,
}
