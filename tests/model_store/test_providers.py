"""How execution providers are named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model_store.providers import parse_options, preference, short_name, split
from model_store.serving import Serving

stems = st.from_regex(r"[a-z0-9_]{1,12}", fullmatch=True).filter(lambda name: name not in ("auto", "cpu"))
values = st.text() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("name", "short"),
    [("cuda", "cuda"), ("CUDA", "cuda"), (" CUDAExecutionProvider ", "cuda"), ("TensorrtExecutionProvider", "tensorrt"),
     ("OpenVINOExecutionProvider", "openvino"), ("NvTensorRTRTXExecutionProvider", "nvtensorrtrtx")],
)  # fmt: skip
def test_a_provider_has_a_short_name(name: str, short: str) -> None:
    assert short_name(name) == short


@given(st.lists(stems, unique=True), st.booleans(), st.data())
def test_a_preference_is_read_in_its_order_however_the_names_are_written(
    names: list[str], ends_in_cpu: bool, data: st.DataObject
) -> None:
    expected = [*names, "cpu"] if ends_in_cpu or not names else names
    spellings = [(name, name.upper(), f"{name}ExecutionProvider", f" {name} ") for name in expected]

    assert preference(data.draw(st.sampled_from(spelling)) for spelling in spellings) == tuple(expected)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        pytest.param([], "expected auto, or names", id="none"),
        pytest.param(["cuda", ""], "expected auto, or names", id="empty"),
        pytest.param(["cuda cpu"], "expected auto, or names", id="no-comma"),
        pytest.param(["auto", "cpu"], "auto stands alone", id="auto-and-more"),
        pytest.param(["cuda", "CUDAExecutionProvider"], "named twice", id="twice"),
        pytest.param(["cpu", "cuda"], "cuda after it is never tried", id="cpu-first"),
    ],
)
def test_a_preference_that_cannot_be_meant_is_refused(names: list[str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        preference(names)
    with pytest.raises(ValidationError, match=problem if names else "at least 1 item"):
        Serving.model_validate_json(json.dumps({"providers": names}))


@given(st.dictionaries(stems, st.dictionaries(st.text(), values)))
def test_options_are_read_as_text(options: dict[str, dict[str, Any]]) -> None:
    read = parse_options(json.dumps(options))

    assert read.keys() == options.keys()
    for name, own in options.items():
        for option, value in own.items():
            assert read[name][option] == (value if isinstance(value, str) else json.dumps(value))


@pytest.mark.parametrize("text", ["", "[]", "1", '{"cuda": 1}', '{"cuda": {"a": null}}', '{"cuda": {"a": [1]}}',
                                  '{"cuda": {"a": NaN}}', '{"cuda": {}, "CUDA": {}}'])  # fmt: skip
def test_options_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r'expected a JSON object such as \{"cuda"|named twice'):
        parse_options(text)


def test_serving_json_holds_providers_as_onnxruntime_takes_them() -> None:
    text = '{"providers": [["CUDAExecutionProvider", {"device_id": 1, "use_tf32": false}], "CPUExecutionProvider"]}'

    serving = Serving.model_validate_json(text)

    assert serving.providers is not None
    assert split(serving.providers) == (("cuda", "cpu"), {"cuda": {"device_id": "1", "use_tf32": "false"}})
    assert json.loads(serving.to_json()) == json.loads(text)
