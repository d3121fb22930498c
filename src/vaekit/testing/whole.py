"""A whole model with a part: shapes, gradients, rows on their own, the same answer twice, and the exported graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.arrays import BlockSpec, draw, take
from vaekit.bundle.export import export
from vaekit.nn.build import ModelConfig, build
from vaekit.nn.primitives import PRIMITIVES
from vaekit.nn.vae import VAE
from vaekit.objectives import ELBO
from vaekit.testing.rows import rows_of

__all__ = ["whole_model"]

_ROWS, _SAMPLES = 5, 3
_GRAPHS = ("prior", "score")


def whole_model(specs: Sequence[BlockSpec], config: ModelConfig, moved: str = "") -> None:
    """Build a model, and check what every model keeps.

    Args:
        specs: The blocks.
        config: The architecture.
        moved: ``encoder`` or ``decoder``: that its parameters must learn from the ELBO.

    Raises:
        AssertionError: It does not keep it.
    """
    vae = build(specs, config, seed=0).eval()
    rows = rows_of(specs, _ROWS, torch.float32)
    noise = _drawn(vae, _SAMPLES)
    passed = vae(rows, noise)
    for name, log_px in passed.terms.log_px.items():
        expected = (_SAMPLES, _ROWS, len(vae.specs[name].fields))
        assert log_px.shape == expected, f"log p(x | z) of {name!r} has shape (K, B, F), {expected}; got {log_px.shape}"
        assert bool(torch.isfinite(log_px).all()), f"log p(x | z) of {name!r} is not finite"
    terms = ELBO(samples=_SAMPLES)(passed)
    torch.stack(list(terms.values())).sum(0).mean().backward()
    still = [name for name, p in vae.named_parameters() if p.grad is None or not bool(torch.isfinite(p.grad).all())]
    lost = [name for name in still if not moved or name.startswith(moved)]
    assert not lost, f"no finite gradient of the ELBO reaches {', '.join(lost[:5])}"
    with torch.no_grad():
        again = build(specs, config, seed=0).eval()(rows, noise).terms.log_weight()
        _alike("the same seed", again, passed.terms.log_weight())
        alone = vae(take(rows, slice(1, 2)), {name: value[:, 1:2] for name, value in noise.items()}).terms.log_weight()
        _alike("a row alone", alone, passed.terms.log_weight()[:, 1:2])
    _exported(vae, rows)


def _drawn(vae: VAE, samples: int, prior: bool = False) -> dict[str, Tensor]:
    spec = vae.latent.prior_noise if prior else vae.latent.noise
    return {name: torch.from_numpy(value) for name, value in draw(spec, 0, samples, _ROWS).items()}


def _alike(what: str, found: Tensor, wanted: Tensor) -> None:
    gap = float(((found - wanted).abs() / wanted.abs().clamp(min=1.0)).max())
    assert gap < 1e-4, f"{what} gives another answer: importance weights differ by {gap:.2g} relative"


def _exported(vae: VAE, rows: dict[str, Any]) -> None:
    """The graphs answer as torch does, for other numbers of rows and samples than they were traced with."""
    import onnxruntime

    arrays = {f"{n}.{a}": v for n, block in rows.items() for a, v in block.arrays().items()}
    for name, (content, signature) in export(vae, _GRAPHS).items():
        noise = _drawn(vae, 2, prior=name == "prior")
        inputs = arrays | {f"noise.{n}": v for n, v in noise.items()}
        with torch.no_grad():
            expected = PRIMITIVES[name](vae)(inputs)
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        found = session.run(list(signature.outputs), {n: inputs[n].numpy() for n in signature.inputs})
        for output, value in zip(signature.outputs, found, strict=True):
            wanted = expected[output].numpy()
            scale = max(1.0, float(np.abs(wanted).max()))
            gap = float(np.abs(value - wanted).max()) / scale
            assert gap < 1e-3, f"graph {name!r} is not what torch computes: {output!r} differs by {gap:.2g} relative"
