"""The engine cuts rows and samples so that memory is bounded, and hands out noise that does not depend on the cut."""

import numpy as np
import pytest

from vaekit.arrays import draw
from vaekit.runtime import engine as engine_module


@pytest.fixture
def engine(zoo):
    return zoo["bits"].torch.engine


def covered(slices, total):
    return np.concatenate([np.arange(total)[part] for part in slices] or [np.arange(0)]).tolist() == list(range(total))


@pytest.mark.parametrize("cells", [1, 100, 5_000, 2**22])
@pytest.mark.parametrize(("rows", "samples"), [(0, 3), (1, 1), (17, 1), (17, 5), (1000, 64)])
def test_chunks_cover_all_rows_once_and_stay_within_the_bound(engine, monkeypatch, cells, rows, samples):
    monkeypatch.setattr(engine_module, "_CELLS", cells)
    width = engine.architecture.config["width"]
    chunks = list(engine.chunks(rows, samples))
    assert covered(chunks, rows)
    assert all(len(range(*part.indices(rows))) * samples * width <= max(cells, samples * width) for part in chunks)
    pieces = list(engine.pieces(samples))
    assert covered(pieces, samples)
    assert all((part.stop - part.start) * width <= max(cells, width) for part in pieces)
    assert all(part.stop - part.start in (2**power for power in range(20)) for part in chunks[:-1])
    if rows * samples * width <= cells / 2:
        assert len(chunks) == min(rows, 1)


def test_wide_blocks_make_smaller_chunks(zoo, monkeypatch):
    monkeypatch.setattr(engine_module, "_CELLS", 320)
    assert next(zoo["bits"].torch.engine.chunks(100, 1)) == slice(0, 8)  # width 32
    engine = zoo["digits"].torch.engine
    narrow = dict(engine.architecture.config) | {"width": 2}
    import dataclasses

    import msgspec

    thin = dataclasses.replace(engine, architecture=msgspec.structs.replace(engine.architecture, config=narrow))
    assert next(thin.chunks(100, 1)) == slice(0, 16)  # 16 elements of a vector are wider than 2 units


def test_components_of_a_mixture_make_smaller_chunks(engine, monkeypatch):
    import dataclasses

    import msgspec

    from vaekit.arrays import Noise

    monkeypatch.setattr(engine_module, "_CELLS", 3200)
    noise = {"z": Noise("normal", (4,)), "z.component": Noise("gumbel", (100,))}
    plan = msgspec.structs.replace(engine.architecture, prior_noise=noise)
    assert next(dataclasses.replace(engine, architecture=plan).chunks(100, 1)) == slice(0, 8)  # 100 components of 4


def test_shared_noise_is_the_same_for_every_row_and_no_other(engine):
    shared = engine.noise(5, 3, 4, shared=True)["noise.z"]
    assert shared.shape == (3, 4, 4)
    assert (shared == shared[:, :1]).all()
    assert len(np.unique(shared[:, 0])) == shared[:, 0].size
    np.testing.assert_array_equal(shared[:, :2], engine.noise(5, 3, 2, shared=True)["noise.z"])
    np.testing.assert_array_equal(shared[:, :1], draw(engine.architecture.noise, 5, 3, 1)["z"])
    assert (shared != engine.noise(6, 3, 4, shared=True)["noise.z"]).all()
    own = engine.noise(5, 3, 4)["noise.z"]
    assert len(np.unique(own)) == own.size


def test_blocks_become_inputs_by_name(zoo):
    for name in ("digits", "flights"):
        engine = zoo[name].torch.engine
        blocks = engine.encode(zoo[name].rows)
        inputs = engine.inputs(blocks)
        assert set(inputs) == {f"{s.name}.{a}" for s in engine.architecture.blocks for a in s.inputs}
        for spec in engine.architecture.blocks:
            assert inputs[f"{spec.name}.values"] is blocks[spec.name].values
        assert any(n.startswith("condition.") for n in inputs)
