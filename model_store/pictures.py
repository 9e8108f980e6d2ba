"""What a picture's file means as pixels: the same for a model that learns from files and one that is asked with them.

Knows no file format, no HTTP and no data set: it is given an opened picture.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from model_store.manifest import ImageFormat

# What Pillow raises for damaged files, according to its version, the format, and where the damage is.
DAMAGE = (
    ArithmeticError, LookupError, OSError, SyntaxError, TypeError, ValueError, struct.error,
    Image.DecompressionBombError,
)  # fmt: skip


def pixels_of(opened: Image.Image, wanted: ImageFormat) -> npt.NDArray[np.uint8]:
    """Make uint8 [height, width, channels] of the wanted size from an opened picture.

    Of an animation it is the first frame. It is turned upright as its EXIF orientation says, 16 bits are scaled to 8,
    transparent parts are black, colours are made grey or grey is made colours, and the size is changed.
    Raises one of `DAMAGE` for a damaged file: the pixels are decoded here.
    """
    upright = ImageOps.exif_transpose(opened)
    converted = _opaque(_of_8_bits(upright)).convert("L" if wanted.channels == 1 else "RGB")
    if converted.size != (wanted.width, wanted.height):
        converted = converted.resize((wanted.width, wanted.height), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(converted, np.uint8).reshape(wanted.height, wanted.width, wanted.channels)


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
