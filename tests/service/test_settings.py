from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from model_store import Serving
from service.cli import OPTIONS, serve
from service.devices import Cores, Gpu
from service.errors import InvalidSettings
from service.settings import Settings, field_hints

README = Path(__file__).parents[2] / "README.md"


def test_without_variables_the_defaults_hold() -> None:
    assert Settings.from_env({}) == Settings()


def test_every_setting_is_read_from_its_variable() -> None:
    environ = {
        "OVENBIRD_STORE": "/models",
        "OVENBIRD_PORT": "9000",
        "OVENBIRD_CONTROL": "explicit",
        "OVENBIRD_LOAD": "one, two",
        "OVENBIRD_PROVIDER": "CUDAExecutionProvider, cpu",
        "OVENBIRD_REQUIRE_PROVIDER": "true",
        "OVENBIRD_PROVIDER_OPTIONS": '{"CUDAExecutionProvider": {"device_id": 1, "use_tf32": true, "x": "as it is"}}',
        "OVENBIRD_POLL_INTERVAL": "0.5",
        "OVENBIRD_MAX_BATCH_SIZE": "0",
        "OVENBIRD_P99_MS": "25",
        "OVENBIRD_DEVICES": "gpu:1, cpu:0-3+8",
    }

    assert Settings.from_env(environ) == Settings(
        store="/models",
        port=9000,
        control="explicit",
        load=("one", "two"),
        poll_interval=0.5,
        max_batch_size=0,
        p99_ms=25,
        provider=("cuda", "cpu"),
        require_provider=True,
        provider_options={"cuda": {"device_id": "1", "use_tf32": "true", "x": "as it is"}},
        devices=(Gpu(1), Cores(((0, 3), (8, 8)))),
        workers=2,
    )


def test_a_provider_cannot_be_required_where_any_will_do() -> None:
    required = {"OVENBIRD_REQUIRE_PROVIDER": "true"}

    with pytest.raises(InvalidSettings, match="require_provider needs a provider to require"):
        Settings.from_env(required)
    assert Settings.from_env(required, provider=("cuda",)).provider == ("cuda",)
    shown = CliRunner(env={"OVENBIRD_PROVIDER": "auto"}).invoke(serve, ["--require-provider"])
    assert (shown.exit_code, shown.output.splitlines()[-1]) == (
        2,
        "Error: require_provider needs a provider to require, such as cuda: auto takes what it gets",
    )


@pytest.mark.parametrize(
    ("environ", "given"),
    [
        ({"OVENBIRD_DEVICES": "0,1", "OVENBIRD_WORKERS": "3"}, {}),
        ({"OVENBIRD_WORKERS": "3"}, {"devices": (Gpu(0), Gpu(1))}),
        ({"OVENBIRD_DEVICES": "0,1"}, {"workers": 3}),
    ],
)
def test_another_number_of_workers_than_of_devices_is_a_contradiction(
    environ: dict[str, str], given: dict[str, Any]
) -> None:
    with pytest.raises(InvalidSettings) as wrong:
        Settings.from_env(environ, **given)

    assert wrong.value.problems == ("workers=3: devices=gpu:0,gpu:1 means 2, one for each; leave workers out",)


def test_settings_survive_the_way_through_the_environment() -> None:
    settings = Settings(store="here", port=1, workers=3, provider=("cuda", "cpu"), require_provider=True,
                        provider_options={"cuda": {"device_id": "1"}}, load=("a", "b"), control="explicit",
                        devices=(Gpu(0), Gpu(0), Cores(((4, 7), (2, 2)))))  # fmt: skip

    assert Settings.from_env(settings.to_env()) == settings


@pytest.mark.parametrize(
    ("serving", "expected"),
    [
        pytest.param({}, Settings(provider=("cpu",), provider_options={"cuda": {"a": "1", "b": "2"}}), id="nothing"),
        pytest.param(
            {"providers": [["CUDAExecutionProvider", {"b": 3}], "cpu"], "require_provider": True, "threads": 2},
            Settings(
                provider=("cuda", "cpu"),
                provider_options={"cuda": {"a": "1", "b": "3"}},
                require_provider=True,
                threads=2,
            ),
            id="providers",
        ),
        pytest.param(
            {"providers": [["openvino", {"device_type": "CPU"}]]},
            Settings(
                provider=("openvino",),
                provider_options={"cuda": {"a": "1", "b": "2"}, "openvino": {"device_type": "CPU"}},
            ),
            id="options-of-another-provider",
        ),
    ],
)
def test_a_models_serving_json_comes_before_the_services_settings(serving: dict[str, Any], expected: Settings) -> None:
    settings = Settings(provider=("cpu",), provider_options={"cuda": {"a": "1", "b": "2"}})

    assert settings.for_model(Serving.model_validate_json(json.dumps(serving))) == expected


def test_what_kubernetes_sets_for_a_service_named_ovenbird_is_not_taken_for_settings() -> None:
    environ = {
        "OVENBIRD_PORT": "tcp://10.0.0.1:8000",
        "OVENBIRD_PORT_8000_TCP_ADDR": "10.0.0.1",
        "OVENBIRD_SERVICE_HOST": "10.0.0.1",
        "OVENBIRD_SERVICE_PORT": "8000",
        "OVENBIRD_WORKERS": "2",
    }

    assert Settings.from_env(environ) == Settings(workers=2)


def test_all_problems_are_reported_together() -> None:
    environ = {
        "OVENBIRD_PORT": "eighty",
        "OVENBIRD_WORKERS": "0",
        "OVENBIRD_PROVIDER": "cpu,cuda",
        "OVENBIRD_REQUIRE_PROVIDER": "yes",
        "OVENBIRD_PROVIDER_OPTIONS": '{"cuda": {"device_id": null}}',
        "OVENBIRD_REQUEST_TIMEOUT": "-1",
        "OVENBIRD_PROT": "8000",
    }

    with pytest.raises(InvalidSettings) as wrong:
        Settings.from_env(environ)

    assert wrong.value.problems == (
        "OVENBIRD_PROT: no such setting; did you mean OVENBIRD_PORT?",
        "OVENBIRD_PORT='eighty': expected a whole number from 1 to 65535",
        "OVENBIRD_WORKERS='0': expected a whole number from 1 to 256",
        "OVENBIRD_PROVIDER='cpu,cuda': cpu runs every model, so that cuda after it is never tried",
        "OVENBIRD_REQUIRE_PROVIDER='yes': expected one of true, false",
        'OVENBIRD_PROVIDER_OPTIONS=\'{"cuda": {"device_id": null}}\': expected a JSON object such as '
        '{"cuda": {"device_id": 1}}: cuda.device_id: Value error, expected text, a number, true or false '
        "(received None)",
        "OVENBIRD_REQUEST_TIMEOUT='-1': expected a number of seconds greater than 0",
    )


def test_the_readme_lists_every_setting_with_its_default() -> None:
    text = README.read_text(encoding="utf-8")
    defaults = Settings().to_env()

    for name, (_, meaning, _) in field_hints().items():
        variable = f"OVENBIRD_{name.upper()}"
        default = defaults[variable] or " "
        assert f"| `{variable}` | `{default}` | {meaning} |" in text, f"README.md lacks the row of {variable}"


def test_help_shows_every_option_with_its_variable_and_teaches_by_example() -> None:
    shown = CliRunner().invoke(serve, ["--help"]).output

    for name in OPTIONS:
        assert f"--{name.replace('_', '-')}" in shown
        assert f"OVENBIRD_{name.upper()}" in shown
    assert "ovenbird serve --store ./store --port 9000" in shown


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "message"),
    [
        pytest.param(["--port", "0"], {}, 2, "'0': expected a whole number from 1 to 65535", id="port"),
        pytest.param(["--provider", "gpu"], {}, 2, "none of this name; this build of onnxruntime has", id="provider"),
        pytest.param(["--provider", "gpu"], {}, 2, "did you mean cuda?", id="provider-that-was-meant"),
        pytest.param(["--provider", "cpu,cuda"], {}, 2, "cuda after it is never tried", id="providers"),
        pytest.param([], {"OVENBIRD_PROVIDER_OPTIONS": '{"opnvino": {}}'}, 2, "did you mean openvino?", id="options"),
        pytest.param(["--devices", "gpu"], {}, 2, "'gpu' is no device; expected GPUs such as 0,1 or", id="device"),
        pytest.param(["--devices", "cpu:9999"], {}, 2, "this process may not use 9999; it may use", id="core"),
        pytest.param(["--devices", "0,1", "--workers", "4"], {}, 2, "devices=gpu:0,gpu:1 means 2, one", id="workers"),
        pytest.param(["--frobnicate"], {}, 2, "No such option", id="unknown-option"),
        pytest.param(["--load", "x"], {}, 2, "--control explicit", id="load-without-explicit"),
        pytest.param(["--store", "nfs://bucket"], {}, 2, "expected a folder, or a URL with one of s3", id="url"),
        pytest.param(["--store", "/no/such", "--control", "none"], {}, 1, "no such folder", id="store"),
        pytest.param(["--host", "203.0.113.1"], {}, 1, "cannot listen on 203.0.113.1:8000", id="address"),
        pytest.param([], {"OVENBIRD_PROT": "1"}, 2, "OVENBIRD_PROT: no such setting", id="variable"),
    ],
)
def test_wrong_use_is_one_clear_line(arguments: list[str], environ: dict[str, str], code: int, message: str) -> None:
    command = [str(Path(sys.executable).with_name("ovenbird")), "serve", *arguments]

    shown = subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, timeout=60, check=False)

    assert shown.returncode == code
    assert message in shown.stderr
    assert "Traceback" not in shown.stderr
