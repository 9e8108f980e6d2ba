"""Pictures as people have them, and as a model takes them: decoded here, never by an operator in the graph."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from model_store.manifest import ImageFormat
from model_store.pictures import DAMAGE, pixels_of
from service.codec.compression import hint
from service.errors import MalformedBody
from service.tensors import Array

PICTURE_FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 64 * 2**20
# A small file may hold many pixels, and a request many files.
MAX_PIXELS_TOGETHER = 16 * MAX_PIXELS
# EXIF: the field that says how a picture must be turned, and its values for a quarter of a turn.
ORIENTATION = 0x0112
ON_THEIR_SIDE = (5, 6, 7, 8)


def picture(body: bytes, wanted: ImageFormat) -> Array:
    """Decode one PNG, JPEG or WebP picture to uint8 [height, width, channels] of the model's size.

    See `model_store.pictures` for what is made of it.

    Raises:
        MalformedBody: it is not such a picture, is damaged, or has too many pixels.
    """
    if not body:
        raise MalformedBody("the body is empty: send a picture, with curl as --data-binary @FILE")
    try:
        with _opened(body) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise MalformedBody(
                    f"the picture has {opened.width} x {opened.height} pixels; at most {MAX_PIXELS} are read"
                )
            return pixels_of(opened, wanted)
    except DAMAGE as error:
        raise MalformedBody(f"the picture cannot be decoded: {error}") from None


def pixels(body: bytes) -> int:
    """Read from its header how many pixels a picture has; 0 for what is no picture."""
    try:
        with _opened(body) as opened:
            return opened.width * opened.height
    except (MalformedBody, *DAMAGE):
        return 0


def upright_size(body: bytes) -> tuple[int, int] | None:
    """Tell how wide and high a picture is when it is upright; None for what is no picture."""
    try:
        with _opened(body) as opened:
            is_on_its_side = opened.getexif().get(ORIENTATION) in ON_THEIR_SIDE
            return (opened.height, opened.width) if is_on_its_side else opened.size
    except (MalformedBody, *DAMAGE):
        return None


def _opened(body: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(body), formats=PICTURE_FORMATS)
    except UnidentifiedImageError:
        raise MalformedBody(
            f"the body is not a picture in one of the formats {', '.join(PICTURE_FORMATS)}{hint(body)}"
        ) from None
