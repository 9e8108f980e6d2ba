"""Pictures as cameras, browsers, scanners and drawing programs write them, and what the model sees of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model_store.manifest import ImageFormat
from service.codec import pictures
from service.codec.pictures import picture, pixels
from service.errors import MalformedBody


def written(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def seen(image: Image.Image, kind: str = "PNG", *, channels: int = 1, **options: Any) -> Any:
    """What a model that takes pictures of this size sees of a file."""
    wanted = ImageFormat(height=image.height, width=image.width, channels=channels)
    return picture(written(image, kind, **options), wanted).squeeze().tolist()


def test_16_bits_of_grey_are_scaled_to_8() -> None:
    image = Image.fromarray(np.array([[0, 256, 257, 32768, 65535]], np.uint16))

    assert written(image)[24] == 16, "the file has 16 bits a pixel"
    assert seen(image) == [0, 1, 1, 128, 255]


def test_16_bits_of_grey_are_scaled_for_a_model_of_colours_too() -> None:
    image = Image.fromarray(np.array([[0, 32768]], np.uint16))

    assert seen(image, channels=3) == [[0, 0, 0], [128, 128, 128]]


@pytest.mark.parametrize(
    ("ink", "grey"),
    [
        pytest.param((255, 255, 255, 0), 0, id="hidden-white"),
        pytest.param((255, 255, 255, 255), 255, id="opaque"),
        pytest.param((255, 255, 255, 128), 128, id="half-transparent"),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparent_parts_are_black(ink: tuple[int, ...], grey: int, kind: str) -> None:
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}

    assert seen(Image.new("RGBA", (1, 1), ink), kind, **options) == grey


def test_transparent_grey_is_black() -> None:
    image = Image.new("LA", (2, 1), (255, 255))
    image.putpixel((1, 0), (255, 0))

    assert seen(image) == [255, 0]


def test_a_palette_gives_its_colours_and_its_transparent_one_is_black() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 255, 255, 255, 0, 0, 0, 0, 255])
    image.putdata([0, 1, 2])

    assert seen(image, channels=3) == [[255, 255, 255], [255, 0, 0], [0, 0, 255]]
    assert seen(image, channels=3, transparency=0) == [[0, 0, 0], [255, 0, 0], [0, 0, 255]]


def test_the_colour_that_a_file_declares_transparent_is_black() -> None:
    image = Image.new("RGB", (2, 1), (10, 200, 30))
    image.putpixel((1, 0), (255, 255, 255))

    assert seen(image, channels=3, transparency=(10, 200, 30)) == [[0, 0, 0], [255, 255, 255]]


def test_one_bit_is_black_and_white() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)

    assert seen(image) == [0, 255]


@pytest.mark.parametrize(("ink", "grey"), [((0, 0, 0, 255), 0), ((0, 0, 0, 0), 255)], ids=["black", "white"])
def test_print_colours_are_understood(ink: tuple[int, ...], grey: int) -> None:
    assert seen(Image.new("CMYK", (8, 8), ink), "JPEG") == [[grey] * 8] * 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright_as_its_camera_says(orientation: int) -> None:
    upright = Image.fromarray(np.arange(0, 240, 10, np.uint8).reshape(4, 6))
    # How a camera that writes this orientation stores the picture.
    turns = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90",
             7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
    turn = turns.get(orientation)
    stored = upright.transpose(Image.Transpose[turn]) if turn else upright
    exif = Image.Exif()
    exif[0x0112] = orientation

    shown = picture(written(stored, exif=exif), ImageFormat(height=4, width=6, channels=1))

    assert shown.squeeze().tolist() == np.asarray(upright).tolist()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_seen(kind: str) -> None:
    first, second = Image.new("RGB", (8, 8), "white"), Image.new("RGB", (8, 8), "black")

    shown = seen(first, kind, save_all=True, append_images=[second], duration=100, lossless=True)

    assert np.min(shown) == 255


@pytest.mark.filterwarnings("ignore:::PIL")  # Pillow warns of what it leaves aside
def test_a_damaged_file_is_refused_whatever_the_damage() -> None:
    """Every byte near the start is changed in turn; nothing but a picture or a refusal comes of it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    gradient = Image.fromarray(np.arange(96, dtype=np.uint8).reshape(8, 12))
    whole = [
        written(gradient, exif=exif),
        written(gradient, "JPEG", exif=exif),
        written(gradient, "WEBP", exif=exif),
        written(Image.fromarray(np.arange(96, dtype=np.uint16).reshape(8, 12) * 600)),
    ]
    refused = 0
    for file in whole:
        for position in range(min(len(file), 400)):
            for value in (0x00, 0x1A, 0x7F, 0xFF, file[position] ^ 0x01):
                body = file[:position] + bytes([value]) + file[position + 1 :]
                try:
                    picture(body, ImageFormat(height=4, width=6, channels=3))
                except MalformedBody:
                    refused += 1

    assert refused > 500


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 99)
    body = written(Image.new("L", (10, 10)))

    assert pixels(body) == 100
    with pytest.raises(MalformedBody, match="10 x 10 pixels; at most 99"):
        picture(body, ImageFormat(height=4, width=6, channels=1))


def test_what_is_no_picture_has_no_pixels() -> None:
    assert pixels(b"") == pixels(b"no picture") == pixels(written(Image.new("L", (3, 3)))[:20]) == 0
