"""What a bundle holds, how it is written and how it is verified when it is read."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from vaekit.arrays import Array, BlockSpec, Noise
from vaekit.bundle.lineage import lineage
from vaekit.bundle.manifest import FORMAT, MANIFEST, Manifest, Proof, decoded, encoded, read_files, read_manifest
from vaekit.errors import BundleError, ContractError
from vaekit.fields.contract import Contract
from vaekit.files import Entry, sha256, write_folder
from vaekit.version import __version__

__all__ = ["KINDS", "Architecture", "Bundle", "Signature"]

KINDS = ("onnx", "tflite")
_WEIGHTS = "weights.safetensors"


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
        version: Version of the networks' code that the weights were trained with, see `vaekit.nn.build.VERSION`.
    """

    blocks: tuple[BlockSpec, ...]
    config: dict[str, Any]
    noise: dict[str, Noise]
    groups: dict[str, int]
    graphs: dict[str, Signature] = {}
    prior_noise: dict[str, Noise] | None = None
    version: int = 1

    @property
    def noise_of_prior(self) -> dict[str, Noise]:
        """Noise that one draw from the prior consumes."""
        return self.noise if self.prior_noise is None else self.prior_noise


@dataclass(frozen=True)
class Bundle:
    """A trained model with all that answers questions about it.

    Args:
        contract: The fields with their fitted transforms.
        architecture: The shape of the model.
        weights: Parameters and buffers by name; empty where graphs answer and nobody trains on.
        graphs: Exported graphs by name; may be a subset, or empty before `save`.
        kind: What the graphs are: ``onnx``, or ``tflite`` for LiteRT.
        calibration: Sorted scores of rows that neither training nor early stopping saw, and other reference arrays.
        evaluation: Held-out figures, as plain JSON values.
        run: Configuration, environment, versions, git state and data hash of the run.
        proof: How the graphs were compared with what they stand for.
        path: Where it was loaded from.

    References:
        Safetensors: https://github.com/huggingface/safetensors. ONNX: https://onnx.ai.
    """

    contract: Contract
    architecture: Architecture
    weights: dict[str, Array]
    graphs: dict[str, bytes] = field(default_factory=dict)
    kind: str = "onnx"
    calibration: dict[str, Array] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    proof: Proof | None = None
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
            "model.json": encoded(self.architecture),
            "calibration.safetensors": save_tensors(
                {name: np.ascontiguousarray(v) for name, v in self.calibration.items()}
            ),
            "evaluation.json": encoded(self.evaluation),
            "run.json": encoded(self.run),
            "MODEL_CARD.md": self.card().encode(),
        }
        files |= {f"graphs/{name}.{self.kind}": content for name, content in self.graphs.items()}
        if self.weights:
            files[_WEIGHTS] = save_tensors({name: np.ascontiguousarray(v) for name, v in self.weights.items()})
        manifest = Manifest(
            format=FORMAT,
            vaekit=__version__,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            contract=self.contract.hash,
            data=str(self.run.get("data", {}).get("sha256", "")),
            files={name: Entry(sha256(content), len(content)) for name, content in sorted(files.items())},
            left_out=() if self.weights else (_WEIGHTS,),
            lineage=lineage(self.run),
            proof=self.proof,
        )
        write_folder(Path(path), files | {MANIFEST: encoded(manifest.sealed())}, MANIFEST)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, *, trusted: Sequence[str | Path | bytes] = ()) -> Bundle:
        """Read a bundle and verify every file against its manifest. No code of the bundle is run.

        Args:
            path: The folder.
            trusted: Public keys (PEM files, or PEM as bytes), one of which must have signed it; none: that is not
                checked.

        Returns:
            The bundle.

        Raises:
            BundleError: If a file is missing, truncated, altered or not readable, the format is newer than this
                release, or it was not signed by a trusted key.
        """
        root = Path(path)
        manifest = read_manifest(root, trusted)
        if _WEIGHTS not in {*manifest.files, *manifest.left_out}:
            raise BundleError(f"{root / MANIFEST}: lists no {_WEIGHTS}; the bundle is incomplete")
        return replace(cls.read(read_files(root, manifest), root), proof=manifest.proof)

    @classmethod
    def read(cls, files: Mapping[str, bytes], path: Path | None = None) -> Bundle:
        """A bundle from the content of its files, which someone has verified. No code of the bundle is run.

        Args:
            files: Relative name to content. Weights may be left out where graphs answer.
            path: Where they come from, for messages.

        Raises:
            BundleError: If a file that is needed is not there, or one is not readable.
        """
        root = path or Path()
        for name in ("contract.json", "model.json"):
            if name not in files:
                raise BundleError(f"{root / MANIFEST}: lists no {name}; the bundle is incomplete")
        kind = next((kind for kind in KINDS if any(name.endswith(f".{kind}") for name in files)), KINDS[0])
        try:
            contract = Contract.from_json(files["contract.json"].decode())
        except (ContractError, UnicodeDecodeError) as error:
            raise BundleError(f"{root / 'contract.json'}: {error}") from error
        return cls(
            contract=contract,
            architecture=decoded(root / "model.json", files["model.json"], Architecture),
            weights=_tensors(root, _WEIGHTS, files),
            graphs={Path(name).stem: content for name, content in files.items() if Path(name).suffix == f".{kind}"},
            kind=kind,
            calibration=_tensors(root, "calibration.safetensors", files),
            evaluation=decoded(root / "evaluation.json", files.get("evaluation.json", b"{}"), dict[str, Any]),
            run=decoded(root / "run.json", files.get("run.json", b"{}"), dict[str, Any]),
            path=path,
        )

    def card(self) -> str:
        """A model card: what the model is, what it was trained on, how well it does."""
        config = self.architecture.config
        sizes = ", ".join(f"{name} {value}" for name, value in sorted(config.items()))
        lines = ["# Model card", "", f"Made with vaekit {__version__}.", "", "## Model", "", f"- architecture: {sizes}"]
        if self.weights:
            lines.append(f"- parameters: {sum(v.size for v in self.weights.values()):,}")
        if self.proof is not None and self.proof.form != "float32":
            lines.append(f"- form: {self.proof.form}")
        lines.append(f"- contract: `{self.contract.hash}`")
        lines += ["", "## Data", ""] + [f"- {k}: {v}" for k, v in sorted(self.run.get("data", {}).items())]
        if came := lineage(self.run):
            lines += ["", "## Lineage", ""] + [f"- {name}: {value}" for name, value in came.items()]
        lines += ["", "## Held-out figures", ""]
        lines += [f"- {k}: {v:,.4g}" for k, v in sorted(self.evaluation.items()) if isinstance(v, int | float)]
        lines += ["", "## Fields", "", "```", str(self.contract), "```", ""]
        return "\n".join(lines)


def _tensors(root: Path, name: str, files: Mapping[str, bytes]) -> dict[str, Array]:
    if name not in files:
        return {}
    try:
        return load_tensors(files[name])
    except SafetensorError as error:
        raise BundleError(f"{root / name}: not readable as safetensors ({error})") from error
