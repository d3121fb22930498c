"""Values that stand for "missing" are found, undone in one line, and read alike in training and serving."""

import numpy as np
import pyarrow as pa
import pytest

from vaekit.fields import Contract
from vaekit.fields.markers import without

N = 300
RNG = np.random.default_rng(4)
NUMBERS = RNG.normal(50.0, 10.0, N).round(1)


@pytest.mark.parametrize("marker", ["", "?", "NA", "N/A", "nan", "null", "None", "-", ".", "unknown"])
def test_text_beside_numbers_is_missing(marker):
    texts = [marker if i % 10 == 0 else f"{value:.1f}" for i, value in enumerate(NUMBERS)]
    table = {"x": texts, "c": RNG.choice(["a", "b", "c"], N)}
    contract = Contract.infer(table)
    assert (contract["x"].kind, contract["x"].markers, contract["x"].missing) == ("number", (marker,), 0.1)
    for rows in (table, {"x": [marker, "49.5"], "c": ["a", "b"]}):
        seen = contract.encode(rows)["number.gaussian"].observed[:, 0]
        assert seen.tolist() == [text != marker for text in rows["x"]]


@pytest.mark.parametrize(("marker", "missing"), [("?", True), ("", True), ("N/A", True), ("none", False), ("-", False)])
def test_only_what_can_be_no_level_is_missing_in_a_category(marker, missing):
    texts = [marker if i % 10 == 0 else "abc"[i % 3] for i in range(N)]
    contract = Contract.infer({"x": texts})
    field = contract["x"]
    assert (marker in field.levels) is not missing
    assert field.markers == ((marker,) if missing else ())
    if missing:
        assert contract.replace("x", markers=[], levels=[marker, "a", "b", "c"])["x"].markers == ()


@pytest.mark.parametrize(
    ("marker", "rest", "found"),
    [
        (-999, NUMBERS, True),
        (-9999, NUMBERS, True),
        (-99, NUMBERS, True),
        (99999, NUMBERS, True),
        (-999.9, NUMBERS, True),
        (999, NUMBERS * 15, False),  # within reach of the others
        (-998, NUMBERS, False),  # nobody's marker
        (99999, np.abs(RNG.normal(0, 30_000, N)).round(), False),
    ],
)
def test_far_numbers_that_stand_for_missing(marker, rest, found):
    values = np.where(np.arange(N) % 20 == 0, marker, rest)
    contract = Contract.infer({"x": values})
    assert contract["x"].markers == ((marker,) if found else ())
    assert contract["x"].missing == (0.05 if found else 0.0)
    if found:
        assert "check: " in contract["x"].note
        assert marker not in contract["x"].bounds
        assert not contract.encode({"x": [float(marker), 50.0]})["number.gaussian"].observed[0, 0]
        back = contract.replace("x", markers=()).fit({"x": values})
        assert marker in back["x"].bounds


def test_a_marker_that_occurs_once_is_a_number():
    values = np.append(NUMBERS, -999)
    assert Contract.infer({"x": values})["x"].markers == ()


def test_markers_in_dictionaries_and_chunks():
    column = pa.chunked_array(
        [pa.array(["?", "a", None]).dictionary_encode(), pa.array(["b", " ? "]).dictionary_encode()]
    )
    assert without(column, ("?",)).to_pylist() == [None, "a", None, "b", None]
    assert without(pa.chunked_array([[1, -9, None]]), (-9, "?")).to_pylist() == [1, None, None]
    assert without(pa.chunked_array([[True, False]]), (1,)).to_pylist() == [True, False]


def test_markers_survive_json_and_toml(tmp_path):
    contract = Contract.infer({"x": np.where(np.arange(N) % 20 == 0, -999, NUMBERS), "c": ["?", "a", "b"] * (N // 3)})
    for suffix in (".json", ".toml"):
        contract.save(tmp_path / f"contract{suffix}")
        assert Contract.load(tmp_path / f"contract{suffix}") == contract


def test_markers_of_a_single_precision_column():
    column = pa.chunked_array([pa.array([1.5, -999.9, 2.5, -999.9], pa.float32())])
    assert without(column, (-999.9,)).null_count == 2
