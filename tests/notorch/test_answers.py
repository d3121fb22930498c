"""Bundles answer every query where torch is not installed, and as they did where they were made.

Run by `run.sh` in an environment of its own, with the fixtures of `make_fixtures.py` in $VAEKIT_FIXTURES.
"""

import importlib
import importlib.metadata
import importlib.util
import json
import os
import sys
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from alike import arguments, differences

import vaekit as vk

FIXTURES = Path(os.environ["VAEKIT_FIXTURES"])
QUESTIONS = json.loads((FIXTURES / "questions.json").read_text())
MODELS = sorted({question["model"] for question in QUESTIONS})
TRAINING = ("torch", "onnx", "onnxscript", "sklearn", "zuko")


@cache
def model(name):
    return vk.load(FIXTURES / name / "bundle")


def rows(name):
    return pq.read_table(FIXTURES / name / "rows.parquet")


def ask(question):
    args, named = arguments(question["query"], question["rows"], rows(question["model"]))
    return model(question["model"]).query(question["query"], *args, **named, **question["options"])


def plain(table):
    """Dictionaries in one layout: Parquet keeps the values of a dictionary, not the type that they were written in."""
    for index, column in enumerate(table.schema):
        kind = column.type
        if pa.types.is_dictionary(kind) and pa.types.is_large_string(kind.value_type):
            target = pa.dictionary(kind.index_type, pa.string(), kind.ordered)
            table = table.set_column(index, column.name, table[column.name].cast(target))
    return table


@pytest.mark.parametrize("name", TRAINING)
def test_what_training_needs_is_not_installed(name):
    with pytest.raises(ImportError):
        importlib.import_module(name)
    assert importlib.util.find_spec(name) is None


def test_the_package_is_the_installed_one():
    assert "site-packages" in vk.__file__
    assert importlib.metadata.version("vaekit") == vk.__version__


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: Path(q["answer"]).stem + " of " + q["model"])
def test_answers_are_those_of_torch(question):
    expected = feather.read_table(FIXTURES / question["answer"])
    found = ask(question)
    assert model(question["model"]).engine.backend.name == "onnx"
    assert differences(plain(found), plain(expected)) == []


def test_there_are_questions_for_every_query():
    from vaekit.queries import QUERIES

    assert {question["query"] for question in QUESTIONS} == set(QUERIES)
    assert len(QUESTIONS) >= len(MODELS) * len(QUERIES)


@pytest.mark.parametrize("name", MODELS)
def test_a_bundle_is_saved_and_loaded_without_torch(name, tmp_path):
    again = vk.load(model(name).save(tmp_path / "copy"))
    assert again.score(rows(name)).equals(model(name).score(rows(name)))


def test_the_command_line_answers(tmp_path):
    """`vae score` and `vae sample`, as a host would call them."""
    import subprocess

    vae = Path(sys.executable).with_name("vae")
    out = tmp_path / "scores.parquet"
    line = [vae, "score", FIXTURES / "visits" / "bundle", FIXTURES / "visits" / "rows.parquet", "--out", out]
    subprocess.run([str(part) for part in line], check=True, capture_output=True, timeout=120)
    expected = feather.read_table(FIXTURES / "visits" / "answers" / "score.arrow").select(["score", "p_value"])
    assert differences(pq.read_table(out), expected) == []


def test_nothing_of_torch_was_loaded_by_any_of_this():
    """All queries again, in one go: then look at what this process has loaded."""
    for question in QUESTIONS:
        ask(question)
    assert not {"torch", "onnxscript", "vaekit.nn", "vaekit.training", "vaekit.objectives"} & set(sys.modules)


def test_what_needs_torch_says_so():
    """The last one: it asks for training, which the one before proves that nothing else does."""
    with pytest.raises(vk.BundleError, match="torch backend needs torch, which is not installed"):
        vk.load(FIXTURES / MODELS[0] / "bundle", backend="torch")
    with pytest.raises(vk.ConfigError, match=r"fit needs .*, which is not installed; install vaekit\[train\]"):
        vk.fit(rows(MODELS[0]), progress=False)
