"""Models of the literature by name: each trains, resumes and answers, and what makes no sense is refused by name."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA

import vaekit as vk
from tests.support import MODELS, contract_of
from vaekit.errors import ConfigError
from vaekit.fields.tables import to_arrow
from vaekit.nn.parts import named
from vaekit.training import load_config, train
from vaekit.training.loop import Loop
from vaekit.training.losses import Ramp
from vaekit.training.pruning import prune
from vaekit.training.recipes import RECIPES
from vaekit.training.step import Step

BASE = {"epochs": 2, "width": 16, "depth": 2, "latent": 2, "batch_size": 32}


@pytest.fixture(scope="module")
def table() -> pa.Table:
    frame = load_wine(as_frame=True).frame.iloc[:, [0, 1, 4, 12, 13]].copy()
    frame["target"] = frame["target"].map({0: "a", 1: "b", 2: "c"})
    return to_arrow(frame)


@pytest.fixture(scope="module")
def contract(table) -> vk.Contract:
    return vk.Contract.infer(table).replace("target", role="condition")


def run(table, contract, recipe=None, out=None, resume=False, **options):
    config = load_config(None, recipe).override(**({n: v for n, v in BASE.items() if n not in options} | options))
    return train(table, contract, config, out=out, resume=resume, progress=False)


def weights(trained) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy().copy() for name, value in trained.vae.state_dict().items()}


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def options_of(recipe: str) -> dict:
    return {"depth": None} if recipe == "ppca" else {}


# -------------------------------------------------------------------------------------------------- over the registry


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_what_is_trained_and_answers_every_query(table, contract, name):
    model = vk.fit(table, contract, recipe=name, progress=False, threads=1, **(BASE | options_of(name)))
    made, recipe = model.bundle.architecture.config, RECIPES[name]
    assert all(made[option] == value for option, value in recipe.model.items())
    trained = model.bundle.run["config"]["training"]
    for option in ("objective", "terms", "beta", "samples", "prior_share", "mask"):
        if option in recipe.training:
            assert trained[option] == recipe.training[option]
    rows = table.slice(0, 20)
    holes = rows.set_column(0, "alcohol", pa.nulls(20, pa.float64()))
    score = model.score(rows, attribution=True)
    assert np.isfinite(score["score"].to_numpy()).all()
    assert model.score(rows.slice(3, 1))["score"][0].as_py() == pytest.approx(score["score"][3].as_py(), rel=1e-4)
    assert (
        model.detect(rows, alpha=0.2).num_rows == model.denoise(rows).num_rows == model.reconstruct(rows).num_rows == 20
    )
    assert model.impute(holes, draws=2)["alcohol"].null_count == 0
    drawn = model.sample(200, given={"target": "a"}, seed=1)
    assert drawn.equals(model.sample(200, given={"target": "a"}, seed=1))
    assert len(np.unique(drawn["alcohol"].to_numpy())) > 20
    assert model.interpolate(rows.slice(0, 2), rows.slice(2, 2), steps=3).num_rows == 6
    assert model.traverse(0, at=rows.slice(0, 1), steps=3).num_rows == 3
    assert np.isfinite(np.stack(model.embed(rows)["embedding"].to_pylist())).all()


@pytest.mark.parametrize("name", sorted(RECIPES.keys() - {"vae"}))
def test_a_recipe_is_another_model_than_the_plain_one(table, contract, name):
    assert not same(weights(run(table, contract, "vae")), weights(run(table, contract, name, **options_of(name))))


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("name", "at"), [("factor-vae", 6), ("vae-gan", 7), ("vq-vae", 9), ("vq-vae", 17), ("dreg", 5)]
)
def test_a_killed_run_resumes_to_the_same_bits_critics_and_codebooks_included(
    table, contract, tmp_path, monkeypatch, name, at
):
    whole = run(table, contract, name, out=tmp_path / "whole", epochs=3)
    original, calls = Step.__call__, []

    def dying(self, *args):
        calls.append(1)
        if len(calls) == at:
            raise Killed
        return original(self, *args)

    monkeypatch.setattr(Step, "__call__", dying)
    with pytest.raises(Killed):
        run(table, contract, name, out=tmp_path / "cut", epochs=3)
    monkeypatch.setattr(Step, "__call__", original)
    resumed = run(table, contract, name, out=tmp_path / "cut", resume=True, epochs=3)
    assert same(weights(whole), weights(resumed))
    assert [h["train"] for h in whole.history] == [h["train"] for h in resumed.history]


# ------------------------------------------------------------------------------------------------------------- options

CHANGES = [
    {"prior": "mixture"}, {"prior": {"name": "mixture", "components": 3}}, {"posterior": "full"},
    {"posterior": {"name": "fixed", "std": 0.3}}, {"structure": {"name": "ladder", "layers": 3}},
    {"objective": "stl"}, {"objective": {"name": "elbo", "groups": {"z": 0.3}}},
    {"terms": {"dip": {"kind": 2}}}, {"terms": {"dip": {"off": 3.0}}}, {"terms": {"dip": {"off": 7.0}}},
    {"terms": {"mmd": {"weight": 3.0}}}, {"terms": {"total_correlation": {"weight": 2.0}}},
    {"schedules": {"beta": {"kind": "cyclical"}}}, {"schedules": {"beta": {"kind": "cyclical", "cycles": 2}}},
    {"schedules": {"beta": {"kind": "sigmoid", "share": 0.8}}}, {"schedules": {"beta": {"share": 0.8, "after": 0.1}}},
    {"schedules": {"beta": {"share": 0.8, "start": 0.5}}}, {"schedules": {"free_bits": {"end": 2.0}}},
    {"schedules": {"beta": {"kind": "cyclical", "rise": 0.9}}},
    {"lagging": 2}, {"lagging": 3}, {"encoder_share": 0.5}, {"prior": "flow", "prior_share": 0.5},
    {"terms": {"density_ratio": {"weight": 5.0}}}, {"terms": {"density_ratio": {"weight": 5.0, "hidden": 8}}},
    {"terms": {"density_ratio": {"weight": 5.0, "learning_rate": 0.1}}}, {"terms": {"adversarial": {"features": 0.0}}},
    {"terms": {"adversarial": {}}},
]  # fmt: skip


def test_no_option_is_ignored(table, contract):
    """All changes, and the plain model, give models of their own."""
    found = [weights(run(table, contract))] + [weights(run(table, contract, **change)) for change in CHANGES]
    for i, one in enumerate(found):
        for j in range(i):
            assert not same(one, found[j]), (CHANGES[i - 1], CHANGES[j - 1] if j else "plain")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "elbow"}, "unknown objective 'elbow'; known: capacity, dreg, elbo"),
        ({"objective": {"name": "elbo", "capacity": 3.0}}, "objective 'elbo' has no option capacity; it has: groups"),
        ({"objective": "capacity", "beta": 2.0}, "weighs the KL by its gamma"),
        ({"objective": "dreg", "samples": 1}, "objective 'dreg' needs samples of at least 2"),
        ({"objective": "stl", "free_bits": 0.1}, "objective 'stl' needs .* no free bits"),
        ({"objective": "dreg", "samples": 4, "terms": {"mmd": {}}}, "leave out MMD"),
        ({"objective": "stl", "structure": "ladder"}, "needs log q as a function of z alone"),
        ({"objective": "stl", "posterior": "iaf"}, "FlowDraws knows the log-density of its own draws only"),
        (
            {"objective": "iwae", "samples": 4, "structure": {"name": "categorical", "categories": 2}},
            "enumerates its codes",
        ),
        ({"terms": {"tc": {}}}, "unknown term 'tc'; known: adversarial, commitment, density_ratio"),
        ({"terms": {"mmd": {"wait": 1.0}}}, "term 'mmd' has no option wait; it has: weight"),
        ({"terms": {"mmd": {"name": "dip"}}}, "a term is named by its key"),
        ({"terms": {"commitment": {}}}, "only structure 'quantised' has codes"),
        ({"terms": {"dip": {}}, "posterior": "full"}, "dip needs diagonal normal posteriors; .* FullNormal"),
        ({"structure": "quantised"}, "add terms={'commitment'"),
        ({"schedules": {"gamma": {}}}, "has no weight 'gamma'; it has: beta, free_bits"),
        ({"schedules": {"latent.temperature": {}}}, "Flat has no attribute 'temperature' to schedule"),
        ({"schedules": {"beta": {"kind": "linear", "cycles": 2}}}, "belong to schedules of kind cyclical"),
        ({"schedules": {"beta": {"share": 0.7, "after": 0.7}}}, "shares of one training"),
        ({"prior_share": 0.5}, "stage 'prior' trains no parameter"),
        ({"lagging": -1}, "lagging must not be negative"),
        ({"lagging": 3, "posterior": "iaf"}, "until mutual information stops rising"),
        ({"depth": 0, "dropout": 0.1}, "with depth=0 there are none"),
    ],
)
def test_combinations_that_make_no_sense_are_refused_by_name(table, contract, options, message):
    with pytest.raises(ConfigError, match=message):
        run(table, contract, **options)


def test_a_conditional_prior_needs_a_condition(table):
    with pytest.raises(ConfigError, match="at least one field of role 'condition'"):
        run(table, vk.Contract.infer(table), "cvae")


def test_adversarial_terms_take_every_likelihood_and_refuse_one_they_cannot_show(monkeypatch):
    from vaekit.objectives.shown import SHOWN

    seen = set()
    for spec in MODELS.values():
        rows = spec.rows().slice(0, 100)
        trained = run(rows, contract_of(spec), "vae-gan", epochs=1)
        seen |= {block.likelihood for block in trained.contract.blocks() if block.role == "model"}
        critic = [one["train"]["adversarial_critic"] for one in trained.history]
        assert np.isfinite(critic).all()
    assert seen == SHOWN.keys()
    monkeypatch.delitem(SHOWN, "mixture")
    with pytest.raises(ConfigError, match=r"block 'number.mixture', likelihood mixture, has none"):
        run(MODELS["cancer"].rows().slice(0, 100), contract_of(MODELS["cancer"]), "vae-gan", epochs=1)


def test_what_is_set_beside_a_recipe_comes_on_top(tmp_path):
    path = tmp_path / "vae.toml"
    path.write_text('recipe = "beta-vae"\n[training]\nepochs = 7\n')
    assert (load_config(path).training.beta, load_config(path).training.epochs) == (4.0, 7)
    path.write_text('recipe = "beta-vae"\n[training]\nbeta = 1.0\n')
    assert load_config(path).training.beta == 1.0
    assert load_config(None, "beta-vae").override(beta=2.0).training.beta == 2.0
    assert load_config(path, "beta-vae").recipe == "beta-vae"
    with pytest.raises(ConfigError, match="'beta-vae', and 'iwae' was asked for"):
        load_config(path, "iwae")
    with pytest.raises(ConfigError, match="unknown recipe 'gamma-vae'; known: vae, beta-vae"):
        load_config(None, "gamma-vae")
    with pytest.raises(ConfigError, match="has to go into the given configuration"):
        load_config(load_config(None), "iwae")


# -------------------------------------------------------------------------------------------------------------- stages


def test_lagging_steps_move_the_inference_network_alone(table, contract, monkeypatch):
    moved: list[set[str]] = []
    original = Step.descend

    def spy(self, phase, drawn):
        before = {n: p.detach().clone() for n, p in self.vae.named_parameters()}
        found = original(self, phase, drawn)
        changed = {self.vae.part_of(n) for n, p in self.vae.named_parameters() if not torch.equal(before[n], p)}
        moved.append((self.stage.name, changed))
        return found

    monkeypatch.setattr(Step, "descend", spy)
    history = run(table, contract, epochs=5, lagging=2, encoder_share=0.2, warmup=0.0).history
    first = [changed for stage, changed in moved if stage == "vae"][: 3 * 5]
    assert first[0::3] == first[1::3] == [{"inference"}] * 5
    assert first[2::3] == [{"inference", "decoder"}] * 5
    assert history[0]["train"]["ahead"] == 2.0
    assert {tuple(changed) for stage, changed in moved if stage == "encoder"} == {("inference",)}


def test_inference_runs_ahead_until_its_loss_and_mutual_information_stand_still(table, contract, monkeypatch):
    told, calls = [0.3, 0.2, 0.3, 0.1, 9.0, 9.0], []

    def stub(*_):
        calls.append(1)  # once before training, then at each of the five steps of an epoch
        return told[max(0, len(calls) - 2) // 5]

    monkeypatch.setattr("vaekit.training.information._information", stub)
    monkeypatch.setattr("vaekit.training.loop._LEAST_VALIDATIONS", 60)
    history = run(table, contract, epochs=6, lagging=200, warmup=0.0, learning_rate=0.02).history
    ahead = [one["train"]["ahead"] for one in history]
    assert len(ahead) == 30
    assert all(10 <= steps < 200 for steps in ahead[:16])  # the third look that does not beat the first is at step 16
    assert ahead[16:] == [0.0] * 14


def test_the_second_stage_of_a_quantised_model_trains_its_prior_alone(table, contract, monkeypatch):
    kept: dict[str, dict[str, torch.Tensor]] = {}
    original = Loop._load_best

    def spy(self):
        original(self)
        kept[str(len(kept))] = {n: v.clone() for n, v in self.vae.state_dict().items()}

    monkeypatch.setattr(Loop, "_load_best", spy)
    history = run(table, contract, "vq-vae", epochs=50, learning_rate=0.02, prior_share=1.0, latent=4).history
    before, after = kept["0"], kept["1"]
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("latent.code_prior.") for name in changed)  # the codebook rests
    bounds = {stage: [h["valid"]["bound"] for h in history if h["stage"] == stage] for stage in ("vae", "prior")}
    assert max(bounds["prior"]) > max(bounds["vae"]) + 0.5
    assert 1.0 <= history[-1]["valid"]["latent"]["perplexity"] <= 32.0
    assert 0.0 <= history[-1]["valid"]["latent"]["dead_codes"] < 1.0


def test_a_plain_autoencoder_learns_its_density_afterwards(table, contract):
    history = run(table, contract, "autoencoder", epochs=40, learning_rate=0.01, prior_share=1.0).history
    stages = {stage: [h["valid"] for h in history if h["stage"] == stage] for stage in ("vae", "prior")}
    assert stages["vae"][-1]["reconstruction"] > stages["vae"][0]["reconstruction"] + 0.5
    assert max(one["bound"] for one in stages["prior"]) > stages["prior"][0]["bound"] + 0.1
    assert stages["prior"][0]["reconstruction"] == pytest.approx(stages["prior"][-1]["reconstruction"], abs=1e-6)


def test_schedules_and_knobs_follow_their_ramps(table, contract):
    options = {"schedules": {"beta": {"kind": "cyclical", "cycles": 2}, "tc": {"end": 3.0}}, "epochs": 8}
    history = run(table, contract, terms={"total_correlation": {}}, **options).history
    ramps = {"beta": Ramp(kind="cyclical", cycles=2).over(40), "tc": Ramp(end=3.0).over(40)}
    for one in history:
        for name, ramp in ramps.items():
            assert one["weights"][name] == pytest.approx(ramp(one["step"] - 1))


# -------------------------------------------------------------------------------------------------------------- oracle


def test_probabilistic_pca_reaches_its_closed_form():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1200, 2)) @ rng.normal(size=(2, 5)) + 0.5 * rng.normal(size=(1200, 5))
    x = (x - x.mean(0)) / x.std(0)
    table = pa.table({f"x{i}": x[:, i] for i in range(5)})
    model = vk.fit(
        table, recipe="ppca", latent=2, width=16, epochs=60, learning_rate=0.02, patience=60, progress=False, threads=1
    )
    exact = PCA(2).fit(x).score_samples(x)
    score = -model.score(table, samples=200)["score"].to_numpy()
    assert score.mean() == pytest.approx(exact.mean(), abs=0.03)
    assert np.corrcoef(score, exact)[0, 1] > 0.99


def test_every_recipe_names_its_source_and_known_parts():
    for name, recipe in RECIPES.items():
        assert any(year.isdigit() for year in recipe.source.replace(",", " ").split()), name
        config = load_config(None, name)
        assert config.architecture(100, 5)
        assert named(config.training.objective)


def test_pruning_refuses_models_whose_hidden_units_it_does_not_know(table, contract):
    trained = run(table, contract, "vampprior")
    with pytest.raises(ConfigError, match="this model has prior 'vamp'"):
        prune(trained.vae, trained.contract.blocks(), trained.model, 0.5, None)
