"""How far two backends are apart is seen, named, and relative to what is compared."""

import numpy as np
import pytest

from vaekit.runtime.proof import apart, walk


class Off:
    """A backend that is wrong in one place."""

    name = "off"

    def __init__(self, backend, graph, output, change):
        self.backend, self.graph, self.output, self.change = backend, graph, output, change

    def run(self, primitive, inputs):
        found = self.backend.run(primitive, inputs)
        return found | {self.output: self.change(found[self.output])} if primitive == self.graph else found


@pytest.fixture(scope="module")
def engine(zoo):
    return zoo["visits"].onnx.engine


def compared(zoo, engine, other):
    blocks = engine.encode(zoo["visits"].rows)
    return apart(engine.backend, other, engine, blocks, engine.backend._bundle.graphs)


def test_a_backend_is_not_apart_from_itself(zoo, engine):
    assert {name: one.difference for name, one in compared(zoo, engine, engine.backend).items()} == dict.fromkeys(
        ("encode", "prior", "decode", "log_density", "score"), 0.0
    )


@pytest.mark.parametrize(
    ("graph", "output"),
    [("encode", "log_q.z"), ("prior", "z.z"), ("score", "log_ratio"), ("log_density", "log_px.count.poisson")],
)
def test_a_difference_is_found_and_named(zoo, engine, graph, output):
    found = compared(zoo, engine, Off(engine.backend, graph, output, lambda value: value * np.float32(1.01)))
    assert found[graph].output == output
    assert found[graph].difference == pytest.approx(0.01, rel=1e-2)
    assert all(one.difference == 0.0 for name, one in found.items() if name != graph)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_is_infinitely_far(zoo, engine, wrong):
    found = compared(zoo, engine, Off(engine.backend, "score", "log_ratio", lambda value: np.full_like(value, wrong)))
    assert found["score"] == (float("inf"), "log_ratio")


def test_values_near_zero_are_measured_against_their_output(zoo, engine):
    found = compared(zoo, engine, Off(engine.backend, "prior", "z.z", lambda value: value + np.float32(1e-4)))
    assert found["prior"].difference == pytest.approx(1e-4, rel=0.2)  # z has a scale of one


def test_the_walk_asks_each_graph_about_real_rows(zoo, engine):
    blocks = engine.encode(zoo["visits"].rows)
    asked = walk(engine, blocks, ("decode", "log_density"))
    assert set(asked) == {"decode", "log_density"}
    encoded = engine.backend.run("encode", asked["decode"])
    np.testing.assert_array_equal(asked["decode"]["z.z"], encoded["z.z"])
    assert asked["log_density"]["count.poisson.values"] is blocks["count.poisson"].values
