"""Images in the report: pictures that show what they say, none of real rows where rows are not to be shown."""

import base64
import io
import re

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import vaekit as vk
from tests.support import fit
from vaekit.report.images import _GAP, galleries, grid
from vaekit.report.latent import neighbours, ordered

torch.set_num_threads(1)

GREY = (load_digits().images[:400] / 16 * 255).astype(np.uint8)
ROWS = pa.table({"image": pa.FixedShapeTensorArray.from_numpy_ndarray(GREY), "ink": GREY.mean((1, 2))})


@pytest.fixture(scope="module")
def model():
    contract = vk.Contract.infer(ROWS).replace("image", likelihood="discretised_gaussian")
    return fit(ROWS, contract, images="dense", epochs=60, latent=6, calibration=0.2)


def unpacked(address):
    content = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(content)))


def cells(sheet, size=8):
    step = size + _GAP
    lines, columns = (sheet.shape[0] + _GAP) // step, (sheet.shape[1] + _GAP) // step
    return np.stack(
        [sheet[y * step : y * step + size, x * step : x * step + size] for y in range(lines) for x in range(columns)]
    ).reshape(lines, columns, size, size)


def test_a_grid_holds_every_image_at_its_place():
    sheet = grid(GREY[:6, :, :, None], 3)[:, :, 0]
    np.testing.assert_array_equal(cells(sheet).reshape(6, 8, 8), GREY[:6])


def test_pictures_show_what_they_say(model):
    (gallery,) = galleries(model.engine, ROWS, [2, 0])
    pairs = cells(unpacked(gallery.pairs.address)).astype(float)
    real = {one.tobytes() for one in GREY}
    assert all(one.astype(np.uint8).tobytes() in real for one in pairs[0])
    assert np.corrcoef((pairs[0] - GREY.mean(0)).ravel(), (pairs[1] - GREY.mean(0)).ravel())[0, 1] > 0.4
    drawn = cells(unpacked(gallery.drawn.address))
    assert len({one.tobytes() for one in drawn.reshape(-1, 8, 8)}) == 32
    routes = cells(unpacked(gallery.routes.address)).astype(float)
    steps = np.abs(np.diff(routes, axis=1)).mean((0, 2, 3))
    assert np.abs(routes[:, -1] - routes[:, 0]).mean() > 2 * steps.max()  # one after the other, without jumps
    assert [dim for dim, _ in gallery.walks] == [2, 0]
    walk = cells(unpacked(gallery.walks[0][1].address))[0].astype(float)
    assert np.abs(walk[0] - walk[-1]).mean() > np.abs(walk[0] - walk[1]).mean() > 0


def test_the_page_holds_them_and_real_ones_only_if_rows_may_be_shown(model):
    shown, hidden = (model.report(ROWS, rows=rows) for rows in (True, False))
    sheets = [unpacked(one) for one in re.findall(r'src="(data:image/png;base64,[^"]+)"', shown)]
    assert len(sheets) >= 4
    assert "Images" in shown
    kept = re.findall(r'src="(data:image/png;base64,[^"]+)"', hidden)
    assert len(kept) == 1  # drawn from the model
    real = {one.tobytes() for one in GREY}
    assert not any(one.tobytes() in real for one in cells(unpacked(kept[0])).reshape(-1, 8, 8))
    assert "galleries" not in re.findall("Left out: [^<]*", shown)


def test_dimensions_are_in_the_order_of_what_they_cost():
    embedding = np.random.default_rng(0).normal(size=(50, 4)) * [1.0, 2.0, 0.01, 3.0]
    assert ordered(embedding, None) == [3, 1, 0]
    assert ordered(embedding, np.array([5.0, 0.5, 9.0, 1.0])) == [0, 3, 1]


def test_a_second_map_keeps_neighbours_together():
    groups = np.random.default_rng(0).normal(size=(60, 4)) * 0.1 + np.repeat(5 * np.eye(4)[:3], 20, axis=0)
    flat = neighbours(groups, seed=3)
    assert flat.shape == (60, 2)
    apart = np.linalg.norm(flat[:, None] - flat[None], axis=-1) + 1e9 * np.eye(60)
    assert (apart.argmin(1) // 20 == np.arange(60) // 20).all()
