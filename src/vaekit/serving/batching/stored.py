"""Bundles as the front keeps them: verified once, their bytes in memory, handed to every worker that starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vaekit.bundle.manifest import bundle_root, needed, read_files, read_manifest
from vaekit.serving.wire.messages import Packed

__all__ = ["Stored", "read_bundle"]


@dataclass(frozen=True)
class Stored:
    """A bundle in memory.

    Args:
        packed: Which bundle it is.
        files: Content of its files, as `packed` lists them.
    """

    packed: Packed
    files: tuple[bytes, ...]


def read_bundle(name: str, path: str | Path, backend: str, trusted: Sequence[str] = ()) -> Stored:
    """Read a bundle, verifying every file that a worker needs.

    Args:
        name: Name of the model.
        path: The bundle, or a run folder that holds one as ``bundle``.
        backend: ``auto``, ``onnx``, ``litert`` or ``torch``; weights are only kept for torch.
        trusted: Files with public keys, one of which must have signed it; none: that is not checked.

    Raises:
        BundleError: If a file is missing, truncated or altered, or no trusted key signed the bundle.
    """
    root = bundle_root(path)
    manifest = read_manifest(root, trusted)
    files = read_files(root, manifest, needed(manifest, backend))
    packed = Packed(
        name=name,
        version=manifest.version,
        contract=manifest.contract,
        data=manifest.data,
        vaekit=manifest.vaekit,
        created=manifest.created,
        files=tuple(files),
    )
    return Stored(packed, tuple(files.values()))
