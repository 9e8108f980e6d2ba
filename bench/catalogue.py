"""Who is measured: how each is started, how it is asked about rows, and where its answer stands.

All serve the same ONNX file with onnxruntime on the CPU, one thread a run. Each batches as its documentation advises,
up to 64 rows, waiting at most 2 ms where a wait must be named.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import orjson

from bench.models import CLASSES
from bench.prepare import ROOT, is_prepared, python_of, why_absent
from bench.processes import Server, free_port, running
from bench.requests import Request, v2_binary, v2_json

Rows = np.ndarray
PACKAGE = "bench.contenders"


@dataclass(frozen=True)
class Way:
    """One way to ask a server: rows → request, and the answer's body → rows."""

    ask: Callable[[Rows], Request]
    read: Callable[[bytes], Rows]


@dataclass(frozen=True)
class Place:
    """What a server is started with: its Python, an empty folder of its own, a free port, the ONNX file."""

    python: Path
    folder: Path
    port: int
    model: Path

    def beside_python(self, program: str) -> str:
        """The path of a program of the same environment."""
        return str(self.python.with_name(program))


@dataclass(frozen=True)
class Contender:
    """A server under measurement.

    `variables` are added to MODEL and PORT; `installed` names its virtual environment if it is not this one.
    """

    name: str
    about: str
    command: Callable[[Place], list[str]]
    ready: str
    ways: dict[str, Way]
    installed: str | None = None
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def why_absent(self) -> str | None:
        """Why it cannot be measured here; None if it can."""
        if self.installed is None or is_prepared(self.installed):
            return None
        return why_absent(self.installed)

    @contextmanager
    def serving(self, model: Path, folder: Path, **variables: str) -> Iterator[Server]:
        """Serve an ONNX file; `folder` is emptied, and the contender's own."""
        python = python_of(self.installed) if self.installed else Path(sys.executable)
        place = Place(python, folder, free_port(), model)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        environment = {
            "MODEL": str(model), "PORT": str(place.port), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1",
            # Beside the session's one thread, libraries make pools of their own.
            "OMP_NUM_THREADS": "1", "PATH": f"{python.parent}:{os.environ['PATH']}",
            **self.variables, **variables,
        }  # fmt: skip
        with running(
            self.command(place), port=place.port, ready=self.ready, log=folder / "log", env=environment, cwd=folder
        ) as server:
            yield server


def _flat_json(body: bytes) -> Rows:
    output = orjson.loads(body)["outputs"][0]
    return np.array(output["data"], np.float32).reshape(output["shape"])


def _after_header(body: bytes) -> Rows:
    # The tensor is the last thing in the body, and the JSON before it says how long it is.
    output = json.JSONDecoder().raw_decode(body.decode("latin-1"))[0]["outputs"][0]
    size = output["parameters"]["binary_data_size"]
    return np.frombuffer(body[-size:], np.float32).reshape(output["shape"])


def _named_json(body: bytes) -> Rows:
    return np.array(orjson.loads(body)["y"], np.float32)


def _bare_json(body: bytes) -> Rows:
    return np.array(orjson.loads(body), np.float32)


def _raw(body: bytes) -> Rows:
    return np.frombuffer(body, np.float32).reshape(-1, CLASSES)


def _to(path: str) -> Callable[[Rows], Request]:
    """Ask with nested rows, as those servers take JSON that have no protocol of their own."""
    headers = {"Content-Type": "application/json"}
    return lambda rows: Request(path, orjson.dumps({"x": rows.tolist()}), headers)


def _to_raw(path: str) -> Callable[[Rows], Request]:
    return lambda rows: Request(path, rows.tobytes(), {"Content-Type": "application/octet-stream"})


V2 = {
    "json": Way(lambda rows: v2_json("dense", rows), _flat_json),
    "binary": Way(lambda rows: v2_binary("dense", rows), _after_header),
}


def _gunicorn(*words: str) -> Callable[[Place], list[str]]:
    return lambda place: [
        str(place.python), "-m", "gunicorn", "--no-control-socket", "--bind", f"127.0.0.1:{place.port}",
        "--log-level", "error", *words,
    ]  # fmt: skip


def _program(name: str) -> Callable[[Place], list[str]]:
    return lambda place: [str(place.python), str(ROOT / "bench" / "contenders" / name), str(place.folder)]


def _ovenbird(place: Place) -> list[str]:
    store = place.model.parents[2]
    return [place.beside_python("ovenbird"), "serve", "--port", str(place.port), "--store", str(store)]


def _mlserver(place: Place) -> list[str]:
    settings = {"host": "127.0.0.1", "http_port": place.port, "grpc_port": free_port(), "metrics_endpoint": None,
                "debug": False}  # fmt: skip
    model = {"name": "dense", "implementation": f"{PACKAGE}.mlserver_runtime.OnnxRuntime", "max_batch_size": 64,
             "max_batch_time": 0.002}  # fmt: skip
    (place.folder / "settings.json").write_text(json.dumps(settings))
    (place.folder / "model-settings.json").write_text(json.dumps(model))
    return [place.beside_python("mlserver"), "start", str(place.folder)]


def _bentoml(place: Place) -> list[str]:
    return [place.beside_python("bentoml"), "serve", f"{PACKAGE}.bentoml_service:Dense", "--host", "127.0.0.1",
            "--port", str(place.port), "--working-dir", str(ROOT)]  # fmt: skip


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender(
            "ovenbird", "this service, one thread a run, one run at once", _ovenbird, "/v2/models/dense/ready", V2,
            variables={"OVENBIRD_CONTROL": "none", "OVENBIRD_THREADS": "1", "OVENBIRD_INSTANCES": "1"},
        ),
        Contender(
            "floor", "a bare ASGI application under the same gunicorn and uvicorn: no model, as many bytes answered",
            _gunicorn("--worker-class", "uvicorn_worker.UvicornWorker", f"{PACKAGE}.floor:app"), "/", V2,
        ),
        Contender(
            "naive", "Flask under gunicorn, 64 threads, a run for each request; binary is raw float32",
            _gunicorn("--worker-class", "gthread", "--threads", "64", f"{PACKAGE}.naive_flask:app"), "/ready",
            {"json": Way(_to("/predict-json"), _named_json), "binary": Way(_to_raw("/predict"), _raw)},
        ),
        Contender(
            "triton", "tritonserver of nvidia-pytriton, onnxruntime in its Python backend, dynamic batching, no delay",
            _program("triton_server.py"), "/v2/models/dense/ready", V2, "triton",
        ),
        Contender(
            "mlserver", "a custom runtime, max_batch_size 64, max_batch_time 2 ms", _mlserver,
            "/v2/models/dense/ready", {"json": V2["json"]}, "mlserver",
        ),
        Contender(
            "bentoml", "batchable, max_batch_size 64, its adaptive wait", _bentoml, "/readyz",
            {"json": Way(_to("/predict"), _bare_json)}, "bentoml", {"BENTOML_DO_NOT_TRACK": "True"},
        ),
        Contender(
            "litserve", "max_batch_size 64, batch_timeout 2 ms", _program("litserve_api.py"), "/health",
            {"json": Way(_to("/predict"), _named_json)}, "litserve",
        ),
        Contender(
            "ray", "@serve.batch, max_batch_size 64, batch_wait_timeout_s 2 ms", _program("ray_deployment.py"),
            "/predict", {"json": Way(_to("/predict"), _named_json)}, "ray",
            # The first variable keeps Ray on the loopback address.
            {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"},
        ),
    )
}  # fmt: skip
"""By name; ours first."""
