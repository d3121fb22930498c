"""Models of images, alone and with other fields: they learn, answer on both backends, and cope with what is missing."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.datasets import load_digits

import vaekit as vk
from tests.support import fit
from vaekit.errors import ConfigError, TrainingError
from vaekit.fields.pixels import png

torch.set_num_threads(1)

DIGITS = load_digits()
GREY = (DIGITS.images[:500] / 16 * 255).astype(np.uint8)
ROWS = pa.table(
    {
        "image": pa.FixedShapeTensorArray.from_numpy_ndarray(GREY),
        "label": [f"d{label}" for label in DIGITS.target[:500]],
        "ink": GREY.mean((1, 2)) + np.random.default_rng(0).normal(size=500),
    }
)
CONV = {"name": "conv", "channels": 8, "smallest": 4}


def images(column):
    return column.combine_chunks().to_numpy_ndarray()


def learned(model, real, name="image"):
    """Correlation of reconstructions with the images, once the mean image is taken off both."""
    seen = images(model.reconstruct(real)[name]).astype(float).reshape(len(real), -1)
    flat = images(real[name]).astype(float).reshape(len(real), -1)
    return np.corrcoef((seen - flat.mean(0)).ravel(), (flat - flat.mean(0)).ravel())[0, 1]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """An image, a category and a number in one model; fitted, and saved with its graphs."""
    contract = vk.Contract.infer(ROWS).replace("image", likelihood="discretised_gaussian")
    model = fit(ROWS, contract, images=CONV, epochs=40, batch_size=32, latent=6, calibration=0.2)
    path = tmp_path_factory.mktemp("mixed") / "bundle"
    model.save(path)
    return vk.load(path, backend="torch"), vk.load(path, backend="onnx"), model


def test_the_model_has_learned_all_three(mixed):
    _, _, model = mixed
    figures = model.evaluation["fields"]
    assert learned(model, ROWS) > 0.6
    assert figures["image"]["nats"]["mean"] < 8 * 8 * np.log(256) - 60
    assert figures["label"]["accuracy"] > 0.5
    assert figures["ink"]["rmse"] < 0.9 * float(np.std(ROWS["ink"].to_numpy()))


@pytest.mark.parametrize("query", ["score", "detect", "embed", "reconstruct", "denoise", "sample", "impute"])
def test_both_backends_answer_alike(mixed, query):
    hidden = ROWS.slice(0, 40).set_column(
        0, "image", ROWS["image"].take(pa.array(range(40), mask=np.arange(40) % 2 > 0))
    )
    asked = {"sample": (30,), "impute": (hidden,)}.get(query, (ROWS.slice(0, 40),))
    options = {"detect": {"alpha": 0.2}, "score": {"attribution": True}}.get(query, {})
    first, second = (model.query(query, *asked, **options) for model in mixed[:2])
    assert first.schema == second.schema
    for name in first.column_names:
        if name == "image":
            assert first[name].null_count == 0
            apart = images(first[name]).astype(int) - images(second[name])
            assert (apart != 0).mean() < 0.01
            assert np.abs(apart).max() <= 1 or query == "sample"
        elif pa.types.is_floating(first[name].type):
            loose = 1e-3 if query == "denoise" else 2e-4  # which goes on from its own pixels, rounded one way or other
            np.testing.assert_allclose(first[name].to_numpy(), second[name].to_numpy(), rtol=loose, atol=2e-3)


def test_a_missing_image_says_nothing_and_is_filled_from_the_rest(mixed):
    model = mixed[1]
    gone = ROWS.slice(0, 60).drop_columns("image")
    other = pa.FixedShapeTensorArray.from_numpy_ndarray(255 - GREY[:60])
    masked = pa.table({"image": pa.chunked_array([other]).take(pa.nulls(60, pa.int32()))})
    holes = [gone.add_column(0, "image", masked["image"]), gone.add_column(0, "image", pa.nulls(60))]
    scores = [model.score(rows)["score"].to_numpy() for rows in holes]
    np.testing.assert_array_equal(*scores)
    filled = model.impute(gone)
    assert filled["image"].type == ROWS.schema.field("image").type
    real, mean = GREY[:60].astype(float), GREY.mean(0)
    assert np.square(images(filled["image"]) - real).mean() < 0.95 * np.square(mean - real).mean()
    drawn = model.sample(200, given={"label": "d0"})
    zeros = GREY[DIGITS.target[:500] == 0].mean(0)
    ones = GREY[DIGITS.target[:500] == 1].mean(0)
    found = images(drawn["image"]).mean(0)
    assert np.square(found - zeros).mean() < 0.5 * np.square(found - ones).mean()


def test_an_image_can_be_given_as_pixels(mixed):
    drawn = mixed[1].sample(300, given={"image": GREY[0]})  # a zero
    assert (images(drawn["image"]) == GREY[0]).all()
    labels = drawn["label"].to_pylist()
    assert max(set(labels), key=labels.count) == "d0"


def test_paths_and_interpolations_are_images(mixed):
    for table in (mixed[1].traverse(0, steps=3), mixed[1].interpolate(ROWS.slice(0, 2), ROWS.slice(2, 2), steps=3)):
        assert images(table["image"]).shape == (len(table), 8, 8)


@pytest.mark.parametrize(
    ("likelihood", "options", "nets"),
    [
        ("logistic_mixture", {"components": 3}, "dense"),
        ("discretised_gaussian", {"scale": "optimal"}, "dense"),
        ("bernoulli", {"binarise": "stochastic"}, CONV),
        ("bernoulli", {"binarise": "stochastic"}, CONV | {"patch": 2}),
    ],
)
def test_other_likelihoods_learn_too(likelihood, options, nets):
    rows = ROWS.select(["image"])
    contract = vk.Contract.infer(rows).replace("image", likelihood=likelihood, options=options)
    model = fit(rows, contract, images=nets, epochs=60, batch_size=32, latent=6)
    assert learned(model, rows) > (0.3 if options.get("scale") else 0.5)  # one scale for all learns slowly at first
    bound = -model.evaluation["iwae_64"]
    assert model.evaluation["bits_per_dimension"] == pytest.approx(bound / 64 / np.log(2))
    if likelihood == "bernoulli":
        assert bound < model.evaluation["marginal_nats"]


def assert_backends_agree(model, rows, folder):
    model.save(folder / "bundle")
    first, second = (vk.load(folder / "bundle", backend=one).score(rows)["score"] for one in ("torch", "onnx"))
    np.testing.assert_allclose(first.to_numpy(), second.to_numpy(), rtol=1e-3)


@pytest.mark.parametrize("each", [1, 2])
def test_latent_maps_lie_on_patches_but_not_on_pixels(each, tmp_path):
    from vaekit.arrays import BlockSpec
    from vaekit.nn.images.conv import Convolutional
    from vaekit.nn.images.maps import map_shapes

    spec = BlockSpec(name="x", kind="image", likelihood="bernoulli", fields=("x",), event=(28, 27, 1))
    assert map_shapes([spec], Convolutional(channels=4, smallest=7), 3) == [(16, 7, 7), (8, 14, 14)]
    patches = Convolutional(channels=4, smallest=7, patch=2)
    assert map_shapes([spec], patches, 3) == [(8, 7, 7), (4, 14, 14)]
    with pytest.raises(ConfigError, match="room for 2 to 3 layers over an image whose maps are 28 x 27 at most"):
        map_shapes([spec], Convolutional(channels=4, smallest=7), 4)
    rows = ROWS.select(["image"])
    contract = vk.Contract.infer(rows).replace("image", likelihood="bernoulli", options={"binarise": "stochastic"})
    structure = {"name": "spatial", "layers": 2, "depth": 2, "each": each}
    model = fit(rows, contract, images=CONV | {"patch": 2}, structure=structure, epochs=60, batch_size=32, latent=6)
    assert list(model.engine.architecture.groups) == [f"z{index}" for index in range(each + 1, 0, -1)]
    assert learned(model, rows) > 0.5
    assert model.evaluation["iwae_64"] > -model.evaluation["marginal_nats"]
    assert_backends_agree(model, rows.slice(0, 40), tmp_path)


def test_bits_are_new_in_every_step_and_a_function_of_seed_and_step():
    rows = ROWS.select(["image"])
    options = {"binarise": "stochastic"}
    contract = vk.Contract.infer(rows).replace("image", likelihood="bernoulli", options=options)
    blocks = contract.encode(rows, training=True)
    from vaekit.training.batches import Resident, binarised, step_generator

    specs = {spec.name: spec for spec in contract.blocks()}
    batch = Resident(blocks, torch.device("cpu")).take(slice(0, 200))

    def drawn(step):
        return binarised(batch, specs, step_generator(0, step, torch.device("cpu")))["image.image"].values.numpy()

    assert (drawn(1) == drawn(1)).all()
    assert (drawn(1) != drawn(2)).mean() > 0.05
    share = np.mean([drawn(step) for step in range(60)], axis=0)[..., 0]
    assert np.abs(share.mean() - GREY[:200].mean() / 255) < 0.005
    assert set(np.unique(drawn(3))) == {0, 1}


@pytest.mark.parametrize("patch", [1, 2])
def test_colours_of_odd_sizes_as_a_condition(patch, tmp_path):
    rng = np.random.default_rng(0)
    hue = rng.integers(0, 3, 300)
    pictures = rng.integers(0, 40, (300, 5, 9, 3)).astype(np.uint8)
    pictures[np.arange(300), :, :, hue] += 200
    rows = {"picture": [png(one) for one in pictures], "kind": np.array(["red", "green", "blue"])[hue]}
    contract = vk.Contract.infer(rows).replace("picture", role="condition")
    model = fit(rows, contract, images={"name": "conv", "channels": 4, "smallest": 3, "patch": patch}, epochs=30)
    seen = model.sample(50, given={"picture": rows["picture"][0]})["kind"].to_pylist()
    assert seen.count(rows["kind"][0]) > 40
    assert_backends_agree(model, rows, tmp_path)


def test_options_of_networks_are_checked():
    with pytest.raises(ConfigError, match="unknown images 'resnet'; known: conv, dense"):
        fit(ROWS, images="resnet")
    with pytest.raises(ConfigError, match="images 'conv' has no option depth"):
        fit(ROWS, images={"name": "conv", "depth": 3})
    with pytest.raises((ConfigError, TrainingError), match="of at least 1"):
        fit(ROWS, images={"name": "conv", "channels": 0})
