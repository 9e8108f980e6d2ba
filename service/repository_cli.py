"""`ovenbird store index | load | unload`: ask a running service about its models, and tell it which to serve."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

import click

from model_store.serving import VersionPolicy
from service.http_call import Refused, post, url_option

# Longer than the service itself waits for all its workers.
CALL_SECONDS = 300.0


@click.command()
@url_option
@click.option("--json", "as_json", is_flag=True, help="The service's answer as it is.")
def index(url: str, as_json: bool) -> None:
    """List what a running service knows: every version, its state, and the reason for it.

    \b
    Examples:
      ovenbird store index
      ovenbird store index --url http://10.0.0.5:8000 --json
    """
    answer = _post(url, "/v2/repository/index")
    if as_json:
        click.echo(answer)
        return
    entries = json.loads(answer)
    if not entries:
        click.echo("the service has no models")
    width = max((len(entry["name"]) + len(entry["version"]) + 1 for entry in entries), default=0)
    for entry in entries:
        stored = f"{entry['name']}@{entry['version']}"
        click.echo(f"{stored.ljust(width)}  {entry['state']:11}  {entry['reason']}".rstrip())


@click.command()
@click.argument("model")
@click.option(
    "--policy", metavar="POLICY", help="latest:N, all, or specific:N,N.  [default: as its serving.json has it]"
)
@url_option
def load(model: str, policy: str | None, url: str) -> None:
    """Let a running service (with --control explicit) serve a model as the store has it now, in all its workers.

    \b
    Examples:
      ovenbird store load mnist-cnn
      ovenbird store load mnist-cnn --policy specific:1
    """
    _post(url, _path(model, "load"), {} if policy is None else {"config": _config(policy)})
    click.echo(f"{model} is loaded")


@click.command()
@click.argument("model")
@url_option
def unload(model: str, url: str) -> None:
    """Let a running service (with --control explicit) stop serving a model, in all its workers.

    \b
    Example:
      ovenbird store unload mnist-cnn
    """
    _post(url, _path(model, "unload"))
    click.echo(f"{model} is unloaded")


def _config(policy: str) -> str:
    try:
        chosen = VersionPolicy.parse(policy)
    except ValueError as error:
        raise click.UsageError(f"--policy: {error}") from None
    return json.dumps({"version_policy": chosen.model_dump(exclude_none=True)})


def _path(model: str, verb: str) -> str:
    return f"/v2/repository/models/{urllib.parse.quote(model, safe='')}/{verb}"


def _post(url: str, path: str, parameters: dict[str, Any] | None = None) -> str:
    body = json.dumps({"parameters": parameters}).encode() if parameters else b""
    try:
        return post(url, path, body, timeout=CALL_SECONDS).decode()
    except Refused as error:
        raise click.ClickException(str(error)) from None
