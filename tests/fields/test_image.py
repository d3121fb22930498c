"""Images: what columns are taken for, what comes back, and what is refused."""

import io
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as Pillow
from PIL import ImageOps
from sklearn.datasets import load_digits, load_sample_image

import vaekit as vk
from vaekit.errors import ConfigError, ContractError
from vaekit.fields import pixels

GREY = (load_digits().images[:40] / 16 * 255).astype(np.uint8)
COLOUR = (
    load_sample_image("flower.jpg")[:48, :60][None].repeat(12, 0) ^ np.arange(12, dtype=np.uint8)[:, None, None, None]
)


def encoded(images, form="PNG"):
    found = []
    for one in images:
        file = io.BytesIO()
        Pillow.fromarray(one).save(file, form)
        found.append(file.getvalue())
    return found


def arrays(column):
    column = column.combine_chunks()
    if isinstance(column.type, pa.FixedShapeTensorType):
        flat = column.storage.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(-1, *column.type.shape)
    return np.stack([np.asarray(Pillow.open(io.BytesIO(one))) for one in column.to_pylist()])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("images")
    for row, content in enumerate(encoded(GREY)):
        (home / f"{row}.png").write_bytes(content)
    return home


def columns(folder):
    return {
        "tensor": pa.table({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(GREY)}),
        "array": {"x": GREY},
        "channel": {"x": GREY[..., None]},
        "colours": {"x": COLOUR},
        "png": {"x": encoded(GREY)},
        "large": pa.table({"x": pa.array(encoded(GREY), pa.large_binary())}),
        "colour png": {"x": encoded(COLOUR)},
        "paths": {"x": [str(folder / f"{row}.png") for row in range(len(GREY))]},
    }


@pytest.mark.parametrize("name", [*columns(Path())])
def test_images_come_back_as_they_came(folder, name):
    rows = columns(folder)[name]
    contract = vk.Contract.infer(rows)
    field = contract["x"]
    assert (field.kind, field.role, field.likelihood) == ("image", "model", "logistic_mixture")
    assert vk.Contract.from_json(contract.to_json()) == contract
    blocks = contract.encode(rows)
    assert blocks["image.x"].values.dtype == np.uint8
    table = contract.decode({key: block.values for key, block in blocks.items()})
    real = COLOUR if "colour" in name else GREY[..., None] if name == "channel" else GREY
    np.testing.assert_array_equal(arrays(table["x"]), real)
    expected = pa.binary() if name == "paths" else contract.table(rows).schema.field("x").type
    assert table.schema.field("x").type == expected


def test_streams_of_images_give_the_same_contract(folder):
    import pyarrow.parquet as pq

    for name in ("tensor", "png"):
        table = vk.Contract.infer(columns(folder)[name]).table(columns(folder)[name])
        path = folder / f"{name}.parquet"
        pq.write_table(table, path, row_group_size=7)
        parts = (batch for batch in pq.ParquetFile(path).iter_batches(7))
        assert vk.Contract.infer(pa.Table.from_batches([part]) for part in parts) == vk.Contract.infer(table)


def test_photos_are_made_smaller_and_noted():
    contract = vk.Contract.infer({"x": encoded(load_sample_image("china.jpg")[None].repeat(3, 0), "JPEG")})
    assert contract["x"].size == (43, 64)
    assert "resized to 43 x 64" in dict(contract.warnings)["x"]
    small = contract.replace("x", size=(8, 12), channels=1)
    block = small.encode({"x": encoded(load_sample_image("china.jpg")[None], "JPEG")})["image.x"]
    assert block.values.shape == (1, 1, 8, 12, 1)
    grey = load_sample_image("china.jpg") @ np.array([0.299, 0.587, 0.114])
    blocks = np.add.reduceat(np.add.reduceat(grey[:424], np.arange(0, 424, 53), 0), np.arange(0, 636, 53), 1)
    assert np.corrcoef(block.values.ravel(), blocks[:, :12].ravel())[0, 1] > 0.99  # means over the same places


def test_bits_are_recognised_and_keep_their_white():
    for image, white in ((GREY > 99, 1), ((GREY > 99) * np.uint8(1), 1), ((GREY > 99) * np.uint8(255), 255)):
        contract = vk.Contract.infer({"x": image})
        assert (contract["x"].likelihood, contract["x"].white) == ("bernoulli", white)
        blocks = contract.encode({"x": image})
        np.testing.assert_array_equal(blocks["image.x"].values[:, 0, ..., 0], GREY > 99)
        found = contract.decode({"image.x": blocks["image.x"].values})
        np.testing.assert_array_equal(arrays(found["x"]), image)


def test_stochastic_bits_have_the_probability_of_their_level_and_belong_to_the_image():
    ramp = np.tile(np.arange(256, dtype=np.uint8).reshape(4, 64), (400, 16, 1))  # every level 16 times
    ramp[:, 0] = np.random.default_rng(0).integers(0, 256, (400, 64))  # no two images alike
    options = {"binarise": "stochastic"}
    contract = vk.Contract.infer({"x": ramp}).replace("x", likelihood="bernoulli", options=options)
    bits = contract.encode({"x": ramp})["image.x"].values[:, 0, :, :, 0]
    share = bits[:, 4:].reshape(400, 15, 256).mean((0, 1))
    wanted = np.arange(256) / 255
    assert np.abs((share - wanted) / np.sqrt(wanted * (1 - wanted) / 6000 + 1e-9)).max() < 4.5
    alone = contract.encode({"x": ramp[7:8]})["image.x"].values
    np.testing.assert_array_equal(alone[0, 0, :, :, 0], bits[7])
    whole = contract.encode({"x": ramp}, training=True)["image.x"].values  # training draws its own
    np.testing.assert_array_equal(whole[:, 0, :, :, 0], ramp)
    cut = contract.replace("x", options={"binarise": "threshold"}).encode({"x": ramp})["image.x"].values
    np.testing.assert_array_equal(cut[:, 0, :, :, 0], ramp > 127)


def test_missing_images_are_filled_and_others_stay(folder):
    for name in ("tensor", "png", "paths"):
        table = vk.Contract.infer(columns(folder)[name]).table(columns(folder)[name])
        contract = vk.Contract.infer(table)
        gone = np.arange(len(table)) % 3 == 0
        import pyarrow.compute as pc

        column = table["x"].take(pa.array(np.arange(len(table)), mask=gone))
        blocks = contract.encode(pa.table({"x": column}))
        np.testing.assert_array_equal(blocks["image.x"].observed.ravel(), ~gone)
        assert (blocks["image.x"].values[gone] == 0).all()
        filled = contract.decode({"image.x": 255 - contract.encode(table)["image.x"].values})["x"].combine_chunks()
        merged = contract["x"].merge(column, filled.take(pa.array(np.arange(len(table)), mask=~gone)), gone)
        assert merged.null_count == 0
        expected = np.where(gone[:, None, None], 255 - GREY, GREY)
        np.testing.assert_array_equal(arrays(pa.chunked_array([merged])), expected)
        assert pc.is_null(column).to_pylist() == gone.tolist()


def spoiled(**changes):
    return {"x": [*encoded(GREY[:3]), *changes.values()]}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (spoiled(bad=b"\x89PNG\r\n\x1a\nnot"), r"not an image \(field 'x', row 3\): expected a PNG or JPEG"),
        (spoiled(bad=encoded(GREY)[0][:60]), r"cannot be unpacked \(field 'x', row 3\)"),
        (
            spoiled(bad=encoded(GREY[:1].repeat(2, 1))[0]),
            r"wrong size \(field 'x', row 3\): expected 8 x 8; resize=True",
        ),
        (spoiled(bad=encoded([GREY[0].astype(np.uint16) * 200])[0]), r"wrong depth \(field 'x', row 3\)"),
        ({"x": ["no/such/file.png"]}, r"cannot be read \(No such file or directory\) \(field 'x', row 0\)"),
        ({"x": [1.5]}, "wrong type .* uint8 tensors"),
        ({"x": GREY.repeat(2, 2)}, "wrong size .* expected 8 x 8"),
    ],
)
def test_what_is_no_image_is_refused(rows, message):
    with pytest.raises(ContractError, match=message):
        vk.Contract.infer({"x": encoded(GREY)}).encode(rows)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_photos_that_lie_are_turned_as_their_exif_says(form, turn):
    """Cameras store pixels as the sensor lies, and how it was held beside them."""
    upright = np.zeros((24, 40, 3), np.uint8)
    upright[:8, :16] = 255  # the corner that is up and left
    stored = np.rot90(upright, {1: 0, 3: 2, 6: 1, 8: -1}[turn])
    file, exif = io.BytesIO(), Pillow.Exif()
    exif[0x0112] = turn
    Pillow.fromarray(np.ascontiguousarray(stored)).save(file, form, exif=exif.tobytes())
    assert pixels.size_of(file.getvalue(), 0) == (24, 40, 3)
    np.testing.assert_allclose(pixels.open_image(file.getvalue(), 3, 0).astype(float), upright, atol=40)
    contract = vk.Contract.infer({"x": [file.getvalue()] * 4})
    assert contract["x"].size == (24, 40)


@pytest.mark.parametrize("note", [b"nonsense", b"II*\x00\xff\xff\xff\xff", b"II*\x00\x08\x00\x00\x00\x09\x00"])
def test_a_broken_exif_note_does_not_spoil_an_image(note, recwarn):
    file = io.BytesIO()
    Pillow.fromarray(GREY[0]).save(file, "JPEG", exif=b"Exif\x00\x00" + note)
    assert pixels.size_of(file.getvalue(), 0) == (8, 8, 1)
    assert pixels.open_image(file.getvalue(), 1, 0).shape == (8, 8, 1)
    assert not recwarn.list


def noted(levels, *tags):
    """A JPEG with EXIF tags of (number, type, count, content)."""
    rows = b"".join(struct.pack("<HHI4s", *tag) for tag in tags)
    note = b"Exif\x00\x00II*\x00" + struct.pack("<IH", 8, len(tags)) + rows + bytes(4)
    file = io.BytesIO()
    Pillow.fromarray(levels).save(file, "JPEG", exif=note)
    return file.getvalue()


@pytest.mark.parametrize("tag", [(0x011A, 1, 1, b"\x01"), (0x0102, 4, 1, b"\x01\x02\x03"), (0x0131, 11, 1, b"\x01")])
def test_a_photo_is_turned_although_another_exif_tag_is_broken(tag):
    content = noted(np.zeros((24, 40), np.uint8), (0x0112, 3, 1, b"\x06"), tag)
    assert pixels.size_of(content, 0) == (40, 24, 1)
    assert pixels.open_image(content, 1, 0).shape == (40, 24, 1)


@pytest.mark.parametrize("turn", range(10))
def test_images_are_turned_as_pillow_turns_them(turn):
    content = noted(np.arange(8 * 16, dtype=np.uint8).reshape(8, 16), (0x0112, 3, 1, bytes([turn])))
    turned = np.asarray(ImageOps.exif_transpose(Pillow.open(io.BytesIO(content))))
    np.testing.assert_array_equal(pixels.open_image(content, 1, 0)[:, :, 0], turned)
    assert pixels.size_of(content, 0) == (*turned.shape, 1)


def test_a_bomb_is_refused_by_its_head():
    one = Pillow.new("1", (12_000, 12_000))
    file = io.BytesIO()
    one.save(file, "PNG")
    with pytest.raises(ContractError, match=r"too large \(field 'x', row 0\): expected at most 67,108,864 pixels"):
        vk.Contract.infer({"x": encoded(GREY)}).encode({"x": [file.getvalue()]})
    assert pixels.MOST_PIXELS < 12_000**2


def test_options_that_make_no_sense_are_refused():
    contract = vk.Contract.infer({"x": GREY})
    with pytest.raises(ContractError, match=r"row 0\): expected pixels that are black or white: a bernoulli knows two"):
        contract.replace("x", likelihood="bernoulli").encode({"x": GREY})
    with pytest.raises(ConfigError, match="logistic_mixture has no option 'binarise'"):
        contract.replace("x", options={"binarise": "stochastic"})
    with pytest.raises(ConfigError, match="an image has a likelihood of|a image has a likelihood of"):
        contract.replace("x", likelihood="gaussian")
    with pytest.raises(ConfigError, match="whole number from 1 to 64"):
        contract.replace("x", options={"components": 65})
    with pytest.raises(ConfigError, match="size of at least"):
        contract.replace("x", size=(0, 8))
    with pytest.raises(ConfigError, match="option 'binarise' makes bits of images"):
        vk.Contract.infer({"b": (GREY > 99).reshape(40, -1) * 1.0}).replace("b", options={"binarise": "stochastic"})


def test_tensors_that_are_no_images_are_left_out_with_what_to_do():
    for array in (GREY / 255, np.moveaxis(COLOUR, 3, 1)):
        column = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))
        field = vk.Contract.infer({"x": column, "n": np.arange(len(array)) ** 2.0})["x"]
        assert (field.kind, field.role) == ("other", "ignore")
        assert "cast" in field.note
        assert "transpose" in field.note


def test_missing_images_are_filled_in_the_shape_and_the_white_that_their_column_has():
    """Columns may differ from that of the fit in size, in axes, in channels, in white, and in being tensors at all."""
    contract = vk.Contract.infer({"x": GREY}).replace("x", resize=True)
    bits = vk.Contract.infer({"x": (GREY > 99) * np.uint8(1)})
    flat, black = np.ones_like(GREY) * GREY[:, 4:5, 4:5], GREY > 99  # resizing leaves flat ones as they are
    asked = {
        "larger": (contract, flat.repeat(2, 1).repeat(2, 2), flat, flat.repeat(2, 1).repeat(2, 2)),
        "channel": (contract, GREY[..., None], GREY, GREY[..., None]),
        "colours": (contract, GREY[..., None].repeat(3, 3), GREY, GREY[..., None].repeat(3, 3)),
        "true and false": (contract, black, black * np.uint8(255), black),
        "zeros and ones": (bits, black, black * np.uint8(1), black),
        "from png": (vk.Contract.infer({"x": encoded(GREY)}), GREY, encoded(GREY), GREY),
    }
    for name, (fitted, there, given, wanted) in asked.items():
        column, filled = fitted.table({"x": there})["x"], fitted.table({"x": given})["x"].combine_chunks()
        gone = np.arange(len(GREY)) % 3 == 0
        merged = fitted["x"].merge(column.take(pa.array(np.arange(len(GREY)), mask=gone)), filled, gone)
        assert merged.type == column.type, name
        np.testing.assert_array_equal(arrays(pa.chunked_array([merged])), wanted, err_msg=name)
        assert fitted["x"].error(column, pa.chunked_array([filled])) == {"rmse": 0.0}, name


def test_true_is_white():
    contract = vk.Contract.infer({"x": GREY})
    found = contract.encode({"x": GREY > 99})["image.x"].values[:, 0, :, :, 0]
    np.testing.assert_array_equal(found, (GREY > 99) * 255)
