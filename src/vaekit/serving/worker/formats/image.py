"""Images as vectors: PNG and JPEG, bounded before anything is unpacked."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from vaekit.fields.pixels import WHITE, upright
from vaekit.serving.worker.refusals import Refusal

if TYPE_CHECKING:
    from vaekit.serving.wire.frames import Buffer
    from vaekit.serving.wire.messages import Limits
    from vaekit.serving.worker.cells import Cells

__all__ = ["IMAGES", "pixels"]

IMAGES = {"image/png": "PNG", "image/jpeg": "JPEG"}


def pixels(body: Buffer, cells: Cells, limits: Limits, white: float = WHITE) -> list[float]:
    """The pixels of an image as elements of a vector field, row after row, for colours three in a row.

    Args:
        body: A PNG or JPEG file.
        cells: The vector field; its width says whether grey levels or colours are meant.
        limits: Largest number of pixels.
        white: Value of a white pixel; black is 0.

    Raises:
        Refusal: It is no such image, too large, or does not have the number of pixels that the field needs.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(body), formats=tuple(IMAGES.values())) as image:
            size = image.width * image.height
            if size > limits.max_pixels:
                raise Refusal(413, "too_large", f"the image has {size} pixels, at most {limits.max_pixels} are read")
            if cells.length not in (size, 3 * size):
                raise Refusal(
                    422,
                    "ContractError",
                    f"field {cells.name!r} has {cells.length} elements, which an image of {image.width} x "
                    f"{image.height} pixels is neither in grey nor in colours; resize it first",
                    field=cells.name,
                    row=0,
                )
            if image.mode.startswith(("I", "F")):
                raise Refusal(422, "ContractError", "images have 8 bits per channel here", field=cells.name, row=0)
            levels = np.asarray(upright(image).convert("L" if cells.length == size else "RGB"), np.float64)
    except Image.DecompressionBombError as error:  # far beyond all that anybody allows
        raise Refusal(413, "too_large", f"at most {limits.max_pixels} pixels are read: {error}") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise Refusal(400, "bad_body", f"the file is not a PNG or JPEG image that can be read: {error}") from error
    scaled = levels.ravel() * (white / WHITE)
    whole = pa.types.is_integer(cells.item) or pa.types.is_boolean(cells.item)
    found: list[float] = (np.rint(scaled).astype(np.int64) if whole else scaled).tolist()
    return found
