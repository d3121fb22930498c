"""What a bundle holds, how it is written and how it is verified when it is read."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from vaekit.arrays import Array, BlockSpec, Noise
from vaekit.errors import BundleError, ContractError
from vaekit.fields.contract import Contract
from vaekit.files import Entry, read_verified, sha256, write_folder
from vaekit.version import __version__

__all__ = ["FORMAT", "Architecture", "Bundle", "Signature"]

FORMAT = 1
_MANIFEST = "manifest.json"


class Signature(msgspec.Struct, frozen=True):
    """Names of the arrays that a graph takes and returns, in order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """All that a runtime must know of a model beside its contract.

    Args:
        blocks: The blocks.
        config: The model configuration that rebuilds the torch module.
        noise: Noise that one inference walk consumes.
        prior_noise: Noise that one draw from the prior consumes; None, as in older bundles, if it is the same.
        groups: Latent width per group.
        graphs: Signature of each exported graph.
    """

    blocks: tuple[BlockSpec, ...]
    config: dict[str, Any]
    noise: dict[str, Noise]
    groups: dict[str, int]
    graphs: dict[str, Signature] = {}
    prior_noise: dict[str, Noise] | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The list of files with their hashes, and what was bundled.

    Args:
        format: Version of the bundle format.
        vaekit: The release that wrote it.
        created: When, in UTC.
        contract: Hash of the contract.
        data: Hash of the data.
        files: Relative name to hash and size.
        seal: Hash of all the rest, so that damage to the manifest itself shows.
    """

    format: int
    vaekit: str
    created: str
    contract: str
    data: str
    files: dict[str, Entry]
    seal: str = ""


@dataclass(frozen=True)
class Bundle:
    """A trained model with all that answers questions about it.

    Args:
        contract: The fields with their fitted transforms.
        architecture: The shape of the model.
        weights: Parameters and buffers by name.
        graphs: Exported graphs (ONNX) by name; may be a subset, or empty before `save`.
        calibration: Sorted scores of rows that neither training nor early stopping saw, and other reference arrays.
        evaluation: Held-out figures, as plain JSON values.
        run: Configuration, environment, versions, git state and data hash of the run.
        path: Where it was loaded from.

    References:
        Safetensors: https://github.com/huggingface/safetensors. ONNX: https://onnx.ai.
    """

    contract: Contract
    architecture: Architecture
    weights: dict[str, Array]
    graphs: dict[str, bytes] = field(default_factory=dict)
    calibration: dict[str, Array] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None

    def save(self, path: str | Path) -> Path:
        """Write the bundle atomically: it is there whole or not at all.

        Args:
            path: The folder; an older bundle there is replaced.

        Returns:
            The folder.

        Raises:
            BundleError: If something that is not a bundle lies there.
        """
        files = {
            "contract.json": self.contract.to_json().encode(),
            "model.json": _json(self.architecture),
            "weights.safetensors": save_tensors({name: np.ascontiguousarray(v) for name, v in self.weights.items()}),
            "calibration.safetensors": save_tensors(
                {name: np.ascontiguousarray(v) for name, v in self.calibration.items()}
            ),
            "evaluation.json": _json(self.evaluation),
            "run.json": _json(self.run),
            "MODEL_CARD.md": self.card().encode(),
        }
        files |= {f"graphs/{name}.onnx": content for name, content in self.graphs.items()}
        manifest = Manifest(
            format=FORMAT,
            vaekit=__version__,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            contract=self.contract.hash,
            data=str(self.run.get("data", {}).get("sha256", "")),
            files={name: Entry(sha256(content), len(content)) for name, content in sorted(files.items())},
        )
        sealed = msgspec.structs.replace(manifest, seal=_seal(msgspec.to_builtins(manifest)))
        write_folder(Path(path), files | {_MANIFEST: _json(sealed)}, _MANIFEST)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Bundle:
        """Read a bundle and verify every file against its manifest. No code of the bundle is run.

        Args:
            path: The folder.

        Returns:
            The bundle.

        Raises:
            BundleError: If a file is missing, truncated, altered or not readable, or the format is newer than this
                release.
        """
        root = Path(path)
        manifest = _manifest(root)
        content = {name: read_verified(root, name, entry) for name, entry in manifest.files.items()}
        for name in ("contract.json", "model.json", "weights.safetensors"):
            if name not in content:
                raise BundleError(f"{root / _MANIFEST}: lists no {name}; the bundle is incomplete")
        try:
            contract = Contract.from_json(content["contract.json"].decode())
        except (ContractError, UnicodeDecodeError) as error:
            raise BundleError(f"{root / 'contract.json'}: {error}") from error
        return cls(
            contract=contract,
            architecture=_decode(root, "model.json", content, Architecture),
            weights=_tensors(root, "weights.safetensors", content),
            graphs={Path(n).stem: c for n, c in content.items() if n.startswith("graphs/") and n.endswith(".onnx")},
            calibration=_tensors(root, "calibration.safetensors", content),
            evaluation=_decode(root, "evaluation.json", content, dict[str, Any]),
            run=_decode(root, "run.json", content, dict[str, Any]),
            path=root,
        )

    def card(self) -> str:
        """A model card: what the model is, what it was trained on, how well it does."""
        config = self.architecture.config
        sizes = ", ".join(f"{name} {value}" for name, value in sorted(config.items()))
        lines = ["# Model card", "", f"Made with vaekit {__version__}.", "", "## Model", "", f"- architecture: {sizes}"]
        lines += [
            f"- parameters: {sum(v.size for v in self.weights.values()):,}",
            f"- contract: `{self.contract.hash}`",
        ]
        lines += ["", "## Data", ""] + [f"- {k}: {v}" for k, v in sorted(self.run.get("data", {}).items())]
        lines += ["", "## Held-out figures", ""]
        lines += [f"- {k}: {v:,.4g}" for k, v in sorted(self.evaluation.items()) if isinstance(v, int | float)]
        lines += ["", "## Fields", "", "```", str(self.contract), "```", ""]
        return "\n".join(lines)


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=1)


def _manifest(root: Path) -> Manifest:
    path = root / _MANIFEST
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); is {root} a bundle?") from error
    try:
        plain = msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: not readable as JSON ({error}); the file is truncated or altered") from error
    version = plain.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise BundleError(
            f"{path}: bundle format {version} is newer than this release of vaekit reads ({FORMAT}); upgrade vaekit"
        )
    if plain.get("seal") != _seal(plain):
        raise BundleError(f"{path}: its seal does not match; the file was altered after the bundle was written")
    manifest: Manifest = _decode(root, _MANIFEST, {_MANIFEST: content}, Manifest)
    return manifest


def _seal(manifest: dict[str, Any]) -> str:
    """Hash of a manifest without its seal."""
    return sha256(msgspec.json.encode({k: v for k, v in manifest.items() if k != "seal"}, order="sorted"))


def _decode(root: Path, name: str, content: dict[str, bytes], kind: Any) -> Any:
    try:
        return msgspec.json.decode(content.get(name, b"{}"), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{root / name}: {error}; the file was altered or written by another release") from error


def _tensors(root: Path, name: str, content: dict[str, bytes]) -> dict[str, Array]:
    if name not in content:
        return {}
    try:
        return load_tensors(content[name])
    except SafetensorError as error:
        raise BundleError(f"{root / name}: not readable as safetensors ({error})") from error
