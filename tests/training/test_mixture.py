"""What a mixture likelihood is for: modes that the rest of the row does not tell apart."""

from __future__ import annotations

import numpy as np
import pytest

import vaekit as vk

MODES, WIDTH, FIELDS = np.array([-3.0, 0.0, 4.0]), 0.25, 5


def table(rows: int, seed: int) -> dict[str, np.ndarray]:
    """Five numbers: each sits near one of three modes, drawn by itself, and all are shifted by a visible group."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 2, rows)
    mode = MODES[rng.integers(0, 3, (rows, FIELDS))]
    values = mode + 1.3 * group[:, None] + WIDTH * rng.normal(size=(rows, FIELDS))
    return {"group": np.array(["u", "v"])[group]} | {f"x{i}": values[:, i] for i in range(FIELDS)}


ENTROPY = FIELDS * (np.log(3.0) + 0.5 * np.log(2.0 * np.pi * np.e) + np.log(WIDTH))  # given the group


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], float]:
    """Mean score of unseen rows given the group, in nats, by likelihood and transform."""
    rows, unseen = table(2500, 0), table(2000, 1)
    scores = {}
    for name, transform in (("gaussian", "quantile"), ("gaussian", "standard"), ("mixture", "standard")):
        contract = vk.Contract.infer(rows).replace("group", role="condition")
        for i in range(FIELDS):
            contract = contract.replace(f"x{i}", likelihood=name, transform=transform)
        model = vk.fit(rows, contract, epochs=40, width=32, depth=1, latent=2, threads=1, progress=False)
        scores[name, transform] = model.score(unseen, samples=32)["score"].to_numpy().mean()
    return scores


def test_a_mixture_reaches_the_entropy_of_several_modes(found):
    assert found["mixture", "standard"] < ENTROPY + 0.35


def test_a_single_mode_does_not(found):
    assert found["gaussian", "standard"] > found["mixture", "standard"] + 1.0
    assert found["gaussian", "quantile"] > found["mixture", "standard"] + 0.5
