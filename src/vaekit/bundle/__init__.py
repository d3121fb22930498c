"""The bundle: the one artefact, a folder with a manifest; nothing in it is code and loading runs none."""

from vaekit.bundle.format import FORMAT, Architecture, Bundle

__all__ = ["FORMAT", "Architecture", "Bundle"]
