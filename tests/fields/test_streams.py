"""Contracts from one pass over a source: the same as from all rows at once, wherever the surprising row lies."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vaekit.fields.batches as batches_module
import vaekit.fields.profile as profile_module
import vaekit.fields.sources as sources
import vaekit.fields.streams as streams
from vaekit.errors import ContractError
from vaekit.fields import Contract, to_arrow, write
from vaekit.fields.sources import open_source

RNG = np.random.default_rng(11)
N = 6000


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Samples and batches so small that six thousand rows are many of them; text files are read in batches."""
    monkeypatch.setattr(sources, "TEXT", 0)
    monkeypatch.setattr(sources, "ZIPPED", 0)
    monkeypatch.setattr(streams, "SAMPLE", 256)
    monkeypatch.setattr(batches_module, "ROWS", 64)  # contracts are fitted to four times as many at a time


def mixed(rows=N):
    names = np.array(["EWR", "JFK", "LGA"])
    return pa.table(
        {
            "skewed": np.exp(2 * RNG.normal(size=rows)),
            "price": np.round(np.exp(RNG.normal(3, 1, rows)), 2),
            "whole": pa.array(RNG.integers(-50, 50, rows), mask=RNG.random(rows) < 0.1),
            "rain": np.where(RNG.random(rows) < 0.6, 0.0, RNG.gamma(2.0, 5.0, rows)),
            "visits": RNG.poisson(2.0, rows),
            "origin": pa.array(names[RNG.integers(0, 3, rows)], mask=RNG.random(rows) < 0.1),
            "late": RNG.random(rows) < 0.3,
            "flag": RNG.integers(0, 2, rows),
            "grade": pa.DictionaryArray.from_arrays(
                pa.array(RNG.integers(0, 3, rows).astype(np.int8)), ["low", "mid", "high"], ordered=True
            ),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(RNG.normal(size=3 * rows)), 3),
            "bits": pa.array(RNG.integers(0, 2, (rows, 4)).tolist(), pa.list_(pa.int8())),
            "ident": [f"id {i}" for i in range(rows)],
            "number": np.arange(rows),
            "same": np.full(rows, 4.5),
            "nothing": pa.nulls(rows, pa.float64()),
            "when": pa.array(np.arange(rows), pa.timestamp("s")),
        }
    )


def alike(one, two):
    """Two contracts are equal, but for rounding in the moments of vectors, whose batches are added in another order."""
    assert one.names() == two.names()
    for a, b in zip(one.fields, two.fields, strict=True):
        if a.kind == "vector" and a.center:
            np.testing.assert_allclose(a.center, b.center, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(a.scale, b.scale, rtol=1e-9)
            assert (a.length, a.likelihood, a.missing, a.partial) == (b.length, b.likelihood, b.missing, b.partial)
        elif a.role == "ignore":  # the note says how many values were looked at
            assert (a.name, a.type, a.role, a.kind) == (b.name, b.type, b.role, b.kind)
        elif a.kind == "number":
            assert abs(a.missing - b.missing) < 1e-12
            assert str(a) == str(b)
        else:
            assert a == b


def stored(table, folder, form):
    if form == "parquet":
        pq.write_table(table, folder / "x.parquet", row_group_size=500)
        return folder / "x.parquet"
    if form == "arrow":
        return write(table, folder / "x.arrow")
    return [table.slice(start, 333) for start in range(0, table.num_rows, 333)]


@pytest.mark.parametrize("form", ["parquet", "arrow", "tables"])
def test_a_contract_from_batches_is_that_of_the_whole(form, tmp_path):
    table = mixed()
    source = stored(table, tmp_path, form)
    table = to_arrow(source) if form == "parquet" else table  # it has names of its own for elements of lists
    whole, batched = Contract.infer(table), Contract.infer(source)
    alike(batched, whole)
    alike(whole.fit(source), whole.fit(table))
    assert "row number" in batched["number"].note


def test_a_stream_that_is_read_once_gives_the_same_contract():
    table = mixed()
    alike(Contract.infer(table.to_reader(100)), Contract.infer(table))


def test_a_contract_from_text_is_that_of_the_whole_file(tmp_path):
    table = mixed().select(["skewed", "price", "whole", "rain", "visits", "origin", "late", "flag", "ident"])
    path = write(table, tmp_path / "x.csv")
    alike(Contract.infer(path), Contract.infer(to_arrow(path)))


LATE = {
    "a new level": (["a", "b"] * 2990, "c"),
    "a third number": ([0, 1] * 2990, 7),
    "a fraction on a grid of whole numbers": (np.tile(np.arange(50.0), 120)[:5980], 3.5),
    "a fraction on a grid of tenths": (np.tile(np.arange(50.0) / 10, 120)[:5980], 0.25),
    "a number on no grid": (np.tile(np.arange(50.0), 120)[:5980], np.pi),
    "a negative count": (RNG.poisson(2.0, 5980), -3),
    "a huge count": (RNG.poisson(2.0, 5980), 40_000),
    "a value after nothing": ([None] * 5980, 2.5),
    "text after nothing": ([None] * 5980, "x"),
    "another value than always": ([4.5] * 5980, 5.5),
    "another word than always": (["x"] * 5980, "y"),
    "an infinite value": (RNG.normal(size=5980), np.inf),
    "a whole number beyond exactness": (RNG.integers(0, 90, 5980), 2**60),
}


@pytest.mark.parametrize("place", ["late", "middle"])
@pytest.mark.parametrize("case", LATE)
def test_a_surprise_anywhere_decides_as_it_does_in_memory(case, place, tmp_path):
    early, odd = LATE[case]
    early = list(early)
    values = [*early[:3777], odd, *early[3777:]] if place == "middle" else [*early, odd]
    column = pa.array([value.item() if isinstance(value, np.generic) else value for value in values])
    table = pa.table({"x": column, "y": RNG.normal(size=len(column))})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=500)
    table = to_arrow(tmp_path / "x.parquet")
    whole = Contract.infer(table)
    alike(Contract.infer(tmp_path / "x.parquet"), whole)
    alike(Contract.infer([table.slice(start, 200) for start in range(0, table.num_rows, 200)]), whole)


TEXTS = {
    "decimals of an amount": ([f"${i % 90}" for i in range(5980)], "$12.50"),
    "no amount": ([f"${i % 90}" for i in range(5980)], "?"),
    "no number": ([f"{i % 900 / 8}" for i in range(5980)], " N/A"),
    "another marker": ([f"{i % 900 / 8}" if i % 9 else "-" for i in range(5980)], "?"),
    "no count": ([str(int(i)) for i in RNG.poisson(RNG.gamma(0.5, 20.0, 5980))], "unknown"),
    "no date": ([f"2020-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(5980)], "?"),
    "no level": (["red", "blue"] * 2990, "?"),
    "no level, with a marker": (["red", "blue", "n/a"] * 1993, "?"),
    "no second word": (["x"] * 5980, "y"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_late_text_decides_as_it_does_in_memory(case, tmp_path):
    texts, odd = TEXTS[case]
    table = pa.table({"x": [*texts, odd], "y": RNG.normal(size=len(texts) + 1)})
    whole = Contract.infer(table)
    batched = Contract.infer(stored(table, tmp_path, "parquet"))
    alike(batched, whole)
    assert batched["x"].markers == whole["x"].markers
    assert batched["x"].note == whole["x"].note
    if case == "decimals of an amount":
        assert batched["x"].write(np.array([12.5])).to_pylist() == ["$12.5"]


def test_a_late_separator_of_thousands_is_named(tmp_path):
    table = pa.table({"x": [str(i % 900) for i in range(5000)] + ["1,200"], "y": RNG.normal(size=5001)})
    with pytest.raises(ContractError, match=r"not a number \(field 'x', row 5000\).*'1,200'"):
        Contract.infer(stored(table, tmp_path, "tables"))


@pytest.mark.parametrize("odd", [[1.0, 0.0, 1.0], [2.0, 0.0]])
def test_a_list_that_breaks_the_kind_of_the_sample_is_named(odd, tmp_path):
    lists = [[0.0, 1.0]] * 1990 + [[1.0, 0.0]] * 1990 + [odd]
    with pytest.raises(ContractError, match=r"field 'x', row 3980"):
        Contract.infer(stored(pa.table({"x": lists}), tmp_path, "parquet"))


def test_many_levels_are_counted_up_to_a_limit(monkeypatch, tmp_path):
    monkeypatch.setattr(streams, "MOST_LEVELS", 1000)
    common = [f"c{i}" for i in RNG.integers(0, 20, N)]
    late = [f"id {i}" if i > N // 2 and i % 2 else one for i, one in enumerate(common)]
    field = Contract.infer(stored(pa.table({"x": late, "y": RNG.normal(size=N)}), tmp_path, "parquet"))["x"]
    assert set(common) <= set(field.levels)
    assert field.unseen == "missing"


def test_levels_that_come_late_are_all_found(tmp_path):
    names = [f"k{i // 100}" for i in range(N - 1)] + ["last"]
    table = pa.table({"x": names, "y": RNG.normal(size=N)})
    path = stored(table, tmp_path, "parquet")
    contract = Contract.infer(path)
    assert contract["x"].role == "model"
    assert contract["x"].levels == tuple(sorted(set(names)))
    bare = contract.replace("x", levels=())
    assert bare.fit(path)["x"].levels == tuple(sorted(set(names)))


def test_a_row_that_breaks_the_contract_is_named_by_its_place_in_the_source(tmp_path):
    contract = Contract.infer(pa.table({"x": ["a", "b"] * 100, "y": RNG.normal(size=200)}))
    table = pa.table({"x": ["a"] * 4321 + ["c"] + ["b"] * 1000, "y": RNG.normal(size=5322)})
    with pytest.raises(ContractError, match=r"not a known category \(field 'x', row 4321\)"):
        contract.fit(stored(table, tmp_path, "parquet"))
    with pytest.raises(ContractError, match="column is missing"):
        contract.fit(stored(table.drop_columns("x"), tmp_path, "parquet"))


def test_no_rows_are_refused():
    empty = pa.table({"x": pa.array([], pa.float64())})
    with pytest.raises(ContractError, match="at least one"):
        Contract.infer([empty, empty])
    with pytest.raises(ContractError, match="no rows to fit to"):
        Contract.infer(pa.table({"x": [1.0, 2.0, 4.0]})).fit([empty, empty])


def test_columns_of_too_many_values_are_fitted_within_the_bound(monkeypatch, tmp_path):
    """The fitted map encodes as the exact one does: within the stated error of the ranks."""
    from scipy.special import ndtr

    monkeypatch.setattr(profile_module, "EXACT", 1000)
    monkeypatch.setattr(profile_module, "POINTS", 500)
    monkeypatch.setattr(profile_module, "TAILS", 64)
    table = pa.table({"x": np.exp(3 * RNG.normal(size=N))})
    path = stored(table, tmp_path, "parquet")
    whole, batched = Contract.infer(table), Contract.infer(path)
    assert batched["x"].bounds == whole["x"].bounds
    assert batched["x"].map != whole["x"].map
    codes = [next(iter(one.encode(table).values())).values.ravel() for one in (whole, batched)]
    assert np.abs(ndtr(codes[0]) - ndtr(codes[1])).max() < 0.02


# -------------------------------------------------------------------------------------------------------------- samples


def test_a_sample_is_uniform_in_order_and_repeats():
    table = pa.table({"x": np.arange(N)})
    source = open_source([table.slice(start, 97) for start in range(0, N, 97)])
    counts = np.zeros(N)
    for seed in range(300):
        found, total = streams.sampled(source, 500, seed)
        x = found["x"].to_numpy()
        assert total == N
        assert len(x) == 500
        assert (np.diff(x) > 0).all()
        counts[x] += 1
    again, _ = streams.sampled(source, 500, 299)
    assert again.equals(found)
    chance = 500 / N
    blocks = counts.reshape(60, -1).sum(1)  # of a hundred neighbouring rows each, over 300 samples
    spread = np.sqrt(300 * 100 * chance * (1 - chance))
    assert np.abs(blocks - 300 * 100 * chance).max() < 5 * spread
    assert counts.max() < 300 * chance + 6 * np.sqrt(300 * chance)


def test_a_sample_of_more_rows_than_there_are_is_all_of_them():
    table = pa.table({"x": np.arange(N)})
    found, total = streams.sampled(open_source([table]), 2 * N, 0)
    assert total == N
    assert found.equals(table)
