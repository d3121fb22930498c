"""Models of the literature by name: each is a composition of parts, and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec

from vaekit.errors import ConfigError
from vaekit.fields.contract import Contract

__all__ = ["RECIPES", "Recipe", "recipe"]


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """One composition.

    Args:
        source: Where it comes from.
        model: Options of `ModelConfig`.
        training: Options of `TrainConfig`.
        numbers: Changes to number and vector fields with a normal likelihood.
    """

    source: str
    model: dict[str, Any] = {}
    training: dict[str, Any] = {}
    numbers: dict[str, Any] = {}

    def prepare(self, contract: Contract) -> Contract:
        """The contract with the changes that the recipe makes to fields that are set up by default."""
        for name in contract.names("model") if self.numbers else ():
            one: Any = contract[name]
            if getattr(one, "likelihood", "") == "gaussian" and not one.options:
                editable = {key: value for key, value in self.numbers.items() if key in type(one).editable}
                contract = contract.replace(name, **editable)
        return contract


_POINT = {"name": "fixed", "std": 0.01}

RECIPES: dict[str, Recipe] = {
    "vae": Recipe(source="Kingma & Welling 2014; Rezende, Mohamed & Wierstra 2014"),
    "beta-vae": Recipe(source="Higgins et al. 2017", training={"beta": 4.0}),
    "capacity": Recipe(
        source="Burgess et al. 2018",
        training={"objective": {"name": "capacity", "capacity": 10.0, "gamma": 10.0}, "warmup": 0.5},
    ),
    "beta-tcvae": Recipe(source="Chen et al. 2018", training={"terms": {"total_correlation": {"weight": 5.0}}}),
    "factor-vae": Recipe(source="Kim & Mnih 2018", training={"terms": {"density_ratio": {"weight": 5.0}}}),
    "dip-vae-1": Recipe(
        source="Kumar et al. 2018", training={"terms": {"dip": {"kind": 1, "off": 10.0, "diag": 100.0}}}
    ),
    "dip-vae-2": Recipe(
        source="Kumar et al. 2018", training={"terms": {"dip": {"kind": 2, "off": 10.0, "diag": 10.0}}}
    ),
    "infovae": Recipe(source="Zhao, Song & Ermon 2019", training={"beta": 0.1, "terms": {"mmd": {"weight": 100.0}}}),
    "wae": Recipe(
        source="Tolstikhin et al. 2018",
        model={"posterior": _POINT},
        training={"beta": 0.0, "warmup": 0.0, "terms": {"mmd": {"weight": 100.0}}},
    ),
    "vae-gan": Recipe(
        source="Larsen et al. 2016",
        training={"terms": {"adversarial": {"weight": 0.1, "features": 1.0}}, "choose": False},
    ),
    "iwae": Recipe(source="Burda et al. 2016", training={"objective": "iwae", "samples": 8}),
    "dreg": Recipe(source="Tucker et al. 2019", training={"objective": "dreg", "samples": 8}),
    "stl": Recipe(source="Roeder, Wu & Duvenaud 2017", training={"objective": "stl", "samples": 1}),
    "mixture-prior": Recipe(source="Dilokthanakul et al. 2016", model={"prior": "mixture"}),
    "vampprior": Recipe(source="Tomczak & Welling 2018", model={"prior": "vamp"}),
    "flow-prior": Recipe(source="Dinh et al. 2017; Chen et al. 2017", model={"prior": "flow"}),
    "iaf": Recipe(source="Kingma et al. 2016", model={"posterior": "iaf"}),
    "full-covariance": Recipe(source="Kingma & Welling 2019, section 2.5.1", model={"posterior": "full"}),
    "ladder": Recipe(
        source="Sønderby et al. 2016; Vahdat & Kautz 2020", model={"structure": {"name": "ladder", "layers": 2}}
    ),
    "gumbel-softmax": Recipe(
        source="Jang et al. 2017; Maddison et al. 2017",
        model={"structure": {"name": "categorical", "categories": 8}},
        training={"schedules": {"latent.temperature": {"start": 1.0, "end": 0.5, "share": 0.5}}},
    ),
    "vq-vae": Recipe(
        source="van den Oord et al. 2017",
        model={"structure": {"name": "quantised", "codes": 32, "dim": 2}},
        training={"terms": {"commitment": {"weight": 0.25}}, "prior_share": 0.5},
    ),
    "sparse": Recipe(source="Tonolini et al. 2019", model={"structure": {"name": "sparse", "active": 0.2}}),
    "sigma-vae": Recipe(
        source="Rybkin et al. 2021", numbers={"options": {"scale": "optimal"}}, training={"choose": False}
    ),
    "cvae": Recipe(source="Sohn, Lee & Yan 2015", model={"prior": "conditional"}),
    "product-of-experts": Recipe(
        source="Wu & Goodman 2018", model={"structure": {"name": "experts", "rule": "product"}}
    ),
    "mixture-of-experts": Recipe(source="Shi et al. 2019", model={"structure": {"name": "experts", "rule": "mixture"}}),
    "autoencoder": Recipe(
        source="Hinton & Salakhutdinov 2006; density afterwards: Ghosh et al. 2020",
        model={"posterior": _POINT, "prior": "flow"},
        training={"beta": 0.0, "warmup": 0.0, "prior_share": 0.5},
    ),
    "ppca": Recipe(
        source="Tipping & Bishop 1999",
        model={"depth": 0, "posterior": "full"},
        numbers={"transform": "standard", "options": {"scale": "shared"}},
        training={"mask": 0.0, "warmup": 0.0, "choose": False},
    ),
}


def recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        ConfigError: If there is none.

    Example:
        >>> recipe("vampprior").model
        {'prior': 'vamp'}
    """
    if name not in RECIPES:
        raise ConfigError(f"unknown recipe {name!r}; known: {', '.join(RECIPES)}")
    return RECIPES[name]
