"""Importing is cheap, loads no torch, and works whichever part is imported first."""

import json
import os
import resource
import subprocess
import sys

import pytest

import vaekit

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
    ["fields", "bundle", "runtime", "queries", "metrics", "report", "api", "cli", "cli.app"],
)
def test_the_half_that_runs_bundles_never_loads_torch(name):
    code = f"import json, sys, vaekit.{name}; print(json.dumps(sorted(sys.modules)))"
    assert not set(HEAVY) & set(json.loads(python(code)))


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
    for name in errors.__all__:
        assert getattr(vaekit, name) is getattr(errors, name)
    assert set(vaekit.__all__) <= set(dir(vaekit))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        vaekit.fitt  # noqa: B018
