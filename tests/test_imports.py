"""Importing is cheap, loads no torch, and works whichever part is imported first."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import vaekit
from tests.support import zoo

__all__ = ["zoo"]

HEAVY = ("torch", "onnxscript", "sklearn", "pandas", "polars", "matplotlib", "jinja2")


def python(code):
    """Run code in a fresh interpreter and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def processor_seconds(code):
    """Time of a processor that a fresh interpreter takes to run code: the machine may be busy with other things."""
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    python(code)
    stop = resource.getrusage(resource.RUSAGE_CHILDREN)
    return stop.ru_utime + stop.ru_stime - start.ru_utime - start.ru_stime


def test_the_runtime_reports_nothing_to_its_makers(tmp_path):
    env = {**os.environ, "HOME": str(tmp_path)}
    for name in ("ORT_DISABLE_TELEMETRY", "CI", "XDG_CACHE_HOME"):
        env.pop(name, None)
    subprocess.run([sys.executable, "-c", "import vaekit, onnxruntime"], env=env, check=True, timeout=120)
    assert [*tmp_path.rglob("*")] == []  # it keeps the reports in a file there


def test_import_is_quick():
    assert min(processor_seconds("import vaekit") for _ in range(3)) < 0.3


def test_import_loads_nothing_heavy():
    loaded = json.loads(python("import json, sys, vaekit; print(json.dumps(sorted(sys.modules)))"))
    assert not {*HEAVY, "pyarrow", "numpy", "onnxruntime", "scipy", "narwhals"} & set(loaded)


@pytest.mark.parametrize(
    "name",
    ["fields", "bundle", "runtime", "queries", "metrics", "report", "tracking", "sweeps", "api", "cli", "cli.app"],
)
def test_the_half_that_runs_bundles_never_loads_torch(name):
    code = f"import json, sys, vaekit.{name}; print(json.dumps(sorted(sys.modules)))"
    assert not set(HEAVY) & set(json.loads(python(code)))


# What answering on ONNX Runtime must not load: each costs tens of milliseconds, or megabytes.
SLOW = {
    "scipy", "pandas", "sklearn", "torch", "onnx", "pydantic", "narwhals", "rich.console", "numpy.ma", "numpy.random",
    "pyarrow.dataset", "pyarrow.parquet", "vaekit.api.fitting", "vaekit.api.exporting", "vaekit.cli.fit",
    "vaekit.queries.evaluate", "vaekit.training", "vaekit.nn", "vaekit.report", "vaekit.serving",
}  # fmt: skip


def loaded_by(line):
    """Modules that the command has loaded when it is done."""
    code = f"""
import sys

class NoPandas:
    # pyarrow imports pandas by itself wherever it is installed

    def find_spec(self, name, path=None, target=None):
        if name == "pandas":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoPandas())
sys.argv = {["vae", *map(str, line)]!r}
from vaekit.cli import main
try:
    main()
except SystemExit as done:
    assert not done.code, done.code
print("\\n" + " ".join(sys.modules))
"""
    return set(python(code).splitlines()[-1].split())


@pytest.mark.parametrize("query", ["score", "detect", "embed"])
def test_a_question_on_the_command_line_loads_what_it_needs_and_no_more(query):
    old = Path(__file__).parent / "bundle" / "format1"
    line = [query, old / "bundle", old / "rows.csv", *(["--alpha", "0.2"] if query == "detect" else [])]
    found = loaded_by(line)
    assert "onnxruntime" in found
    # this bundle is from before the draw of the calibration rows was kept: its scores have to draw it
    assert sorted(SLOW & found) == ([] if query == "embed" else ["numpy.random"])


def test_a_new_bundle_is_scored_without_drawing_anything(zoo):
    import pyarrow.csv

    rows = zoo["visits"].folder / "rows.csv"
    pyarrow.csv.write_csv(zoo["visits"].rows, rows)
    assert sorted(SLOW & loaded_by(["score", zoo["visits"].bundle, rows])) == []


def test_help_loads_no_library_of_numbers():
    found = loaded_by(["--help"])
    heavy = {*SLOW, "numpy", "pyarrow", "onnxruntime", "msgspec"} - {"rich.console", "vaekit.cli.fit"}
    assert sorted(heavy & found) == []


def test_using_the_front_door_loads_no_torch():
    code = "import sys, vaekit as vk; vk.Contract, vk.load, vk.Model, vk.fit; print('torch' in sys.modules)"
    assert python(code).strip() == "False"


def test_every_module_can_be_imported_first():
    python(
        """
import importlib, pkgutil, sys
import vaekit
names = [m.name for m in pkgutil.walk_packages(vaekit.__path__, "vaekit.") if not m.name.endswith("__main__")]
assert len(names) > 20, names
for name in names:
    for loaded in [n for n in sys.modules if n.partition(".")[0] == "vaekit"]:
        del sys.modules[loaded]
    importlib.import_module(name)
"""
    )


def test_public_names_come_from_their_homes():
    from vaekit import errors, fields
    from vaekit.api import fitting, model

    assert vaekit.Contract is fields.Contract
    assert vaekit.fit is fitting.fit
    assert vaekit.load is model.load
    assert vaekit.Model is model.Model
    for name in (one for one in errors.__all__ if one.endswith("Error")):
        assert getattr(vaekit, name) is getattr(errors, name)
    assert set(vaekit.__all__) <= set(dir(vaekit))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        vaekit.fitt  # noqa: B018
