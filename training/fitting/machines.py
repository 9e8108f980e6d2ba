"""Several machines for one fit: which they are, how they meet, and the sums that travel between them.

TensorFlow's variable TF_CONFIG tells each process the addresses of all and its own place; tf.distribute's
MultiWorkerMirroredStrategy carries the sums. Worker 0, the chief, evaluates and publishes; the others only fit.
Knows neither networks nor data sets. Imports TensorFlow when the machines meet, and TF_CONFIG is checked before.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.datasets.dataset import Array
from training.errors import MachineLost, OtherJob, UnusableCluster

VARIABLE = "TF_CONFIG"
JOBS = ("chief", "worker")

# Machines are started by hand or by a scheduler, and each loads its data first.
MEET_WITHIN_S = 600
# A peer may be busy for a while: it traces a model, or the chief writes a large checkpoint.
SILENT_FOR_S = 300
# When all listen, TensorFlow meets within seconds.
START_WITHIN_S = 120
CONNECT_WITHIN_S = 2.0
ASK_AGAIN_S = 0.5
# Of TensorFlow's errors those that mean a peer; by name, since this must not import TensorFlow.
ERRORS_OF_PEERS = frozenset(
    {"UnavailableError", "AbortedError", "CancelledError", "DeadlineExceededError", "FailedPreconditionError"}
)


@dataclass(frozen=True)
class Place:
    """The addresses (host:port) of all workers, the chief's first, and which of them this process is."""

    workers: tuple[str, ...]
    index: int

    def __str__(self) -> str:
        return f"worker {self.index} of {len(self.workers)}"

    @property
    def is_chief(self) -> bool:
        """Tell whether this process evaluates and publishes."""
        return self.index == 0

    @property
    def share(self) -> tuple[int, int]:
        """Which machine of how many this is."""
        return self.index, len(self.workers)

    @property
    def peers(self) -> dict[int, str]:
        """The addresses of the others, by their index."""
        return {index: address for index, address in enumerate(self.workers) if index != self.index}


def read_place(environment: Mapping[str, str]) -> Place | None:
    """Read TF_CONFIG; None where it is not set or names this process alone.

    Raises:
        UnusableCluster: it is no JSON, or does not say who the workers are and which of them this process is.
    """
    text = environment.get(VARIABLE, "").strip()
    if not text:
        return None
    try:
        config = json.loads(text)
    except ValueError as error:
        raise UnusableCluster(f"{VARIABLE}: expected JSON: {error}") from None
    cluster, task = _object(config, "", "cluster"), _object(config, "", "task")
    others = sorted(set(cluster) - set(JOBS))
    if others:
        raise UnusableCluster(f"{VARIABLE}: cluster.{others[0]}: expected {' and '.join(JOBS)} only")
    addresses = {job: _addresses(job, cluster[job]) for job in JOBS if job in cluster}
    workers = tuple(address for job in addresses.values() for address in job)
    if len(set(workers)) != len(workers) or not workers:
        raise UnusableCluster(f"{VARIABLE}: cluster: expected different addresses, received {list(workers)}")
    place = Place(workers, _index(task, addresses))
    return place if place.peers else None


def _object(config: object, path: str, name: str) -> dict[str, Any]:
    value = config.get(name) if isinstance(config, dict) else None
    if not isinstance(value, dict):
        raise UnusableCluster(f"{VARIABLE}: {path}{name}: expected an object, received {json.dumps(value)}")
    return value


def _addresses(job: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(_is_address(entry) for entry in value):
        raise UnusableCluster(
            f'{VARIABLE}: cluster.{job}: expected a list of "host:port", received {json.dumps(value)}'
        )
    if job == "chief" and len(value) > 1:
        raise UnusableCluster(f"{VARIABLE}: cluster.chief: expected one address, received {len(value)}")
    return value


def _is_address(entry: object) -> bool:
    host, _, port = entry.rpartition(":") if isinstance(entry, str) else ("", "", "")
    return bool(host) and port.isdecimal() and 0 < int(port) < 2**16


def _index(task: Mapping[str, Any], addresses: Mapping[str, list[str]]) -> int:
    """Find this process among all: the chief comes before the workers."""
    job, index = task.get("type"), task.get("index")
    if not isinstance(job, str) or job not in addresses:
        raise UnusableCluster(
            f"{VARIABLE}: task.type: expected {' or '.join(addresses)}, as in cluster, received {json.dumps(job)}"
        )
    count = len(addresses[job])
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < count:
        raise UnusableCluster(
            f"{VARIABLE}: task.index: expected 0 to {count - 1}, as cluster.{job} has {count}, "
            f"received {json.dumps(index)}"
        )
    return index if job == next(iter(addresses)) else index + len(addresses["chief"])


@dataclass(frozen=True)
class Machines:
    """All processes of one fit, once they have met: each calls these functions as often as the others, and in order."""

    place: Place
    strategy: Any

    def sums(self, tensors: Sequence[Any]) -> list[Any]:
        """Add float32 tensors over all processes, one by one; may stand in a tf.function."""
        import tensorflow as tf

        def add(mine: list[Any]) -> Any:
            # Named anew, they lie on a device that the strategy knows.
            return tf.distribute.get_replica_context().all_reduce("SUM", [tf.identity(tensor) for tensor in mine])

        return list(self.strategy.run(add, args=(list(tensors),)))

    def from_chief(self, arrays: Sequence[Array]) -> list[Array]:
        """Give all the chief's arrays; the others bring arrays of the same shapes and dtypes."""
        content = self.bytes_from_chief(b"".join(array.tobytes() for array in arrays))
        ends = np.cumsum([array.nbytes for array in arrays])
        parts = [content[end - array.nbytes : end] for array, end in zip(arrays, ends, strict=True)]
        return [
            np.frombuffer(part, array.dtype).reshape(array.shape) for part, array in zip(parts, arrays, strict=True)
        ]

    def bytes_from_chief(self, content: bytes) -> bytes:
        """Give all the chief's bytes; what the others bring is not looked at."""
        size = int.from_bytes(self._from_chief(len(content).to_bytes(8, "little")), "little")
        even = size + size % 2
        return self._from_chief(content[:size].ljust(even, b"\0"))[:size]

    def _from_chief(self, content: bytes) -> bytes:
        """Add the others' zeros to the chief's bytes, two at a time: float32 holds them exactly."""
        numbers = np.frombuffer(content, np.uint16).astype(np.float32)
        (total,) = self.sums([numbers if self.place.is_chief else np.zeros_like(numbers)])
        return np.asarray(total).astype(np.uint16).tobytes()

    def check_same(self, digest: str) -> None:
        """Compare the hexadecimal digests of the jobs that the processes were given; raises `OtherJob`."""
        own = np.frombuffer(bytes.fromhex(digest), np.uint8)
        table = np.zeros((len(self.place.workers), len(own)), np.float32)
        table[self.place.index] = own
        (total,) = self.sums([table])
        rows = np.asarray(total)
        others = [str(index) for index in range(len(rows)) if not np.array_equal(rows[index], rows[0])]
        if others:
            raise OtherJob(
                f"worker {', '.join(others)}: another job than worker 0's: give all the same command and the same data"
            )


@contextmanager
def meeting(place: Place) -> Iterator[Machines]:
    """Wait for the other processes, and work with them; nothing of TensorFlow may have run before.

    Raises:
        UnusableCluster: another program has this process's port.
        MachineLost: another process did not come, ended or fell silent.
    """
    _wait_for_peers(place)
    # TensorFlow waits for an hour, and no other thread of Python runs meanwhile: a peer may have gone just now.
    faulthandler.dump_traceback_later(START_WITHIN_S, exit=True, file=sys.__stderr__ or 2)
    try:
        machines = Machines(place, _strategy(place))
        machines.sums([np.zeros(1, np.float32)])
        faulthandler.cancel_dump_traceback_later()
        yield machines
    except Exception as error:
        if type(error).__name__ not in ERRORS_OF_PEERS:
            raise
        lost = _described(place, [index for index in place.peers if not _answers(place.workers[index])])
        raise MachineLost(f"{place}: {lost} ended or fell silent; nothing was published: start all again") from None
    finally:
        faulthandler.cancel_dump_traceback_later()


def _wait_for_peers(place: Place) -> None:
    """Listen where TensorFlow will, until somebody listens at the address of every peer."""
    port = int(place.workers[place.index].rpartition(":")[2])
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    try:
        listener = socket.create_server(("", port), family=family, dualstack_ipv6=family == socket.AF_INET6)
    except OSError as error:
        raise UnusableCluster(f"{place}: cannot listen on port {port}: {error.strerror}") from None
    missing = list(place.peers)
    last = time.monotonic() + MEET_WITHIN_S
    with listener:
        while missing := [index for index in missing if not _answers(place.workers[index])]:
            if time.monotonic() > last:
                raise MachineLost(f"{place}: {_described(place, missing)} did not come within {MEET_WITHIN_S:g} s")
            time.sleep(ASK_AGAIN_S)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), CONNECT_WITHIN_S):
        return True
    return False


def _described(place: Place, indices: Sequence[int]) -> str:
    """Name workers with their addresses."""
    return ", ".join(f"worker {index} ({place.workers[index]})" for index in indices) or "another worker"


def _strategy(place: Place) -> Any:
    """Make the strategy for one device of this process: further GPUs belong to further processes."""
    import tensorflow as tf

    # What is summed outside a graph is little, and TensorFlow warns of it.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    tf.config.set_visible_devices(tf.config.list_physical_devices("GPU")[:1], "GPU")
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=SILENT_FOR_S)
    cluster = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": place.workers}), task_type="worker", task_id=place.index, rpc_layer="grpc"
    )
    return tf.distribute.MultiWorkerMirroredStrategy(cluster, options)
