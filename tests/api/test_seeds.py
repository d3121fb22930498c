"""Models of several seeds: the same rows, other models, and what the spread between them is worth."""

import json

import numpy as np
import pytest

import vaekit as vk
from tests.support import bivariate
from vaekit.api.seeds import fit_seeds
from vaekit.errors import ConfigError
from vaekit.training import step

TINY = {"epochs": 3, "width": 8, "depth": 1, "latent": 2, "choose": False, "progress": False, "report": False}


@pytest.fixture(scope="module", autouse=True)
def no_graphs():
    """Bundles are saved with their weights alone: the export of each model takes seconds, and has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaekit.api.exporting.with_graphs", lambda bundle, *_, **__: bundle)
        yield


@pytest.fixture(scope="module")
def rows():
    return bivariate(300, seed=7)


@pytest.fixture(scope="module")
def run(rows, tmp_path_factory):
    out = tmp_path_factory.mktemp("seeds") / "run"
    return out, vk.fit(rows, seeds=3, seed=4, out=out, **TINY)


def test_models_differ_and_see_the_same_rows(run):
    out, _ = run
    models = [vk.load(out / f"seed-{seed}") for seed in (4, 5, 6)]
    records = [model.bundle.run for model in models]
    assert [record["config"]["seed"] for record in records] == [4, 5, 6]
    assert {record["config"]["split_seed"] for record in records} == {4}
    assert len({model.contract.hash for model in models}) == 1  # transforms are fitted on the same training rows
    assert len({model.evaluation["marginal_nats"] for model in models}) == 1  # held-out rows are the same
    assert len({model.evaluation["elbo"] for model in models}) == 3


def test_the_best_by_validation_is_kept_with_the_spread(run, rows):
    out, model = run
    found = model.evaluation["seeds"]
    assert found == vk.load(out).evaluation["seeds"] == json.loads((out / "seeds.json").read_bytes())
    validation = found["figures"]["validation"]["values"]
    assert found["best"] == 4 + int(np.argmax(validation))
    members = [vk.load(out / f"seed-{seed}") for seed in found["seeds"]]
    bounds = [member.evaluation["iwae_64"] for member in members]
    assert found["figures"]["iwae_64"]["mean"] == pytest.approx(np.mean(bounds))
    assert found["figures"]["iwae_64"]["std"] == pytest.approx(np.std(bounds, ddof=1))
    assert set(found["figures"]) == {"validation", "elbo", "iwae_64", "kl", "active_units", "information"}
    best = members[found["seeds"].index(found["best"])]
    assert vk.load(out).score(rows).equals(best.score(rows))
    assert json.loads((out / "run.json").read_bytes())["config"]["seed"] == found["best"]
    history = (out / "metrics.jsonl").read_text()
    assert history == (out / f"seed-{found['best']}" / "metrics.jsonl").read_text()


def test_a_member_is_what_its_seed_gives_alone(run, rows):
    alone = vk.fit(rows, seed=5, split_seed=4, **TINY)
    member = vk.load(run[0] / "seed-5", backend="torch")
    for name, value in alone.bundle.weights.items():
        np.testing.assert_array_equal(value, member.bundle.weights[name])


def test_a_killed_run_goes_on_to_the_same_models(run, rows, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    steps, original = [], step.Step.__call__

    def dies(self, *args):
        steps.append(self.seed)
        if len(steps) > 6:
            raise Killed
        return original(self, *args)

    monkeypatch.setattr(step.Step, "__call__", dies)
    with pytest.raises(Killed):
        vk.fit(rows, seeds=3, seed=4, out=tmp_path / "run", **TINY)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="several seeds"):
        vk.fit(rows, seed=4, out=tmp_path / "run", **TINY)
    resumed = vk.fit(rows, seeds=3, seed=4, out=tmp_path / "run", resume=True, **TINY)
    assert resumed.evaluation["seeds"] == run[1].evaluation["seeds"]


def test_words_that_make_no_sense_are_refused(run, rows):
    with pytest.raises(ConfigError, match="at least 2"):
        vk.fit(rows, seeds=1, **TINY)
    with pytest.raises(ConfigError, match="already holds a run"):
        vk.fit(rows, seeds=3, seed=4, out=run[0], **TINY)
    with pytest.raises(ConfigError, match="other settings"):
        vk.fit(rows, seeds=3, seed=4, out=run[0], resume=True, **TINY | {"latent": 3})


def test_likelihoods_are_chosen_once(rows):
    asked = []

    def one(contract, config, home, go_on):
        asked.append((contract, config.training.choose))
        raise_after = len(asked) == 2
        if raise_after:
            raise KeyboardInterrupt
        made = vk.fit(rows, contract, config, progress=False)
        return type("T", (), {"contract": made.contract, "history": [{"best": 0.0}]})(), made

    from vaekit.training import load_config

    config = load_config({"training": {"epochs": 1}})
    contract = vk.Contract.infer(rows)
    with pytest.raises(KeyboardInterrupt):
        fit_seeds(one, contract, config, 2, None)
    assert [choose for _, choose in asked] == [None, False]
