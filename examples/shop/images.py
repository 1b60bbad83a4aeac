"""Pictures: is it one, and smaller ones of it."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator

from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
"""What is taken: Pillow's name and the media type. Few: each decoder is code that strangers feed."""

SIZES = {"small": 160, "medium": 480, "large": 1200}
"""The longest side of each thumbnail, in pixels."""


class NotAPicture(ValueError):
    """The bytes are not a picture that is taken here; the message says why, for people."""


def inspect(data: bytes, max_pixels: int) -> str:
    """The media type of the picture in ``data``, from its header: nothing is decoded.

    Raises ``NotAPicture`` for anything else and for more than ``max_pixels`` pixels (a decompression bomb is
    a small file).
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
            picture = _flatten(ImageOps.exif_transpose(image))
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
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise NotAPicture(f"{width} x {height} pixels are too many; the limit is {max_pixels:,} in all")
    return image


def _flatten(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")
