"""Pictures as people have them, and as a model takes them: decoded here, never by an operator in the graph."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from model_store.manifest import ImageFormat
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

# What Pillow raises for damaged files, according to its version, the format, and where the damage is.
_DAMAGE = (
    ArithmeticError, LookupError, OSError, SyntaxError, TypeError, ValueError, struct.error,
    Image.DecompressionBombError,
)  # fmt: skip


def picture(body: bytes, wanted: ImageFormat) -> Array:
    """Decode one PNG, JPEG or WebP picture to uint8 [height, width, channels] of the model's size.

    Of an animation it is the first frame. It is turned upright as its EXIF orientation says, 16 bits are scaled to 8,
    transparent parts are black, colours are made grey or grey is made colours, and the size is changed to the model's.

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
            upright = ImageOps.exif_transpose(opened)
            converted = _opaque(_of_8_bits(upright)).convert("L" if wanted.channels == 1 else "RGB")
    except _DAMAGE as error:
        raise MalformedBody(f"the picture cannot be decoded: {error}") from None
    if converted.size != (wanted.width, wanted.height):
        converted = converted.resize((wanted.width, wanted.height), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(converted, np.uint8).reshape(wanted.height, wanted.width, wanted.channels)


def pixels(body: bytes) -> int:
    """Read from its header how many pixels a picture has; 0 for what is no picture."""
    try:
        with _opened(body) as opened:
            return opened.width * opened.height
    except (MalformedBody, *_DAMAGE):
        return 0


def upright_size(body: bytes) -> tuple[int, int] | None:
    """Tell how wide and high a picture is when it is upright; None for what is no picture."""
    try:
        with _opened(body) as opened:
            is_on_its_side = opened.getexif().get(ORIENTATION) in ON_THEIR_SIDE
            return (opened.height, opened.width) if is_on_its_side else opened.size
    except (MalformedBody, *_DAMAGE):
        return None


def _opened(body: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(body), formats=PICTURE_FORMATS)
    except UnidentifiedImageError:
        raise MalformedBody(
            f"the body is not a picture in one of the formats {', '.join(PICTURE_FORMATS)}{hint(body)}"
        ) from None


def _of_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16 bits of grey to 8: Pillow itself would clip them, so that nearly everything is white."""
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    """Lay a picture with transparent parts on black: what lies under them is not meant to be seen."""
    if not image.has_transparency_data:
        return image
    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "black"), seen)
