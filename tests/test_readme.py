"""README.md names every route, metric, status and command that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from model_store.cli import main
from service.app import create_app
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.web.problems import STATUS

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_every_route_is_listed(tmp_path: Path) -> None:
    app = create_app(Settings(store=str(tmp_path), control="none"))
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint not in ("static", "pages.favicon")]

    for rule in rules:
        path = re.sub(r"<\w+:", "<", rule.rule).replace("/versions/<version>", "").replace("<name>", "M")
        (method,) = rule.methods - {"HEAD", "OPTIONS"}
        assert f"| `{method} {path.rstrip('/') or '/'}` |" in README


def test_every_metric_is_listed() -> None:
    families = re.findall(r"^# TYPE (\w+) (\w+)", Metrics().text().decode(), re.MULTILINE)

    assert len(families) > 5
    for name, _ in families:
        assert f"| `{name}` |" in README


def test_every_status_is_listed() -> None:
    for status in {*STATUS.values(), 405}:
        assert re.search(rf"^\| {status} \| \w", README, re.MULTILINE), status


@pytest.mark.parametrize(
    "words",
    [[], ["serve"], ["predict"], ["bench"], ["train"], ["tune"], ["store"], ["store", "list"], ["store", "show"],
     ["store", "verify"], ["store", "compare"]],
    ids=" ".join,
)  # fmt: skip
def test_every_command_teaches_by_example(words: list[str]) -> None:
    shown = CliRunner().invoke(main, [*words, "--help"])

    assert shown.exit_code == 0
    assert shown.output.count(" ".join(["  ovenbird", *words])) >= 2
    if len(words) == 1:
        assert f"ovenbird {words[0]}" in README
