"""The zoo of trained models."""

from tests.support import kept, zoo

__all__ = ["kept", "zoo"]
