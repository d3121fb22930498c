"""Training loops to compare with, on the same network, rows and batch: each runs some steps and gives the seconds."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.tools.timing import Clock
from vaekit.nn.images.conv import Residual, Up

__all__ = ["PlainConv", "PlainVAE", "floor", "jax_scan", "plain", "pythae_trainer", "resident", "tvae"]

Rows = NDArray[np.float32]
Steps = Callable[[int], float]


class PlainVAE(nn.Module):
    """What a tutorial writes: two hidden layers or one, a diagonal posterior, bits or normal readings with a scale.

    Args:
        inputs: Columns D.
        width: Hidden width H.
        latent: Latent width L.
        depth: Hidden layers of encoder and of decoder.
        likelihood: ``bernoulli`` or ``gaussian`` (mean and log-scale from the decoder).
    """

    def __init__(self, inputs: int, width: int, latent: int, depth: int = 1, likelihood: str = "bernoulli") -> None:
        super().__init__()
        outputs = inputs if likelihood == "bernoulli" else 2 * inputs
        self.likelihood = likelihood
        self.encoder = nn.Sequential(*_layers(inputs, width, depth), nn.Linear(width, 2 * latent))
        self.decoder = nn.Sequential(*_layers(latent, width, depth), nn.Linear(width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Negative ELBO, mean over rows."""
        mean, log_var = self.encoder(x).chunk(2, dim=-1)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        out = self.decoder(z)
        if self.likelihood == "bernoulli":
            fit = functional.binary_cross_entropy_with_logits(out, x, reduction="sum")
        else:
            loc, log_scale = out.chunk(2, dim=-1)
            fit = (0.5 * ((x - loc) * torch.exp(-log_scale)).square() + log_scale).sum()
        return (fit - 0.5 * (1 + log_var - mean.square() - log_var.exp()).sum()) / len(x)


class PlainConv(PlainVAE):
    """The same around a convolutional network: the very blocks of ours, images of 28 x 28 bits.

    Args:
        channels: Channels at the full size.
        width: Hidden width H between maps and posterior.
        latent: Latent width L.
    """

    def __init__(self, channels: int, width: int, latent: int) -> None:
        super().__init__(1, 1, 1)
        one, two, four = channels, 2 * channels, 4 * channels
        self.encoder = nn.Sequential(
            nn.Unflatten(1, (1, 28, 28)), nn.Conv2d(1, one, 3, padding=1), Residual(one),
            nn.Conv2d(one, two, 3, stride=2, padding=1), Residual(two),
            nn.Conv2d(two, four, 3, stride=2, padding=1), Residual(four),
            nn.SiLU(), nn.Flatten(), nn.Linear(49 * four, width), nn.SiLU(), nn.Linear(width, 2 * latent),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(latent, width), nn.SiLU(), nn.Linear(width, 49 * four), nn.Unflatten(1, (four, 7, 7)),
            Residual(four), Up(four, two, (14, 14)), Residual(two), Up(two, one, (28, 28)), Residual(one),
            nn.SiLU(), nn.Conv2d(one, 1, 3, padding=1), nn.Flatten(),
        )  # fmt: skip


def _layers(inputs: int, width: int, depth: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [nn.Linear(inputs if index == 0 else width, width), nn.ReLU()]
    return layers


def plain(rows: Rows, batch: int, model: nn.Module, clock: Clock) -> Steps:
    """A PyTorch loop over a shuffling DataLoader, no workers, Adam."""
    data = torch.utils.data.TensorDataset(torch.from_numpy(rows))
    loader = torch.utils.data.DataLoader(data, batch_size=batch, shuffle=True, drop_last=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def steps(count: int) -> float:
        done, began = 0, clock()
        while done < count:
            for (x,) in loader:
                _update(model, optimizer, x)
                done += 1
                if done == count:
                    break
        return clock() - began

    return steps


def resident(rows: Rows, batch: int, model: nn.Module, clock: Clock) -> Steps:
    """The leanest eager loop: rows in one tensor, batches by index, fused Adam, no loss read back."""
    data = torch.from_numpy(rows)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def steps(count: int) -> float:
        began = clock()
        order = torch.randperm(len(data))
        for index in range(count):
            start = index * batch % (len(data) - batch + 1)
            x = data.index_select(0, order[start : start + batch])
            optimizer.zero_grad(set_to_none=True)
            model(x).backward()
            optimizer.step()
        return clock() - began

    return steps


def _update(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> float:
    optimizer.zero_grad()
    loss = model(x)
    loss.backward()
    optimizer.step()
    return loss.item()


def pythae_trainer(rows: Rows, batch: int, width: int, latent: int, steps_per_round: int, clock: Clock) -> Steps:
    """pythae's BaseTrainer on its own VAE with an encoder and a decoder of the same sizes; one epoch is one round."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.Sequential(nn.Linear(rows.shape[1], width), nn.ReLU())
            self.mean, self.log_var = nn.Linear(width, latent), nn.Linear(width, latent)

        def forward(self, x: Tensor) -> Any:
            h = self.hidden(x)
            return ModelOutput(embedding=self.mean(h), log_covariance=self.log_var(h))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, rows.shape[1]), nn.Sigmoid()
            )

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.layers(z))

    logging.disable(logging.INFO)
    taken = np.resize(np.arange(len(rows)), steps_per_round * batch)
    data = BaseDataset(torch.from_numpy(rows[taken]), torch.zeros(len(taken)))
    config = VAEConfig(input_dim=(rows.shape[1],), latent_dim=latent, reconstruction_loss="bce")
    folder = tempfile.TemporaryDirectory()
    settings = BaseTrainerConfig(
        output_dir=folder.name, num_epochs=1, learning_rate=1e-3, no_cuda=True, per_device_train_batch_size=batch
    )
    with contextlib.redirect_stderr(io.StringIO()):
        trainer = BaseTrainer(VAE(config, encoder=Encoder(), decoder=Decoder()), data, training_config=settings)
        trainer.prepare_training()

    def steps(count: int) -> float:
        if count != steps_per_round:
            raise ValueError(f"an epoch has {steps_per_round} steps, {count} were asked for")
        folder.name  # noqa: B018 (keeps the folder alive as long as the loop)
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            began = clock()
            trainer.train_step(1)
            return clock() - began

    return steps


def jax_scan(rows: Rows, batch: int, width: int, latent: int, clock: Clock) -> Steps:
    """JAX: one jitted scan over the batches of a round, Adam written out, shuffled by a permutation drawn inside."""
    import jax
    from jax import numpy as jnp

    sizes = {"a": (rows.shape[1], width), "b": (width, 2 * latent), "c": (latent, width), "d": (width, rows.shape[1])}
    keys = jax.random.split(jax.random.key(0), len(sizes))
    params = {
        name: (jax.random.normal(key, size) / size[0] ** 0.5, jnp.zeros(size[1]))
        for key, (name, size) in zip(keys, sizes.items(), strict=True)
    }
    zeros = jax.tree.map(jnp.zeros_like, params)
    data = jnp.asarray(rows)

    def loss(p: Any, x: Any, key: Any) -> Any:
        h = jax.nn.relu(x @ p["a"][0] + p["a"][1])
        mean, log_var = jnp.split(h @ p["b"][0] + p["b"][1], 2, axis=-1)
        z = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape)
        logits = jax.nn.relu(z @ p["c"][0] + p["c"][1]) @ p["d"][0] + p["d"][1]
        fit = (jax.nn.softplus(logits) - x * logits).sum()
        return (fit - 0.5 * (1 + log_var - mean**2 - jnp.exp(log_var)).sum()) / x.shape[0]

    def step(carry: Any, batch_of: Any) -> Any:
        p, m, v, t = carry
        rows_of, key = batch_of
        value, g = jax.value_and_grad(loss)(p, data[rows_of], key)
        m = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, m, g)
        v = jax.tree.map(lambda a, b: 0.999 * a + 0.001 * b * b, v, g)
        t = t + 1
        rate = 1e-3 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        p = jax.tree.map(lambda w, a, b: w - rate * a / (jnp.sqrt(b) + 1e-8), p, m, v)
        return (p, m, v, t), value

    def many(carry: Any, key: Any, count: int) -> Any:
        order, noise = jax.random.split(key)
        chosen = jax.random.permutation(order, len(data))[jnp.arange(count * batch) % len(data)].reshape(count, batch)
        return jax.lax.scan(step, carry, (chosen, jax.random.split(noise, count)))

    run = jax.jit(many, static_argnames="count", donate_argnums=0)
    state = {"carry": (params, zeros, jax.tree.map(jnp.copy, zeros), jnp.zeros(())), "key": jax.random.key(1)}

    def steps(count: int) -> float:
        state["key"], key = jax.random.split(state["key"])
        began = clock()
        state["carry"], losses = run(state["carry"], key, count)
        losses.block_until_ready()
        return clock() - began

    return steps


def tvae(table: pa.Table, discrete: list[str], batch: int, clock: Clock) -> Steps:
    """CTGAN's TVAE: its transformer (fitted once, outside of the clock), networks, loss and loop, as in its `fit`."""
    from ctgan.data_transformer import DataTransformer
    from ctgan.synthesizers import tvae as theirs

    frame = table.to_pandas()
    transformer = DataTransformer()
    transformer.fit(frame, discrete)
    values = transformer.transform(frame).astype("float32")
    data = torch.utils.data.TensorDataset(torch.from_numpy(values))
    loader = torch.utils.data.DataLoader(data, batch_size=batch, shuffle=True, drop_last=True)
    encoder = theirs.Encoder(values.shape[1], (128, 128), 128)
    decoder = theirs.Decoder(128, (128, 128), values.shape[1])
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], weight_decay=1e-5)

    def update(real: Tensor) -> float:
        optimizer.zero_grad()
        mean, std, log_var = encoder(real)
        out, sigmas = decoder(torch.randn_like(std) * std + mean)
        losses = theirs._loss_function(out, real, sigmas, mean, log_var, transformer.output_info_list, 2)
        loss = losses[0] + losses[1]
        loss.backward()
        optimizer.step()
        decoder.sigma.data.clamp_(0.01, 1.0)
        return float(loss.detach().cpu().item())

    def steps(count: int) -> float:
        done, began = 0, clock()
        while done < count:
            for (real,) in loader:
                update(real)
                done += 1
                if done == count:
                    break
        return clock() - began

    return steps


def floor(batch: int, sizes: list[tuple[int, int]], clock: Clock, kind: torch.dtype = torch.float32) -> Steps:
    """The bare matrix products of a step: forward, weight gradients, and input gradients but for the first layer.

    Args:
        batch: Rows.
        sizes: Inputs and outputs of each linear layer.
        clock: What measures.
        kind: What is multiplied.
    """
    products: list[tuple[Tensor, Tensor, Tensor]] = []
    for index, (inputs, outputs) in enumerate(sizes):
        x, w, g = (torch.randn(size).to(kind) for size in ((batch, inputs), (inputs, outputs), (batch, outputs)))
        products += [(x, w, torch.empty_like(g)), (x.T, g, torch.empty_like(w))]
        if index:
            products.append((g, w.T, torch.empty_like(x)))

    def steps(count: int) -> float:
        began = clock()
        for _ in range(count):
            for a, b, out in products:
                torch.mm(a, b, out=out)
        return clock() - began

    return steps
