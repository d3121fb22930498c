"""Edits: digits become other digits, the ink of a digit is changed, a condition is exchanged; on both backends."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import vaekit as vk
from tests.support import fit
from vaekit.errors import ConfigError, QueryError

torch.set_num_threads(1)

DIGITS = load_digits()
GREY = (DIGITS.images / 16 * 255).astype(np.uint8)
INK = GREY.mean((1, 2))
ROWS = pa.table({"image": pa.FixedShapeTensorArray.from_numpy_ndarray(GREY)})
LABELLED = ROWS.append_column("digit", pa.array([f"d{x}" for x in DIGITS.target])).append_column("ink", pa.array(INK))
FLAT = LABELLED.append_column("flat", pa.array(np.full(LABELLED.num_rows, 0.5)))


PRICED = LABELLED.append_column("price", pa.array(0.5 * DIGITS.target))


@pytest.fixture(scope="module")
def model():
    contract = vk.Contract.infer(ROWS).replace("image", likelihood="discretised_gaussian")
    return fit(ROWS, contract, images="dense", width=64, epochs=40, latent=8, mask=0.0)


@pytest.fixture(scope="module")
def judge():
    """A classifier that never saw the model."""
    return LogisticRegression(max_iter=500).fit(GREY.reshape(-1, 64) / 255, [f"d{x}" for x in DIGITS.target])


def images(table):
    return table["image"].combine_chunks().to_numpy_ndarray().astype(float)


def test_digits_become_other_digits_and_keep_their_ink(model, judge):
    asked = LABELLED.slice(0, 200)
    edited = model.edit(asked, LABELLED.slice(200), set={"digit": "d0"})
    found = judge.predict(images(edited).reshape(-1, 64) / 255)
    assert (found == "d0").mean() > 0.9
    seen = images(model.reconstruct(asked.select(["image"])))
    same = DIGITS.target[:200] == 0
    np.testing.assert_array_equal(images(edited)[same], seen[same])  # nothing to edit
    others = np.corrcoef(images(edited)[~same].mean((1, 2)), INK[:200][~same])[0, 1]
    assert others > 0.3  # heavy digits become heavy zeros


def test_the_class_of_a_row_is_guessed_where_it_is_not_told(model, judge):
    edited = model.edit(ROWS.slice(0, 200), LABELLED.slice(200), set={"digit": "d4"})
    assert (judge.predict(images(edited).reshape(-1, 64) / 255) == "d4").mean() > 0.85


def test_a_quantity_changes_and_the_class_stays(model, judge):
    asked = ROWS.slice(0, 200)
    seen = judge.predict(images(model.reconstruct(asked)).reshape(-1, 64) / 255)
    heavy, light = (model.edit(asked, LABELLED.slice(200), set={"ink": value}) for value in (110.0, 60.0))
    assert images(heavy).mean() > images(light).mean() + 30
    for edited in (heavy, light):
        assert (judge.predict(images(edited).reshape(-1, 64) / 255) == seen).mean() > 0.7


def test_a_quantity_changes_where_examples_have_classes_of_several_kinds(model):
    """Columns of two kinds of classes once made pairs that NumPy took for a table."""
    parity = pa.array([f"p{x % 2}" for x in DIGITS.target])
    examples = LABELLED.append_column("parity", parity).append_column("odd", pa.array(DIGITS.target % 3 == 0))
    heavy, light = (model.edit(ROWS.slice(0, 50), examples.slice(200), set={"ink": ink}) for ink in (110.0, 60.0))
    assert images(heavy).mean() > images(light).mean() + 30


def test_a_quantity_starts_from_the_value_that_a_row_tells(model):
    told = LABELLED.slice(0, 200)
    at = told.column_names.index("ink")
    more = told.set_column(at, "ink", pa.array(INK[:200] + 30.0))
    none = told.set_column(at, "ink", pa.nulls(200, pa.float64()))
    own, less, unknown, guessed = (
        images(model.edit(rows, LABELLED.slice(200), set={"ink": 90.0})).mean((1, 2))
        for rows in (told, more, none, told.drop_columns(["ink"]))
    )
    assert 20 < (own - less).mean() < 40  # 30 less to go
    np.testing.assert_array_equal(unknown, guessed)
    assert np.abs(own - 90).mean() < 10


def test_a_change_of_class_keeps_the_quantities_of_the_examples(model, judge):
    asked, examples = LABELLED.slice(0, 200), LABELLED.slice(200)
    for rows, share in ((asked, 0.8), (asked.drop_columns(["ink"]), 1.0)):  # told, and read
        kept = model.edit(rows, examples, set={"digit": "d0"})
        loose = model.edit(rows, examples.drop_columns(["ink"]), set={"digit": "d0"})
        gaps = [np.abs(images(found).mean((1, 2)) - INK[:200]).mean() for found in (kept, loose)]
        assert gaps[0] < share * gaps[1]
        assert (judge.predict(images(kept).reshape(-1, 64) / 255) == "d0").mean() > 0.85


def test_a_class_and_a_quantity_are_changed_in_any_order(model, judge):
    asked, examples = LABELLED.slice(0, 50), LABELLED.slice(200)
    one = model.edit(asked, examples, set={"digit": "d0", "ink": 100.0})
    other = model.edit(asked, examples, set={"ink": 100.0, "digit": "d0"})
    np.testing.assert_array_equal(images(one), images(other))
    assert np.abs(images(one).mean((1, 2)) - 100.0).mean() < 10
    assert (judge.predict(images(one).reshape(-1, 64) / 255) == "d0").mean() > 0.85


def test_columns_that_say_nothing_of_the_edit_do_not_disturb_it(model):
    bytes_of = pa.array([b"one"] * len(LABELLED), pa.large_binary())
    endless = pa.array(np.where(np.arange(len(LABELLED)) == 3, np.inf, INK))
    crowded = PRICED.append_column("bytes", bytes_of).append_column("endless", endless)
    asked = LABELLED.slice(0, 50)
    first, second = (images(model.edit(asked, one, set={"digit": "d3"})) for one in (PRICED, crowded))
    np.testing.assert_array_equal(first, second)


def test_steps_lead_to_the_edit_and_strength_goes_part_of_the_way(model):
    asked = LABELLED.slice(0, 5)
    options = {"set": {"digit": "d3"}}
    walk = model.edit(asked, LABELLED, steps=4, **options)
    assert walk.column_names == ["row", "step", "image"]
    last = walk.filter(pa.compute.equal(walk["step"], 3))
    np.testing.assert_array_equal(images(last), images(model.edit(asked, LABELLED, **options)))
    half = walk.filter(pa.compute.equal(walk["step"], 1))
    np.testing.assert_array_equal(images(half), images(model.edit(asked, LABELLED, strength=0.5, **options)))


def test_a_condition_is_exchanged_without_examples(tmp_path):
    rows = LABELLED.select(["digit", "ink"])
    contract = vk.Contract.infer(rows).replace("digit", role="condition").replace("ink", role="model")
    model = fit(rows, contract, epochs=15)
    model.save(tmp_path / "bundle")
    first, second = (
        vk.load(tmp_path / "bundle", backend=backend).edit(rows.slice(0, 300), set={"digit": "d8"})
        for backend in ("torch", "onnx")
    )
    assert set(first["digit"].to_pylist()) == {"d8"}
    np.testing.assert_allclose(first["ink"].to_numpy(), second["ink"].to_numpy(), rtol=1e-4)
    kept = np.corrcoef(first["ink"].to_numpy(), INK[:300])[0, 1]
    assert kept > 0.5
    examples = rows.append_column("heavy", pa.array(np.median(INK) < INK))
    heavy, light = (model.edit(rows, examples, set={"heavy": one})["ink"].to_numpy() for one in (True, False))
    assert heavy.mean() > light.mean() + 0.1  # a field is not kept by its own value
    at_once = model.edit(rows, examples, set={"digit": "d8", "heavy": True})
    assert set(at_once["digit"].to_pylist()) == {"d8"}
    after = model.edit(at_once, examples, set={"heavy": True})["ink"].to_numpy()
    assert np.abs(at_once["ink"].to_numpy() - after).mean() < 0.5 * np.std(INK)
    eights = INK[DIGITS.target == 8].mean()
    assert abs(first["ink"].to_numpy().mean() - eights) < 0.5 * abs(INK.mean() - eights) + 2.0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"set": {}}, ConfigError, "needs set="),
        ({"set": {"digit": "d1"}, "steps": 0}, ConfigError, "steps must be a whole number"),
        ({"set": {"digit": "d1"}, "examples": None}, QueryError, "learns digit from examples"),
        ({"set": {"colour": 1}}, QueryError, "have no attribute 'colour'; they have: digit, ink"),
        ({"set": {"digit": "x"}}, QueryError, "'digit' is 'x' not at all in the examples.*one of: 'd0', 'd1'"),
        ({"set": {"digit": ["d1"]}}, QueryError, r"the new value of 'digit' is a single value, got \['d1'\]"),
        ({"set": {"flat": 1.0}, "examples": FLAT}, QueryError, "'flat' has one value in the examples"),
        ({"set": {"ink": "much"}}, QueryError, "its new value is a number, got 'much'"),
        ({"set": {"ink": float("nan")}}, QueryError, "its new value is finite, got nan"),
        ({"set": {"price": 2.0}, "examples": PRICED}, QueryError, "'price' follows from digit in the examples"),
        (
            {"set": {"ink": 9.0}, "examples": LABELLED.slice(0, 12)},
            QueryError,
            "12 examples of 'ink' are too few for 8",
        ),
    ],
)
def test_edits_that_make_no_sense_are_refused(model, options, error, message):
    options = {"examples": LABELLED} | options
    with pytest.raises(error, match=message):
        model.edit(ROWS.slice(0, 2), **options)
