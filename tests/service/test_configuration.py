"""Triton's model configuration extension, as its own client sees it, through both routes."""

from __future__ import annotations

import importlib.util
import json
import os
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import tiny_models
import tritonclient.http as triton
from google.protobuf.json_format import ParseDict
from onnx import TensorProto, helper
from service_process import RunningService

from model_store import Serving
from model_store.serving import All, Specific, VersionPolicy
from service.app import create_app
from service.settings import Settings


@pytest.fixture(scope="module")
def proto() -> ModuleType:
    """Triton's own model_config.proto; the package around it needs gRPC, this file does not."""
    path = Path(triton.__file__).parents[1] / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config_of(service: RunningService, name: str, version: str = "") -> dict[str, Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        found: dict[str, Any] = client.get_model_config(name, version)
        return found


@pytest.mark.parametrize("version", ["", "1"])
def test_the_configuration_of_a_model(service: RunningService, version: str) -> None:
    config = config_of(service, "double", version)

    parameters = config.pop("parameters")
    assert config == {
        "name": "double",
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": 64,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [3]}],
        "instance_group": [{"name": "double", "kind": "KIND_CPU", "count": 1}],
        "default_model_filename": "model.onnx",
        "dynamic_batching": {"max_queue_delay_microseconds": 0},
    }
    assert parameters["provider"] == {"string_value": "CPUExecutionProvider"}
    assert parameters["max_queue_rows"] == {"string_value": "8192"}
    assert parameters["p99_ms"] == {"string_value": "0"}
    expected = json.loads(parameters["expected_compute_seconds"]["string_value"])
    assert next(iter(expected)) == "1"
    assert all(seconds > 0 for seconds in expected.values())
    assert int(parameters["threads"]["string_value"]) >= 1


@pytest.mark.parametrize("model", ["double", "lower", "lookup", "brightness"])
def test_every_configuration_is_a_model_config_of_triton_s_own_proto(
    service: RunningService, proto: ModuleType, model: str
) -> None:
    config = config_of(service, model)

    read = ParseDict(config, proto.ModelConfig())

    with service.client() as client:
        metadata = client.get(f"/v2/models/{model}").json()
    types = proto.DataType.Name(read.input[0].data_type), proto.DataType.Name(read.output[0].data_type)
    expected = [metadata[side][0]["datatype"].replace("BYTES", "STRING") for side in ("inputs", "outputs")]
    assert types == tuple(f"TYPE_{datatype}" for datatype in expected)
    assert [-1, *read.input[0].dims] == metadata["inputs"][0]["shape"]
    assert [-1, *read.output[0].dims] == metadata["outputs"][0]["shape"]


@pytest.mark.parametrize(
    ("policy", "written"),
    [
        (VersionPolicy(all=All()), {"all": {}}),
        (VersionPolicy(specific=Specific(versions=(1, 3))), {"specific": {"versions": [1, 3]}}),
    ],
    ids=["all", "specific"],
)
def test_how_a_model_is_to_be_served_is_shown(
    tmp_path: Path, proto: ModuleType, policy: VersionPolicy, written: dict[str, Any]
) -> None:
    for _ in range(3):
        tiny_models.publish_affine(tmp_path)
    serving = Serving(version_policy=policy, max_batch_size=16, threads=3)
    (tmp_path / "double" / "serving.json").write_text(serving.to_json())
    app = create_app(Settings(store=str(tmp_path), control="none"))

    config = app.test_client().get("/v2/models/double/config").json

    ParseDict(config, proto.ModelConfig())
    assert (config["version_policy"], config["max_batch_size"]) == (written, 16)
    assert config["parameters"]["threads"] == {"string_value": "3"}


def test_a_model_without_a_batch_axis_has_whole_shapes_and_no_batching(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy")
    model = helper.make_model(
        helper.make_graph([node], "main", [x], [y]), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )
    folder = tmp_path / "fixed" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    os.utime(folder / "model.onnx", (time.time() - 60,) * 2)  # as if it had lain there for a while
    client = create_app(Settings(store=str(tmp_path), control="none")).test_client()

    config = client.get("/v2/models/fixed/config").json

    assert config["max_batch_size"] == 0
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [2, 3]}]
    assert "dynamic_batching" not in config


@pytest.mark.parametrize("path", ["/v2/models/nobody/config", "/v2/models/double/versions/9/config"])
def test_what_is_not_served_has_no_configuration(client: httpx.Client, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 404
    assert set(answer.json()) == {"error"}
