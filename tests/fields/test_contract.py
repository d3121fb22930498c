"""The contract as data: editing, hashing, saving, printing, and what it refuses to read."""

import json

import numpy as np
import pyarrow as pa
import pytest

from vaekit.errors import ConfigError, ContractError
from vaekit.fields import Contract, Number

CHANGES = [
    ("normal", {"role": "condition"}),
    ("normal", {"role": "ignore", "note": "not wanted"}),
    ("normal", {"likelihood": "student_t"}),
    ("normal", {"likelihood": "mixture", "options": {"components": 3}}),
    ("normal", {"transform": "standard"}),
    ("normal", {"options": {"scale": "fixed", "sigma": 0.1}}),
    ("normal", {"lattice": 0.5}),
    ("normal", {"clip": False}),
    ("whole", {"kind": "category"}),
    ("whole", {"lattice": None}),
    ("visits", {"kind": "number"}),
    ("visits", {"likelihood": "zero_inflated_poisson"}),
    ("origin", {"unseen": "missing"}),
    ("origin", {"likelihood": "ordinal"}),
    ("origin", {"levels": ["LGA", "JFK", "EWR", "SFO"]}),
    ("flag", {"kind": "count"}),
    ("flag", {"likelihood": "categorical"}),
    ("delayed", {"kind": "other"}),
    ("vector", {"role": "condition"}),
]


@pytest.mark.parametrize(("name", "changes"), CHANGES, ids=str)
def test_each_change_can_be_fitted_encoded_saved_and_read(mixed, name, changes, tmp_path):
    before = Contract.infer(mixed)
    contract = before.replace(name, **changes)
    assert contract.hash != before.hash
    for key, value in changes.items():
        if key != "lattice" and key != "levels":
            assert getattr(contract[name], key) == value
    assert [one for one in contract.names() if contract[one] != before[one]] == [name]
    fitted = contract.fit(mixed)
    blocks = fitted.encode(mixed)
    assert tuple(blocks) == tuple(spec.name for spec in fitted.blocks())
    fitted.decode({key: block.values for key, block in blocks.items()})
    for suffix in (".json", ".toml"):
        path = fitted.save(tmp_path / f"contract{suffix}")
        read = Contract.load(path)
        assert read == fitted
        assert read.hash == fitted.hash
        for key, block in read.encode(mixed).items():
            np.testing.assert_array_equal(block.values, blocks[key].values)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("nomral", {"role": "ignore"}, "no field 'nomral'; did you mean 'normal'"),
        ("normal", {"rolle": "ignore"}, "a number has no option 'rolle'"),
        ("normal", {"name": "other"}, "no option 'name'"),
        ("normal", {"map": None}, "no option 'map'"),
        ("normal", {"role": "label"}, "role is one of model, condition, ignore, entity, time; got 'label'"),
        ("normal", {"kind": "sound"}, "unknown kind 'sound'"),
        ("normal", {"kind": "vector"}, "type double cannot be a vector"),
        (
            "normal",
            {"likelihood": "poisson"},
            "of gaussian, student_t, mixture; got 'poisson'",
        ),
        ("normal", {"likelihood": "student_t", "transform": "quantile"}, "student_t needs transform='standard'"),
        ("normal", {"transform": "log"}, "Invalid enum value 'log'"),
        ("normal", {"options": {"scale": "big"}}, "'scale' is one of"),
        ("normal", {"options": {"skale": "fixed"}}, "no option 'skale'"),
        ("normal", {"clip": "yes"}, "Expected `bool`"),
        ("normal", {"lattice": -1.0}, "positive distance"),
        ("normal", {"lattice": object()}, "'normal'"),
        ("origin", {"unseen": "guess"}, "Invalid enum value 'guess'"),
        ("origin", {"likelihood": "bernoulli"}, "bernoulli is for two levels; this category has 3"),
        ("origin", {"levels": ["a", "a"]}, "must differ"),
        ("origin", {"levels": ["a"]}, "at least two levels"),
        ("origin", {"kind": "number"}, "type string cannot be a number|type large_string cannot be a number"),
        ("visits", {"likelihood": "gaussian"}, "a count has a likelihood of"),
        ("vector", {"likelihood": "student_t"}, "a vector has a likelihood of"),
        ("vector", {"length": 4}, "no option 'length'"),
    ],
)
def test_changes_that_make_no_sense_are_refused(mixed, name, changes, message):
    with pytest.raises(ConfigError, match=message):
        Contract.infer(mixed).replace(name, **changes)


def test_what_cannot_be_modelled_cannot_be_given_the_role():
    contract = Contract.infer({"x": [1.0, 2.0], "c": ["k", "k"], "t": pa.array([b"0", b"1"])})
    with pytest.raises(ConfigError, match=r"'t' cannot have role 'model': binary"):
        contract.replace("t", role="model")
    with pytest.raises(ConfigError, match=r"type binary cannot be a number"):
        contract.replace("t", kind="number", role="model")
    assert contract.replace("t", role="ignore") == contract
    forced = contract.replace("c", kind="category", role="model")
    with pytest.raises(ContractError, match="needs two values"):
        forced.fit({"x": [1.0, 2.0], "c": ["k", "k"]})


def test_a_student_t_gets_a_robust_affine_map(mixed):
    contract = Contract.infer(mixed).replace("skewed", likelihood="student_t")
    assert contract["skewed"].map is None
    fitted = contract.fit(mixed)
    assert len(fitted["skewed"].map.x) == 2
    values = mixed["skewed"].to_numpy()
    assert abs(np.mean(fitted["skewed"].map.x) - np.median(values)) < 0.05
    assert {spec.name: spec.fields for spec in fitted.blocks()}["number.student_t"] == ("skewed",)
    back = fitted.replace("skewed", likelihood="gaussian")
    assert back["skewed"].transform == "quantile"


def test_fields_with_other_options_are_blocks_of_their_own(mixed):
    contract = Contract.infer(mixed).replace("whole", options={"scale": "fixed", "sigma": 0.5}).fit(mixed)
    specs = {spec.name: spec for spec in contract.blocks()}
    assert specs["number.gaussian"].fields == ("normal", "skewed", "knots", "rain")
    assert specs["number.gaussian.2"].fields == ("whole",)
    assert specs["number.gaussian.2"].options == {"scale": "fixed", "sigma": 0.5}
    blocks = contract.encode(mixed)
    assert (
        contract.decode({name: block.values for name, block in blocks.items()})["whole"].to_pylist()
        == mixed["whole"].to_pylist()
    )


def test_fit_refits_transforms_and_keeps_the_schema(mixed):
    contract = Contract.infer(mixed)
    half = mixed.slice(0, 200)
    fitted = contract.fit(half)
    assert fitted["normal"].map != contract["normal"].map
    assert fitted["knots"].lattice == contract["knots"].lattice
    jfk = half.filter(pa.compute.equal(half["origin"], "JFK"))
    assert contract.fit(jfk)["origin"].levels == ("EWR", "JFK", "LGA")
    assert fitted.fit(half) == fitted
    values = half["normal"].drop_null().to_numpy()
    assert fitted["normal"].bounds == (values.min(), values.max())
    assert fitted["normal"].missing == half["normal"].null_count / 200


def test_a_column_that_is_constant_in_the_training_rows_is_still_usable(mixed):
    contract = Contract.infer(mixed)
    flat = mixed.set_column(0, "normal", pa.array([4.0] * mixed.num_rows))
    fitted = contract.fit(flat)
    (values, constant) = (fitted.encode(mixed)["number.gaussian"].arrays()[key][:, 0] for key in ("values", "constant"))
    assert np.isfinite(values).all()
    assert np.isfinite(constant).all()


def test_hash_is_stable_and_sees_every_change(mixed):
    contract = Contract.infer(mixed)
    assert contract.hash == Contract.infer(mixed).hash == Contract.from_json(contract.to_json()).hash
    assert len(contract.hash) == 64
    assert len({contract.replace(name, **changes).hash for name, changes in CHANGES}) == len(CHANGES)
    # keys in another order, and defaults written out, are the same contract
    plain = json.loads(contract.to_json())
    plain["fields"] = [
        dict(sorted(field.items(), reverse=True)) | {"note": field.get("note", "")} for field in plain["fields"]
    ]
    assert Contract.from_json(json.dumps(plain)).hash == contract.hash


def test_hash_of_a_known_contract_does_not_drift():
    contract = Contract.infer({"x": [1, 2, 4, None], "c": ["b", "a", "b", None]})
    assert contract.hash == Contract.from_json(KNOWN).hash
    assert json.loads(contract.to_json()) == json.loads(KNOWN)


KNOWN = """{"version": 1, "fields": [
    {"kind": "number", "name": "x", "type": "int64", "role": "model", "missing": 0.25, "likelihood": "gaussian",
     "lattice": {"step": 1}, "map": {"x": [1.0861142044086864, 3.5805524622579803], "y": [-1.0, 1.0]},
     "bounds": [1.0, 4.0], "spread": 2.2239025041142195},
    {"kind": "category", "name": "c", "type": "string", "role": "model", "missing": 0.25, "likelihood": "bernoulli",
     "levels": ["a", "b"]}]}"""


def broken(change):
    plain = json.loads(KNOWN)
    change(plain)
    return json.dumps(plain)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[]", "Expected `object`"),
        ("null", "Expected `object`"),
        ("{}", "missing required field `fields`"),
        (broken(lambda c: c.update(version=2)), "newer vaekit; upgrade: expected version 1, got version 2"),
        (broken(lambda c: c.update(version="1")), "Expected `int`"),
        (broken(lambda c: c.update(extra=1)), "unknown field `extra`"),
        (broken(lambda c: c["fields"][0].update(extra=1)), "unknown field `extra`"),
        (broken(lambda c: c["fields"][0].update(kind="sound")), "Invalid value 'sound'"),
        (broken(lambda c: c["fields"][0].pop("kind")), "missing required field `kind`"),
        (broken(lambda c: c["fields"][0].pop("role")), "missing required field `role`"),
        (broken(lambda c: c["fields"][0].update(role="models")), "Invalid enum value 'models'"),
        (broken(lambda c: c["fields"][0].update(likelihood="cauchy")), "got 'cauchy'"),
        (broken(lambda c: c["fields"][0]["map"].update(y=[1.0, -1.0])), "strictly increasing"),
        (broken(lambda c: c["fields"][0]["lattice"].update(step=0)), "step of at least 1"),
        (broken(lambda c: c["fields"][0].update(bounds=[1.0])), "length 2"),
        (broken(lambda c: c["fields"][1].update(name="x")), "two fields of the contract have the name 'x'"),
        (broken(lambda c: c["fields"][1].update(levels=["a", "b", "c"])), "bernoulli is for two levels"),
    ],
)
def test_damaged_contracts_are_refused(text, message, tmp_path):
    with pytest.raises(ContractError, match=message):
        Contract.from_json(text)
    (tmp_path / "contract.json").write_text(text)
    with pytest.raises(ContractError, match=message):
        Contract.load(tmp_path / "contract.json")


def test_a_type_that_is_not_known_is_refused_before_use():
    text = broken(lambda c: c["fields"][0].update(type="__import__('os')"))
    with pytest.raises(ContractError, match="not one that can be modelled"):
        Contract.from_json(text).blocks()


def test_files_that_cannot_be_read_or_written_are_named(tmp_path):
    contract = Contract.from_json(KNOWN)
    with pytest.raises(ConfigError, match=r"\.json or \.toml"):
        contract.save(tmp_path / "contract.pkl")
    with pytest.raises(ConfigError, match=r"\.json or \.toml"):
        Contract.load(tmp_path / "contract.pkl")
    with pytest.raises(ContractError, match=r"missing\.json cannot be read"):
        Contract.load(tmp_path / "missing.json")
    (tmp_path / "bad.toml").write_text("fields = [")
    with pytest.raises(ContractError, match=r"bad\.toml cannot be read"):
        Contract.load(tmp_path / "bad.toml")


def test_a_contract_written_by_hand_can_be_fitted():
    text = """
    version = 1
    [[fields]]
    kind = "number"
    name = "x"
    type = "double"
    role = "model"
    likelihood = "student_t"
    transform = "standard"
    [[fields]]
    kind = "category"
    name = "c"
    type = "string"
    role = "condition"
    likelihood = "categorical"
    """
    import tomllib

    contract = Contract.from_json(json.dumps(tomllib.loads(text)))
    fitted = contract.fit({"x": [1.0, 2.0, 4.0], "c": ["a", "b", "c"]})
    assert [spec.name for spec in fitted.blocks()] == ["number.student_t", "condition.category"]
    assert fitted["c"].levels == ("a", "b", "c")


def test_printing_shows_every_field_in_one_line(mixed):
    contract = Contract.infer(mixed.append_column("when", pa.array([b"0"] * mixed.num_rows)))
    lines = str(contract).splitlines()
    assert lines[0].split() == ["field", "kind", "role", "likelihood", "missing", "detail"]
    assert [line.split()[0] for line in lines[2:-1]] == list(contract.names())[:-1]
    assert lines[-1].split()[:2] == ["-", "when"]  # left out
    text = dict(zip(contract.names(), lines[2:], strict=True))
    assert "steps of 1.15078" in text["knots"]
    assert "11.2%" in text["knots"]
    assert "often 0" in text["rain"]
    assert "3 levels: EWR, JFK, LGA" in text["origin"]
    assert "binary values are not modelled yet" in text["when"]
    for column, cell in (("kind", "kind"), ("role", "role")):
        start = lines[0].index(column)
        for name, line in text.items():
            assert line[start:].split()[0] == getattr(contract[name], cell)


def test_plain_values_become_columns_of_a_field(mixed):
    contract = Contract.infer(mixed)
    assert contract.column("whole", [3, None]).type == pa.int64()
    assert contract.column("vector", [[1.0, 2.0, 3.0]]).type == mixed.schema.field("vector").type
    kind = pa.dictionary(pa.int8(), pa.string(), ordered=True)
    ordered = Contract.infer(
        pa.table({"o": pa.DictionaryArray.from_arrays(pa.array([0, 1, 2], pa.int8()), ["x", "y", "z"], ordered=True)})
    )
    assert ordered.column("o", ["z", "x"]).type == kind
    assert ordered.column("o", ["z", "x"]).to_pylist() == ["z", "x"]
    with pytest.raises(ContractError, match=r"'whole'\): expected int64, got \['many'\]"):
        contract.column("whole", ["many"])


def test_robust_names_do_not_confuse_blocks():
    table = {"a.b": [1.0, 2.0, 4.0], "a": [1, 2, 5], "": [0.5, 0.25, 0.1], "ünï 'quoted'": [True, False, True]}
    contract = Contract.infer(table)
    assert contract.names("model") == tuple(table)
    values = {name: block.values for name, block in contract.encode(table).items()}
    assert contract.decode(values).column_names == list(table)
    assert Contract.from_json(contract.to_json()) == contract


def test_direct_construction_is_checked_too():
    with pytest.raises(ConfigError, match="likelihood"):
        Number(name="x", type="double", role="model", likelihood="normal")
