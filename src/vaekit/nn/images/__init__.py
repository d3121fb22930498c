"""Networks for images: each has a half that reads (a stem) and a half that draws (what a likelihood projects with)."""

from __future__ import annotations

from collections.abc import Callable

from vaekit.nn.images.base import ImageNet, image_of
from vaekit.nn.images.conv import Convolutional
from vaekit.nn.images.dense import Dense

__all__ = ["IMAGES", "ImageNet", "image_of"]

IMAGES: dict[str, Callable[..., ImageNet]] = {"conv": Convolutional, "dense": Dense}
