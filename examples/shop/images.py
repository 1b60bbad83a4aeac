"""Checks pictures and creates thumbnails within a memory limit.

A file of 5 kB can decode to 40 million pixels. We decode it once, in the file's own colour mode, and shrink it tile by
tile before any other step, so there is never a second copy of that size.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator

from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

FORMATS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
"""The accepted formats: Pillow's name and the media type. Only a few, as each decoder is an attack surface."""

SIZES = {"small": 160, "medium": 480, "large": 1200}
"""The longest side of each thumbnail, in pixels."""

BYTES = {"JPEG": 8, "PNG": 5, "WEBP": 20, "GIF": 2}
"""The maximum bytes of memory per pixel during decoding, as measured. libjpeg keeps the coefficients of a progressive
picture; libwebp keeps two canvases, and Pillow creates two more."""

PngImagePlugin.MAX_TEXT_MEMORY = 4_000_000  # the maximum size of decompressed comments; 64 MB by default

TILE = 1000
"""The side of a tile in pixels; one tile is converted at a time."""


class NotAPicture(ValueError):
    """The bytes are not an acceptable picture; the message says why."""


def most_pixels(kind: str, max_pixels: int) -> int:
    """The maximum number of pixels of a picture of ``kind``, so that it needs no more memory than a PNG.

    A PNG may have ``max_pixels``. With the default of 40 million pixels it needs 200 MB.
    """
    return min(max_pixels, max_pixels * BYTES["PNG"] // BYTES[kind])


def inspect(data: bytes, max_pixels: int) -> str:
    """The media type of the picture in ``data``, read from its header without decoding.

    Raises ``NotAPicture`` for other data, and for more than ``most_pixels`` pixels (a decompression bomb is a small
    file).
    """
    with _open(data, max_pixels) as image:
        return FORMATS[str(image.format)]


def thumbnails(data: bytes, max_pixels: int) -> Iterator[tuple[str, bytes, tuple[int, int]]]:
    """Yields each size of the picture, the largest first: ``(size, jpeg, (width, height))``; none is enlarged.

    Thumbnails are upright, have white in place of transparency, and lack the original's metadata, which may contain a
    location. Raises ``NotAPicture`` if the picture is damaged.
    """
    try:
        with _open(data, max_pixels) as image:
            largest = max(SIZES.values())
            image.draft("RGB", (largest, largest))  # a JPEG decoder can skip most of a large picture
            picture = ImageOps.exif_transpose(_small(image, largest))
    except (OSError, SyntaxError, ValueError) as exc:
        raise NotAPicture(f"the picture is damaged: {exc}") from exc
    for name, side in sorted(SIZES.items(), key=lambda item: -item[1]):
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)  # in place, from the previous size
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
    """``image`` in RGB, shrunk by a whole factor, tile by tile; a large one keeps 1.5 times ``largest``."""
    factor = max(1, int(max(image.size) / (1.5 * largest)))
    side = max(1, TILE // factor) * factor
    width, height = image.size
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for top in range(0, height, side):
        for left in range(0, width, side):
            tile = image.crop((left, top, min(left + side, width), min(top + side, height)))
            small.paste(_flatten(tile).reduce(factor), (left // factor, top // factor))
    small.info = dict(image.info)  # it contains the orientation
    return small


def _flatten(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")
