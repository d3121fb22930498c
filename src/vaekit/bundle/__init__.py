"""The bundle: the one artefact, a folder with a manifest; nothing in it is code and loading runs none.

`vaekit.bundle.manifest` reads and verifies files without NumPy or Arrow; the rest is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaekit.bundle.manifest import FORMAT

if TYPE_CHECKING:
    from vaekit.bundle.format import Architecture, Bundle

__all__ = ["FORMAT", "Architecture", "Bundle"]


def __getattr__(name: str) -> Any:
    """Import what a bundle holds on first use (PEP 562)."""
    if name not in ("Architecture", "Bundle"):
        raise AttributeError(f"module 'vaekit.bundle' has no attribute {name!r}")
    from vaekit.bundle import format as form

    return getattr(form, name)
