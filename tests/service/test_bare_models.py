"""ONNX files without a manifest, in the layout of Triton's and TensorFlow Serving's stores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tiny_models
from onnx import TensorProto, helper
from service_process import affine_body, infer_body, running, wait_for
from tiny_models import put

from model_store import Store
from service.errors import NotReady, UnknownModel
from service.repository import Repository
from service.settings import Settings
from service.telemetry.metrics import Metrics


def model_of(shape_in: list[Any], shape_out: list[Any], *nodes: tuple[str, dict[str, Any]]) -> bytes:
    """A float model x → y of these declared shapes, through a chain of nodes."""
    names = ["x", *(f"t{index}" for index in range(1, len(nodes))), "y"]
    made = [
        helper.make_node(kind, [names[index]], [names[index + 1]], **attributes)
        for index, (kind, attributes) in enumerate(nodes)
    ]
    graph = helper.make_graph(
        made,
        "main",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape_in)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape_out)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def with_repository(store: Path, work: Callable[[Repository], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        repository = Repository(Store(store), Settings(control="none", max_batch_size=8), Metrics())
        await repository.start()
        try:
            return await work(repository)
        finally:
            await repository.stop()

    return asyncio.run(main())


async def ask(repository: Repository, name: str, values: Any) -> Any:
    (outputs,) = (await repository.get(name).predict({"x": np.array(values, np.float32)}, timeout=5)).values()
    return outputs.tolist()


def test_its_signature_and_its_digest_come_from_the_file(tmp_path: Path) -> None:
    path = put(tmp_path, "double", tiny_models.affine())

    async def work(repository: Repository) -> None:
        model = repository.get("double")
        assert [(spec.name, spec.datatype, spec.shape) for spec in model.signature.inputs] == [("x", "FP32", (None, 3))]
        assert len(model.description.digest) == 64
        path.write_bytes(b"overwritten while it serves")
        assert await ask(repository, "double", [[1, 2, 3]]) == [[2, 4, 6]]

    with_repository(tmp_path, work)


def test_requests_to_it_share_batches(tmp_path: Path) -> None:
    put(tmp_path, "double", tiny_models.affine())

    async def work(repository: Repository) -> None:
        assert repository.get("double").signature.batched
        answers = await asyncio.gather(*(ask(repository, "double", [[n, n, n]]) for n in range(20)))
        assert answers == [[[2.0 * n] * 3] for n in range(20)]

    with_repository(tmp_path, work)


@pytest.mark.parametrize(
    ("model", "sent", "answer"),
    [
        pytest.param(model_of([1, 3], [1, 3], ("Neg", {})), [[1, 2, 3]], [[-1, -2, -3]], id="batch-fixed-to-1"),
        pytest.param(model_of([3], [3], ("Neg", {})), [1, 2, 3], [-1, -2, -3], id="no-batch-axis"),
        pytest.param(model_of([], [], ("Neg", {})), 5, -5, id="scalar"),
        pytest.param(
            model_of(["n", 3], ["m", "k"], ("Transpose", {"perm": [1, 0]})),
            [[1, 2, 3], [4, 5, 6]], [[1, 4], [2, 5], [3, 6]], id="a-batch-axis-that-is-none",
        ),
    ],
)  # fmt: skip
def test_a_model_without_a_batch_axis_is_served_right_unbatched(
    tmp_path: Path, model: bytes, sent: Any, answer: Any
) -> None:
    put(tmp_path, "odd", model)

    async def work(repository: Repository) -> None:
        assert not repository.get("odd").signature.batched
        answers = await asyncio.gather(*(ask(repository, "odd", sent) for _ in range(5)))
        assert answers == [answer] * 5

    with_repository(tmp_path, work)


def test_a_file_that_is_still_being_copied_is_left_alone_until_it_stands_still(tmp_path: Path) -> None:
    whole = tiny_models.affine()
    path = put(tmp_path, "double", whole[: len(whole) // 2], settled=False)

    async def work(repository: Repository) -> None:
        assert repository.index() == []
        for end in (len(whole) - 5, len(whole)):
            path.write_bytes(whole[:end])
            await repository.refresh()
            assert repository.index() == []
        await repository.refresh()
        assert await ask(repository, "double", [[1, 2, 3]]) == [[2, 4, 6]]

    with_repository(tmp_path, work)


def test_a_file_that_is_replaced_under_its_version_is_served_anew_once_it_stands_still(tmp_path: Path) -> None:
    path = put(tmp_path, "double", tiny_models.affine(2))

    async def work(repository: Repository) -> None:
        path.write_bytes(tiny_models.affine(7))
        await repository.refresh()
        assert await ask(repository, "double", [[1, 2, 3]]) == [[2, 4, 6]]
        await repository.refresh()
        assert await ask(repository, "double", [[1, 2, 3]]) == [[7, 14, 21]]
        assert [(status.version, status.state) for status in repository.index()] == [(1, "READY")]

    with_repository(tmp_path, work)


def test_a_file_that_is_no_model_is_refused_and_can_be_mended(tmp_path: Path) -> None:
    path = put(tmp_path, "broken", b"nothing that onnxruntime knows")

    async def work(repository: Repository) -> None:
        with pytest.raises(NotReady, match="onnxruntime cannot load the model"):
            repository.get("broken")
        path.write_bytes(tiny_models.affine())
        await repository.refresh()
        await repository.refresh()
        assert await ask(repository, "broken", [[1, 2, 3]]) == [[2, 4, 6]]

    with_repository(tmp_path, work)


def test_a_version_with_a_manifest_may_follow_one_without(tmp_path: Path) -> None:
    put(tmp_path, "double", tiny_models.affine(2))
    tiny_models.publish_affine(tmp_path, "double", factor=3)

    async def work(repository: Repository) -> None:
        assert await ask(repository, "double", [[1, 1, 1]]) == [[3, 3, 3]]

    with_repository(tmp_path, work)


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "empty" / "1").mkdir(parents=True)

    async def work(repository: Repository) -> None:
        with pytest.raises((UnknownModel, NotReady)):
            repository.get("empty")

    with_repository(tmp_path, work)


def test_over_http_it_is_like_any_other_model(tmp_path: Path) -> None:
    put(tmp_path, "double", tiny_models.affine())
    put(tmp_path, "alone", model_of([1, 3], [1, 3], ("Neg", {})))
    with running(tmp_path, poll_interval=0.1) as service, service.client() as client:
        metadata = client.get("/v2/models/double").json()
        answer = client.post("/v2/models/double/infer", json=affine_body([1, 2, 3], [4, 5, 6]))
        by_hand = client.post("/v2/models/double/predict", content="1,2,3", headers={"Content-Type": "text/csv"})
        alone = client.post("/v2/models/alone/infer", json=infer_body("x", [1, 2, 3], shape=[1, 3]))
        too_many = client.post("/v2/models/alone/infer", json=infer_body("x", [1] * 6, shape=[2, 3]))
        put(tmp_path, "double", tiny_models.affine(5), version=2, settled=False)
        wait_for(lambda: service.index().get(("double", 2), {}).get("state") == "READY", "the second version")
        page = client.get("/", headers={"Accept": "text/html"})

    assert metadata["properties"].keys() == {"provider", "providers", "digest"}
    assert answer.json()["outputs"][0]["data"] == [2, 4, 6, 8, 10, 12]
    assert by_hand.json()["predictions"] == [{"y": [2, 4, 6]}]
    assert alone.json()["outputs"][0]["data"] == [-1, -2, -3]
    assert (too_many.status_code, "expected shape [1, 3]" in too_many.json()["error"]) == (400, True)
    assert "an ONNX file without a manifest" in page.text


def test_a_scikit_learn_model_is_served_as_skl2onnx_writes_it(tmp_path: Path) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    rows, labels = load_iris(return_X_y=True)
    forest = RandomForestClassifier(10, random_state=0).fit(rows, labels)
    converted = skl2onnx.to_onnx(forest, rows[:1].astype(np.float32), options={"zipmap": False}, target_opset=18)
    put(tmp_path, "forest", converted.SerializeToString())

    with running(tmp_path) as service:
        body = infer_body("X", rows.ravel().tolist(), shape=list(rows.shape))
        outputs = httpx.post(f"{service.url}/v2/models/forest/infer", json=body).json()["outputs"]

    answered = {output["name"]: np.array(output["data"]).reshape(output["shape"]) for output in outputs}
    np.testing.assert_array_equal(answered["label"], forest.predict(rows))
    np.testing.assert_allclose(answered["probabilities"], forest.predict_proba(rows), atol=1e-5)


def test_a_scikit_learn_model_with_a_zipmap_is_refused_with_the_way_out(tmp_path: Path) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    put(tmp_path, "zipped", skl2onnx.to_onnx(model, np.zeros((1, 1), np.float32), target_opset=18).SerializeToString())

    async def work(repository: Repository) -> None:
        with pytest.raises(NotReady, match="zipmap"):
            repository.get("zipped")

    with_repository(tmp_path, work)
