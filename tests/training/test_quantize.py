"""int8: smaller, measured on its own file, published only if it stays as good, and served like any other."""

from __future__ import annotations

import dataclasses
import html
from pathlib import Path

import numpy as np
import onnx
import pytest

from model_store import Golden, Store, StoredVersion
from model_store.golden import compare
from model_store.manifest import INT8_TOLERANCE, REPORT_FILE, Tolerance
from service.app import create_app
from service.runtime import replay
from service.settings import Settings
from training import pipeline, train
from training.errors import QuantizationRefused
from training.evidence.int8_speed import slower_than_float32
from training.exporting import onnx_check
from training.exporting.int8_file import last_products
from training.exporting.onnx_session import Session
from training.exporting.quantize import check_drop, noise
from training.job import prepare
from training.options import ExportOptions

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def small(train_into) -> StoredVersion:
    (stored,) = train_into("cnn", name="small", epochs=2, filters="16,32", max_drop=0.05, quantize="int8")
    return stored


def test_a_file_in_int8_says_what_was_done_and_what_it_cost(small: StoredVersion) -> None:
    facts = small.manifest.extra["quantization"]

    assert small.manifest.is_quantized
    assert facts["format"] == "int8"
    assert facts["operators"] == {"Conv": 2, "Gemm": 2}
    assert facts["int8"]["bytes"] == small.onnx_path.stat().st_size < facts["float32"]["bytes"] / 2
    assert facts["int8"]["accuracy"] == small.manifest.metrics["accuracy"]
    assert facts["drop"] == pytest.approx(facts["float32"]["accuracy"] - facts["int8"]["accuracy"])
    assert facts["drop"] <= facts["max_drop"] == 0.05
    assert small.manifest.parity.tolerance == INT8_TOLERANCE
    page = (small.path / REPORT_FILE).read_text(encoding="utf-8")
    assert "int8 beside float32" in page
    assert "its own published answers" in page


def test_its_metrics_are_those_of_the_file_itself(small: StoredVersion) -> None:
    rows = prepare("cnn", "digits", store=small.path.parents[1], name=None, parameters={}).dataset.test

    answers = Session(small.onnx_path).run_one(rows.inputs)

    assert np.mean(answers.argmax(axis=1) == rows.targets) == pytest.approx(small.manifest.metrics["accuracy"])


def test_the_file_passes_all_checks_and_declares_no_operator_that_it_lacks(small: StoredVersion) -> None:
    model = onnx.load(small.onnx_path)

    assert Store(small.path.parents[1]).verify(small, {"ONNX": onnx_check.check, "replay": replay.check}) == []
    assert {entry.domain for entry in model.opset_import} == {""}
    assert {entry.key: entry.value for entry in model.metadata_props}["quantization"] == "int8"


def test_it_is_replayed_against_itself_and_not_against_keras(small: StoredVersion, tmp_path: Path) -> None:
    golden = small.golden()
    ours = Session(small.onnx_path).run(golden.inputs["image"])

    assert compare(golden.onnx, ours, Tolerance()) == []
    assert compare(golden.keras, ours, Tolerance()) != []

    def checked(golden: Golden) -> list[str]:
        folder = tmp_path / str(len(list(tmp_path.iterdir()))) / "small/1"
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(small.onnx_path.read_bytes())
        (folder / "manifest.json").write_bytes((small.path / "manifest.json").read_bytes())
        golden.write(folder / "golden.npz")
        return replay.check(StoredVersion("small", 1, folder))

    wrong = {"probabilities": 1 - golden.onnx["probabilities"]}  # type: ignore[operator]
    assert checked(dataclasses.replace(golden, keras=wrong)) == []
    (problem,) = checked(dataclasses.replace(golden, onnx=wrong))
    assert "golden replay disagrees with the int8 file" in problem


def test_the_service_loads_it_and_answers_as_the_file_does(small: StoredVersion) -> None:
    settings = Settings(store=str(small.path.parents[1]), control="explicit", load=("small",))
    golden = small.golden()
    body = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [10, 8, 8, 1],
                        "data": golden.inputs["image"].ravel().tolist()}]}  # fmt: skip

    answer = create_app(settings).test_client().post("/v2/models/small/infer", json=body)

    assert answer.status_code == 200
    received = np.array(answer.json["outputs"][0]["data"], np.float32).reshape(10, 10)
    assert compare(golden.onnx, {"probabilities": received}, INT8_TOLERANCE) == []


def test_a_file_that_int8_made_slower_is_said_to_be_by_how_much_and_what_to_do() -> None:
    facts = {
        "float32": {"microseconds": {"1": 10.0, "32": 20.0, "256": 100.0}},
        "int8": {"microseconds": {"1": 16.0, "32": 21.0, "256": 250.0}},
    }

    said = slower_than_float32(facts)

    assert (
        "slower than float32 on this machine: it takes 1.6 times as long for 1 row, 2.5 times as long for 256" in said
    )
    assert "quantize=none" in said
    assert slower_than_float32(facts | {"int8": facts["float32"]}) == ""


def test_a_table_of_plain_numbers_is_measured_column_by_column_as_its_file_takes_it(shared_store: Path) -> None:
    lines: list[str] = []
    parameters = {"epochs": 1, "max_drop": 1, "quantize": "int8"}
    (stored,) = train("tabular", "iris", store=shared_store, parameters=parameters, say=lines.append)

    complaint = slower_than_float32(stored.manifest.extra["quantization"])
    page = html.unescape((stored.path / REPORT_FILE).read_text(encoding="utf-8"))
    assert [line for line in lines if "slower" in line] == [f"warning   iris-tabular: {complaint}"] * bool(complaint)
    assert ("slower than float32" in page) == bool(complaint)
    assert complaint in page
    assert stored.manifest.extra["quantization"]["int8"]["accuracy"] == stored.manifest.metrics["accuracy"]
    assert [given.name for given in stored.manifest.inputs] == list(stored.golden().inputs)


def test_a_loss_of_quality_beyond_the_limit_is_refused_with_both_figures() -> None:
    assert check_drop("accuracy", 0.97, 0.965, 0.01) == pytest.approx(0.005)
    assert check_drop("mean_absolute_error", 50.0, 50.4, 0.01) == pytest.approx(0.008)
    with pytest.raises(
        QuantizationRefused, match=r"accuracy 0\.95 on the held-out rows, float32 0\.97: a loss of 0\.02"
    ):
        check_drop("accuracy", 0.97, 0.95, 0.01)
    with pytest.raises(QuantizationRefused, match=r"more than max_drop=0\.01"):
        check_drop("mean_absolute_error", 50.0, 51.0, 0.01)


def test_nothing_is_published_where_int8_is_worse_than_allowed(empty_store: Store) -> None:
    job = prepare("dnn", "iris", store=empty_store.root, name=None, parameters={"epochs": 1})
    demanding = dataclasses.replace(job, export=ExportOptions(quantize="int8"))
    # A limit that no user can set, and no file can keep: it would have to be better than the one it was made from.
    object.__setattr__(demanding.export, "max_drop", -2.0)

    with pytest.raises(QuantizationRefused, match="int8 gives accuracy"):
        pipeline.run(demanding, say=lambda _: None)

    assert empty_store.models() == []


def test_clusters_are_refused_before_they_are_fitted_with_the_reason(command) -> None:
    refused = command("cluster", "--quantize", "int8")

    assert refused.exit_code != 0
    assert "data set" not in refused.output
    reason = "rows that lie about as near to two centres would change their cluster by rounding"
    assert f"parameter quantize=int8: expected none: {reason}" in refused.output


@pytest.fixture(scope="module")
def unfolded(train_into) -> list[StoredVersion]:
    return train_into("autoencoder", name="unfolded", max_drop=0.05, quantize="int8", epochs=3)


def test_an_autoencoder_is_measured_by_its_own_evaluation_through_its_file(unfolded: list[StoredVersion]) -> None:
    facts = unfolded[0].manifest.extra["quantization"]
    rows = prepare("autoencoder", "digits", store=unfolded[0].path, name=None, parameters={}).dataset.test

    answers = Session(unfolded[0].onnx_path).run_one(rows.inputs)

    assert facts["metric"] == "mean_squared_error"
    error = np.mean((answers - rows.inputs.astype(np.float32) / 255) ** 2)
    assert error == pytest.approx(unfolded[0].manifest.metrics["mean_squared_error"], rel=1e-4)
    before, after = facts["float32"]["mean_squared_error"], facts["int8"]["mean_squared_error"]
    assert facts["drop"] == pytest.approx(after / before - 1)


def test_the_parts_that_stay_near_are_in_int8_too_and_measured_by_their_files(unfolded: list[StoredVersion]) -> None:
    parts = {stored.model.removeprefix("unfolded"): stored for stored in unfolded}

    quantized = {suffix: stored.manifest.is_quantized for suffix, stored in parts.items()}
    assert quantized["-encoder"]
    assert quantized["-decoder"]
    assert quantized["-classifier"]
    rows = prepare("autoencoder", "digits", store=unfolded[0].path, name=None, parameters={}).dataset.test
    answers = Session(parts["-classifier"].onnx_path).run_one(rows.inputs)
    accuracy = np.mean(answers.argmax(axis=1) == rows.targets)
    assert accuracy == pytest.approx(parts["-classifier"].manifest.metrics["accuracy"])
    for stored in unfolded:
        assert replay.check(stored) == []
    whole = Session(unfolded[0].onnx_path).run_one(rows.inputs)
    code = Session(parts["-encoder"].onnx_path).run_one(rows.inputs)
    again = Session(parts["-decoder"].onnx_path).run_one(code)
    assert noise({"picture": whole}, {"picture": again}) < 0.02


def test_noise_is_a_share_of_what_the_answers_vary_and_no_choice_may_differ() -> None:
    scores, alarms = np.array([0.0, 2.0], np.float32), np.array([True, False])

    assert noise({"s": scores}, {"s": scores + np.float32(0.1)}) == pytest.approx(0.1)
    assert noise({"s": scores, "a": alarms}, {"s": scores, "a": alarms}) == 0
    assert noise({"s": scores, "a": alarms}, {"s": scores, "a": ~alarms}) == np.inf


def product(name: str, given: str, made: str) -> onnx.NodeProto:
    return onnx.helper.make_node("MatMul", [given, "weights"], [made], name=name)


def test_the_last_products_are_those_behind_which_no_other_comes() -> None:
    relu = onnx.helper.make_node("Relu", ["b"], ["c"])
    nodes = [product("first", "x", "a"), product("second", "a", "b"), relu, product("aside", "a", "d")]
    outputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1]) for name in ("c", "d")]

    found = last_products(onnx.helper.make_model(onnx.helper.make_graph(nodes, "three", [], outputs)))

    assert found == ["aside", "second"]


def test_the_command_line_takes_the_two_choices(command) -> None:
    refused = command("dnn", "--quantize", "int4")

    assert refused.exit_code == 2
    assert "'int4' is not one of 'none', 'int8'" in refused.output
    assert "quantize=none" in command("--list").output
