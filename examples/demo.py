"""`make demo`: serve the starter models, ask each kind of them about real inputs, and say what to try next."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

import background_service
import numpy as np
from background_service import RUN_FOLDER, Service, ServiceFailed
from PIL import Image
from showing import show

from model_store import STARTER_MODELS, Store

SHOWN = ("mnist-cnn", "wine-dnn", "mnist-autoencoder", "code-or-prose")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="the first port to try (default: 8000)")
    parser.add_argument(
        "--stop", action="store_true", help="stop the services that the demo and `make train` left running"
    )
    arguments = parser.parse_args()
    if arguments.stop:
        stopped = [name for name in ("demo", "train") if background_service.stop(name)]
        print(f"stopped: {', '.join(stopped) or 'nothing was running'}")
        return
    try:
        demo(arguments.port)
    except ServiceFailed as error:
        sys.exit(f"error: {error}")


def demo(port: int) -> None:
    """Start the service, show one real input of each kind, print what to try."""
    store = Store(STARTER_MODELS)
    print(f"starting the service on the starter models ({STARTER_MODELS}) …")
    service = background_service.start("demo", store=STARTER_MODELS, port=port)
    print(f"ready: {service.url}")
    for name in SHOWN:
        show(service, store.resolve(name))
    print(_what_next(service, store))


def _what_next(service: Service, store: Store) -> str:
    lines = [
        "",
        "── The service goes on running. Try:",
        *(f"   {command}" for command in _commands(service, store)),
        "",
        f"   in a browser   {service.url}/",
        f"   metrics        {service.url}/metrics",
        f"   log            {service.log_file}",
        "   train your own make train",
        f"   stop it        make stop   (or: kill $(cat {service.pid_file}))",
    ]
    return "\n".join(lines)


def _commands(service: Service, store: Store) -> list[str]:
    """Write the files that the curl lines send, and the lines."""
    folder = RUN_FOLDER / "demo"
    folder.mkdir(exist_ok=True)
    picture, rows, request = folder / "digit.png", folder / "wine.csv", folder / "infer.json"
    digits = store.resolve("mnist-cnn").golden().inputs["image"]
    Image.fromarray(np.asarray(digits[0, :, :, 0], np.uint8)).save(picture)
    wine = store.resolve("wine-dnn")
    _write_csv(rows, wine.manifest.inputs[0].columns or (), wine.golden().inputs["features"][:3])
    pixels = digits[:1].ravel().tolist()
    tensor = {"name": "image", "shape": [1, 28, 28, 1], "datatype": "UINT8", "data": pixels}
    request.write_text(json.dumps({"inputs": [tensor]}))
    predict = f"{service.url}/v2/models/{{}}/predict"
    commands = [
        ["curl", "--data-binary", f"@{picture}", predict.format("mnist-cnn")],
        ["curl", "--data-binary", f"@{rows}", predict.format("wine-dnn")],
        ["curl", "-d", "for name in names: print(name)", predict.format("code-or-prose")],
        ["curl", "-d", "정말 재미있는 영화였다", predict.format("nsmc-text")],
        ["curl", "-d", f"@{request}", f"{service.url}/v2/models/mnist-cnn/infer"],
        ["curl", f"{service.url}/v2/models/mnist-cnn"],
        [_command(), "predict", "mnist-cnn", str(picture), "--url", service.url],
    ]
    return [shlex.join(command) for command in commands]


def _command() -> str:
    """Name the command as it can be typed here: in a virtual environment that is not activated, by its path."""
    command = Path(sys.executable).with_name("ovenbird")
    return str(command.relative_to(Path.cwd())) if command.is_relative_to(Path.cwd()) else str(command)


def _write_csv(path: Path, columns: tuple[str, ...], rows: np.ndarray) -> None:
    lines = [",".join(columns)] + [",".join(f"{value:g}" for value in row) for row in rows]
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
