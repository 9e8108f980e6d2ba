"""`ovenbird predict`: ask a running service about files."""

from __future__ import annotations

import contextlib
import itertools
import json
import mimetypes
import secrets
import sys
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from service.http_call import Refused, post, url_option

# Pictures that are sent together: enough to fill a batch, few enough to be held in memory.
FILES_TOGETHER = 32
# Of a longer row of numbers so many are shown.
SHOWN_NUMBERS = 6
# Not in every system's table.
mimetypes.add_type("image/webp", ".webp")
mimetypes.add_type("text/csv", ".csv")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", metavar="MODEL[@VERSION|@LABEL]")
@click.argument("files", metavar="FILE…", nargs=-1, required=True, type=click.Path(allow_dash=True))
@url_option
@click.option("--json", "as_json", is_flag=True, help="One line of JSON a file: its name, and the service's answer.")
def predict(model: str, files: tuple[str, ...], url: str, as_json: bool) -> None:
    """Ask a running service about pictures, CSV rows, lines of text, or JSON.

    \b
    Examples:
      ovenbird predict mnist-cnn digit.png other.png
      ovenbird predict mnist-cnn scans/*.png --json
      ovenbird predict wine-dnn rows.csv
      ovenbird predict nsmc-text@1 reviews.txt --json
      ovenbird predict mnist-cnn@stable digit.png
      echo "def main(): pass" | ovenbird predict code-or-prose -

    FILE - is standard input. What a file holds is told by its name: .png .jpg .webp pictures, .csv rows of numbers, or
    of a table below its header, .txt .md .py and the like one text a line, .json {"inputs": rows}; otherwise by what
    the model takes. Pictures are sent together and run as one batch; a file that cannot be answered is named, and the
    others are answered all the same (exit code 1).
    """
    path = _path(model)
    failed = 0
    for batch in _batches(files):
        for name, outcome in _answers(url, path, batch):
            if isinstance(outcome, Refused):
                click.echo(f"{name}: {outcome}", err=True)
                failed += 1
            else:
                shown = (
                    json.dumps({"file": name} | outcome, ensure_ascii=False) if as_json else _readable(name, outcome)
                )
                click.echo(shown)
    if failed:
        counted = "1 file was" if failed == 1 else f"{failed} files were"
        raise click.ClickException(f"{counted} not answered, of {len(files)}")


def _path(model: str) -> str:
    name, _, chosen = model.partition("@")
    kind = "versions" if chosen.isdecimal() else "labels"
    steps = [name, *([kind, chosen] if chosen else []), "predict"]
    return f"/v2/models/{'/'.join(urllib.parse.quote(step, safe='') for step in steps)}"


def _batches(files: Sequence[str]) -> Iterator[list[str]]:
    """Put pictures that follow each other together; every other file goes alone."""
    for pictures, names in itertools.groupby(files, lambda name: _type_of(name).startswith("image/")):
        chosen, size = list(names), FILES_TOGETHER if pictures else 1
        for start in range(0, len(chosen), size):
            yield chosen[start : start + size]


def _type_of(name: str) -> str:
    """Tell what a file holds by its name: source code is text, too; what the service does not know is left untold."""
    kind = mimetypes.guess_type(name)[0] or ""
    if kind.startswith("image/") or kind in ("text/csv", "application/json"):
        return kind
    return "text/plain" if kind.startswith("text/") else "application/octet-stream"


def _answers(url: str, path: str, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any] | Refused]]:
    """Ask about files together; if that is refused, about each alone, so that the bad ones are known."""
    bodies: dict[str, bytes] = {}
    unread: dict[str, Refused] = {}
    for name in names:
        try:
            bodies[name] = _read(name)
        except OSError as error:
            unread[name] = Refused(error.strerror or str(error))
    together: list[dict[str, Any]] | None = None
    readable = [name for name in names if name in bodies]
    if len(readable) > 1:
        with contextlib.suppress(Refused):
            together = _one_each(_ask(url, path, *_form([(name, bodies[name]) for name in readable])))
    answers = iter(together or ())
    for name in names:
        if name in unread:
            yield name, unread[name]
        elif together is not None:
            yield name, next(answers)
        else:
            yield name, _alone(url, path, name, bodies[name])


def _alone(url: str, path: str, name: str, body: bytes) -> dict[str, Any] | Refused:
    try:
        return _ask(url, path, body, _type_of(name))
    except Refused as error:
        return error


def _read(name: str) -> bytes:
    return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()


def _form(files: Sequence[tuple[str, bytes]]) -> tuple[bytes, str]:
    """Write pictures as one multipart form; its body and its content type. Names are escaped as browsers do."""
    boundary = f"ovenbird-{secrets.token_hex(16)}"
    pieces: list[bytes] = []
    for name, body in files:
        shown = Path(name).name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{shown}"\r\n'
        head += f"Content-Type: {_type_of(name)}\r\n\r\n"
        pieces += [head.encode("utf-8", "replace"), body, b"\r\n"]
    return b"".join((*pieces, f"--{boundary}--\r\n".encode())), f"multipart/form-data; boundary={boundary}"


def _one_each(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Cut an answer about several pictures into one a picture, without the names that the caller knows better."""
    for prediction in answer["predictions"]:
        prediction.pop("file", None)
    return [answer | {"predictions": [prediction]} for prediction in answer["predictions"]]


def _ask(url: str, path: str, body: bytes, content_type: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(post(url, path, body, content_type))
    return answer


def _readable(name: str, answer: dict[str, Any]) -> str:
    predictions = answer["predictions"]
    many = len(predictions) > 1
    return "\n".join(
        f"{'standard input' if name == '-' else name}{f' row {row}' if many else ''}: {_one(prediction)}"
        for row, prediction in enumerate(predictions, 1)
    )


def _one(prediction: dict[str, Any]) -> str:
    match prediction:
        # A model without a manifest may have outputs of these names that are something else.
        case {"label": str(label), "probability": float(probability)}:
            box = _box(prediction.get("box"))
            return f"{label}  ({probability:.1%}){box and f'  at {box}'}"
        case {"detections": [*found]} if all(_is_detection(entry) for entry in found):
            each = (f"{entry['label']}  ({entry['score']:.1%})  at {_box(entry['box'])}" for entry in found)
            return "\n  ".join([f"{len(found)} found", *each])
    return "  ".join(f"{name} {_shortened(value)}" for name, value in prediction.items())


def _is_detection(entry: object) -> bool:
    match entry:
        case {"label": str() | int(), "score": float() | int(), "box": box}:
            return bool(_box(box))
    return False


def _box(value: object) -> str:
    """Write a box in whole pixels: left, top – right, bottom; nothing for what is no box."""
    match value:
        case [float() | int(), float() | int(), float() | int(), float() | int()]:
            left, top, right, bottom = (round(number) for number in value)
            return f"{left},{top} – {right},{bottom}"
    return ""


def _shortened(value: object) -> str:
    match value:
        case [*numbers] if len(numbers) > SHOWN_NUMBERS and all(isinstance(number, int | float) for number in numbers):
            return f"[{json.dumps(numbers[:SHOWN_NUMBERS])[1:-1]}, … {len(numbers)} in all]"
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}… (--json shows all)"
