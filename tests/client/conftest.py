"""The zoo of trained models."""

from tests.support import zoo

__all__ = ["zoo"]
