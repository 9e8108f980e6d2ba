"""What lies in a store's folder as if it were to be served, but where no reader looks: told once, at the start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from model_store import StoreError
from model_store.store import check_model_name, parse_version

# Lines that are told at most: a folder that is no store at all may hold thousands of files.
MOST = 10


def misplaced(root: Path) -> list[str]:
    """Say, a line each, why something in this folder is never served; none for a store as it should be."""
    if root.exists() and not root.is_dir():
        return [f"store {str(root)!r} is a file; expected the folder in which the models lie"]
    folders = sorted({path.parent for depth in ("*", "*/*", "*/*/*") for path in root.glob(f"{depth}.onnx")})
    found = list(dict.fromkeys(_reasons(root, folders)))
    more = [f"… and {len(found) - MOST} more such folders"] if len(found) > MOST else []
    return found[:MOST] + more


def _reasons(root: Path, folders: list[Path]) -> Iterator[str]:
    """Go through the folders that hold an ONNX file."""
    for folder in folders:
        match folder.relative_to(root).parts:
            case (name, *_) if name.startswith("."):
                pass
            case (number,) if _is_version(number):
                yield (
                    f"store {str(root)!r} looks like the folder of one model; the store is the folder above it, "
                    "or --model-name says how to call the model"
                )
            case (model, version):
                if not _is_model(model):
                    yield f"{folder} is not served: a model's name has letters, digits, '.', '_' and '-' only"
                elif not version.startswith(".") and not _is_version(version):
                    yield f"{folder} is not served: a version's folder is called by a whole number, such as 1"
            case _:
                yield f"{folder} holds an ONNX file that is not served: expected <store>/<model>/<version>/model.onnx"


def _is_version(name: str) -> bool:
    try:
        return bool(parse_version(name))
    except StoreError:
        return False


def _is_model(name: str) -> bool:
    try:
        return bool(check_model_name(name))
    except StoreError:
        return False
