"""Images over the service: as text in JSON, as files in forms, as tensors and as tables; never as paths."""

import base64
import io

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import vaekit as vk
from tests.serving.questions import COLUMNS, CSV, JSON, LIMITS, PARQUET, STREAM, answer, ask, table_of, written
from tests.serving.worker.test_formats import asked, form, picture
from tests.support import fit
from vaekit.serving.batching.stored import read_bundle
from vaekit.serving.wire.messages import Limits
from vaekit.serving.worker.hosted import Hosted

DIGITS = load_digits()
GREY = (DIGITS.images[:300] / 16 * 255).astype(np.uint8)
ROWS = pa.table(
    {
        "image": pa.FixedShapeTensorArray.from_numpy_ndarray(GREY),
        "label": [f"d{label}" for label in DIGITS.target[:300]],
    }
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of an image and a label on torch, as a worker holds it."""
    made = fit(
        ROWS, vk.Contract.infer(ROWS).replace("image", likelihood="discretised_gaussian"), images="dense", epochs=4
    )
    path = made.bundle.save(tmp_path_factory.mktemp("pictures") / "bundle")
    stored = read_bundle("pictures", path, "torch")
    files = dict(zip(stored.packed.files, stored.files, strict=True))
    return Hosted(stored.packed, files, Limits(**LIMITS), backend="torch"), made


def text(levels):
    return base64.b64encode(picture(levels)).decode()


def read(content):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def scores(told):
    return table_of(told)["score"].to_numpy()


@pytest.fixture(scope="module")
def wanted(model):
    return model[1].score(ROWS.slice(0, 3))["score"].to_numpy()


def rows(*pictures, label="d0"):
    return msgspec.json.encode(
        {"rows": [{"image": one, "label": f"d{DIGITS.target[i]}"} for i, one in enumerate(pictures)]}
    )


def test_a_nearly_black_picture_comes_back_as_it_went(model):
    """One of levels 0 and 1 alone was once taken for one of bits, and told as black and white."""
    dark = (GREY[0] > 0).astype(np.uint8)
    (told,) = answer(model[0], ask("pictures", "impute", rows(text(dark)), gives=JSON))
    (row,) = msgspec.json.decode(told.body)["rows"]
    np.testing.assert_array_equal(read(row["image"]), dark)
    (told,) = answer(model[0], ask("pictures", "impute", rows(text(dark)), gives=COLUMNS))
    np.testing.assert_array_equal(read(msgspec.json.decode(told.body)["columns"]["image"][0]), dark)


def test_json_holds_files_in_base64_both_ways(model, wanted):
    hosted, made = model
    plain = rows(*(text(one) for one in GREY[:3]))
    (told,) = answer(hosted, ask("pictures", "score", plain))
    np.testing.assert_allclose(scores(told), wanted, rtol=1e-5)
    named = rows(*(f"data:image/png;base64,{text(one)}" for one in GREY[:3]))
    assert answer(hosted, ask("pictures", "score", named))[0].body == told.body
    (told,) = answer(hosted, ask("pictures", "reconstruct", plain, gives=JSON))
    found = np.stack([read(row["image"]) for row in msgspec.json.decode(told.body)["rows"]])
    real = made.reconstruct(ROWS.slice(0, 3))["image"].combine_chunks().to_numpy_ndarray()
    np.testing.assert_array_equal(found, real)
    field = hosted.facts.fields[0]
    assert (field.kind, field.json, field.range["contentEncoding"]) == ("image", "string", "base64")


@pytest.mark.parametrize("media", [STREAM, PARQUET])
def test_tables_hold_tensors_or_bytes(model, wanted, media):
    hosted, _ = model
    encoded = pa.table({"image": [picture(one) for one in GREY[:3]], "label": ROWS["label"].slice(0, 3)})
    for table in (ROWS.slice(0, 3), encoded):
        (told,) = answer(hosted, ask("pictures", "score", written(table, media), media))
        np.testing.assert_allclose(scores(told), wanted, rtol=1e-5)


def test_a_form_holds_a_file_and_the_other_fields(model, wanted):
    told = asked(model[0], "score", form(("image", picture(GREY[0]), "x.png", "image/png"), ("label", b"d0")))
    np.testing.assert_allclose(scores(told), wanted[:1], rtol=1e-5)


def test_tensors_of_the_protocol_hold_levels_or_text(model):
    from vaekit.serving.worker.formats.tensors import rows_of, tensor

    hosted, made = model
    labels = tensor("label", "BYTES", [2], ["d0", "d1"])
    for one in (
        tensor("image", "UINT8", [2, 8, 8], GREY[:2].ravel()),
        tensor("image", "UINT8", [2, 8, 8, 1], GREY[:2].ravel()),
        tensor("image", "BYTES", [2], [text(one) for one in GREY[:2]]),
    ):
        found = rows_of([one, labels], hosted)
        table = type(found).merged([found])
        levels = made.contract.encode(table)["image.image"].values[:, 0, :, :, 0]
        np.testing.assert_array_equal(levels, GREY[:2])


def large():
    sink = io.BytesIO()
    Image.new("L", (2000, 1000)).save(sink, "PNG")
    return base64.b64encode(sink.getvalue()).decode()


@pytest.mark.parametrize(
    ("body", "takes", "status", "words"),
    [
        (rows("not base64!"), JSON, 422, "expected a PNG or JPEG file in base64"),
        (rows(base64.b64encode(b"not an image").decode()), JSON, 422, "value is not an image"),
        (rows(large()), JSON, 422, "at most 1048576 pixels"),
        (
            written(pa.table({"image": [base64.b64decode(large())], "label": ["d0"]}), STREAM),
            STREAM,
            422,
            "at most 1048576",
        ),
        (rows(text(GREY[0].repeat(2, 0))), JSON, 422, "wrong size"),
        (rows([1, 2, 3]), JSON, 422, "a string"),
        (b"image,label\nx.png,d0\n", CSV, 415, "CSV cannot hold images"),
        (
            written(pa.table({"image": ["/etc/hostname"], "label": ["d0"]}), STREAM),
            STREAM,
            422,
            "not as the path of a file",
        ),
    ],
)
def test_what_is_no_image_is_refused(model, body, takes, status, words):
    (told,) = answer(model[0], ask("pictures", "score", body, takes))
    assert told.fault is not None
    assert told.fault.status == status
    assert words in told.fault.message
    assert "hostname" not in told.fault.message
