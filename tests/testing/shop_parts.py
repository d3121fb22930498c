"""Parts that a user could have written: some that keep their contracts, and some that break them."""

import math

import torch
from torch import nn

from vaekit.nn.likelihoods.gaussian import Gaussian
from vaekit.nn.posteriors import Diagonal, DiagonalNormal
from vaekit.nn.priors import Prior
from vaekit.nn.stems import Stems
from vaekit.objectives import Objective


class Shifted(Prior):
    """N(shift, 1)."""

    def __init__(self, size, around=None, posterior=None, *, shift=0.5):
        super().__init__(size)
        self.shift = nn.Parameter(torch.full((size,), float(shift)))

    def log_prob(self, z, condition=None):
        return (-0.5 * (z - self.shift).square() - 0.5 * math.log(2 * math.pi)).sum(-1)

    def sample(self, noise, condition=None):
        return noise[""] + self.shift


class Unnormalised(Shifted):
    """Forgets its constant."""

    def log_prob(self, z, condition=None):
        return -0.5 * (z - self.shift).square().sum(-1)


class Elsewhere(Shifted):
    """Draws from another place than its density says."""

    def sample(self, noise, condition=None):
        return noise[""] - self.shift


class Slanted(Diagonal):
    """Twice the scale, but not in the log-density of its draws."""

    def forward(self, h):
        q = super().forward(h)

        class Wrong(DiagonalNormal):
            def rsample(self, noise):
                return super().rsample(2.0 * noise)[0], super().rsample(noise)[1]

        return Wrong(q.mean, q.log_std)


class Wide(Gaussian):
    """A hidden layer before the parameters."""

    def __init__(self, spec, width):
        super().__init__(spec, width)
        self.head = nn.Sequential(nn.Linear(width, 16), nn.SiLU(), nn.Linear(16, self.outputs(spec)))


class Doubled(Gaussian):
    """Counts every nat twice."""

    def log_prob(self, params, values, half=None):
        return 2.0 * super().log_prob(params, values, half)


class Shallow(nn.Module):
    """An encoder of one activation."""

    def __init__(self, specs, config, *, slope=0.1):
        super().__init__()
        self.stems, self.slope = Stems(specs, config.width), slope

    def forward(self, blocks):
        return nn.functional.leaky_relu(self.stems(blocks), self.slope)


class Restless(Shallow):
    """Never gives the same answer twice."""

    def forward(self, blocks):
        h = super().forward(blocks)
        return h + torch.randn_like(h)


class Straight(nn.Module):
    """A linear decoder."""

    def __init__(self, groups, config):
        super().__init__()
        self.linear = nn.Linear(sum(groups.values()), config.width)

    def forward(self, z, condition):
        h = self.linear(torch.cat(list(z.values()), -1))
        return h if condition is None else h + condition


class Pull(Objective):
    """Holds codes close to the middle."""

    weights = ("pull",)

    def __init__(self, *, pull=0.1):
        super().__init__()
        self.pull = pull

    def forward(self, passed):
        return {"pull": self.pull * sum(group.z.square().sum(-1).mean(0) for group in passed.groups.values())}


class Flattened(Pull):
    """One value for all rows."""

    def forward(self, passed):
        return {name: term.mean() for name, term in super().forward(passed).items()}
