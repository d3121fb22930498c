"""`score`: the estimator it says it is, for each row alone, and shares that explain it."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import logsumexp

import vaekit as vk
from tests.notorch.alike import arguments
from tests.support import MODELS
from vaekit.arrays import draw
from vaekit.errors import ConfigError, ContractError, QueryError
from vaekit.queries import QUERIES
from vaekit.runtime import engine as engine_module


def composed(model, table, samples, seed):
    """log p(x_f | z_k) per field and log p(z_k) - log q(z_k | x), from three primitives and nothing else."""
    engine = model.engine
    blocks = engine.inputs(engine.encode(table))
    one = draw(engine.architecture.noise, seed, samples, 1)
    noise = {f"noise.{n}": np.repeat(v, table.num_rows, axis=1) for n, v in one.items()}
    encoded = engine.backend.run("encode", blocks | noise)
    density = engine.backend.run("log_density", blocks | engine.backend.run("decode", blocks | encoded))
    ratio = np.zeros((samples, table.num_rows))
    for group in engine.architecture.groups:
        ratio += encoded[f"log_p.{group}"].astype(float) - encoded[f"log_q.{group}"]
    fields = {}
    for spec in engine.architecture.blocks:
        if spec.role == "model":
            for index, name in enumerate(spec.fields):
                fields[name] = density[f"log_px.{spec.name}"][..., index].astype(float)
    return fields, ratio


def column(table, name):
    return np.asarray(table[name].to_numpy(), np.float64)


@pytest.mark.parametrize(("samples", "seed"), [(1, 0), (1, 5), (2, 0), (8, 0), (13, 2)])
def test_score_is_minus_the_log_mean_of_exactly_k_weights(kept, samples, seed):
    fields, ratio = composed(kept.torch, kept.rows, samples, seed)
    weights = sum(fields.values()) + ratio
    expected = -(logsumexp(weights, axis=0) - np.log(samples))
    found = column(kept.torch.score(kept.rows, samples=samples, seed=seed), "score")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_attribution_is_the_weighted_share_of_each_field_and_adds_up(kept):
    fields, ratio = composed(kept.torch, kept.rows, 8, 0)
    weights = sum(fields.values()) + ratio
    normal = np.exp(weights - logsumexp(weights, axis=0))
    answer = kept.torch.score(kept.rows, attribution=True)
    assert answer.column_names == [
        "score",
        "p_value",
        *(f"score.{n}" for n in kept.torch.contract.names("model")),
        "score.latent",
    ]
    for name, log_p in fields.items():
        np.testing.assert_allclose(column(answer, f"score.{name}"), -(normal * log_p).sum(0), rtol=1e-5, atol=1e-5)
    latent = column(answer, "score") + (normal * sum(fields.values())).sum(0)
    np.testing.assert_allclose(column(answer, "score.latent"), latent, rtol=1e-5, atol=2e-5)
    shares = sum(column(answer, n) for n in answer.column_names[2:])
    np.testing.assert_allclose(shares, column(answer, "score"), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(column(answer, "score"), column(kept.torch.score(kept.rows), "score"))


def test_a_missing_cell_has_no_share(kept):
    answer = kept.torch.score(kept.rows, attribution=True)
    seen = 0
    for name in kept.torch.contract.names("model"):
        cells = [value is None or (isinstance(value, list) and not any(x is not None for x in value))
                 for value in kept.rows[name].to_pylist()]  # fmt: skip
        share = column(answer, f"score.{name}")
        assert (share[np.array(cells)] == 0).all(), name
        assert (share[~np.array(cells)] != 0).all(), name
        seen += sum(cells)
    assert seen > 20


# ------------------------------------------------------------------------------------------------- each row for itself


def test_the_same_question_has_the_same_answer(kept):
    first = kept.onnx.score(kept.rows, attribution=True)
    assert kept.onnx.score(kept.rows, attribution=True).equals(first)
    assert vk.load(kept.bundle, backend="onnx").score(kept.rows, attribution=True).equals(first)


def test_the_seed_changes_the_draw(kept):
    scores = [column(kept.torch.score(kept.rows, seed=seed), "score") for seed in (0, 1, 2)]
    assert (np.abs(scores[0] - scores[1]) > 1e-6).mean() > 0.99
    assert (np.abs(scores[1] - scores[2]) > 1e-6).mean() > 0.99
    assert abs(np.mean(scores[0] - scores[1])) < 0.1 * np.std(scores[0])


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_row_does_not_depend_on_its_neighbours(kept, backend, monkeypatch):
    model, rows = getattr(kept, backend), kept.rows.slice(0, 40)
    names = ["score", *(f"score.{n}" for n in model.contract.names("model"))]

    def scores(table):
        answer = model.score(table, attribution=True)
        return np.stack([column(answer, n) for n in names], axis=1)

    whole = scores(rows)
    order = np.random.default_rng(0).permutation(40)
    others = kept.table.slice(100, 160)
    found = {
        "one at a time": np.concatenate([scores(rows.slice(i, 1)) for i in range(40)]),
        "in halves": np.concatenate([scores(rows.slice(0, 13)), scores(rows.slice(13))]),
        "in another order": scores(rows.take(pa.array(order)))[np.argsort(order)],
        "among others": scores(pa.concat_tables([others, rows, others]))[160:200],
        "twice": scores(pa.concat_tables([rows, rows]))[40:],
        "in chunks of Arrow": scores(pa.concat_tables([rows.slice(0, 7), rows.slice(7)])),
    }
    for cells in (1, 600, 3000):
        monkeypatch.setattr(engine_module, "_CELLS", cells)
        found[f"with room for {cells}"] = scores(rows)
    for how, value in found.items():
        np.testing.assert_allclose(value, whole, rtol=1e-5, atol=1e-5, err_msg=how)


def test_exactly_k_samples_are_drawn_and_memory_is_bounded(zoo, monkeypatch):
    """Rows and samples are both cut, no pass is wider than the bound, and each sample is used once for each row."""
    kept = zoo["bits"]
    engine, seen = kept.torch.engine, []
    real = type(engine.backend).run

    def run(self, primitive, inputs):
        seen.append(inputs["noise.z"])
        return real(self, primitive, inputs)

    whole = column(kept.torch.score(kept.rows, samples=40), "score")
    monkeypatch.setattr(type(engine.backend), "run", run)
    monkeypatch.setattr(engine_module, "_CELLS", 32 * 15)
    np.testing.assert_allclose(column(kept.torch.score(kept.rows, samples=40), "score"), whole, rtol=1e-5)
    assert max(len(noise) * noise.shape[1] for noise in seen) == 15
    assert sum(len(noise) * noise.shape[1] for noise in seen) == 40 * kept.rows.num_rows
    one = np.concatenate([noise[:, 0] for noise in seen[:3]])
    np.testing.assert_array_equal(one, draw(engine.architecture.noise, 0, 40, 1)["z"][:, 0])


def mean_scores(model, rows, tries):
    """Mean score with K samples, over so many draws: all rows share a draw, so that few samples need several."""
    return [
        np.mean([column(model.score(rows, samples=k, seed=seed), "score").mean() for seed in range(count)])
        for k, count in tries.items()
    ]


def test_more_samples_tighten_the_bound(zoo):
    """-log p(x) is at most every bound; IWAE bounds fall with K on average."""
    kept = zoo["cancer"]
    means = mean_scores(kept.torch, kept.rows, {1: 32, 4: 16, 16: 4, 256: 1})
    assert all(fewer > more for fewer, more in itertools.pairwise(means))
    assert means[0] > means[3] + 0.03


def test_many_samples_come_close_to_the_truth(zoo):
    from tests.support import NOISE, bivariate

    rows = bivariate(600, seed=11)
    first, last = mean_scores(zoo["pair"].torch, rows, {1: 32, 256: 1})
    a, b = column(rows, "a"), column(rows, "b")
    exact = (0.5 * a**2 + 0.5 * ((b - 0.9 * a) / NOISE) ** 2 + np.log(2 * np.pi) + np.log(NOISE)).mean()
    assert exact < last < exact + 0.1
    assert last < first + 0.005  # the posterior of so simple a model may be all but exact


def test_score_is_in_the_units_of_the_columns(zoo):
    """A density: it integrates to one over the columns as they came, whatever the transform."""
    model = zoo["pair"].torch
    edge = np.linspace(-5, 5, 121)
    a, b = np.meshgrid(edge, edge)
    score = column(model.score(pa.table({"a": a.ravel(), "b": b.ravel()}), samples=200), "score")
    assert np.exp(-score).sum() * (edge[1] - edge[0]) ** 2 == pytest.approx(1.0, abs=0.03)
    edge = np.linspace(-6, 6, 1501)
    alone = column(model.score(pa.table({"a": edge, "b": pa.nulls(1501, pa.float64())}), samples=200), "score")
    assert np.exp(-alone).sum() * (edge[1] - edge[0]) == pytest.approx(1.0, abs=0.02)


def test_probabilities_of_all_kinds_of_rows_add_up_to_one(zoo):
    model = zoo["bits"].torch
    every = (np.arange(16)[:, None] >> np.arange(4)) & 1
    table = pa.table({f"b{i}": every[:, i].astype(bool) for i in range(4)})
    assert np.exp(-column(model.score(table, samples=2000), "score")).sum() == pytest.approx(1.0, abs=0.02)


# -------------------------------------------------------------------------------------------------------- what is asked


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_any_number_of_rows_has_an_answer(kept, rows):
    few = kept.rows.slice(0, rows)
    for attribution in (False, True):
        whole = kept.torch.score(kept.rows, attribution=attribution)
        answer = kept.torch.score(few, attribution=attribution)
        assert answer.schema == whole.schema
        assert answer.num_rows == rows
        np.testing.assert_allclose(column(answer, "score"), column(whole, "score")[:rows], rtol=1e-5)
    assert kept.torch.detect(few, alpha=0.2, attribution=True).num_rows == rows


def test_more_columns_than_the_contract_knows_do_not_matter(zoo):
    kept = zoo["bits"]
    wider = kept.rows.append_column("note", pa.array(["?"] * kept.rows.num_rows))
    assert kept.torch.score(wider.select(wider.column_names[::-1])).equals(kept.torch.score(kept.rows))


@pytest.mark.parametrize("samples", [0, -1, 2.5, True, "8", None])
def test_a_number_of_samples_that_is_none_is_refused(zoo, samples):
    with pytest.raises(ConfigError, match="samples must be a whole number of at least 1"):
        zoo["bits"].torch.score(zoo["bits"].rows, samples=samples)


def test_rows_that_break_the_contract_are_refused_by_row_and_field(zoo):
    model, rows = zoo["visits"].torch, zoo["visits"].rows
    calls = rows["calls"].to_pylist()
    calls[7] = -1
    with pytest.raises(ContractError, match=r"field 'calls', row 7.*got -1.0"):
        model.score(rows.set_column(rows.column_names.index("calls"), "calls", pa.array(calls)))
    with pytest.raises(ContractError, match=r"column is missing \(field 'errors'\)"):
        model.score(rows.drop_columns(["errors"]))


def test_a_query_or_an_option_that_there_is_not_is_refused(zoo):
    model, rows = zoo["bits"].torch, zoo["bits"].rows
    with pytest.raises(QueryError, match=f"unknown query 'scores'; this release answers: {', '.join(sorted(QUERIES))}"):
        model.query("scores", rows)
    with pytest.raises(QueryError, match=r"query 'score' takes table, attribution, samples, seed; .*'sample'"):
        model.query("score", rows, sample=3)
    with pytest.raises(QueryError, match=r"query 'score' takes table.*'table'"):
        model.query("score")


def test_every_query_of_the_model_is_the_query_of_that_name(zoo):
    kept = zoo["visits"]
    for name in QUERIES:
        args, options = arguments(name, 5, kept.rows)
        given = MODELS["visits"].given
        options |= {"sample": {"given": given}, "edit": {"set": given}, "detect": {"alpha": 0.1}}.get(name, {})
        assert getattr(kept.torch, name)(*args, **options).equals(kept.torch.query(name, *args, **options)), name
