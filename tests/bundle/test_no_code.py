"""Loading a bundle runs no code: nothing in the package could, and nothing does."""

import ast
import builtins
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vaekit

SOURCES = sorted(Path(vaekit.__file__).parent.rglob("*.py"))
MODULES = {
    "pickle",
    "cPickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "jsonpickle",
    "code",
    "runpy",
    "imp",
}
CALLS = {"eval", "exec", "compile", "__import__", "execfile"}
METHODS = {
    ("torch", "load"), ("torch", "save"), ("np", "load"), ("numpy", "load"), ("jit", "load"), ("pd", "read_pickle"),
    ("os", "system"), ("os", "popen"), ("yaml", "load"), ("onnx", "load_external_data_for_model"),
}  # fmt: skip


def forbidden(tree):
    """What a module does that could run code from data."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").partition(".")[0] in MODULES:
                yield node.module
            yield from (a.name for a in node.names if (node.module, a.name) in METHODS)
        elif isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name) and function.id in CALLS:
                yield function.id
            if isinstance(function, ast.Attribute):
                owner = (
                    function.value.attr
                    if isinstance(function.value, ast.Attribute)
                    else getattr(function.value, "id", "")
                )
                if (owner, function.attr) in METHODS or (owner == "builtins" and function.attr in CALLS):
                    yield f"{owner}.{function.attr}"
            yield from ("allow_pickle" for k in node.keywords if k.arg in ("allow_pickle", "trust_remote_code"))
            shell = [
                k
                for k in node.keywords
                if k.arg == "shell" and not (isinstance(k.value, ast.Constant) and not k.value.value)
            ]
            yield from ("shell" for _ in shell)


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from cloudpickle import loads",
        "torch.load(path)",
        "from torch import load",
        "torch.jit.load(path)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "exec(text)",
        "__import__(name)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_search_finds_what_it_looks_for(line):
    assert list(forbidden(ast.parse(line)))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(SOURCES[0].parent).as_posix())
def test_no_source_file_can_run_code_from_data(path):
    assert list(forbidden(ast.parse(path.read_text()))) == []


def test_the_search_saw_the_whole_package():
    assert {"format.py", "export.py", "torch_backend.py", "checkpoint.py"} <= {p.name for p in SOURCES}


SPY = """
import sys
import vaekit as vk

warm, root, ran, imported = sys.argv[1], sys.argv[2], [], []
vk.load(warm, backend="onnx")  # what is imported, or resolved of our own annotations, lazily is so now
sys.addaudithook(lambda event, args: (
    ran.append(event) if event in ("exec", "compile", "marshal.loads", "pickle.find_class", "os.system",
                                   "subprocess.Popen", "os.exec", "ctypes.dlopen") else None,
    imported.append(args[0]) if event == "import" and str(args[1] or "").startswith(root) else None,
))
model = vk.load(root, backend="onnx")
found = list(ran), list(imported)
print(found == ([], []) or found)
"""


def test_loading_executes_compiles_and_imports_nothing(zoo, tmp_path):
    """The interpreter itself reports what runs between the call of `load` and its return."""
    bundle = shutil.copytree(zoo["visits"].bundle, tmp_path / "bundle")
    line = [sys.executable, "-c", SPY, str(zoo["visits"].bundle), str(bundle)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "True", done.stdout + done.stderr


def test_loading_unpickles_nothing(zoo, monkeypatch):
    import pickle

    kept = zoo["bits"]
    vaekit.load(kept.bundle).score(kept.rows.slice(0, 3))  # msgspec resolves the annotations of our own classes once

    def refuse(*_, **__):
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(builtins, "eval", refuse)
    assert vaekit.load(kept.bundle).score(kept.rows.slice(0, 3)).num_rows == 3
