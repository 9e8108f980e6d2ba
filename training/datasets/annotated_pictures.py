"""Reads the user's own pictures with boxes: a COCO JSON file, or a folder of Pascal VOC XML files.

Pictures are brought to one size, boxes with them, and stay grey if all of them are. What crowds a picture (COCO) or is
marked as difficult (VOC) is left out. A box is cut at its picture's border; one without any area is refused. Every
complaint is one line that names the file.

Sources: cocodataset.org/#format-data; M. Everingham et al., "The Pascal Visual Object Classes Challenge", 2010, whose
boxes count pixels from 1 and include the last one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from model_store.manifest import sha256_of
from training.datasets.dataset import Dataset, Rows, boxes_array, classes, digest_of_boxes, held_out
from training.errors import UnusableData
from training.options import FileOptions

Box = tuple[float, float, float, float]
Pixels = npt.NDArray[np.uint8]

LICENSE = "not stated"
# Height and width that pictures are brought to, unless `picture_size` says something else.
USUAL_SIZE = (128, 128)
PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
XML_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Annotated:
    """A picture's file, and its objects: boxes in its own pixels, with their names."""

    path: Path
    boxes: tuple[Box, ...]
    names: tuple[str, ...]


def load(path: Path, options: FileOptions) -> Dataset:
    """Read a COCO JSON file, or a folder of VOC XML files; a fifth of the pictures is held out, of each class alike.

    Raises:
        UnusableData: a file is missing or is not what it should be, or a box has no area.
    """
    if not path.exists():
        raise UnusableData(f"{path}: no such file or folder")
    annotated = _coco(path, options) if path.is_file() else _voc(path, options)
    labels, indices = classes(name for picture in annotated for name in picture.names)
    if not labels:
        raise UnusableData(f"{path}: no picture has an object")
    size = picture_size(options)
    pictures = np.stack([_picture(picture.path, size) for picture in annotated])
    if (pictures == pictures[..., :1]).all():
        pictures = pictures[..., :1].copy()
    targets = boxes_array(list(_targets(annotated, indices, size)))
    train, test = _held_out(Rows(pictures, targets), len(labels))
    return Dataset(
        name=path.stem,
        kind="boxes",
        train=train,
        test=test,
        labels=labels,
        license=LICENSE,
        source=path.name,
        sha256=sha256_of(path) if path.is_file() else digest_of_boxes(train, test),
    )


def picture_size(options: FileOptions) -> tuple[int, int]:
    """Read the option: height and width, or one number for both; by default 128."""
    given = options.picture_size or USUAL_SIZE
    return given[0], given[-1]


def _held_out(rows: Rows, count: int) -> tuple[Rows, Rows]:
    """Part pictures by their rarest object, so that the rare ones are on both sides if there are several."""
    together = np.concatenate(list(rows.targets))[:, 4].astype(np.int64)
    frequency = np.bincount(together, minlength=count)
    rarest = [
        min(objects[:, 4].astype(np.int64), key=lambda index: frequency[index]) if len(objects) else count
        for objects in rows.targets
    ]
    parts = held_out(Rows(np.arange(len(rows)), np.array(rarest, dtype=np.int64)), stratified=True)
    train, test = (rows.take(part.inputs.astype(np.int64)) for part in parts)
    return train, test


def _picture(path: Path, size: tuple[int, int]) -> Pixels:
    """Read a picture as colours, stretched to the size as the service stretches those that it is sent."""
    height, width = size
    with _opened(path) as opened:
        try:
            resized = opened.convert("RGB").resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
        except (OSError, ValueError, SyntaxError) as error:
            raise UnusableData(f"{path}: the picture is damaged: {error}") from None
    return np.asarray(resized, np.uint8)


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (UnidentifiedImageError, Image.DecompressionBombError):
        raise UnusableData(f"{path}: not a picture that can be read") from None
    except OSError as error:
        raise UnusableData(f"{path}: {error.strerror or error}") from None


def _targets(
    annotated: Sequence[Annotated], indices: npt.NDArray[np.int64], size: tuple[int, int]
) -> Iterator[npt.NDArray[np.float32]]:
    """Give each picture's objects [objects, 5], in pixels of the size that pictures are brought to."""
    height, width = size
    start = 0
    for picture in annotated:
        with _opened(picture.path) as opened:
            across, down = opened.size
        cut = [_cut(box, across, down, picture, index) for index, box in enumerate(picture.boxes)]
        scale = np.array([width / across, height / down] * 2)
        boxes = np.array(cut, dtype=np.float64).reshape(-1, 4) * scale
        own = indices[start : start + len(cut)]
        start += len(cut)
        yield np.column_stack([boxes, own]).astype(np.float32)


def _cut(box: Box, width: int, height: int, picture: Annotated, index: int) -> Box:
    """Cut a box at the picture's border; raises `UnusableData` if nothing is left."""
    left, top, right, bottom = box
    cut = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    if not (cut[0] < cut[2] and cut[1] < cut[3]):
        shown = ", ".join(f"{value:g}" for value in box)
        raise UnusableData(
            f"{picture.path}: object {index + 1} ({picture.names[index]}): the box from left, top to right, bottom "
            f"[{shown}] has no area within the picture of {width} x {height}: correct it or leave it out"
        )
    return cut


def _folder(path: Path, options: FileOptions, beside: Sequence[Path], name: str) -> Path:
    """Find the folder of the pictures: the one that was named, else the first that has the picture `name`."""
    if options.images:
        if not Path(options.images).is_dir():
            raise UnusableData(f"images={options.images}: no such folder")
        return Path(options.images)
    for folder in beside:
        if (folder / name).is_file():
            return folder
    looked = ", ".join(str(folder) for folder in beside)
    raise UnusableData(f"{path}: picture {name!r} is in none of {looked}: name its folder with --set images=DIR")


# COCO


def _coco(path: Path, options: FileOptions) -> list[Annotated]:
    """Read a JSON file with `images`, `annotations` and `categories`."""
    content = _json(path)
    pictures = {
        _get(path, entry, "id"): str(_get(path, entry, "file_name")) for entry in _list(path, content, "images")
    }
    categories = {
        _get(path, entry, "id"): str(_get(path, entry, "name")) for entry in _list(path, content, "categories")
    }
    if not pictures:
        raise UnusableData(f"{path}: images: it lists none")
    objects: dict[Any, list[tuple[Box, str]]] = {picture: [] for picture in pictures}
    for number, entry in enumerate(_list(path, content, "annotations")):
        picture, category = _get(path, entry, "image_id"), _get(path, entry, "category_id")
        if picture not in objects or category not in categories:
            raise UnusableData(f"{path}: annotation {number}: no image {picture}, or no category {category}")
        if not entry.get("iscrowd"):
            objects[picture].append((_coco_box(path, entry, number), categories[category]))
    parent, upper = path.resolve().parent, path.resolve().parent.parent
    named = path.stem.split("_")[-1]
    beside = (parent, parent / "images", parent / path.stem, upper / "images", upper / named, upper)
    folder = _folder(path, options, beside, next(iter(pictures.values())))
    return [
        Annotated(folder / name, tuple(box for box, _ in objects[key]), tuple(label for _, label in objects[key]))
        for key, name in pictures.items()
    ]


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UnusableData(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UnusableData(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise UnusableData(f"{path}: expected an object with images, annotations and categories, as COCO has it")
    return content


def _list(path: Path, content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    entries = content.get(name)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UnusableData(f"{path}: {name}: expected a list of objects, as COCO has it")
    return entries


def _get(path: Path, entry: dict[str, Any], name: str) -> str | int:
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise UnusableData(f"{path}: {name}: expected a number or a text in each entry, received {value!r}")
    return value


def _coco_box(path: Path, entry: dict[str, Any], number: int) -> Box:
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(value) for value in box):
        raise UnusableData(f"{path}: annotation {number}: bbox: expected [x, y, width, height], received {box!r}")
    left, top, width, height = map(float, box)
    return left, top, left + width, top + height


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


# Pascal VOC


def _voc(path: Path, options: FileOptions) -> list[Annotated]:
    """Read a folder of XML files, or its folder `Annotations`."""
    folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    files = sorted(folder.glob("*.xml"))
    if not files:
        raise UnusableData(f"{path}: no .xml file in it nor in its folder Annotations")
    return [_voc_picture(path, file, options) for file in files]


def _voc_picture(path: Path, file: Path, options: FileOptions) -> Annotated:
    root = _xml(file)
    name = Path(root.findtext("filename") or "").name
    # Some tools write the name without its ending, or that of a picture which has another by now.
    names = [name, *(file.stem + ending for ending in PICTURE_ENDINGS)]
    beside = (path / "JPEGImages", path / "images", file.parent)
    folders = (Path(options.images),) if options.images else beside
    found = next((folder / each for each in names if each for folder in folders if (folder / each).is_file()), None)
    if found is None:
        found = _folder(file, options, beside, name or f"{file.stem}.jpg") / (name or f"{file.stem}.jpg")
    seen = [entry for entry in root.iter("object") if (entry.findtext("difficult") or "0").strip() != "1"]
    boxes = tuple(_voc_box(file, entry) for entry in seen)
    return Annotated(found, boxes, tuple(_voc_name(file, entry) for entry in seen))


def _voc_name(file: Path, entry: ElementTree.Element) -> str:
    name = (entry.findtext("name") or "").strip()
    if not name:
        raise UnusableData(f"{file}: an object has no name")
    return name


def _voc_box(file: Path, entry: ElementTree.Element) -> Box:
    texts = [entry.findtext(f"bndbox/{name}") or "" for name in ("xmin", "ymin", "xmax", "ymax")]
    try:
        left, top, right, bottom = map(float, texts)
    except ValueError:
        raise UnusableData(
            f"{file}: bndbox: expected the numbers xmin, ymin, xmax, ymax, received {', '.join(texts)}"
        ) from None
    if not all(map(math.isfinite, (left, top, right, bottom))):
        raise UnusableData(f"{file}: bndbox: {', '.join(texts)} are not finite")
    return left - 1, top - 1, right, bottom


class _Plain(ElementTree.TreeBuilder):
    """Refuses a document type: without one there are no entities, so none that grow a thousandfold or name a file."""

    def doctype(self, name: str, _public: str | None, _system: str | None) -> NoReturn:
        """Complain; called before anything of the document type is read."""
        raise UnusableData(f"a document type ({name}) is not read: remove it")


def _xml(file: Path) -> ElementTree.Element:
    """Parse a small XML file without a document type; expat itself fetches nothing from outside."""
    try:
        if file.stat().st_size > XML_BYTES:
            raise UnusableData(f"more than {XML_BYTES} bytes of XML for one picture")
        parser = ElementTree.XMLParser(target=_Plain())  # noqa: S314 - see `_Plain`
        parser.feed(file.read_bytes())
        root: ElementTree.Element = parser.close()
    except OSError as error:
        raise UnusableData(f"{file}: {error.strerror or error}") from None
    except (ElementTree.ParseError, ValueError) as error:
        raise UnusableData(f"{file}: not XML: {error}") from None
    except UnusableData as error:
        raise UnusableData(f"{file}: {error}") from None
    return root
