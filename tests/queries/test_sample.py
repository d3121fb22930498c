"""`sample`: exactly the rows asked for, from the distribution asked for."""

import numpy as np
import pyarrow as pa
import pytest

from tests.notorch.alike import differences
from tests.support import MEANS, MODELS, NOISE, SHARES, SLOPE, bits, bivariate, mixture
from vaekit.errors import ConfigError, ContractError
from vaekit.runtime import engine as engine_module


def column(table, name):
    return np.asarray(table[name].to_numpy(), np.float64)


# ----------------------------------------------------------------------------------------------------------- which rows


@pytest.mark.parametrize("n", [0, 1, 2, 137])
@pytest.mark.parametrize("which", ["given", "held"])
def test_exactly_n_rows_in_the_types_of_the_columns(kept, which, n):
    model, given = kept.torch, getattr(MODELS[kept.name], which)
    answer = model.sample(n, given=given)
    assert answer.num_rows == n
    assert set(answer.column_names) == {*model.contract.names("model"), *given}
    assert answer.schema == model.sample(3, given=given).schema
    for name in answer.column_names:
        assert answer[name].type == kept.table[name].type, name
        assert answer[name].null_count == 0, name
        if name in given:
            flat = [np.ravel(value).tolist() for value in answer[name].to_pylist()]  # an image comes as a flat list
            assert flat == [np.ravel(given[name]).tolist()] * n
        elif n == 137:
            assert len({str(value) for value in answer[name].to_pylist()}) > 1, name


def test_rows_are_decoded_once_each_and_no_others(zoo, monkeypatch):
    kept = zoo["bits"]
    backend, decoded = kept.torch.engine.backend, []
    real = type(backend).run

    def run(self, primitive, inputs):
        if primitive == "decode":
            decoded.append(inputs["z.z"].shape[:2])
        return real(self, primitive, inputs)

    monkeypatch.setattr(type(backend), "run", run)
    kept.torch.sample(50)
    monkeypatch.setattr(engine_module, "_CELLS", 32 * 20)
    assert kept.torch.sample(50).num_rows == 50
    assert decoded == [(1, 50), (1, 16), (1, 16), (1, 16), (1, 2)]


def test_the_seed_decides(kept):
    for given in (MODELS[kept.name].given, MODELS[kept.name].held):
        first = kept.torch.sample(40, given=given, seed=3)
        assert kept.torch.sample(40, given=given, seed=3).equals(first)
        assert not kept.torch.sample(40, given=given, seed=4).equals(first)


@pytest.mark.parametrize("which", ["given", "held"])
def test_a_row_of_a_seed_is_the_same_in_every_call(kept, which, monkeypatch):
    """Whatever is drawn before it, and however rows are cut into pieces."""
    model, given, far = kept.torch, getattr(MODELS[kept.name], which), 4090
    whole = model.query("sample", 60, given=given, seed=2, first=far)  # across the ends of groups
    for first, n in ((far, 20), (far + 20, 1), (far + 21, 39)):
        part = model.query("sample", n, given=given, seed=2, first=first)
        assert differences(part, whole.slice(first - far, n)) == []
    assert differences(model.sample(far + 60, given=given, seed=2).slice(far), whole) == []
    assert differences(model.sample(60, given=given, seed=2), whole) != []
    monkeypatch.setattr(engine_module, "_CELLS", 48 * 30)
    assert differences(model.query("sample", 60, given=given, seed=2, first=far), whole) == []


def test_rows_drawn_in_many_chunks_are_as_different_from_each_other(zoo, monkeypatch):
    model = zoo["pair"].torch
    whole = model.sample(400)
    monkeypatch.setattr(engine_module, "_CELLS", 48 * 16)
    for given in (None, {"a": 0.5}):
        drawn = column(model.sample(400, given=given), "b")
        assert len(np.unique(drawn)) > 390
        parts = drawn.reshape(25, 16)
        assert np.abs(np.corrcoef(parts)[np.triu_indices(25, 1)]).mean() < 0.35  # 0.2 by chance
    assert np.std(column(model.sample(400), "b")) == pytest.approx(np.std(column(whole, "b")), rel=0.2)


def test_every_row_and_every_seed_has_likelihood_noise_of_its_own(zoo, monkeypatch):
    """Near temperature zero all rows share z, so what differs comes from the likelihood alone."""
    model = zoo["pair"].torch
    monkeypatch.setattr(engine_module, "_CELLS", 48 * 16)
    drawn = [column(model.sample(64, temperature=1e-6, seed=seed), "b") for seed in (0, 1)]
    assert len(np.unique(drawn)) == 128
    assert np.std(drawn[0]) > 0.2


def test_every_batch_of_conditional_rows_has_proposals_of_its_own(zoo, monkeypatch):
    model, seen = zoo["pair"].torch, []
    backend = type(model.engine.backend)
    real = backend.run

    def run(self, primitive, inputs):
        if primitive == "encode":
            seen.append(inputs["noise.z"])
        return real(self, primitive, inputs)

    monkeypatch.setattr(backend, "run", run)
    model.sample(2500, given={"a": 0.5}, seed=0)
    model.sample(10, given={"a": 0.5}, seed=1)
    assert len(seen) > 2
    noise = np.concatenate([part.ravel() for part in seen])
    assert len(np.unique(noise)) > 0.99 * noise.size


# --------------------------------------------------------------------------------------------------- which distribution


def test_free_rows_follow_the_joint_distribution(zoo):
    model, n = zoo["pair"].torch, 6000
    answer = model.sample(n)
    a, b = column(answer, "a"), column(answer, "b")
    for x in (a, b):
        assert abs(x.mean()) < 0.1
        assert x.std() == pytest.approx(1.0, abs=0.08)
    assert np.corrcoef(a, b)[0, 1] == pytest.approx(0.9, abs=0.03)
    drawn, real = model.sample(n, seed=1), bivariate(n, seed=71)
    scores = [column(model.score(t, samples=32), "score").mean() for t in (drawn, real)]
    assert scores[0] == pytest.approx(scores[1], abs=0.15)


def test_free_rows_of_categories_have_the_right_frequencies(zoo):
    drawn, real = zoo["bits"].torch.sample(6000), bits(6000, seed=81)
    one, two = ((t.to_pandas().astype(int).to_numpy() @ [1, 2, 4, 8]) for t in (drawn, real))
    distance = 0.5 * np.abs(np.bincount(one, minlength=16) - np.bincount(two, minlength=16)).sum() / 6000
    assert distance < 0.1
    independent = np.prod([np.where((np.arange(16) >> i) & 1, p, 1 - p) for i, p in
                           enumerate(real.to_pandas().mean())], axis=0)  # fmt: skip
    assert 0.5 * np.abs(independent - np.bincount(two, minlength=16) / 6000).sum() > 0.15  # no small feat


@pytest.mark.parametrize("a", [-1.5, 0.0, 1.2])
def test_rows_given_a_model_field_follow_the_conditional(zoo, a):
    drawn = column(zoo["pair"].torch.sample(4000, given={"a": a}), "b")
    assert drawn.mean() == pytest.approx(SLOPE * a, abs=0.12)
    assert drawn.std() == pytest.approx(NOISE, rel=0.12)
    assert column(zoo["pair"].torch.sample(5, given={"a": a}), "a").tolist() == [a] * 5


@pytest.mark.parametrize("group", [0, 1])
def test_rows_given_a_condition_follow_it(zoo, group):
    answer = zoo["mixture"].torch.sample(4000, given={"g": "uv"[group]})
    levels = np.array(answer["c"].to_pylist())
    shares = [(levels == level).mean() for level in "xyz"]
    assert np.abs(shares - SHARES[group]).max() < 0.08
    real = mixture(20000, seed=91).to_pandas()
    real = real[real["g"] == "uv"[group]]
    assert column(answer, "n").mean() == pytest.approx(real["n"].mean(), abs=0.15)
    assert column(answer, "n").std() == pytest.approx(real["n"].std(), rel=0.1)


@pytest.mark.parametrize("group", [0, 1])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_rows_given_a_category_follow_the_conditional(zoo, group, level):
    """The mean of the number depends on the category and on the condition; the groups' orders differ."""
    drawn = column(zoo["mixture"].torch.sample(3000, given={"g": "uv"[group], "c": "xyz"[level]}), "n")
    assert drawn.mean() == pytest.approx(MEANS[group, level], abs=0.4)
    assert drawn.std() < 1.1


def test_rows_given_a_number_follow_the_conditional(zoo):
    for number, group, expected in ((-2.0, 0, "x"), (2.0, 0, "z"), (-1.0, 1, "z"), (3.0, 1, "y"), (1.0, 1, "x")):
        levels = zoo["mixture"].torch.sample(1000, given={"g": "uv"[group], "n": number})["c"].to_pylist()
        assert levels.count(expected) > 600, (number, group)


def test_temperature_draws_more_typical_rows(zoo):
    model = zoo["pair"].torch
    spread = {t: column(model.sample(3000, temperature=t), "a").std() for t in (0.1, 0.5, 1.0)}
    assert spread[0.1] < 0.75 * spread[1.0]
    assert spread[0.1] < spread[0.5] < spread[1.0]
    scores = {t: column(model.score(model.sample(1500, temperature=t)), "score").mean() for t in (0.5, 1.0)}
    assert scores[0.5] < scores[1.0] - 0.2
    assert model.sample(50, temperature=1.0).equals(model.sample(50))


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("n", [-1, 2.0, "7", None, True])
def test_a_number_of_rows_that_is_none_is_refused(zoo, n):
    with pytest.raises(ConfigError, match="n must be a whole number of rows"):
        zoo["pair"].torch.sample(n)


@pytest.mark.parametrize("first", [-1, 2.0, None, True])
def test_a_first_row_that_is_none_is_refused(zoo, first):
    with pytest.raises(ConfigError, match="first must be a whole number of rows"):
        zoo["pair"].torch.query("sample", 3, first=first)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_refused(zoo, temperature):
    with pytest.raises(ConfigError, match="temperature must be"):
        zoo["pair"].torch.sample(3, temperature=temperature)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"g": "u", "z": 1}, ConfigError, r"given names \['z'\], which are not fields of the model; it has: c, n, g"),
        ({"n": 1.0}, ConfigError, "condition fields must be given: g"),
        ({}, ConfigError, "condition fields must be given: g"),
        ({"g": "u", "n": None}, ConfigError, "given needs a value for n; leave a field out to have it drawn"),
        ({"g": "u", "n": float("nan")}, ConfigError, "given needs a value for n"),
        ({"g": "w"}, ContractError, r"not a known category \(field 'g', row 0\).*got 'w'"),
        ({"g": "u", "c": "w"}, ContractError, r"not a known category \(field 'c'"),
        ({"g": "u", "n": "two"}, ContractError, r"field 'n'"),
        ({"g": "u", "n": float("inf")}, ContractError, r"field 'n'"),
    ],
)
def test_what_cannot_be_given_is_refused(zoo, given, error, message):
    with pytest.raises(error, match=message):
        zoo["mixture"].torch.sample(3, given=given)


def test_part_of_a_vector_cannot_be_given(zoo):
    given = MODELS["digits"].given | {"bits": [None, *[1] * 15]}
    with pytest.raises(ConfigError, match="given needs a value for bits"):
        zoo["digits"].torch.sample(3, given=given)


def test_temperature_is_not_ignored_where_it_cannot_apply(zoo):
    with pytest.raises(ConfigError, match="does not apply to draws given model fields"):
        zoo["pair"].torch.sample(3, given={"a": 1.0}, temperature=0.5)


def test_a_condition_may_be_unknown(zoo):
    answer = zoo["mixture"].torch.sample(3, given={"g": None})
    assert answer["g"].to_pylist() == [None] * 3
    assert answer["n"].null_count == 0


def test_given_values_are_held_though_their_field_was_never_seen_with_them(zoo):
    assert column(zoo["pair"].torch.sample(4, given={"a": 40.0}), "a").tolist() == [40.0] * 4
    assert pa.types.is_float64(zoo["pair"].torch.sample(4, given={"a": 2})["a"].type)
