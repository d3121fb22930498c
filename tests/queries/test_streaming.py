"""Queries over batches give row by row what they give to all rows at once."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.notorch.alike import differences
from vaekit.errors import ContractError, QueryError
from vaekit.queries import stream

ASKED = {
    "score": {"attribution": True},
    "detect": {"alpha": 0.1},
    "embed": {},
    "reconstruct": {},
    "denoise": {"samples": 8},
    "impute": {"interval": 0.8, "samples": 8},
}


@pytest.mark.parametrize("query", ASKED)
def test_answers_to_batches_are_those_to_all_rows(query, kept):
    rows, options = kept.rows, ASKED[query]
    whole = kept.torch.query(query, rows, **options)
    parts = list(kept.torch.stream(query, [rows.slice(0, 37), rows.slice(37)], rows=64, **options))
    assert [len(part) for part in parts] == [min(64, rows.num_rows - at) for at in range(0, rows.num_rows, 64)]
    assert len({part.schema for part in parts}) == 1
    assert differences(pa.concat_tables(parts), whole) == []


def test_imputations_do_not_depend_on_the_size_of_batches(zoo):
    """Several draws: each batch has all of its own, and the draws of a row are those of its place in the source."""
    kept = zoo["flights"]
    whole = kept.torch.impute(kept.rows, draws=3, seed=5)
    for size in (50, 64, 81):
        parts = list(kept.torch.stream("impute", [kept.rows], rows=size, draws=3, seed=5))
        for draw in range(3):
            one = pa.concat_tables([part.filter(pa.compute.equal(part["draw"], draw)) for part in parts])
            assert differences(one, whole.filter(pa.compute.equal(whole["draw"], draw))) == []
    later = kept.torch.query("impute", kept.rows.slice(100), draws=3, seed=5, positions=range(100, kept.rows.num_rows))
    assert (
        differences(
            later.filter(pa.compute.equal(later["draw"], 2)),
            whole.filter(pa.compute.equal(whole["draw"], 2)).slice(100),
        )
        == []
    )
    elsewhere = kept.torch.query("impute", kept.rows.slice(100), draws=3, seed=5)
    assert differences(elsewhere, later) != []


def test_answers_have_one_schema_though_batches_have_different_holes(zoo):
    kept = zoo["flights"]
    rows = kept.rows.cast(
        pa.schema([field.with_type(pa.int16()) if field.name == "distance" else field for field in kept.rows.schema])
    )
    full = rows.filter(rows["distance"].is_valid())
    holes = rows.filter(rows["distance"].is_null())
    parts = list(kept.torch.stream("impute", [full, holes], rows=full.num_rows))
    assert parts[0].schema == parts[1].schema == kept.torch.impute(pa.concat_tables([full, holes])).schema
    assert parts[1]["distance"].null_count == 0


def test_a_stream_from_a_folder_of_files(zoo, tmp_path):
    kept = zoo["flights"]
    for index, start in enumerate(range(0, kept.rows.num_rows, 45)):
        pq.write_table(kept.rows.slice(start, 45), tmp_path / f"{index}.parquet")
    answer = pa.concat_tables(kept.torch.stream("score", tmp_path, rows=33))
    assert differences(answer, kept.torch.score(kept.rows)) == []
    pieces = list(stream(kept.torch.engine, "score", tmp_path, rows=33))
    assert [piece.first for piece in pieces] == list(range(0, kept.rows.num_rows, 33))
    assert pa.concat_tables([piece.asked for piece in pieces]).to_pylist() == kept.rows.to_pylist()


def test_a_batch_is_answered_before_the_next_is_read(zoo):
    kept, read = zoo["flights"], []

    def source():
        for start in range(0, 200, 50):
            read.append(start)
            yield kept.rows.slice(start, 50)

    answers = kept.torch.stream("score", source(), rows=50)
    next(answers)
    assert max(read) <= 50
    assert sum(len(answer) for answer in answers) == 150


def test_an_error_names_the_row_of_the_source(zoo):
    kept = zoo["flights"]
    wrong = pa.concat_tables([kept.rows, kept.rows.slice(0, 1)])
    index = wrong.schema.get_field_index("origin")
    names = wrong["origin"].cast(pa.string()).to_pylist()
    names[150] = "nowhere"
    wrong = wrong.set_column(index, "origin", pa.array(names))
    with pytest.raises(ContractError, match=r"field 'origin', row 150"):
        list(kept.torch.stream("score", wrong, rows=40))


def test_no_rows_give_an_empty_answer(zoo):
    kept = zoo["flights"]
    empty = kept.rows.slice(0, 0)
    for query in ("score", "impute"):
        (answer,) = kept.torch.stream(query, empty)
        assert answer.schema == kept.torch.query(query, empty).schema
        assert len(answer) == 0


def test_what_is_not_asked_of_rows_is_refused(zoo):
    model = zoo["flights"].torch
    with pytest.raises(QueryError, match="row by row"):
        list(model.stream("sample", model, n=3))
    with pytest.raises(QueryError, match="unknown query"):
        list(model.stream("dream", zoo["flights"].rows))
    with pytest.raises(QueryError, match="takes"):
        list(model.stream("score", zoo["flights"].rows, colour="red"))
