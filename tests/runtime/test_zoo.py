"""The zoo covers what there is: a new likelihood, kind or role without a model here fails a test."""

import numpy as np
import pyarrow as pa
import pytest

from tests.support import MODELS, contract_of
from vaekit.fields.families import FAMILIES


@pytest.fixture(scope="module")
def specs():
    return [(name, spec) for name, model in MODELS.items() for spec in contract_of(model).fit(model.rows()).blocks()]


@pytest.mark.parametrize(("family", "kind"), [(f.name, kind) for f in FAMILIES.values() for kind in f.kinds])
def test_every_likelihood_is_in_a_model_for_every_kind_that_it_can_model(specs, family, kind):
    assert [name for name, spec in specs if (spec.role, spec.likelihood, spec.kind) == ("model", family, kind)]


@pytest.mark.parametrize("kind", sorted({kind for f in FAMILIES.values() for kind in f.kinds}))
@pytest.mark.parametrize("role", ["model", "condition"])
def test_every_kind_is_in_a_model_in_every_role(specs, kind, role):
    assert [name for name, spec in specs if (spec.role, spec.kind) == (role, kind)]


@pytest.mark.parametrize("scale", FAMILIES["gaussian"].options["scale"])
def test_every_scale_of_the_gaussian_is_in_a_model(specs, scale):
    assert [n for n, spec in specs if spec.likelihood == "gaussian" and spec.options.get("scale", "learned") == scale]


def test_every_measure_and_column_type_is_in_a_model():
    fields = [(f, m.rows()[f.name].type) for m in MODELS.values() for f in contract_of(m).fit(m.rows()).fields]
    numbers = [f for f, _ in fields if f.kind == "number" and f.role == "model"]
    assert [f for f in numbers if f.measure == "lattice"]
    assert [f for f in numbers if f.measure == "continuous"]
    assert [f for f in numbers if f.atoms]
    assert [f for f, t in fields if pa.types.is_boolean(t)]
    assert [f for f, t in fields if pa.types.is_integer(t) and f.kind == "number"]
    assert [f for f, t in fields if pa.types.is_dictionary(t) and not t.ordered]
    assert [f for f, t in fields if pa.types.is_dictionary(t) and t.ordered and f.likelihood == "ordinal"]
    assert [f for f, t in fields if pa.types.is_fixed_size_list(t)]
    assert [f for f, t in fields if pa.types.is_list(t)]


def test_every_block_has_missing_cells_and_every_vector_model_missing_elements():
    for name, model in MODELS.items():
        contract = contract_of(model).fit(model.rows())
        encoded = contract.encode(model.rows())
        for spec in contract.blocks():
            observed = np.asarray(encoded[spec.name].observed)
            if spec.fields != ("label",):
                assert not observed.all(), (name, spec.name)
            if spec.kind == "vector" and spec.role == "model":
                some = observed.any(-1) & ~observed.all(-1)
                assert some.any(), (name, spec.name)
