"""Pictures: is it one, and smaller ones of it, in a bounded piece of memory.

A file of 5 kB can swell to 40 million pixels. They are decoded once, in the file's own colours, and made small tile by
tile before anything else is done with them: no second copy of that size is ever made.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator

from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

FORMATS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
"""What is taken: Pillow's name and the media type. Few: each decoder is code that strangers feed."""

SIZES = {"small": 160, "medium": 480, "large": 1200}
"""The longest side of each thumbnail, in pixels."""

BYTES = {"JPEG": 8, "PNG": 5, "WEBP": 20, "GIF": 2}
"""The most memory that a pixel takes while it is decoded, measured: libjpeg keeps the coefficients of a progressive
picture, libwebp two canvases of which Pillow makes two more."""

PngImagePlugin.MAX_TEXT_MEMORY = 4_000_000  # what compressed comments may swell to; 64 MB by default

TILE = 1000
"""The side of what is converted at a time, in pixels."""


class NotAPicture(ValueError):
    """The bytes are not a picture that is taken here; the message says why, for people."""


def most_pixels(kind: str, max_pixels: int) -> int:
    """How many pixels a picture of ``kind`` may have, where a PNG may have ``max_pixels``: none takes more memory.

    That is 200 MB with the default of 40 million pixels.
    """
    return min(max_pixels, max_pixels * BYTES["PNG"] // BYTES[kind])


def inspect(data: bytes, max_pixels: int) -> str:
    """The media type of the picture in ``data``, from its header: nothing is decoded.

    Raises ``NotAPicture`` for anything else and for more than ``most_pixels`` (a decompression bomb is a small
    file).
    """
    with _open(data, max_pixels) as image:
        return FORMATS[str(image.format)]


def thumbnails(data: bytes, max_pixels: int) -> Iterator[tuple[str, bytes, tuple[int, int]]]:
    """Each size of the picture, the largest first: ``(size, jpeg, (width, height))``. None is enlarged.

    Upright, on white where it was transparent, and without the original's metadata (which can hold where it
    was taken). Raises ``NotAPicture`` when the bytes turn out to be damaged.
    """
    try:
        with _open(data, max_pixels) as image:
            largest = max(SIZES.values())
            image.draft("RGB", (largest, largest))  # a JPEG decoder can skip most of a large picture
            picture = ImageOps.exif_transpose(_small(image, largest))
    except (OSError, SyntaxError, ValueError) as exc:
        raise NotAPicture(f"the picture is damaged: {exc}") from exc
    for name, side in sorted(SIZES.items(), key=lambda item: -item[1]):
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)  # each from the one before, in place
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=85, optimize=True, progressive=True)
        yield name, out.getvalue(), picture.size


def _open(data: bytes, max_pixels: int) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is stricter
            image = Image.open(io.BytesIO(data), formats=tuple(FORMATS))
    except UnidentifiedImageError:
        raise NotAPicture(f"it is not a picture; send one of {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise NotAPicture(f"it has too many pixels; the limit is {max_pixels:,} in all") from None
    except (OSError, SyntaxError, ValueError) as exc:
        raise NotAPicture(f"the picture cannot be read: {exc}") from None
    (width, height), kind = image.size, str(image.format)
    most = most_pixels(kind, max_pixels)
    if width * height > most:
        image.close()
        raise NotAPicture(f"{width} x {height} pixels are too many; the limit for {kind} is {most:,} in all")
    return image


def _small(image: Image.Image, largest: int) -> Image.Image:
    """``image`` in RGB, shrunk by a whole number to a little more than ``largest``, tile by tile."""
    factor = max(1, int(max(image.size) / (1.5 * largest)))
    side = max(1, TILE // factor) * factor
    width, height = image.size
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for top in range(0, height, side):
        for left in range(0, width, side):
            tile = image.crop((left, top, min(left + side, width), min(top + side, height)))
            small.paste(_flatten(tile).reduce(factor), (left // factor, top // factor))
    small.info = dict(image.info)  # it says which side is up
    return small


def _flatten(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")
