"""Features of images by a convolutional network with fixed random weights, which was trained on nothing."""

from __future__ import annotations

import numpy as np

from vaekit.arrays import Array, generator

__all__ = ["image_features"]

_CHANNELS = (16, 32, 64)
_ROWS = 256  # at a time
_LEAK = 0.2


def image_features(images: Array) -> Array:
    """Three layers of random 3 × 3 filters with stride 2, averaged over the quarters of the image.

    Random networks tell samples apart nearly as trained ones do, and favour no kind of picture, where networks trained
    on photographs do.

    Args:
        images: Values from 0 to 1, shape (B, H, W, C).

    Returns:
        Shape (B, at most 256), float64.

    References:
        Naeem et al., Reliable fidelity and diversity metrics for generative models, 2020, section 3.3 (random
        embeddings).

    Example:
        >>> image_features(np.zeros((2, 28, 28, 1))).shape
        (2, 256)
    """
    rng, filters, width = generator(0, "image features"), [], images.shape[3]
    for channels in _CHANNELS:
        filters.append(rng.standard_normal((3, 3, width, channels)) * np.sqrt(2.0 / (9 * width)))
        width = channels
    parts = [_features(images[start : start + _ROWS], filters) for start in range(0, len(images), _ROWS)]
    found: Array = np.concatenate(parts)
    return found


def _features(images: Array, filters: list[Array]) -> Array:
    x = np.asarray(images, np.float64) - 0.5
    for one in filters:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2]  # (B, h, w, C, 3, 3)
        x = np.tensordot(patches, one, axes=((4, 5, 3), (0, 1, 2)))
        x = np.where(x > 0, x, _LEAK * x)
    rows, columns = (np.array_split(np.arange(size), min(2, size)) for size in x.shape[1:3])
    pooled: Array = np.concatenate([x[:, r][:, :, c].mean((1, 2)) for r in rows for c in columns], axis=1)
    return pooled
