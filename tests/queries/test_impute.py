"""`impute`: what was seen stays, what was missing is filled with what the model believes, and its doubt is honest."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import vaekit as vk
from tests.notorch.alike import storage
from tests.support import NOISE, SLOPE, bivariate, fit
from vaekit.errors import ConfigError
from vaekit.queries.posterior import systematic


def column(table, name):
    return np.asarray(table[name].to_numpy(), np.float64)


def gone(value):
    """Whether a cell, or an element of it, is missing."""
    return value is None or value != value or (isinstance(value, list) and any(gone(x) for x in value))


def rmse(found, truth):
    return float(np.sqrt(np.mean(np.square(found - truth))))


# ----------------------------------------------------------------------------------------------- what stays, what comes


@pytest.mark.parametrize("options", [{}, {"interval": 0.8}, {"draws": 3, "samples": 8}])
def test_observed_cells_stay_exactly_and_missing_cells_are_filled(kept, options):
    answer = kept.torch.impute(kept.rows, **options)
    draws = options.get("draws", 1)
    model, rows = kept.torch, kept.rows.num_rows
    assert answer.num_rows == draws * rows
    filled = 0
    for name in kept.rows.column_names:
        before, after = storage(kept.rows[name]).to_pylist() * draws, storage(answer[name]).to_pylist()
        assert answer[name].type == kept.rows[name].type, name
        for old, new in zip(before, after, strict=True):
            if not gone(old):
                assert new == old, name
            elif model.contract[name].role == "model":
                assert not gone(new), name
                filled += 1
                if isinstance(old, list):
                    assert [n for o, n in zip(old, new, strict=True) if not gone(o)] == [o for o in old if not gone(o)]
            else:
                assert new is None, name  # a condition is not the model's to fill
    assert filled > 30 * draws


def test_what_is_filled_could_have_been_seen(kept):
    """Categories among those known, numbers and counts within the range, on their grid when drawn."""
    model = kept.torch
    answer = model.impute(kept.rows, draws=5, samples=8)
    for name in model.contract.names("model"):
        field = model.contract[name]
        column = (
            pc.cast(answer[name], answer[name].type.value_type)
            if pa.types.is_dictionary(answer[name].type)
            else answer[name]
        )
        values = storage(column).to_pylist()
        if field.kind == "image":
            assert all(0 <= level <= field.white and level == round(level) for image in values for level in image)
        elif field.kind == "category":
            assert set(values) <= set(field.levels), name
            assert len(set(values)) > 1
        elif field.kind == "vector":
            flat = np.array(values, float)
            assert np.isfinite(flat).all()
            if field.likelihood == "bernoulli":
                assert set(flat.ravel()) == {0.0, 1.0}
        elif field.kind == "datetime":
            drawn, seen = field.read(answer[name]), field.read(kept.rows[name])
            assert drawn.min() >= min(field.bounds[0], np.nanmin(seen))
            assert drawn.max() <= max(field.bounds[1], np.nanmax(seen))
            np.testing.assert_array_equal(field.snap(drawn), drawn)
        else:
            drawn = np.array(values, float)
            assert drawn.min() >= min(field.bounds[0], np.nanmin(_numbers(kept.rows[name])))
            assert drawn.max() <= max(field.bounds[1], np.nanmax(_numbers(kept.rows[name])))
            if field.kind == "count":
                assert (drawn == np.rint(drawn)).all()
            elif field.lattice is not None:
                np.testing.assert_array_equal(field.lattice.snap(drawn), drawn)


def _numbers(column):
    return np.array([np.nan if x is None else float(x) for x in column.to_pylist()])


def test_an_imputed_table_is_one_that_the_model_knows(kept):
    """Point estimates break no rule of the contract: they can be scored again."""
    model = kept.torch
    answer = model.impute(kept.rows)
    scores = column(model.score(answer), "score")
    assert np.isfinite(scores).all()
    again = model.impute(answer)
    assert again.equals(answer)


def test_columns_of_every_type_are_filled_in_their_own_type():
    """Whole numbers stay whole, booleans boolean, dictionaries keep their order, bits are bits whatever holds them."""
    rng = np.random.default_rng(0)
    n = 300
    hidden = rng.normal(size=n)
    frame = {
        "i8": pa.array(np.clip(np.rint(20 * hidden), -100, 100), pa.int8()),
        "u16": pa.array(np.rint(np.exp(hidden + 4)).astype(int) * 7, pa.uint16()),
        "f32": pa.array(hidden + 0.1 * rng.normal(size=n), pa.float32()),
        "flag": pa.array(hidden > 0),
        "two": pa.array(np.where(hidden > 0, 7, 3)),
        "text": pa.array(np.where(hidden > 0.5, "high", np.where(hidden < -0.5, "low", "mid")), pa.large_string()),
        "word": pa.array(np.where(hidden > 0, "p", np.where(hidden < -1, "q", "r"))).dictionary_encode(),
        "level": pa.DictionaryArray.from_arrays(
            pa.array(np.digitize(hidden, [-1, 0, 1]), pa.int8()), ["poor", "fair", "good", "best"], ordered=True
        ),
        "bits": pa.FixedSizeListArray.from_arrays(pa.array((rng.random(2 * n) < 0.5).astype(float)), 2),
        "flags": pa.FixedSizeListArray.from_arrays(pa.array(rng.random(2 * n) < 0.5), 2),
        "whole": pa.ListArray.from_arrays(np.arange(0, 2 * n + 1, 2), pa.array(rng.integers(0, 99, 2 * n))),
    }
    table = pa.table(frame)
    model = fit(table, epochs=4)
    assert model.contract.names("model") == tuple(frame)
    plain = {n: c for n, c in frame.items() if not pa.types.is_dictionary(c.type) and not pa.types.is_nested(c.type)}
    holes = pa.table(
        {m: pc.if_else(pa.array(rng.random(n) < 0.2), pa.scalar(None, c.type), c) for m, c in plain.items()}
    )
    for name in ("word", "level", "bits", "flags", "whole"):
        values = [None if rng.random() < 0.2 else x for x in frame[name].to_pylist()]
        kind = frame[name].type
        if pa.types.is_dictionary(kind):
            codes = pc.index_in(
                pa.array(values, kind.value_type), value_set=frame[name].dictionary.cast(kind.value_type)
            )
            held = pa.DictionaryArray.from_arrays(
                codes.cast(kind.index_type), frame[name].dictionary, ordered=kind.ordered
            )
        else:
            held = pa.array(values, kind)
        holes = holes.append_column(name, held)
    for options in ({}, {"draws": 2}):
        answer = model.impute(holes, **options)
        for name in frame:
            assert answer[name].type == frame[name].type, name
            assert answer[name].null_count == 0, name
        assert set(answer["level"].chunk(0).dictionary.to_pylist()) == {"poor", "fair", "good", "best"}
        assert answer["level"].combine_chunks().dictionary.to_pylist() == ["poor", "fair", "good", "best"]
        assert {x for row in answer["bits"].to_pylist() for x in row} == {0.0, 1.0}


# -------------------------------------------------------------------------------------------------- tables as they come


def test_columns_that_are_absent_are_filled_everywhere(kept):
    model = kept.torch
    absent = [name for name in model.contract.names("model")][:2]
    answer = model.impute(kept.rows.drop_columns(absent))
    nothing = kept.rows
    for name in absent:
        index = nothing.column_names.index(name)
        nothing = nothing.set_column(index, name, pa.nulls(nothing.num_rows, nothing[name].type))
    as_null = model.impute(nothing)
    for name in absent:
        assert not any(gone(value) for value in answer[name].to_pylist())
    assert (
        answer.select(sorted(answer.column_names)).to_pylist()
        == as_null.select(sorted(answer.column_names)).to_pylist()
    )


def test_rows_that_are_missing_as_a_whole_follow_the_marginals(zoo):
    model = zoo["mixture"].torch
    table = pa.table({"g": ["u"] * 600, "c": pa.nulls(600, pa.string()), "n": pa.nulls(600, pa.float64())})
    drawn = model.impute(table, draws=5)
    free = model.sample(3000, given={"g": "u"}, seed=5)
    for level in "xyz":
        share = drawn["c"].to_pylist().count(level) / 3000
        assert abs(share - free["c"].to_pylist().count(level) / 3000) < 0.05
    assert np.mean(column(drawn, "n")) == pytest.approx(np.mean(column(free, "n")), abs=0.15)
    assert np.std(column(drawn, "n")) == pytest.approx(np.std(column(free, "n")), rel=0.1)


def test_a_table_without_missing_cells_comes_back_as_it_is(zoo):
    kept = zoo["pair"]
    rows = kept.rows.append_column("id", pa.array(np.arange(kept.rows.num_rows)))
    assert kept.torch.impute(rows).equals(rows)
    twice = kept.torch.impute(rows, draws=2)
    assert twice.drop_columns(["draw"]).equals(pa.concat_tables([rows, rows]))
    assert twice["draw"].to_pylist() == [0] * rows.num_rows + [1] * rows.num_rows
    beside = kept.torch.impute(rows, interval=0.9)
    assert beside.select(rows.column_names).equals(rows)
    assert [beside[f"{name}.{side}"].null_count for name in "ab" for side in ("low", "high")] == [rows.num_rows] * 4


@pytest.mark.parametrize("options", [{}, {"interval": 0.9}, {"draws": 2}])
def test_the_columns_of_the_answer_do_not_depend_on_what_is_missing(kept, options):
    """A host that carries batches must be able to put them below each other."""
    whole = kept.torch.impute(kept.rows, **options)
    assert kept.torch.impute(kept.rows.slice(0, 0), **options).schema == whole.schema
    complete = kept.table.filter(pa.array([not any(map(gone, row.values())) for row in kept.table.to_pylist()]))
    assert complete.num_rows > 5
    assert kept.torch.impute(complete, **options).schema == whole.schema
    absent = kept.rows.drop_columns([kept.torch.contract.names("model")[0]])
    assert kept.torch.impute(absent.slice(0, 0), **options).schema == kept.torch.impute(absent, **options).schema


def test_other_columns_come_back_as_they_came(zoo):
    kept = zoo["visits"]
    more = kept.rows.append_column("when", pa.array([None] * 199 + [3], pa.timestamp("s")))
    assert kept.torch.impute(more)["when"].equals(more["when"])
    assert kept.torch.impute(more, draws=2)["when"].to_pylist() == more["when"].to_pylist() * 2


def test_cells_of_a_type_that_cannot_hold_the_answer(zoo):
    """A column of nothing but nulls, or of whole numbers where the contract has fractions."""
    model = zoo["pair"].torch
    nulls = model.impute({"a": [1.0, 2.0], "b": [None, None]})
    assert nulls["b"].type == pa.float64()
    assert column(nulls, "b") == pytest.approx([0.9, 1.8], abs=0.25)
    whole = model.impute({"a": pa.array([1, None, -1], pa.int8()), "b": [1.0, 0.45, -1.0]})
    assert whole["a"].to_pylist()[::2] == [1.0, -1.0]
    assert 0.1 < whole["a"].to_pylist()[1] < 0.9
    days = zoo["flights"]
    row = {n: c for n, c in days.rows.slice(0, 1).to_pydict().items()} | {"distance": [None]}
    assert (
        days.torch.impute(pa.table(row).set_column(2, "distance", pa.nulls(1, pa.int8())))["distance"][0].as_py() > 127
    )


def test_levels_may_come_as_text_or_as_a_dictionary(zoo):
    kept = zoo["cancer"]
    text = kept.rows["texture_band"].cast(pa.string()).combine_chunks()
    at = kept.rows.column_names.index("texture_band")
    expected = kept.torch.impute(kept.rows)["texture_band"].to_pylist()
    for column in (text.dictionary_encode(), text.cast(pa.large_string()), text.dictionary_encode().cast(
        pa.dictionary(pa.int8(), pa.large_string()))):  # fmt: skip
        answer = kept.torch.impute(kept.rows.set_column(at, "texture_band", column))
        assert answer["texture_band"].to_pylist() == expected


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("draws", [1, 2, 7])
def test_few_rows_samples_and_draws(kept, rows, samples, draws):
    """With one row and one sample, what depends on z and what does not have the same shape."""
    few = kept.rows.slice(0, rows)
    first = kept.torch.contract.names("model")[0]
    few = few.set_column(few.column_names.index(first), first, pa.nulls(rows, few[first].type))
    answer = kept.torch.impute(few, draws=draws, samples=samples)
    assert answer.num_rows == rows * draws
    assert not any(gone(value) for value in answer[first].to_pylist())
    if draws == 7:
        assert len({str(value) for value in answer[first].to_pylist()[::rows]}) > 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 0}, "draws must be a whole number"),
        ({"samples": 0}, "samples must be a whole number"),
        ({"interval": 0.0}, "interval is a coverage between 0 and 1"),
        ({"interval": 1.0}, "interval is a coverage between 0 and 1"),
        ({"interval": float("nan")}, "interval is a coverage between 0 and 1"),
        ({"interval": 0.9, "draws": 2}, "needs draws=1"),
    ],
)
def test_options_that_make_no_sense_are_refused(zoo, options, message):
    with pytest.raises(ConfigError, match=message):
        zoo["pair"].torch.impute(zoo["pair"].rows, **options)


def test_a_column_that_the_answer_would_add_twice_is_refused(zoo):
    rows = zoo["pair"].rows
    with pytest.raises(ConfigError, match=r"already has: b.low, b.high"):
        zoo["pair"].torch.impute(
            rows.append_column("b.high", rows["b"]).append_column("b.low", rows["a"]), interval=0.5
        )
    with pytest.raises(ConfigError, match=r"already has: draw"):
        zoo["pair"].torch.impute(rows.append_column("draw", rows["b"]), draws=2)
    assert zoo["pair"].torch.impute(rows.append_column("draw", rows["b"])).num_rows == rows.num_rows


# ------------------------------------------------------------------------------------------------- belief and its doubt


@pytest.fixture(scope="module")
def hidden():
    """Fresh rows of which one of the two numbers is hidden in turn, and the truth."""
    whole = bivariate(2400, seed=61)
    first = np.arange(2400) % 2 == 0
    a, b = column(whole, "a"), column(whole, "b")
    holes = pa.table({"a": pa.array(a, mask=first), "b": pa.array(b, mask=~first)})
    return holes, np.where(first, a, b), np.where(first, b, a), first


def picked(answer, first, suffix=""):
    return np.where(first, column(answer, f"a{suffix}"), column(answer, f"b{suffix}"))


@pytest.mark.parametrize("interval", [0.5, 0.9])
def test_intervals_cover_hidden_cells_as_often_as_they_say(zoo, hidden, interval):
    holes, truth, _, first = hidden
    answer = zoo["pair"].torch.impute(holes, interval=interval)
    low, high = (picked(answer, first, f".{side}") for side in ("low", "high"))
    covered = (low <= truth) & (truth <= high)
    assert interval - 0.05 < covered.mean() < interval + 0.05
    for half in (first, ~first):
        assert interval - 0.06 < covered[half].mean() < interval + 0.06
    assert np.mean(high - low) < 0.6 * interval / 0.9 * 3.29  # conditional, not marginal
    for name, missing in (("a", first), ("b", ~first)):
        for side in ("low", "high"):
            assert np.array_equal(np.array(answer[f"{name}.{side}"].is_valid()), missing)


def test_point_estimates_are_the_conditional_mean(zoo, hidden):
    holes, truth, other, first = hidden
    found = picked(zoo["pair"].torch.impute(holes), first)
    assert rmse(found, SLOPE * other) < 0.2
    assert rmse(found, truth) < 1.06 * NOISE
    assert rmse(found, truth) < 0.5 * rmse(0.0, truth)  # the mean of the column


def test_draws_are_independent_draws_of_the_conditional(zoo, hidden):
    holes, truth, other, first = hidden
    answer = zoo["pair"].torch.impute(holes, draws=10)
    assert answer["draw"].to_pylist() == np.repeat(np.arange(10), 2400).tolist()
    drawn = np.stack([picked(answer.slice(2400 * d, 2400), first) for d in range(10)])
    assert all(len(np.unique(row)) == 10 for row in drawn.T[:200])
    residual = drawn - SLOPE * other
    assert residual.std() == pytest.approx(NOISE, rel=0.08)
    assert drawn.std(0, ddof=1).mean() == pytest.approx(NOISE, rel=0.1)
    rank = (drawn < truth).sum(0)  # uniform over 0 to 10 if the truth is like a draw
    counts = np.bincount(rank, minlength=11)
    assert np.abs(counts - 2400 / 11).max() < 0.3 * 2400 / 11
    correlation = np.corrcoef(residual)
    assert np.abs(correlation[np.triu_indices(10, 1)]).max() < 0.1
    across = np.corrcoef(residual[:, :-1].ravel(), residual[:, 1:].ravel())[0, 1]
    assert abs(across) < 0.05  # rows are independent of each other too


def test_every_row_has_proposals_of_its_own(zoo, hidden, monkeypatch):
    """Rows that shared noise would err together: a mean over imputed rows would look surer than it is."""
    model, seen = zoo["pair"].torch, []
    backend = type(model.engine.backend)
    real = backend.run

    def run(self, primitive, inputs):
        if primitive == "encode":
            seen.append(inputs["noise.z"])
        return real(self, primitive, inputs)

    monkeypatch.setattr(backend, "run", run)
    for seed in (0, 1):
        model.impute(hidden[0].slice(0, 150), samples=16, seed=seed)
    assert sum(noise.shape[1] for noise in seen) == 300
    noise = np.concatenate([part.ravel() for part in seen])
    assert len(np.unique(noise)) > 0.99 * noise.size


def test_the_same_seed_fills_alike_and_another_does_not(zoo, hidden):
    holes = hidden[0].slice(0, 100)
    model = zoo["pair"].torch
    for options in ({}, {"draws": 2}):
        assert model.impute(holes, **options).equals(model.impute(holes, **options))
        assert not model.impute(holes, **options).equals(model.impute(holes, seed=1, **options))


def test_importance_weights_mend_a_crude_encoder(zoo, hidden):
    """An encoder that ignores its input proposes from N(0, 1): weights find the posterior all the same."""
    import torch

    holes, truth, _, first = hidden
    model = vk.load(zoo["pair"].bundle)
    head = model.engine.backend.vae.latent.posterior.linear
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
    errors = {}
    for samples in (1, 64, 400):
        answer = model.impute(holes, samples=samples, interval=0.9)
        errors[samples] = rmse(picked(answer, first), truth)
        inside = (picked(answer, first, ".low") <= truth) & (truth <= picked(answer, first, ".high"))
        if samples == 400:
            assert 0.85 < inside.mean() < 0.95
        if samples == 1:
            assert inside.mean() < 0.5
    assert errors[1] > 1.0  # worse than the mean of the column
    assert errors[64] < 0.5
    assert errors[400] < 1.1 * NOISE


def test_the_probability_beside_a_category_is_the_share_of_its_draws(zoo):
    model = zoo["mixture"].torch
    table = pa.table({"g": ["u", "v", "u"], "c": pa.nulls(3, pa.string()), "n": [-2.2, 3.2, 0.1]})
    answer = model.impute(table, interval=0.5)
    assert answer["c"].to_pylist() == ["x", "y", "y"]
    assert (column(answer, "c.probability") > [0.9, 0.8, 0.5]).all()
    drawn = model.impute(pa.concat_tables([table.slice(2, 1)] * 300), draws=2)
    share = drawn["c"].to_pylist().count("y") / 600
    assert column(answer, "c.probability")[2] == pytest.approx(share, abs=0.1)


# ----------------------------------------------------------------------------------------------------------- resampling


def test_systematic_resampling_takes_each_as_often_as_its_weight_says():
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.full(6, 0.4), 500).T
    for draws in (1, 4, 50):
        chosen = systematic(weights, np.random.default_rng(1).random((1 + draws, weights.shape[1])))
        assert chosen.shape == (draws, 500)
        counts = (chosen[:, None] == np.arange(6)[:, None]).sum(0)
        assert (np.abs(counts - draws * weights) < 1 + 1e-9).all()  # never more than one away
        assert counts.mean(1) / draws == pytest.approx(weights.mean(1), abs=0.03)
    first = systematic(np.tile([[0.5], [0.5]], 4000), np.random.default_rng(2).random((3, 4000)))
    assert set(map(tuple, first.T.tolist())) == {(0, 1), (1, 0)}  # in random order
    assert (first[0] == 0).mean() == pytest.approx(0.5, abs=0.03)
    sure = systematic(np.array([[0.0], [1.0], [0.0]]), np.random.default_rng(3).random((10, 1)))
    assert (sure == 1).all()


def test_pandas_gets_its_gaps_filled(zoo):
    kept = zoo["cancer"]
    frame = kept.rows.to_pandas()
    assert isinstance(frame["grade"].dtype, pd.CategoricalDtype)
    filled = kept.torch.impute(frame).to_pandas()
    missing = frame["grade"].isna()
    assert filled["grade"][~missing].tolist() == frame["grade"][~missing].tolist()
    assert list(filled["grade"].cat.categories) == ["small", "medium", "large", "huge"]
    assert filled["grade"].cat.ordered
    assert not filled[list(kept.torch.contract.names("model"))].isna().any().any()
