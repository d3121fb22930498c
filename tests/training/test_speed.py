"""Speed: however a step is computed, it is the same step; choices are measured, written down, and kept."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice

import msgspec
import numpy as np
import pyarrow as pa
import pytest
import torch

from vaekit.arrays import Block
from vaekit.errors import ConfigError, NotFiniteError, TrainingError
from vaekit.fields import Contract
from vaekit.nn.build import ModelConfig, build
from vaekit.objectives import ELBO, Linear
from vaekit.training import Config, TrainConfig, compiled, pace, train
from vaekit.training.batches import Resident
from vaekit.training.checkpoint import Position
from vaekit.training.floor import floor_seconds
from vaekit.training.loop import Loop
from vaekit.training.stages import Stage

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def table() -> pa.Table:
    rng = np.random.default_rng(0)
    cause = rng.normal(size=240)
    columns = {f"n{i}": cause * rng.normal() + 0.3 * rng.normal(size=240) for i in range(4)}
    words = np.array(["low", "mid", "high"])[np.digitize(cause, [-0.5, 0.5])]
    return pa.table(columns | {"word": words, "count": rng.poisson(np.exp(0.5 * cause))})


@pytest.fixture(scope="module")
def contract(table) -> Contract:
    return Contract.infer(table).fit(table)


@pytest.fixture(scope="module")
def few(table) -> tuple[pa.Table, Contract]:
    """Two columns, which trace and compile in a fraction of the time."""
    rows = table.select(["n0", "n1"])
    return rows, Contract.infer(rows).fit(rows)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A cache of choices of one's own."""
    monkeypatch.setenv("VAEKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pace"


def loop_of(table, contract, *, objective=None, schedules=None, model=None, **options):
    """A loop, its stage, and its step."""
    config = TrainConfig(**{"batch_size": 64, "epochs": 2} | options)
    vae = build(contract.blocks(), ModelConfig(**{"width": 16, "depth": 1, "latent": 2} | (model or {})), 0)
    rows = Resident(contract.encode(table), CPU)
    loop, stage = Loop(vae, rows, rows, config, 0), Stage("one", objective or ELBO(), 2, schedules or {})
    return loop, stage, loop.ready(stage)


def after(loop, stage, step):
    """The weights after some steps, and the mean figures."""
    optimizers = {"optimizer": step.phases["model"].optimizer}
    for index, rows in enumerate(islice(loop.train.epoch(0, 0, 64), 3)):
        loop.set_rates(stage, optimizers, index, 10, index / 10)
        step(loop.train.take(rows), Position(step=index))
    step.check()
    return torch.cat([p.detach().ravel() for p in loop.vae.parameters()]), step.figures.values()


# ----------------------------------------------------------------------------------------------------------- the step

COMPILED = {
    "plain": {},
    "beta rises, weights averaged": {"schedules": {"beta": Linear(0.0, 1.0, 4)}, "ema": 0.9},
    "free bits, three samples": {"objective": ELBO(free_bits=0.5, samples=3)},
    "half precision": {"precision": "bfloat16"},
    "micro-batches": {"micro_batch": 16},
    "decay by the gradient, small clip": {"optimizer": "adam", "weight_decay": 0.1, "clip": 0.5},
    "another optimiser": {"optimizer": "radam"},
}


@pytest.mark.parametrize("options", COMPILED.values(), ids=COMPILED)
def test_a_compiled_step_is_the_step(table, contract, few, monkeypatch, options):
    monkeypatch.setattr(compiled, "machine_code", lambda graph, _: graph)  # the trace as it is
    rows = few if options else (table, contract)
    (plain, figures), (weights, others) = (
        after(*loop_of(*rows, compile=chosen, **options)) for chosen in (False, True)
    )
    assert (plain - weights).abs().max() < 1e-5
    assert figures == pytest.approx(others, rel=1e-4)


def test_a_compiled_step_stands_still_from_a_number_that_is_not_finite(table, contract, monkeypatch):
    monkeypatch.setattr(compiled, "machine_code", lambda graph, _: graph)
    loop, _stage, step = loop_of(table, contract, compile=True, mask=0.0)
    rows = loop.train.take(slice(0, 64))
    step(rows, Position(step=0))
    optimizer = step.phases["model"].optimizer
    kept = [value.clone() for value in step.compiled.state]
    name = next(iter(rows))
    values = rows[name].values.clone()
    values[3, 1] = float("nan")
    with pytest.raises(TrainingError, match=r"step 1 .*field 'n1' in batch row 3"):
        step(rows | {name: rows[name].filled({"values": values})}, Position(step=1))
    assert step.compiled.adam
    assert {float(state["step"]) for state in optimizer.state.values()} == {1.0}
    assert all(torch.equal(*pair) for pair in zip(kept[1:], step.compiled.state[1:], strict=True))  # first is `frozen`


def test_rows_that_miss_nothing_need_no_masks(table, contract):
    loop, _, step = loop_of(table, contract, mask=0.0)
    rows = loop.train.take(torch.arange(64))
    assert all(block.whole for block in rows.values())
    drawn = step.draw(rows, torch.Generator().manual_seed(0))
    assert not any(
        block.whole for block in loop_of(table, contract, mask=0.5)[2].draw(rows, torch.Generator()).blocks.values()
    )
    masked = replace(drawn, blocks={name: block.seen(block.observed) for name, block in rows.items()})
    for name, value in step.terms(drawn)[1].items():
        assert torch.equal(value, step.terms(masked)[1][name]), name


@pytest.mark.slow
def test_a_step_in_machine_code_is_the_step(few):
    """On one block alone: what compiles is the compiler's."""
    (plain, figures), (weights, others) = (after(*loop_of(*few, compile=chosen)) for chosen in (False, True))
    assert (plain - weights).abs().max() < 1e-5
    assert figures == pytest.approx(others, rel=1e-4)


def test_compiling_leaves_running_values_as_they_were(few, monkeypatch):
    monkeypatch.setattr(compiled, "machine_code", lambda graph, _: graph)
    table, contract = few
    numbers = contract.replace("n0", likelihood="gaussian", options={"scale": "optimal"}).fit(table)
    first, second = (loop_of(table, numbers, compile=chosen) for chosen in (False, True))
    after(*first), after(*second)
    for name, value in first[0].vae.state_dict().items():
        assert torch.allclose(value, second[0].vae.state_dict()[name], atol=1e-5), name


def test_what_depends_on_values_is_refused_by_name(few, monkeypatch):
    monkeypatch.setattr(compiled, "machine_code", lambda graph, _: graph)

    class Odd(ELBO):
        def forward(self, passed):
            terms = super().forward(passed)
            return terms if terms["kl"].sum() > 1e9 else {**terms, "kl": 2.0 * terms["kl"]}

    loop, stage, step = loop_of(*few, compile=True, objective=Odd())
    with pytest.raises(ConfigError, match="cannot be compiled here"):
        after(loop, stage, step)


@pytest.mark.parametrize("size", [16, 24, 63])
def test_micro_batches_add_up_to_the_batch(table, contract, size):
    (whole, figures), (parts, others) = (after(*loop_of(table, contract, micro_batch=n)) for n in (None, size))
    assert (whole - parts).abs().max() < 1e-6
    assert figures == pytest.approx(others, rel=1e-5)


def test_micro_batches_are_refused_where_rows_are_tied_together(table, contract):
    with pytest.raises(ConfigError, match="ELBO ties rows together"):
        loop_of(table, contract, micro_batch=16, objective=ELBO(free_bits=0.5))
    shared = contract.replace("n0", likelihood="gaussian", options={"scale": "optimal"}).fit(table)
    with pytest.raises(ConfigError, match="squares.* is computed from whole batches"):
        loop_of(table, shared, micro_batch=16)
    assert loop_of(table, shared, micro_batch=64)  # one part is the batch itself


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "amsgrad", "nadam", "radam", "adamax", "sgd"])
def test_every_optimiser_learns_and_stands_still_from_a_step_that_is_not_finite(table, contract, optimizer):
    loop, _stage, step = loop_of(table, contract, optimizer=optimizer, learning_rate=1e-3, mask=0.0)
    step.window = 4  # as on a device that nobody waits for
    rows = loop.train.take(slice(0, 64))
    name = next(iter(rows))
    values = rows[name].values.clone()
    values[3, 1] = float("nan")
    bad = rows | {name: Block(**{**rows[name].arrays(), "values": values})}
    for index in range(2):
        step(rows, Position(step=index))
    step.check()
    kept = torch.cat([p.detach().clone().ravel() for p in loop.vae.parameters()])
    step(bad, Position(step=2, epoch=1, batch=7))
    step(rows, Position(step=3))
    with pytest.raises(TrainingError, match=r"step 2 \(stage 'one', epoch 1, batch 7\).*field 'n1' in batch row 3"):
        step.check()
    assert torch.equal(kept, torch.cat([p.detach().ravel() for p in loop.vae.parameters()]))


def test_the_rate_restarts_at_its_peak(table, contract):
    loop, stage, step = loop_of(table, contract, restarts=3, rate_warmup=0, learning_rate=1.0)
    optimizers = {"optimizer": step.phases["model"].optimizer}
    rates = [loop.set_rates(stage, optimizers, i, 400, i / 400) for i in range(400)]
    assert [rates[i] for i in (0, 100, 200, 300)] == pytest.approx([1.0] * 4)
    assert [rates[i] for i in (99, 199, 299, 399)] == pytest.approx([0.01] * 4, abs=1e-3)
    assert rates[:100] == pytest.approx(rates[100:200])
    assert rates[50] == pytest.approx(0.505)


def test_options_that_mean_nothing_are_refused():
    with pytest.raises(ConfigError, match="momentum is for optimizer 'sgd'"):
        TrainConfig(momentum=0.9)
    for name in ("micro_batch", "threads"):
        with pytest.raises(ConfigError, match=f"{name} must be at least 1"):
            TrainConfig(**{name: 0})
    with pytest.raises(ConfigError, match="restarts must be at least 0"):
        TrainConfig(restarts=-1)
    with pytest.raises(ConfigError, match="price_per_hour must not be negative"):
        Config(price_per_hour=-1.0)


def test_half_precision_trains_to_the_same_bound(table, contract):
    found = {}
    for precision in ("float32", "bfloat16"):
        options = {"epochs": 8, "width": 16, "depth": 1, "latent": 2, "batch_size": 24, "patience": 100}
        config = Config().override(precision=precision, **options)
        found[precision] = train(table, contract, config, progress=False).history[-1]["best"]
    assert found["bfloat16"] == pytest.approx(found["float32"], abs=0.05)


# ----------------------------------------------------------------------------------------------------------- the pace


@pytest.fixture
def quick(monkeypatch):
    """Measure however short the run is, and briefly."""
    monkeypatch.setattr(pace.os, "sched_getaffinity", lambda _: {0}, raising=False)  # one thread, as tests have
    for name, value in {"_FEWEST": 0, "_LONG": 0.0, "_VERY_LONG": 0.0, "_ROUND": 0.001, "_ROUNDS": 1}.items():
        monkeypatch.setattr(pace, name, value)
    monkeypatch.setattr(compiled, "machine_code", lambda graph, _: graph)


def fitted(table, contract, out=None, resume=False, **options):
    base = {"epochs": 3, "width": 16, "depth": 1, "latent": 2, "batch_size": 48, "precision": "auto"}
    return train(table, contract, Config().override(**base | options), out=out, resume=resume, progress=False)


def test_a_short_run_measures_nothing(table, contract, place):
    record = fitted(table, contract).record["pace"]
    assert record["choice"] == {"precision": "float32", "threads": None, "compile": False}
    assert "too short" in record["why"]
    assert record["measured"] == {}
    assert not place.exists()


def test_choices_are_measured_written_down_and_found_again(few, tmp_path, place, quick):
    record = fitted(*few, tmp_path / "run").record["pace"]
    assert record["why"] == "measured"
    assert len(record["measured"]) >= 2
    assert any("compiled" in name for name in record["measured"])
    assert min(record["measured"].values()) > 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["pace"] == record
    (kept,) = place.iterdir()
    again = fitted(*few).record["pace"]
    assert again["why"] == "measured by an earlier run"
    assert again["choice"] == record["choice"]
    kept.write_text("{")  # what cannot be read is measured again
    assert fitted(*few).record["pace"]["why"] == "measured"


def test_a_resumed_run_goes_on_at_its_pace(table, contract, tmp_path, quick, monkeypatch):
    chosen = pace.Pace(choice=pace.Choice(precision="bfloat16", threads=1), why="measured")
    with monkeypatch.context() as one:
        one.setattr("vaekit.training.fit.choose_pace", lambda *_: chosen)
        whole = fitted(table, contract, tmp_path / "whole")
        calls, original = [], Loop.set_rates

        def dying(self, *args):
            calls.append(1)
            if len(calls) == 8:
                raise KeyboardInterrupt
            return original(self, *args)

        one.setattr(Loop, "set_rates", dying)
        with pytest.raises(KeyboardInterrupt):
            fitted(table, contract, tmp_path / "cut")
    resumed = fitted(table, contract, tmp_path / "cut", resume=True)
    assert resumed.record["pace"] == msgspec.to_builtins(chosen)
    for name, value in whole.vae.state_dict().items():
        assert torch.equal(value, resumed.vae.state_dict()[name]), name


def test_half_precision_that_changes_the_loss_is_not_chosen(table, contract, quick, monkeypatch):
    rates = {"float32": 1.0, "bfloat16": 0.01}
    monkeypatch.setattr(pace._Trial, "seconds", lambda self, choice, count: rates[choice.precision])
    monkeypatch.setattr(pace._Trial, "same", lambda self, plain, choice: choice.precision == "float32")
    assert fitted(table, contract, threads=1, compile=False).record["pace"]["choice"]["precision"] == "float32"
    monkeypatch.setattr(pace._Trial, "same", lambda self, plain, choice: True)
    found = fitted(table, contract, threads=1, compile=False, mask=0.1).record["pace"]["choice"]
    assert found["precision"] == "bfloat16"


@pytest.mark.parametrize("term", ["density_ratio", "adversarial"])
def test_a_critic_is_measured_and_never_compiled(few, quick, term):
    record = fitted(*few, terms={term: {}}, epochs=1).record["pace"]
    assert record["why"] == "measured"
    assert {name.partition(",")[0] for name in record["measured"]} == {"float32", "bfloat16"}
    assert not any("compiled" in name for name in record["measured"])


def test_a_cache_that_cannot_be_written_or_found_stops_no_run(few, tmp_path, place, quick, monkeypatch):
    place.parent.write_text("not a folder")
    assert fitted(*few, threads=1, compile=False).record["pace"]["why"] == "measured"

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    for name in ("VAEKIT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pace.Path, "home", homeless)
    assert fitted(*few, threads=1, compile=False).record["pace"]["why"] == "measured"


def test_what_is_not_finite_while_measuring_leaves_the_plain_step(few, quick, monkeypatch):
    rates, original = [], pace._Trial.seconds

    def bad(self, choice, count):
        original(self, choice, count)
        rates.extend(group["lr"] for group in self.step(choice).phases["model"].optimizer.param_groups)
        if choice.precision == "bfloat16":
            raise NotFiniteError("the loss is not finite")
        return 0.001

    monkeypatch.setattr(pace._Trial, "seconds", bad)
    record = fitted(*few, rate_warmup=1.0, epochs=20).record["pace"]
    assert record["why"] == "not measured: the loss is not finite"
    assert record["choice"] == {"precision": "float32", "threads": None, "compile": False}
    assert max(rates) == pytest.approx(4e-3 / 80)  # of so many steps, over which it rises, the first


@pytest.fixture
def preferred(quick, monkeypatch):
    """What compiles, and half precision, is faster."""
    rate, original = {"float32": 1.0, "bfloat16": 0.1}, pace._Trial.seconds

    def seconds(self, choice, count):
        if choice.compile:
            original(self, choice, 1)
        return rate[choice.precision] * (0.1 if choice.compile else 1.0)

    monkeypatch.setattr(pace._Trial, "seconds", seconds)


def test_what_was_chosen_for_another_run_is_not_found(few, preferred, monkeypatch):
    options = {"precision": "float32", "threads": 1}

    def why(**more):
        return fitted(*few, **options | more).record["pace"]["why"]

    assert why() == "measured"
    assert why(free_bits=0.5) == "measured"
    assert "earlier" in why(max_seconds=1000.0, keep=2)
    monkeypatch.setattr(pace.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert why() == "measured"


def test_a_found_half_precision_has_to_agree_on_these_rows(few, preferred, monkeypatch):
    options = {"threads": 1, "compile": False}
    monkeypatch.setattr(pace._Trial, "same", lambda self, plain, choice: True)
    assert fitted(*few, **options).record["pace"]["choice"]["precision"] == "bfloat16"
    monkeypatch.setattr(pace._Trial, "same", lambda self, plain, choice: choice == plain)
    found = fitted(*few, **options).record["pace"]
    assert (found["choice"]["precision"], found["why"]) == ("float32", "measured")


def test_a_later_stage_that_cannot_be_compiled_stops_no_run(few, preferred, monkeypatch):
    original = compiled.Compiled.__init__

    def refusing(self, step, *args):
        if step.stage.name == "encoder":
            raise ConfigError("cannot be compiled here")
        original(self, step, *args)

    monkeypatch.setattr(compiled.Compiled, "__init__", refusing)
    with pytest.warns(UserWarning, match="not compiled: cannot be compiled here"):
        found = fitted(*few, precision="float32", threads=1, encoder_share=0.5).record["pace"]
    assert not found["choice"]["compile"]


# ----------------------------------------------------------------------------------------------------------- the cost


def test_a_run_says_what_it_cost(table, contract, tmp_path):
    assert fitted(table, contract).record["spent"]["price"] is None  # and what a process loads once is loaded
    spent = fitted(table, contract, tmp_path / "run", price_per_hour=36.0).record["spent"]
    assert spent["price"] == pytest.approx(0.01 * spent["device_seconds"], abs=1e-6)
    assert 0.0 < spent["floor_share"] < 1.0
    assert spent["rows_per_second"] * spent["device_seconds"] == pytest.approx(3 * 192, rel=0.5)
    assert spent["peak_memory"] > 50.0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["spent"] == spent


def test_the_floor_counts_every_product_and_leaves_no_trace(table, contract):
    loop, stage, _ = loop_of(table, contract)
    before = {name: value.clone() for name, value in loop.vae.state_dict().items()}
    small = floor_seconds(loop, stage)
    wide = loop_of(table, contract, model={"depth": 4})
    wide[0].vae = build(contract.blocks(), ModelConfig(width=512, latent=2, depth=4), 0)
    assert floor_seconds(*wide[:2]) > 3.0 * small > 0.0
    assert all(torch.equal(value, before[name]) for name, value in loop.vae.state_dict().items())
