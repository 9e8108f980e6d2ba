"""Which paths the asyncio front answers itself, and what each asks."""

from __future__ import annotations

import pytest

from service.web.dialects import V1, V2, Target, find_target


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v2/models/m/infer", Target(V2, "m")),
        ("/v2/models/m/versions/3/infer", Target(V2, "m", version="3")),
        ("/v2/models/m/versions/x/infer", Target(V2, "m", version="x")),
        ("/v2/models/m/labels/stable/infer", Target(V2, "m", label="stable")),
        ("/v1/models/m:predict", Target(V1["predict"], "m")),
        ("/V1/Models/M:Predict", Target(V1["predict"], "M")),
        ("/v1/models/m/versions/3:classify", Target(V1["classify"], "m", version="3")),
        ("/v1/models/m/VERSIONS/3:regress", Target(V1["regress"], "m", version="3")),
        ("/v1/models/m/labels/stable:predict", Target(V1["predict"], "m", label="stable")),
    ],
)
def test_a_path_of_inference_says_what_is_asked(path: str, target: Target) -> None:
    assert find_target(path) == target


@pytest.mark.parametrize(
    "path",
    [
        "/", "", "/v2", "/v2/models", "/v2/models/m", "/v2/models/m/ready", "/v2/models//infer", "/v2/models/m/infer/",
        "/v2/models/m/versions/infer", "/v2/models/m/versions//infer", "/v2/models/m/labels//infer",
        "/V2/models/m/infer", "/v2/Models/m/infer", "v2/models/m/infer", "//v2/models/m/infer", "/v2/models/m/predict",
        "/v1/models/m", "/v1/models/:predict", "/v1/models/m:explain", "/v1/models/m:", "/v1/models/a:b:predict",
        "/v1/models/m/versions/x:predict", "/v1/models/m/versions/99999999999999999999:predict",
        "/v1/models/m/other/3:predict", "/v1/models/m/versions/3/x:predict", "/v1/models/m/3:predict", "/v1/m:predict",
    ],
)  # fmt: skip
def test_every_other_path_is_left_to_flask(path: str) -> None:
    assert find_target(path) is None
