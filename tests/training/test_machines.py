"""Several machines for one fit: processes of this one, which meet on free ports."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from model_store import Store, StoredVersion
from training import pipeline
from training.errors import MachineLost, OtherJob, UnusableCluster
from training.fitting.feeding import batch_sizes, rows_of_share
from training.fitting.machines import Machines, Place, meeting, read_place
from training.job import prepare

ALONE = {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}
PAIR = {"worker": ["a:1", "b:2"]}


def config(cluster: object, task: object) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        pytest.param({}, None, id="not-set"),
        pytest.param({"TF_CONFIG": " "}, None, id="empty"),
        pytest.param({"TF_CONFIG": json.dumps(ALONE)}, None, id="alone"),
        pytest.param(config(PAIR, {"type": "worker", "index": 1}), Place(("a:1", "b:2"), 1), id="worker"),
        pytest.param(
            config({"worker": ["b:2"], "chief": ["a:1"]}, {"type": "chief", "index": 0}),
            Place(("a:1", "b:2"), 0),
            id="a-chief-of-its-own",
        ),
        pytest.param(
            config({"chief": ["a:1"], "worker": ["b:2", "c:3"]}, {"type": "worker", "index": 1}),
            Place(("a:1", "b:2", "c:3"), 2),
            id="after-the-chief",
        ),
    ],
)
def test_reads_which_machines_there_are_and_which_this_is(environment: dict[str, str], place: Place | None) -> None:
    assert read_place(environment) == place


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        pytest.param({"TF_CONFIG": "worker"}, "expected JSON: Expecting value", id="no-json"),
        pytest.param({"TF_CONFIG": "[]"}, "cluster: expected an object, received null", id="no-object"),
        pytest.param(config({"ps": ["a:1"]}, {}), "cluster.ps: expected chief and worker only", id="ps"),
        pytest.param(config({}, {}), r"expected different addresses, received \[\]", id="nobody"),
        pytest.param(config({"worker": "a:1"}, {}), 'cluster.worker: expected a list of "host:port"', id="no-list"),
        pytest.param(config({"worker": ["a"]}, {}), 'cluster.worker: expected a list of "host:port"', id="no-port"),
        pytest.param(config({"worker": ["a:1", "a:1"]}, {}), "expected different addresses", id="twice"),
        pytest.param(config({"chief": ["a:1", "b:1"]}, {}), "chief: expected one address, received 2", id="chiefs"),
        pytest.param(config(PAIR, {"index": 0}), "task.type: expected worker, as in cluster, received null", id="type"),
        pytest.param(
            config(PAIR, {"type": "worker", "index": 2}),
            "task.index: expected 0 to 1, as cluster.worker has 2, received 2",
            id="index-too-large",
        ),
        pytest.param(config(PAIR, {"type": "worker", "index": "1"}), 'received "1"', id="index-as-text"),
    ],
)
def test_says_what_is_wrong_with_tf_config(environment: dict[str, str], complaint: str) -> None:
    with pytest.raises(UnusableCluster, match=f"^TF_CONFIG: .*{complaint}"):
        read_place(environment)


def test_a_bad_tf_config_ends_the_command_in_one_line(command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", "worker")

    result = command("dnn")

    assert result.exit_code == 2
    assert result.stderr.startswith("Error: TF_CONFIG: expected JSON")
    assert result.stderr.count("\n") == 1


def test_the_shares_of_a_batch_are_the_batch() -> None:
    assert batch_sizes(70, 32) == [32, 32, 6]
    for size in (1, 2, 32):
        assert sum(rows_of_share(size, (index, 3)) for index in range(3)) == size


# Processes of one machine stand for several. They are copies of one that has imported TensorFlow, which is what
# takes the time; none has used it before it meets the others.
PROCESSES = """
import json, os, signal, sys
import keras, matplotlib, sklearn, tensorflow, tf2onnx
from training import cli, pipeline
from training.fitting import machines

machines.MEET_WITHIN_S = 30
run_job = cli.run_job

def killed_at(moment):
    def say(line):
        print(line, flush=True)
        if moment in line:
            os.kill(os.getpid(), signal.SIGKILL)
    cli.run_job = lambda *given, **named: run_job(*given, **{**named, "say": say})

def start(process):
    child = os.fork()
    if child:
        return child
    for stream in (1, 2):
        os.dup2(os.open(f"{process['output']}.{stream}", os.O_CREAT | os.O_WRONLY), stream)
    os.environ.update(process["environment"])
    if process["killed_at"]:
        killed_at(process["killed_at"])
    cli.train(process["arguments"])

codes = []
for phase in json.loads(sys.argv[1]):
    children = [start(process) for process in phase]
    codes += [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
print(json.dumps(codes))
"""

# Of the 1294 rows that are learned, the last batch has one: a machine has no row of it.
COMMAND = [
    "dnn",
    *("--name", "model"),
    *(f"--set={setting}" for setting in ("epochs=3", "hidden=8", "dropout=0", "batch_size=431", "learning_rate=0.01")),
    *(f"--set={setting}" for setting in ("schedule=cosine", "clip_norm=1", "class_weights=balanced")),
]


class Ended(NamedTuple):
    """How a process ended, what it wrote, and the store that it was given."""

    code: int
    stdout: str
    stderr: str
    store: Path


class Processes:
    """Processes to start together, phase by phase."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._phases: list[list[dict[str, Any]]] = []

    def alone(self, name: str) -> None:
        """Add a process without TF_CONFIG."""
        self._phases.append([self._process(name, name)])

    def together(self, name: str, *, killed_at: str = "", store: str = "") -> None:
        """Add two machines in a phase of their own, each with a store; the chief may be killed when it says a line."""
        addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
        self._phases.append(
            [
                self._process(
                    f"{name}-{index}",
                    f"{store or name}-{index}",
                    config({"worker": addresses}, {"type": "worker", "index": index}),
                    "" if index else killed_at,
                )
                for index in range(2)
            ]
        )

    def _process(
        self, name: str, store: str, environment: Mapping[str, str] | None = None, killed_at: str = ""
    ) -> dict[str, Any]:
        return {
            "output": str(self._folder / name),
            "arguments": [*COMMAND, "--store", str(self._folder / store)],
            "environment": dict(environment or {}),
            "killed_at": killed_at,
            "store": str(self._folder / store),
        }

    def run(self) -> dict[str, Ended]:
        """Run all phases; return how each process ended, by its name."""
        done = subprocess.run(
            [sys.executable, "-c", PROCESSES, json.dumps(self._phases)], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        processes = [process for phase in self._phases for process in phase]
        return {
            Path(process["output"]).name: Ended(
                code,
                Path(process["output"] + ".1").read_text(),
                Path(process["output"] + ".2").read_text(),
                Path(process["store"]),
            )
            for process, code in zip(processes, json.loads(done.stdout), strict=True)
        }


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    processes = Processes(tmp_path_factory.mktemp("machines"))
    processes.alone("one")
    processes.together("killed", killed_at="epoch 2/3")
    processes.together("again", store="killed")
    return processes.run()


def published(process: Ended) -> StoredVersion:
    assert process.code == 0, process.stderr
    return Store(process.store).resolve("model")


def history(stored: StoredVersion) -> dict[str, list[float]]:
    facts: dict[str, dict[str, list[float]]] = json.loads((stored.path / "report/evaluation.json").read_text())
    return facts["history"]


def weights(stored: StoredVersion) -> list[np.ndarray]:
    return [numpy_helper.to_array(entry) for entry in onnx.load(stored.onnx_path).graph.initializer]


@pytest.mark.tensorflow
def test_a_machine_that_dies_ends_the_others_in_one_line(ended: dict[str, Ended]) -> None:
    dead, left = ended["killed-0"], ended["killed-1"]

    assert dead.code == -signal.SIGKILL
    assert left.code == 1
    assert left.stderr.startswith("Error: worker 1 of 2: worker 0 (127.0.0.1:")
    assert left.stderr.endswith(") ended or fell silent; nothing was published: start all again\n")
    assert left.stderr.count("\n") == 1


@pytest.mark.tensorflow
def test_two_machines_even_started_again_fit_as_one_does(ended: dict[str, Ended]) -> None:
    one, two = published(ended["one"]), published(ended["again-0"])

    assert "resume    after epoch 2" in ended["again-0"].stdout
    assert history(two).keys() == history(one).keys()
    for name, figures in history(one).items():
        assert history(two)[name] == pytest.approx(figures, rel=1e-4), name
    for ours, theirs in zip(weights(two), weights(one), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.tensorflow
def test_the_chief_alone_writes(ended: dict[str, Ended]) -> None:
    other = ended["again-1"]

    assert other.code == 0
    assert other.stdout == "worker 1 of 2: 3 epochs done; worker 0 publishes\n"
    assert other.stderr == ""
    assert not other.store.exists()


def test_machines_that_were_given_different_jobs_refuse_them() -> None:
    class BesideAnother(Machines):
        def sums(self, tensors: Sequence[Any]) -> list[Any]:
            others = np.zeros_like(tensors[0])
            others[0] = 171
            return [tensors[0] + others]

    machines = BesideAnother(Place(("a:1", "b:2"), 1), None)

    machines.check_same("abab")
    with pytest.raises(OtherJob, match="worker 1: another job than worker 0's: give all the same command"):
        machines.check_same("abac")


def test_a_machine_that_never_comes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.fitting.machines.MEET_WITHIN_S", 0)
    mine, absent = (f"127.0.0.1:{port}" for port in free_ports(2))

    with (
        pytest.raises(MachineLost, match=rf"worker 0 of 2: worker 1 \({absent}\) did not come within 0 s"),
        meeting(Place((mine, absent), 0)),
    ):
        pass


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        with (
            pytest.raises(UnusableCluster, match="worker 0 of 2: cannot listen on port"),
            meeting(Place((address, "b:2"), 0)),
        ):
            pass


@pytest.mark.tensorflow
def test_a_recipe_that_fits_by_itself_is_refused(tmp_path: Path) -> None:
    job = prepare("scratch", "digits", store=tmp_path, name=None, parameters={})

    with pytest.raises(UnusableCluster, match="recipe 'scratch' fits by itself, on one machine: unset TF_CONFIG"):
        pipeline.fit_along(job, Machines(Place(("a:1", "b:2"), 1), None), say=print)
