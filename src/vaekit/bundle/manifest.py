"""The manifest of a bundle: what files it has, with their hashes, and reading them verified.

Nothing here needs NumPy or Arrow, so that a process which only hands files on stays small.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from vaekit.errors import BundleError
from vaekit.files import Entry, read_verified, sha256

__all__ = [
    "FORMAT",
    "MANIFEST",
    "Manifest",
    "Proof",
    "bundle_root",
    "decoded",
    "encoded",
    "manifest_bytes",
    "needed",
    "read_files",
    "read_manifest",
    "seal",
]

FORMAT = 1
MANIFEST = "manifest.json"


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What was found when the graphs were compared, at export, with what they stand for.

    Args:
        form: ``float32``, or the compact form: ``float16``, ``int8``, ``pruned:0.5``.
        reference: What the graphs were compared with: ``torch``, or for float16 and int8 the ``float32`` graphs.
        rows: Where the rows came from: ``held out`` of the fit, ``given``, or ``drawn`` from the model.
        count: Number of rows.
        tolerance: Largest difference that would have been accepted; None where it was only measured.
        graphs: Largest relative difference of each graph.
        quality: What the form costs, on rows that it was not made with: ``rows``, ``mean_score_difference`` and
            ``max_score_difference`` (nats), ``agreement`` (share of rows on whose detection both agree) at ``alpha``.
    """

    form: str = "float32"
    reference: str
    rows: str
    count: int
    tolerance: float | None = None
    graphs: dict[str, float]
    quality: dict[str, float] = {}


_Hash = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-zA-Z._-]{0,128}\Z")]  # goes into headers of answers


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The list of files with their hashes, and what was bundled.

    Args:
        format: Version of the bundle format.
        vaekit: The release that wrote it.
        created: When, in UTC.
        contract: Hash of the contract.
        data: Hash of the data.
        files: Relative name to hash and size.
        left_out: Files that a bundle otherwise has and this one was exported without.
        lineage: Where it comes from: run, parent, commit, packages, see `vaekit.bundle.lineage.lineage`.
        proof: How the graphs were compared at export; None without graphs, and of bundles from before that was done.
        seal: Hash of all the rest, so that damage to the manifest itself shows.
    """

    format: int
    vaekit: str
    created: str
    contract: _Hash
    data: _Hash
    files: dict[str, Entry]
    left_out: tuple[str, ...] = ()
    lineage: dict[str, str] = {}
    proof: Proof | None = None
    seal: str = ""

    @property
    def version(self) -> str:
        """The first 12 digits of the seal: a short name of exactly this bundle."""
        return self.seal[:12]

    def sealed(self) -> Manifest:
        """The manifest with its seal."""
        return msgspec.structs.replace(self, seal=seal(msgspec.to_builtins(self)))


def bundle_root(path: str | Path) -> Path:
    """The bundle that a path means: a run folder means the one that it holds as ``bundle``."""
    root = Path(path)
    return root / "bundle" if not (root / MANIFEST).exists() and (root / "bundle" / MANIFEST).exists() else root


def needed(manifest: Manifest, backend: str) -> set[str]:
    """The files of a bundle that it takes to answer queries.

    Args:
        manifest: Its manifest.
        backend: ``auto``, ``onnx``, ``litert`` or ``torch``; only torch needs the weights.
    """
    graphs = {name for name in manifest.files if name.startswith("graphs/")}
    weights = {"weights.safetensors"} if backend == "torch" or (backend == "auto" and not graphs) else set()
    return {"contract.json", "model.json", "calibration.safetensors"} | graphs | weights


def seal(manifest: Mapping[str, Any]) -> str:
    """Hash of a manifest without its seal."""
    return sha256(msgspec.json.encode({k: v for k, v in manifest.items() if k != "seal"}, order="sorted"))


def read_manifest(root: Path, trusted: Sequence[str | Path | bytes] = ()) -> Manifest:
    """Read the manifest of a bundle and check its seal, and its signature if one is required.

    Args:
        root: The bundle.
        trusted: Public keys (PEM files, or PEM as bytes), one of which must have signed it; none: that is not checked.

    Raises:
        BundleError: If it cannot be read, was altered, is of a format that is newer than this release, or was not
            signed by a trusted key.
        ConfigError: If a public key is none.
    """
    path = root / MANIFEST
    content = manifest_bytes(root)
    if trusted:
        from vaekit.bundle.signature import check_signature

        check_signature(root, content, trusted)
    try:
        plain = msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: not readable as JSON ({error}); the file is truncated or altered") from error
    version = plain.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise BundleError(
            f"{path}: bundle format {version} is newer than this release of vaekit reads ({FORMAT}); upgrade vaekit"
        )
    if plain.get("seal") != seal(plain):
        raise BundleError(f"{path}: its seal does not match; the file was altered after the bundle was written")
    manifest: Manifest = decoded(path, content, Manifest)
    return manifest


def manifest_bytes(root: Path) -> bytes:
    """The manifest of a bundle as it lies there, which is what a signature signs.

    Raises:
        BundleError: If it cannot be read.
    """
    path = root / MANIFEST
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); is {root} a bundle?") from error


def read_files(root: Path, manifest: Manifest, names: Collection[str] | None = None) -> dict[str, bytes]:
    """Read files of a bundle and check each against the manifest.

    Args:
        root: The bundle.
        manifest: Its manifest.
        names: Which files; all of them if not given.

    Returns:
        Relative name to content.

    Raises:
        BundleError: If a file is missing, truncated or altered.
    """
    return {n: read_verified(root, n, entry) for n, entry in manifest.files.items() if names is None or n in names}


def encoded(value: Any) -> bytes:
    """A value as JSON with sorted keys, one per line, as every JSON file of a bundle is written."""
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=1)


def decoded(path: Path | str, content: bytes, kind: Any) -> Any:
    """A JSON file of a bundle as a value of some type.

    Raises:
        BundleError: If the content is not JSON, or not of that type.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: {error}; the file was altered or written by another release") from error
