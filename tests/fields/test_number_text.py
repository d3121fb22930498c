"""Numbers that are written as text are read, refused where they can be read in two ways, and written back alike."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaekit.errors import ConfigError, ContractError
from vaekit.fields import Contract
from vaekit.fields.number_text import NumberText, find_number_text

N = 200
RNG = np.random.default_rng(3)
AMOUNTS = np.round(RNG.gamma(1.0, 4000.0, N), 2)

WRITTEN = {
    "plain": (lambda v: f"{v:.2f}", {"decimals": 2}),
    "dollars": (lambda v: f"${v:,.2f}", {"prefix": "$", "thousands": ",", "decimals": 2}),
    "euros": (
        lambda v: f"{v:,.2f} €".translate(str.maketrans(",.", ".,")),
        {"suffix": " €", "thousands": ".", "decimal": ",", "decimals": 2},
    ),
    "decimal comma": (lambda v: f"{v:.1f}".replace(".", ","), {"decimal": ",", "decimals": 1}),
    "per cent": (lambda v: f"{v / 100:.1f}%", {"suffix": "%", "decimals": 1}),
    "spaces": (lambda v: f"{v:,.0f}".replace(",", " "), {"thousands": " ", "decimals": 0}),
    "apostrophes": (lambda v: f"{v:,.2f}".replace(",", "'"), {"thousands": "'", "decimals": 2}),
    "books": (
        lambda v: f"({v:,.2f})" if v < 500 else f"{v:,.2f}",
        {"parentheses": True, "thousands": ",", "decimals": 2},
    ),
    "as short as can be": (lambda v: f"{v:g}", {}),
}


def decoded(contract, table):
    values = {
        name: np.where(block.observed, block.values.astype(np.float64), np.nan)
        for name, block in contract.encode(table).items()
    }
    return contract.decode(values)


@pytest.mark.parametrize("name", WRITTEN)
def test_formats_are_found_and_kept(name):
    write, expected = WRITTEN[name]
    texts = [write(value) for value in AMOUNTS.tolist()] + [None, "n/a"]
    table = pa.table({"x": texts})
    field = Contract.infer(table)["x"]
    assert (field.kind, field.role, field.type, field.markers) == ("number", "model", "string", ("n/a",))
    assert field.text == NumberText(**expected)
    contract = Contract.from_json(Contract.infer(table).to_json())
    back = decoded(contract, table)["x"]
    assert back.type == pa.string()
    if name == "as short as can be":  # 4 significant digits to 6, continuous
        read = [field.text.read(pa.chunked_array([column]))[0] for column in (back, pa.array([*texts[:-1], None]))]
        np.testing.assert_allclose(*read, rtol=1e-5)
    else:
        assert back.to_pylist() == [*texts[:-1], None]


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.floats(-1e9, 1e9).map(lambda v: round(v, 3)), min_size=1, max_size=30),
    st.sampled_from(["", "$", "€ ", "USD "]),
    st.sampled_from(["", "%", " kr"]),
    st.sampled_from([(".", ""), (",", ""), (".", ","), (",", "."), (",", " "), (".", "'")]),
    st.sampled_from([None, 3, 5]),
    st.booleans(),
)
def test_what_is_written_is_read_back(values, prefix, suffix, separators, decimals, parentheses):
    decimal, thousands = separators
    text = NumberText(
        prefix=prefix,
        suffix=suffix,
        decimal=decimal,
        thousands=thousands,
        decimals=decimals,
        parentheses=parentheses,
    )
    read, bad = text.read(pa.chunked_array([text.write(np.array(values))]))
    assert not bad.any()
    np.testing.assert_allclose(read, values, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize(
    "texts",
    [["007", "012", "100"], ["a1", "2"], ["12 kg", "3 kg"], ["$5", "€6"], ["1.5", "1,5"], ["1 2", "3"], ["?", "-"]],
)
def test_what_is_no_number_stays_text(texts):
    assert find_number_text(texts) is None


def test_a_number_that_can_be_read_in_two_ways_is_left_to_the_user():
    table = {"x": [f"{i % 90 + 10},{i % 7}25" for i in range(N)], "y": RNG.normal(size=N)}
    contract = Contract.infer(table)
    assert contract["x"].role == "ignore"
    assert "is '10,025' 10025 or 10.025?" in contract["x"].note
    for text, value in (({"thousands": ","}, 10025.0), ({"decimal": ","}, 10.025)):
        said = contract.replace("x", kind="number", role="model", text=text).fit(table)
        assert said["x"].bounds[0] == value
        assert said.encode(table)
    with pytest.raises(ConfigError, match="separators of a number must differ"):
        contract.replace("x", kind="number", role="model", text={"thousands": "."})
    with pytest.raises(ConfigError, match="if it holds numbers, text="):
        contract.replace("x", kind="number")


def test_a_value_that_is_no_number_is_named_with_its_row():
    contract = Contract.infer({"x": [f"${value:,.2f}" for value in AMOUNTS]})
    with pytest.raises(ContractError) as caught:
        contract.validate({"x": ["$1.00", None, "12 apples"]})
    error = caught.value
    assert (error.field, error.row, error.got) == ("x", 2, "'12 apples'")
    assert error.expected == "a number, written like '$1,234.50'"
    contract.validate({"x": [1.0, 2.0]})  # numbers as such are fine
    with pytest.raises(ContractError, match="not a number"):
        contract.validate({"x": ["$1,23.00"]})  # no group of three


def test_slips_in_a_column_of_numbers_are_pointed_out():
    texts = [f"{value:.2f}" for value in AMOUNTS[:60]] + ["6.2\x1a"]
    field = Contract.infer({"x": texts})["x"]
    assert field.note.startswith("check: numbers but for '6.2\\x1a'")
    table = {"x": texts}
    said = Contract.infer(table).replace("x", kind="number", role="model", text={}, markers=["6.2\x1a"])
    assert said.fit(table)["x"].missing == 1 / 61
