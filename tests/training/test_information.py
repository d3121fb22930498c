"""Figures by which a collapse shows: exact where they are known, and a verdict that follows what was built in."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import torch

import vaekit as vk
from tests.linear import SPEC, block, make, make_world
from tests.nn.test_latents import CASES, blocks, model, noise
from vaekit.errors import ConfigError
from vaekit.training import load_config, train
from vaekit.training.information import latent_figures

L = 2


@pytest.mark.parametrize("case", [case for case in CASES if case != "spatial"])
def test_densities_of_foreign_draws_are_those_of_own_draws(case):
    vae = model(case)
    rows = blocks(6)
    with torch.no_grad():
        h, condition = vae.encoder(rows), vae.conditioning(rows)
        groups = vae.latent(h, condition, noise(vae, 3, 6))
        again = vae.latent.log_q(h, condition, {group.name: group.z for group in groups})
        moved = vae.latent.log_q(h, condition, {group.name: group.z.flip(1) for group in groups})
    np.testing.assert_allclose(again, sum(group.log_q for group in groups), rtol=1e-8, atol=1e-8)
    assert not np.allclose(again, moved)


def test_maps_know_their_own_draws_only():
    vae, rows = model("spatial"), blocks(6)
    with torch.no_grad():
        groups = vae.latent(vae.encoder(rows), vae.conditioning(rows), noise(vae, 3, 6))
        with pytest.raises(ConfigError, match="own draws only"):
            vae.latent.log_q(vae.encoder(rows), None, {group.name: group.z for group in groups})
    found = latent_figures(vae, rows, 0)
    assert found["information"] is None
    assert set(found["kl"]) == set(vae.latent.groups)


def test_information_and_gap_of_a_linear_model_are_the_known_values():
    """The aggregate posterior of the exact posterior is the prior, and I(x; z) = ½ Σ log (1 + w_i² / σ²)."""
    world = make_world()
    vae, rows = make(world), 3000
    rng = np.random.default_rng(1)
    sigma = SPEC.options["sigma"]
    x = rng.normal(size=(rows, L)) @ world.weight.numpy().T + world.bias.numpy() + sigma * rng.normal(size=(rows, 5))
    found = latent_figures(vae, block(torch.tensor(x)), 0)
    exact = 0.5 * np.log1p((world.weight.numpy() ** 2).sum(0) / sigma**2).sum()
    assert found["information"] == pytest.approx(exact, abs=0.06)
    assert found["kl"]["z"] == pytest.approx(exact, abs=0.06)
    assert abs(found["aggregate_gap"]) < 0.06
    assert (found["active_units"], found["units"], found["verdict"]) == (2, 2, "ok")
    with torch.no_grad():
        vae.latent.shift += 3.0  # codes are where the prior is not
    moved = latent_figures(vae, block(torch.tensor(x)), 0)
    assert moved["information"] == pytest.approx(found["information"], abs=1e-6)
    assert moved["aggregate_gap"] == pytest.approx(found["aggregate_gap"] + 9.0, abs=0.2)  # ½ · 3² · 2
    with torch.no_grad():
        vae.latent.gain.zero_()
        vae.latent.shift.zero_()
        vae.latent.log_std.zero_()
    dead = latent_figures(vae, block(torch.tensor(x[:200])), 0)
    assert (dead["active_units"], dead["verdict"]) == (0, "collapsed")
    assert dead["information"] == pytest.approx(0.0, abs=1e-6)
    assert dead["information_most"] == pytest.approx(math.log(200))


def fitted(**options):
    rng = np.random.default_rng(0)
    z = rng.normal(size=600)
    table = pa.table({f"x{i}": z + 0.3 * rng.normal(size=600) for i in range(4)})
    config = load_config(None, options.pop("recipe", None)).override(
        **{"epochs": 12, "batch_size": 32, "width": 16, "depth": 1, "latent": 2, "learning_rate": 0.02, "threads": 1}
        | options
    )
    return train(table, vk.Contract.infer(table), config, progress=False)


def test_every_validation_tells_what_the_latent_space_tells():
    history = fitted().history
    assert {one["valid"]["latent"]["verdict"] for one in history[-2:]} <= {"ok", "partial"}
    last = history[-1]["valid"]["latent"]
    assert last["kl"]["z"] > 0.5
    assert 0.5 < last["information"] < last["information_most"]
    assert fitted(beta=50.0, warmup=0.0).history[-1]["valid"]["latent"]["verdict"] == "collapsed"
    flow = fitted(posterior="iaf", epochs=1).history[-1]["valid"]["latent"]
    assert flow["information"] is flow["aggregate_gap"] is None
