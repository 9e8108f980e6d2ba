"""`ovenbird predict`: ask a running service about files."""

from __future__ import annotations

import http.client
import json
import mimetypes
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import click

TIMEOUT_SECONDS = 120.0
# Not in every system's table.
mimetypes.add_type("image/webp", ".webp")
mimetypes.add_type("text/csv", ".csv")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", metavar="MODEL[@VERSION]")
@click.argument("files", metavar="FILE…", nargs=-1, required=True, type=click.Path(allow_dash=True))
@click.option(
    "--url",
    default="http://127.0.0.1:8000",
    envvar="OVENBIRD_URL",
    show_default=True,
    show_envvar=True,
    help="Where the service is.",
)
@click.option("--json", "as_json", is_flag=True, help="The service's answers as they are, one line a file.")
def predict(model: str, files: tuple[str, ...], url: str, as_json: bool) -> None:
    """Ask a running service about pictures, CSV rows, lines of text, or JSON.

    \b
    Examples:
      ovenbird predict mnist-cnn digit.png other.png
      ovenbird predict wine-dnn rows.csv
      ovenbird predict nsmc-text@1 reviews.txt --json
      echo "def main(): pass" | ovenbird predict code-or-prose -

    FILE - is standard input. What a file holds is told by its name: .png .jpg .webp pictures, .csv rows of numbers,
    .txt one text a line, .json {"inputs": rows}; otherwise by what the model takes.
    """
    failed = 0
    for name in files:
        try:
            answer = _ask(url, model, _read(name), mimetypes.guess_type(name)[0] or "application/octet-stream")
        except _Refused as error:
            click.echo(f"{name}: {error}", err=True)
            failed += 1
            continue
        click.echo(answer.decode().strip() if as_json else _readable(name, json.loads(answer)))
    if failed:
        raise click.ClickException(f"{failed} of {len(files)} files were not answered")


class _Refused(Exception):
    """The service did not answer with a prediction; says why."""


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise _Refused(error.strerror or str(error)) from None


def _ask(url: str, model: str, body: bytes, content_type: str) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise click.UsageError(f"--url {url!r}: expected http://… or https://…")
    name, _, version = model.partition("@")
    steps = [name] + (["versions", version] if version else []) + ["predict"]
    address = f"{url.rstrip('/')}/v2/models/{'/'.join(urllib.parse.quote(step, safe='') for step in steps)}"
    request = urllib.request.Request(address, body, {"Content-Type": content_type})  # noqa: S310  (checked above)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            answer: bytes = response.read()
            return answer
    except urllib.error.HTTPError as error:
        raise _Refused(_reason(error)) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise click.ClickException(f"no answer from {url}: {reason}; is `ovenbird serve` running there?") from None


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code} {error.reason}"


def _readable(name: str, answer: dict[str, object]) -> str:
    predictions = answer["predictions"]
    assert isinstance(predictions, list)
    many = len(predictions) > 1
    return "\n".join(
        f"{'standard input' if name == '-' else name}{f' row {row}' if many else ''}: {_one(prediction)}"
        for row, prediction in enumerate(predictions, 1)
    )


def _one(prediction: dict[str, object]) -> str:
    if "label" in prediction:
        return f"{prediction['label']}  ({prediction['probability']:.1%})"
    return "  ".join(f"{name} {_shortened(value)}" for name, value in prediction.items())


def _shortened(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}… (--json shows all)"
