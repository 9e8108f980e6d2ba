"""compose.yaml and what it mounts agree with each other and with the service."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import yaml
from click.testing import CliRunner

from model_store import STARTER_MODELS, Store
from model_store.cli import main as ovenbird
from service.settings import Settings

ROOT = Path(__file__).parents[2]


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


COMPOSE = read("compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def mounts(service: str) -> dict[str, str]:
    """Target → source."""
    words = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume) for volume in SERVICES[service].get("volumes", [])]
    return {word.split(":")[1]: word.split(":")[0] for word in words}


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_hardened(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


@pytest.mark.parametrize("name", SERVICES)
def test_everything_that_is_mounted_is_there(name: str) -> None:
    for source in mounts(name).values():
        assert source in COMPOSE["volumes"] or (ROOT / source).exists()


def test_the_service_waits_longer_than_its_requests_may_take() -> None:
    grace = int(SERVICES["ovenbird"]["stop_grace_period"].removesuffix("s"))

    assert grace > Settings().graceful_timeout + 5
    assert set(SERVICES["ovenbird"]["environment"]) <= set(Settings().to_env())


def test_prometheus_scrapes_the_service_and_reads_the_rules() -> None:
    (jobs,) = [
        job for job in read("deploy/prometheus/prometheus.yaml")["scrape_configs"] if job["job_name"] == "ovenbird"
    ]
    (found,) = jobs["dns_sd_configs"]
    (port,) = SERVICES["ovenbird"]["ports"]

    assert found["names"] == ["ovenbird"]
    assert port.endswith(f":{found['port']}")
    (rules,) = read("deploy/prometheus/prometheus.yaml")["rule_files"]
    assert mounts("prometheus")[rules] == "./deploy/prometheus/rules.yaml"


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    (source,) = read("deploy/grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    (provider,) = read("deploy/grafana/provisioning/dashboards/ovenbird.yaml")["providers"]
    folder = provider["options"]["path"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert source["url"] == "http://prometheus:9090"
    assert mounts("grafana")[f"{folder}/ovenbird.json"] == "./deploy/grafana/dashboard.json"
    assert home == f"{folder}/ovenbird.json"


def test_training_publishes_where_the_service_reads() -> None:
    store = SERVICES["ovenbird"]["environment"]["OVENBIRD_STORE"]

    assert mounts("train")[store] == mounts("ovenbird")[store] == "models"
    assert SERVICES["train"]["entrypoint"] == ["ovenbird", "train", "--store", store]


def put_starters(store: Path) -> str:
    """Run what the container `starters` runs, on this store."""
    python, *words = [*SERVICES["starters"]["entrypoint"], *SERVICES["starters"]["command"]]
    assert python == "python"
    command = [sys.executable, *(word.replace("/models", str(store)) for word in words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


STARTERS = set(Store(STARTER_MODELS).models())


def test_a_job_that_publishes_before_the_first_start_does_not_keep_the_starter_models_away(tmp_path: Path) -> None:
    assert mounts("starters")["/models"] == mounts("train")["/models"]
    published = [
        tiny_models.publish_affine(tmp_path, name) for name in ("digits-dnn", "mnist-cnn", "mnist-autoencoder-encoder")
    ]
    digests = [stored.manifest.digest for stored in published]

    put_starters(tmp_path)

    store = Store(tmp_path)
    left_out = {"mnist-autoencoder", "mnist-autoencoder-decoder"}  # their encoder's name was taken
    assert set(store.models()) == (STARTERS - left_out) | {"digits-dnn"}
    assert [stored.manifest.digest for stored in published] == digests
    assert [problem for stored in store.all_versions() for problem in store.verify(stored)] == []


def test_the_starter_models_are_put_into_the_store_once(tmp_path: Path) -> None:
    (tmp_path / ".starters-copy" / "1").mkdir(parents=True)  # what a killed one left
    put_starters(tmp_path)
    shutil.rmtree(tmp_path / "wine-dnn")

    again = put_starters(tmp_path)

    assert again == f"{tmp_path}: 0 starter models were put there\n"
    assert set(Store(tmp_path).models()) == STARTERS - {"wine-dnn"}
    assert not (tmp_path / ".starters-copy").exists()


def test_what_a_killed_container_did_not_put_there_comes_at_the_next_start(tmp_path: Path) -> None:
    put_starters(tmp_path)
    (tmp_path / ".starters").unlink()
    shutil.rmtree(tmp_path / "mnist-autoencoder-decoder")

    put_starters(tmp_path)

    assert set(Store(tmp_path).models()) == STARTERS


def test_the_readmes_rollback_and_label_reach_the_store_that_the_service_reads(tmp_path: Path) -> None:
    text = (ROOT / "deploy/docker/README.md").read_text(encoding="utf-8")
    commands = re.findall(r"docker compose run --rm --entrypoint (\w+) (\w+) (store .+ --store /models)\n", text)
    for _ in range(2):
        tiny_models.publish_affine(tmp_path, "digits-dnn")

    for entrypoint, service, words in commands:
        done = CliRunner().invoke(ovenbird, shlex.split(words.replace("/models", str(tmp_path))))

        assert done.exit_code == 0, done.output
        assert entrypoint == SERVICES[service]["entrypoint"][0]
        assert mounts(service)["/models"] == mounts("ovenbird")["/models"]
        assert "models:/models" in SERVICES[service]["volumes"], "mounted read-only"
    assert len(commands) == 2
    assert Store(tmp_path).select("digits-dnn").versions == (1,)
    assert Store(tmp_path).labels("digits-dnn") == {"stable": 1}


@pytest.mark.parametrize("name", ["ovenbird", "train"])
def test_what_computes_cannot_take_the_whole_machine(name: str) -> None:
    assert re.fullmatch(r"\$\{\w+:-\d+g\}", SERVICES[name]["mem_limit"])
    assert SERVICES[name]["pids_limit"] > 0
