"""Plans of sweeps: what no configuration has is refused by name before anything is trained."""

from __future__ import annotations

import pytest

from vaekit.errors import ConfigError
from vaekit.sweeps.plan import load_plan
from vaekit.sweeps.space import check, settings

MIXTURE = {"name": "mixture", "components": {"low": 2, "high": 8}}


class Script:
    """Chooses by name, and remembers what it was asked."""

    def __init__(self, **wanted):
        self.wanted, self.asked = wanted, {}

    def suggest_categorical(self, name, choices):
        self.asked[name] = list(choices)
        return self.wanted[name]

    def suggest_int(self, name, low, high, *, step=1, log=False):
        self.asked[name] = (int, low, high, step, log)
        return self.wanted[name]

    def suggest_float(self, name, low, high, *, step=None, log=False):
        self.asked[name] = (float, low, high, step, log)
        return self.wanted[name]


def test_choices_ranges_and_options_of_parts_become_one_configuration():
    space = {
        "recipe": ["vae", "iwae"],
        "model": {"prior": ["standard", MIXTURE], "latent": {"low": 2, "high": 32, "log": True}, "depth": 1},
        "training": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
    }
    base = {"seed": 3, "model": {"width": 8, "prior": "flow"}, "training": {"epochs": 2}}
    wanted = {"recipe": "iwae", "model.prior": "mixture", "model.prior[mixture].components": 5, "model.latent": 4}
    script = Script(**wanted, **{"training.learning_rate": 1e-3})
    assert settings(script, space, base) == {
        "seed": 3,
        "recipe": "iwae",
        "model": {"width": 8, "prior": {"name": "mixture", "components": 5}, "latent": 4, "depth": 1},
        "training": {"epochs": 2, "learning_rate": 1e-3},
    }
    assert script.asked["model.prior"] == ["standard", "mixture"]
    assert script.asked["model.latent"] == (int, 2, 32, 1, True)
    assert script.asked["training.learning_rate"] == (float, 1e-4, 1e-2, None, True)
    other = Script(**{**wanted, "model.prior": "standard", "training.learning_rate": 1e-3})
    settings(other, space, base)
    assert "model.prior[mixture].components" not in other.asked  # it hangs on its part


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"training": {"beeta": [1.0]}}, r"space.training.beeta: there is no such setting; did you mean training.beta"),
        ({"latent": [2, 4]}, "space.latent: there is no such setting; did you mean model.latent"),
        ({"model": {"prior": ["standard", "florw"]}}, "space.model.prior = 'florw': unknown prior 'florw'"),
        ({"model": {"prior": [{"name": "mixture", "parts": [2]}]}}, "no option parts; it has: components"),
        ({"recipe": ["vae", "vea"]}, "space.recipe = 'vea': unknown recipe 'vea'"),
        ({"seed": [0, 1]}, "space.seed: cannot be tried: all trials have to be judged on the same rows"),
        ({"training": {"valid": [0.1, 0.2]}}, "space.training.valid: cannot be tried"),
        ({"training": {"mask": {"low": 0.0, "high": 1.5}}}, "space.training.mask = 1.5: mask is a share"),
        ({"training": {"beta": {"low": 2.0, "high": 1.0}}}, "a range needs numbers low < high"),
        ({"training": {"beta": {"low": 0.0, "high": 1.0, "log": True}}}, "with log, low must be above 0"),
        ({"training": {"beta": {"low": 0.0, "high": 1.0, "steps": 3}}}, "not steps"),
        ({"training": {"beta": []}}, "needs at least one value"),
        ({"training": {"beta": [1.0, 1.0]}}, "names a choice twice"),
        ({"training": {"beta": 2.0}}, "no choice and no range"),
        ({"model": ["flow"]}, "space.model: is a table of settings"),
        ({}, "space is empty"),
    ],
)
def test_what_cannot_be_tried_is_refused_by_name(space, message):
    with pytest.raises(ConfigError, match=message):
        check(space, {})


def test_choices_that_are_legal_only_together_are_taken():
    check({"training": {"objective": ["elbo", "iwae"], "samples": [1, 8]}}, {"model": {"latent": 2}})
    with pytest.raises(ConfigError, match=r"space.training.objective = 'iwae'.*samples"):
        check({"training": {"objective": ["elbo", "iwae"], "samples": [1]}}, {})


def test_settings_of_a_plan_are_checked(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text('trials = 3\nobjectives = ["nats", "size"]\n[space.training]\nbeta = [0.5, 1.0]\n')
    plan = load_plan(path, workers=2)
    assert (plan.trials, plan.workers, plan.objectives, plan.prunes) == (3, 2, ("nats", "size"), "none")
    for text, message in (
        ("trails = 3\n[space]\n", "trails"),
        ("trials = 0\n[space]\n", "at least 1"),
        ('objectives = ["nats", "speed"]\n[space]\n', "speed"),
        ('objectives = ["nats", "nats"]\n[space]\n', "once each"),
        ('objectives = ["size"]\npruner = "median"\n[space]\n', "ends trials by their nats"),
        ("trials = 3\n", "space"),
        ("not toml", "TOML"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_plan(path)
