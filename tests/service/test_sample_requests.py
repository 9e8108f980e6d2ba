"""Requests that are made from a model's metadata are read back by the service's own codec."""

from __future__ import annotations

import numpy as np
import pytest

from service.codec.oip import NOT_IN_JSON, decode_request
from service.sample_requests import OPEN_SIZE, Payload, encode, random_inputs
from service.tensors import NUMPY_DTYPES, Signature, TensorSpec


def made(datatype: str, shape: list[int], rows: int = 3) -> dict[str, np.ndarray]:
    return random_inputs([{"name": "x", "datatype": datatype, "shape": shape}], rows, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("datatype", "payload"),
    [(name, payload) for name in NUMPY_DTYPES for payload in ("json", "binary") if name not in NOT_IN_JSON]
    + [(name, "binary") for name in NOT_IN_JSON],
)
def test_every_datatype_arrives_as_it_was_made(datatype: str, payload: Payload) -> None:
    inputs = made(datatype, [-1, 4])
    signature = Signature((TensorSpec("x", datatype, (None, 4)),), (TensorSpec("y", "FP32", (None, 4)),))

    body, headers = encode(inputs, {"x": datatype}, payload)
    request = decode_request(body, signature, header_length=headers.get("Inference-Header-Content-Length"))

    assert (request.inputs["x"] == inputs["x"]).all()
    assert request.inputs["x"].shape == (3, 4)
    assert [output.binary for output in request.outputs] == [payload == "binary"]


def test_open_dimensions_get_a_size_and_values_differ() -> None:
    inputs = made("FP32", [-1, -1, 2])["x"]

    assert inputs.shape == (3, OPEN_SIZE, 2)
    assert inputs.dtype == np.float32
    assert len(np.unique(inputs)) > 90


@pytest.mark.parametrize(
    ("datatype", "shape", "message"),
    [
        pytest.param("BF16", [-1, 3], "no values are made for datatype BF16", id="datatype"),
        pytest.param("FP32", [1, 3], "takes no more than one row", id="rows"),
    ],
)
def test_what_cannot_be_made_is_said(datatype: str, shape: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(datatype, shape)


def test_json_says_what_it_cannot_carry() -> None:
    with pytest.raises(ValueError, match="JSON cannot carry FP16; send it as binary"):
        encode(made("FP16", [-1, 3]), {"x": "FP16"}, "json")
