"""Balance: weights of fields in the loss, never in what is reported, and gone at the end of training."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.stats import entropy

import vaekit as vk
from benchmarks.lines.balance import contract_of, information, table
from vaekit.arrays import draw
from vaekit.errors import ConfigError
from vaekit.nn.build import ModelConfig, build
from vaekit.objectives import ELBO, Balance
from vaekit.training import Config, train
from vaekit.training.balance import balanced, field_weights
from vaekit.training.batches import Resident
from vaekit.training.stages import default_stages

OPTIONS = {"width": 32, "depth": 1, "latent": 6, "batch_size": 64, "threads": 1, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    rng = np.random.default_rng(0)
    h = rng.normal(size=400)
    return pa.table(
        {
            "amount": h + rng.normal(size=400),
            "rare": rng.random(400) < 0.02,
            "even": h + rng.normal(size=400) > 0,
            "many": [f"k{code}" for code in rng.integers(0, 40, 400)],
        }
    )


@pytest.fixture(scope="module")
def passed(rows):
    contract = vk.Contract.infer(rows)
    vae = build(contract.blocks(), ModelConfig(width=8, depth=1, latent=2), 0).eval()
    blocks = Resident(contract.encode(rows), torch.device("cpu")).take(slice(0, 50))
    noise = {name: torch.from_numpy(value) for name, value in draw(vae.latent.noise, 0, 3, 50).items()}
    with torch.no_grad():
        return vae(blocks, noise)


def test_the_loss_with_balance_is_the_loss_with_weighted_fields(passed):
    weights = {"category.bernoulli": [3.0, 1.5], "category.categorical": [1.0], "number.gaussian": [0.5]}
    parts = (ELBO(beta=0.7) + Balance(weights))(passed)
    log_px = {name: passed.terms.log_px[name].mean(0) for name in weights}
    expected = -sum((log_px[name] * torch.tensor(weights[name])).sum(-1) for name in weights)
    np.testing.assert_allclose(parts["reconstruction"] + parts["balance"], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(parts["reconstruction"], ELBO()(passed)["reconstruction"])  # reported in plain nats
    off = ELBO(beta=0.7) + Balance(weights)
    off.set_weight("balance", 0.0)
    assert (off(passed)["balance"] == 0).all()


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_that_are_none_are_refused(bad):
    with pytest.raises(ConfigError, match="positive"):
        Balance({"number.gaussian": [1.0, bad]})


def test_weights_are_inverse_entropies_between_one_and_four(rows):
    contract = vk.Contract.infer(rows)
    weights = field_weights(contract.blocks(), contract.encode(rows))
    share = np.mean(rows["even"].to_numpy(zero_copy_only=False))
    even = entropy([share, 1 - share])
    assert weights["category.bernoulli"] == [4.0, pytest.approx(1.0 / even, rel=0.01)]
    assert weights["category.categorical"] == weights["number.gaussian"] == [1.0]
    scaled = rows.set_column(0, "amount", pa.array(rows["amount"].to_numpy() * 1e-6))  # units change nothing
    contract = vk.Contract.infer(scaled)
    assert field_weights(contract.blocks(), contract.encode(scaled)) == weights


def test_the_second_half_fades_to_the_elbo_and_equal_fields_are_left_alone(rows):
    config = Config().override(balance="entropy", epochs=20, **OPTIONS)
    history = train(rows, vk.Contract.infer(rows), config, progress=False).history
    total = 20 * 5
    for one in history:
        done = (one["step"] - 1) / total
        assert one["weights"]["balance"] == pytest.approx(min(1.0, 2.0 * (1.0 - done)), abs=0.03)
        # validation is the true bound, whatever the weights: fields and KL add up to it
        nats = sum(one["valid"]["nats"].values())
        assert one["valid"]["elbo"] == pytest.approx(-nats - one["valid"]["kl"], rel=1e-4)
    stages = default_stages(config.training, 5)
    assert balanced(stages, {"number.gaussian": [1.0, 1.0]}, 5) == stages


def test_balance_is_an_option_that_counts(rows):
    found = {}
    wide = rows.append_column("pair", pa.FixedSizeListArray.from_arrays(pa.array(np.arange(2.0 * len(rows))), 2))
    for mode in ("none", "entropy", "size"):
        config = Config().override(balance=mode, epochs=2, **OPTIONS)
        found[mode] = train(wide, vk.Contract.infer(wide), config, progress=False).vae.state_dict()
    for mode in ("entropy", "size"):
        assert any(not torch.equal(value, found["none"][name]) for name, value in found[mode].items())


def test_rare_flags_keep_more_of_their_information_beside_a_long_tailed_category():
    train_rows, unseen = table(3_000, 0), table(1_000, 1)
    flags = {}
    for mode in ("none", "entropy"):
        sizes = {"width": 64, "depth": 2, "latent": 8, "batch_size": 64, "calibration": 0.02}
        options = {"epochs": 6, "balance": mode, "threads": 1, "progress": False, **sizes}
        model = vk.fit(train_rows, contract_of(train_rows), **options)
        found = information(model, train_rows, unseen, rows=500, samples=16)
        flags[mode] = sum(value for name, value in found.items() if name.startswith("flag"))
    assert flags["entropy"] > flags["none"] + 0.1
