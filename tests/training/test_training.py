"""Training: seeded, resumable to the bit, stopped in time, honest about what goes wrong."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_wine

from vaekit.arrays import Block
from vaekit.errors import ConfigError, ContractError, TrainingError
from vaekit.fields import Contract
from vaekit.fields.tables import to_arrow
from vaekit.nn.build import ModelConfig, build
from vaekit.objectives import ELBO
from vaekit.training import Config, TrainConfig, load_config, train
from vaekit.training import checkpoint as checkpoints
from vaekit.training.batches import Resident, hide, step_generator
from vaekit.training.loop import Loop
from vaekit.training.phases import Phase
from vaekit.training.splits import split
from vaekit.training.stages import Stage, default_stages
from vaekit.training.step import Step
from vaekit.training.validate import validate

BASE = {"epochs": 3, "width": 16, "depth": 2, "latent": 2, "batch_size": 32, "warmup": 0.5}


@pytest.fixture(scope="module")
def table() -> pa.Table:
    frame = load_wine(as_frame=True).frame.iloc[:, [0, 1, 4, 12, 13]].copy()
    frame["target"] = frame["target"].map({0: "a", 1: "b", 2: "c"})
    return to_arrow(frame)


@pytest.fixture(scope="module")
def contract(table) -> Contract:
    return Contract.infer(table)


def run(table, contract, out=None, resume=False, stages=default_stages, **options):
    config = Config().override(**(BASE | options))
    return train(table, contract, config, out=out, resume=resume, progress=False, stages=stages)


def weights(trained) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy().copy() for name, value in trained.vae.state_dict().items()}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_held_out_likelihood_improves_on_real_data():
    table = to_arrow(load_breast_cancer(as_frame=True).frame.iloc[:, :10])
    history = run(table, Contract.infer(table), epochs=40, patience=60).history
    first, best = history[0]["valid"]["elbo"], max(one["valid"]["elbo"] for one in history)
    assert best > first + 3.0
    assert history[-1]["train"]["loss"] < history[0]["train"]["loss"]


def test_one_seed_fixes_everything_and_another_changes_it(table, contract):
    state = torch.get_rng_state()
    one, again, other = run(table, contract), run(table, contract), run(table, contract, seed=1)
    assert same(weights(one), weights(again))
    assert [h["valid"]["elbo"] for h in one.history] == [h["valid"]["elbo"] for h in again.history]
    assert not same(weights(one), weights(other))
    assert torch.equal(state, torch.get_rng_state())  # the caller's random state is left alone


OPTIONS = [
    {"beta": 0.2}, {"free_bits": 1.0}, {"warmup": 0.0}, {"mask": 0.0}, {"samples": 3}, {"clip": 1e-2},
    {"optimizer": "adam", "weight_decay": 0.1}, {"weight_decay": 0.5}, {"learning_rate": 1e-4}, {"rate_warmup": 1.0},
    {"batch_size": 16}, {"epochs": 4}, {"dropout": 0.5}, {"width": 8}, {"depth": 3}, {"latent": 3},
    {"valid": 0.2}, {"calibration": 0.2}, {"preset": "medium", "width": None, "depth": None, "latent": None},
]  # fmt: skip


@pytest.mark.parametrize("changed", OPTIONS, ids=lambda changed: next(iter(changed)))
def test_no_option_is_ignored(table, contract, changed):
    assert not same(weights(run(table, contract)), weights(run(table, contract, **changed)))


def test_threads_are_set_while_training_and_put_back(table, contract, monkeypatch):
    seen, original, before = [], Step.__call__, torch.get_num_threads()

    def spy(self, *args):
        seen.append(torch.get_num_threads())
        return original(self, *args)

    monkeypatch.setattr(Step, "__call__", spy)
    run(table, contract, threads=3)
    assert set(seen) == {3}
    assert torch.get_num_threads() == before


def test_samples_option_changes_the_estimate_not_the_scale(table, contract):
    one, many = run(table, contract, samples=1), run(table, contract, samples=8)
    gap = one.history[0]["train"]["loss"] - many.history[0]["train"]["loss"]
    assert abs(gap) < 2.0  # a sum over samples in place of a mean would be off by a factor


class Killed(Exception):
    pass


def metrics(folder) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.mark.parametrize("at", [2, 4, 7, 11, 13])
@pytest.mark.parametrize(
    "extra",
    [{"ema": 0.9, "precision": "bfloat16"}, {"dropout": 0.3, "samples": 2, "free_bits": 0.1}],
    ids=["averaged", "dropout"],
)
def test_a_killed_run_resumes_to_the_same_bits(table, contract, tmp_path, monkeypatch, at, extra):
    whole = run(table, contract, out=tmp_path / "whole", **extra)
    original, calls = Step.__call__, []

    def dying(self, *args):
        calls.append(1)
        if len(calls) == at:
            raise Killed
        return original(self, *args)

    monkeypatch.setattr(Step, "__call__", dying)
    with pytest.raises(Killed):
        run(table, contract, out=tmp_path / "cut", **extra)
    monkeypatch.setattr(Step, "__call__", original)
    if not (tmp_path / "cut" / "checkpoints" / "last.safetensors").exists():
        pytest.fail("the run must have written a checkpoint before it was killed")
    resumed = run(table, contract, out=tmp_path / "cut", resume=True, **extra)
    assert same(weights(whole), weights(resumed))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


def test_averaged_weights_are_kept_and_judged(table, contract, tmp_path):
    """The best weights are a mean of many; early in training it lags behind the weights of the last step."""
    raw, mean = (run(table, contract, out=tmp_path / str(ema), ema=ema, patience=99) for ema in (0.0, 0.999))
    last = [checkpoints.read(tmp_path / str(ema) / "checkpoints" / "last.safetensors").tensors for ema in (0.0, 0.999)]
    raws = [{name: value for name, value in one.items() if name.startswith("model.")} for one in last]
    assert all(torch.equal(raws[0][name], raws[1][name]) for name in raws[0])  # averaging does not steer training
    assert not same(weights(raw), weights(mean))
    assert raw.history[-1]["valid"]["elbo"] != mean.history[-1]["valid"]["elbo"]


def test_half_precision_changes_little(table, contract):
    whole, half = (run(table, contract, precision=precision) for precision in ("float32", "bfloat16"))
    one, other = (found.history[-1]["valid"]["elbo"] for found in (whole, half))
    assert one != other
    assert other == pytest.approx(one, abs=0.15)
    with pytest.raises(ConfigError, match="ema is a decay"):
        run(table, contract, ema=1.0)


def test_resuming_a_finished_run_changes_nothing(table, contract, tmp_path):
    first = run(table, contract, out=tmp_path)
    again = run(table, contract, out=tmp_path, resume=True)
    assert same(weights(first), weights(again))
    assert len(again.history) == len(first.history)


def test_resume_refuses_other_settings_with_a_diff(table, contract, tmp_path):
    run(table, contract, out=tmp_path)
    with pytest.raises(ConfigError, match=r"learning_rate: 0.004 → 0.1"):
        run(table, contract, out=tmp_path, resume=True, learning_rate=0.1)
    with pytest.raises(ConfigError, match="data"):
        run(table.slice(0, 150), contract, out=tmp_path, resume=True)
    with pytest.raises(ConfigError, match="already holds a run"):
        run(table, contract, out=tmp_path)


def test_drift_can_be_taken_over_and_is_told(table, contract, tmp_path, capsys):
    first = run(table, contract, out=tmp_path)
    drifted = Config().override(**(BASE | {"epochs": 5, "learning_rate": 0.1}))
    more = train(table, contract, drifted, out=tmp_path, resume=True, allow_drift=True, progress=False)
    assert "training.epochs: 3 → 5; training.learning_rate: 0.004 → 0.1" in capsys.readouterr().err
    assert more.record["drift"].startswith("training.epochs: 3 → 5")
    assert same(weights(first), weights(more))  # that run was at its end
    with pytest.raises(ConfigError, match=r"model\.width: 16 → 8"):
        run(table, contract, out=tmp_path, resume=True, width=8)


def test_a_damaged_checkpoint_is_named(table, contract, tmp_path):
    run(table, contract, out=tmp_path)
    path = tmp_path / "checkpoints" / "last.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(TrainingError, match=r"last\.safetensors"):
        run(table, contract, out=tmp_path, resume=True)


def test_warmup_position_is_a_function_of_the_step(table, contract):
    history = run(table, contract, epochs=10, warmup=0.5, beta=0.8, patience=60).history
    steps = 10 * 5
    for one in history:
        assert one["weights"]["beta"] == pytest.approx(0.8 * min(1.0, (one["step"] - 1) / (steps / 2)))
    assert history[-1]["weights"]["beta"] == pytest.approx(0.8)


def test_the_learning_rate_rises_over_a_hundredth_of_the_steps_and_falls_to_a_hundredth(table, contract):
    rates = {one["step"]: one["learning_rate"] for one in run(table, contract, epochs=8, learning_rate=2e-3).history}
    steps = max(rates)
    assert rates[1] == pytest.approx(2e-3)  # 40 steps have no room for slow ones
    assert rates[steps] < 0.05 * 2e-3
    assert all(rates[step] < rates[step - 1] for step in range(2, steps) if {step, step - 1} <= rates.keys())


def test_early_stopping_stops_and_keeps_the_best_weights(table, contract):
    trained = run(table, contract, epochs=300, patience=3, learning_rate=0.05)
    assert trained.history[-1]["epoch"] < 299
    splits, best = trained.splits, trained.history[-1]["best"]
    valid = Resident(trained.contract.encode(table.take(pa.array(splits.valid))), torch.device("cpu"))
    assert validate(trained.vae, valid, 0)["elbo"] == pytest.approx(best, rel=1e-6)
    assert best == max(one["valid"]["elbo"] for one in trained.history)
    assert trained.history[-1]["valid"]["elbo"] < best


def test_an_importance_weighted_fit_is_judged_by_its_own_bound(table, contract):
    trained = run(table, contract, epochs=60, objective="iwae", samples=6)
    valid = Resident(trained.contract.encode(table.take(pa.array(trained.splits.valid))), torch.device("cpu"))
    found = validate(trained.vae, valid, 0, samples=6)
    assert found["bound"] == pytest.approx(trained.history[-1]["best"], rel=1e-6)
    assert found["bound"] == pytest.approx(max(one["valid"]["bound"] for one in trained.history), rel=1e-6)
    assert found["elbo"] < found["bound"]
    first, best = trained.history[0]["valid"], trained.history[-1]["best"]
    assert best > first["bound"] + 0.3  # it learnt
    for bad in ({"samples": 1}, {"samples": 4, "free_bits": 0.1}):
        with pytest.raises(ConfigError, match="iwae"):
            TrainConfig(objective="iwae", **bad)


def test_last_and_best_are_separate_checkpoints(table, contract, tmp_path):
    run(table, contract, out=tmp_path, epochs=300, patience=3, learning_rate=0.05)
    last, best = (checkpoints.read(tmp_path / "checkpoints" / f"{name}.safetensors") for name in ("last", "best"))
    assert last.position.step > best.position.step
    models = [name for name in best.tensors if name.startswith("model.")]
    assert any(not torch.equal(last.tensors[name], best.tensors[name]) for name in models)


def test_clipping_bounds_an_exploding_gradient(table, contract, monkeypatch):
    """With plain SGD-like steps impossible under Adam, look at the gradient itself after the clip."""
    seen, original = [], Phase.step

    def spy(self, norm, clip, frozen):
        original(self, norm, clip, frozen)
        seen.append((float(norm), float(self.norm()), clip))  # the optimiser leaves the gradient that it took

    monkeypatch.setattr(Phase, "step", spy)
    history = run(table, contract, clip=0.5).history
    assert max(before for before, _, _ in seen) > 0.5
    assert all(after <= 0.5 * 1.001 for _, after, _ in seen)
    assert history[0]["train"]["gradient_norm"] > 0.5  # what is reported is the norm before the clip


def test_splits_are_disjoint_and_whole():
    table = pa.table({"x": range(101)})
    splits = split(table, Contract.infer(table), 0.1, 0.2, seed=3)
    parts = [splits.train, splits.valid, splits.calibration]
    assert sorted(np.concatenate(parts)) == list(range(101))
    assert not np.array_equal(splits.valid, split(table, Contract.infer(table), 0.1, 0.2, seed=4).valid)


def test_transforms_see_training_rows_only(table, contract):
    splits = split(table, contract, 0.1, 0.1, seed=0)
    values = table["alcohol"].to_numpy().copy()
    values[splits.valid[0]] = 1e6
    values[splits.calibration[0]] = -1e6
    changed = table.set_column(0, "alcohol", pa.array(values))
    trained = run(changed, contract)
    low, high = trained.contract["alcohol"].bounds
    assert -1e3 < low < high < 1e3


@pytest.mark.parametrize("rows", [0, 1, 2, 9])
def test_too_few_rows_are_refused_with_numbers(table, contract, rows):
    with pytest.raises((TrainingError, ContractError), match=r"at least 10 rows, got \d"):
        run(table.slice(0, rows), contract)


def test_ten_rows_and_a_batch_larger_than_the_table_train(table, contract):
    trained = run(table.take(pa.array(range(0, 170, 17))), contract, batch_size=4096)
    assert np.isfinite(trained.history[-1]["valid"]["elbo"])


def test_validation_does_not_depend_on_the_batch_size(table, contract):
    trained = run(table, contract)
    rows = Resident(trained.contract.encode(table), torch.device("cpu"))
    whole, uneven = validate(trained.vae, rows, 0), validate(trained.vae, rows, 0, batch=7)
    for name in ("elbo", "reconstruction", "kl"):
        assert whole[name] == pytest.approx(uneven[name], rel=1e-6)
    assert list(whole["nats"].values()) == pytest.approx(list(uneven["nats"].values()), rel=1e-5)
    assert whole["elbo"] == pytest.approx(whole["reconstruction"] - whole["kl"], rel=1e-9)
    assert sum(whole["nats"].values()) == pytest.approx(-whole["reconstruction"], rel=1e-5)


@pytest.mark.parametrize("where", ["values", "weights"])
def test_a_number_that_is_not_finite_is_traced_to_term_field_and_step(table, contract, tmp_path, monkeypatch, where):
    calls, original = [], Step.__call__

    def poisoned(self, rows, at):
        calls.append(1)
        if len(calls) == 8 and where == "weights":
            with torch.no_grad():
                next(self.vae.head("category.categorical").parameters())[0] = float("nan")
        if len(calls) == 8 and where == "values":
            block = rows["number.gaussian"]
            values = block.values.clone()
            values[:, 2] = float("inf")
            rows = rows | {"number.gaussian": Block(values, block.observed, block.half, block.constant)}
            self.config = msgspec.structs.replace(self.config, mask=0.0)
        return original(self, rows, at)

    monkeypatch.setattr(Step, "__call__", poisoned)
    field = {"weights": "target", "values": "magnesium"}[where]
    with pytest.raises(TrainingError) as caught:
        run(table, contract, out=tmp_path, epochs=5)
    message = str(caught.value)
    assert "step 7" in message
    assert "term reconstruction" in message
    assert f"field '{field}'" in message
    assert "last.safetensors" in message
    kept = checkpoints.read(tmp_path / "checkpoints" / "last.safetensors")
    assert kept.position.step <= 7
    assert all(torch.isfinite(value).all() for name, value in kept.tensors.items() if name.startswith("model."))


def test_stages_train_only_their_parameters(table, contract):
    def two(config, steps):
        return [Stage("first", ELBO(), 2), Stage("decoder", ELBO(), 2, parameters=("decoder.", "heads."))]

    snapshots: dict[str, dict[str, torch.Tensor]] = {}
    original = Loop._stage

    def spy(self, stage, optimizers, at):
        original(self, stage, optimizers, at)
        self._load_best()
        snapshots[stage.name] = {n: p.detach().clone() for n, p in self.vae.named_parameters()}

    Loop._stage = spy
    try:
        run(table, contract, stages=two)
    finally:
        Loop._stage = original
    before, after = snapshots["first"], snapshots["decoder"]
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith(("decoder.", "heads.")) for name in changed)
    with pytest.raises(ConfigError, match="trains no parameter"):
        run(table, contract, stages=lambda config, steps: [Stage("none", ELBO(), 1, parameters=("nothing.",))])


def test_hidden_cells_are_as_many_as_asked_conditions_included(table):
    contract = Contract.infer(table).replace("target", role="condition").fit(table)
    specs = {spec.name: spec for spec in contract.blocks()}
    wide = pa.concat_tables([table] * 30)
    blocks = Resident(contract.encode(wide), torch.device("cpu")).blocks
    hidden = hide(blocks, specs, 0.4, step_generator(0, 0, torch.device("cpu")))
    shown = hidden["number.gaussian"].observed
    touched = (~shown).any(-1).float().mean().item()
    assert (~shown).float().mean().item() == pytest.approx(0.2, abs=0.01)  # 0.4 of rows, half of the cells
    assert 0.25 < touched < 0.4
    # a condition may be missing when the model is asked, so it has to be missing now and then in training
    assert (~hidden["condition.category"].observed).float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert hide(blocks, specs, 0.0, step_generator(0, 0, torch.device("cpu"))).keys() == blocks.keys()
    again = hide(blocks, specs, 0.4, step_generator(0, 0, torch.device("cpu")))
    assert torch.equal(shown, again["number.gaussian"].observed)


def test_the_record_tells_what_was_run_and_nothing_of_the_machine(table, contract, tmp_path):
    run(table, contract, out=tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["data"]["rows"] == table.num_rows
    assert len(record["data"]["sha256"]) == 64
    assert record["environment"]["packages"]["torch"] == torch.__version__
    assert record["config"]["training"]["epochs"] == 3
    assert record["rows"] == {"train": 142, "valid": 18, "calibration": 18, "split": "rows"}
    assert str(tmp_path) not in (tmp_path / "run.json").read_text()
    chunked = pa.concat_tables([table.slice(0, 50), table.slice(50)])
    assert run(chunked, contract).record["data"] == record["data"]


def test_configuration_files_are_checked(tmp_path):
    path = tmp_path / "vae.toml"
    path.write_text('preset = "small"\nseed = 3\n[model]\nlatent = 5\n[training]\nepochs = 7\n')
    config = load_config(path)
    assert (config.seed, config.training.epochs, config.architecture(100, 5).latent) == (3, 7, 5)
    for text, message in (
        ("[training]\nepoch = 7\n", "epoch"),
        ("[training]\nepochs = 0\n", "at least 1"),
        ("[training]\nmask = 2.0\n", "between 0 and 1"),
        ("preset = 3\n", "preset"),
        ("not toml", "TOML"),
        ("[training]\nvalid = 0.9\ncalibration = 0.2\n", "leave rows"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_config(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="unknown option 'epoch'"):
        Config().override(epoch=3)
    for bad in ({"latent": 0}, {"dropout": 1.0}, {"prior": "nothing"}, {"width": "wide"}, {"nonsense": 1}):
        with pytest.raises(ConfigError):
            Config(model=bad).architecture(100, 5)
    cancer = to_arrow(load_breast_cancer(as_frame=True).frame)
    with pytest.raises(ConfigError, match="device"):
        train(cancer, Contract.infer(cancer), Config(device="cuda:9"), progress=False)


def test_initial_weights_come_from_the_seed_alone(contract, table):
    specs = contract.fit(table).blocks()
    one, again = build(specs, ModelConfig(), 5), build(specs, ModelConfig(), 5)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("epochs", "train", "valid", "expected"),
    [(20, 8000, 1000, 16), (2, 8000, 1000, 12), (500, 8000, 1000, 60), (20, 8000, 0, 60)],
)
def test_validations_look_at_a_tenth_of_the_rows_of_training_but_not_too_seldom(epochs, train, valid, expected):
    from types import SimpleNamespace as Some

    from vaekit.training.loop import Loop

    assert Loop.validations(Some(train=range(train), valid=range(valid)), Some(epochs=epochs)) == expected
