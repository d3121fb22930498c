"""Environments with what the package itself asks for and nothing else: no torch, and the wheel, not the source."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["lean", "size", "wheel"]

ROOT = Path(__file__).resolve().parent.parent.parent


def lean(extra: str = "") -> Path:
    """The Python of an environment with the wheel as it is now, its dependencies and those of one extra.

    Args:
        extra: The extra; none for the base install.
    """
    key = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()[:8]
    folder = ROOT / f".venv-lean{f'-{extra}' if extra else ''}"
    python, stamp = folder / "bin" / "python", folder / f".stamp-{key}"
    if not stamp.exists():
        print(f"making the environment {folder.name}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        _pip(python, "install", f"{ROOT}[{extra}]" if extra else str(ROOT))
        stamp.touch()
    _pip(python, "install", "--no-deps", "--force-reinstall", str(ROOT))
    subprocess.run([str(python), "-m", "compileall", "-q", str(folder)], check=False)  # as installers do
    return python


def wheel(folder: Path) -> Path:
    """The wheel, built into a folder."""
    _pip(Path(sys.executable), "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    return next(folder.glob("vaekit-*.whl"))


def size(python: Path) -> dict[str, float]:
    """Megabytes of the packages of an environment, largest first, pip and the like left out."""
    site = next((python.parent.parent / "lib").glob("python*/site-packages"))
    sizes = {one.name: _bytes(one) / 1e6 for one in site.iterdir() if not one.name.startswith(("pip", "setuptools"))}
    return dict(sorted(sizes.items(), key=lambda pair: -pair[1]))


def _bytes(path: Path) -> int:
    return sum(one.stat().st_size for one in (path.rglob("*") if path.is_dir() else [path]) if one.is_file())


def _pip(python: Path, *words: str) -> None:
    line = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    subprocess.run(line, check=True, stdout=sys.stderr)
