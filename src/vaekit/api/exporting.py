"""From weights to graphs: what a model needs before its bundle can answer without torch."""

from __future__ import annotations

import dataclasses

import msgspec

from vaekit.bundle import Bundle

__all__ = ["with_graphs"]


def with_graphs(bundle: Bundle) -> Bundle:
    """The bundle with its graph primitives exported; needs torch."""
    from vaekit.bundle.export import export
    from vaekit.runtime.torch_backend import TorchBackend

    exported = export(TorchBackend.from_bundle(bundle).vae)
    signatures = {name: signature for name, (_, signature) in exported.items()}
    return dataclasses.replace(
        bundle,
        architecture=msgspec.structs.replace(bundle.architecture, graphs=signatures),
        graphs={name: content for name, (content, _) in exported.items()},
    )
