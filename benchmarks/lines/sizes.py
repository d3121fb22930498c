"""P9: how long importing takes, and how large what is installed is."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.lines.start import launched
from benchmarks.registry import Outcome, Settings
from benchmarks.tools.lean import lean, size, wheel

GOAL = (
    "`import vaekit` in less than 0.3 s of a processor; the import of torch and FastAPI is what it is measured against"
)
IMPORT = 0.3


def run(settings: Settings) -> Outcome:
    """Time imports and help in turn; weigh the wheel and what the base install and a service install."""
    base, service = lean(), lean("serve")
    commands = {
        "a bare interpreter": [str(base), "-c", "pass"],
        "import vaekit": [str(base), "-c", "import vaekit"],
        "vae --help": [str(base), "-m", "vaekit.cli", "--help"],
        "vae score --help": [str(base), "-m", "vaekit.cli", "score", "--help"],
        "import vaekit, use load": [str(base), "-c", "import vaekit; vaekit.load"],
        "import torch": [sys.executable, "-c", "import torch"],
    }
    took: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for index in range((5 if settings.quick else 20) + 1):  # the first warms the caches of the disk
        for name, command in commands.items():
            found = launched(command)
            took[name] += [found] if index else []
    shown = {
        name: {
            what: round(statistics.median(one[what] for one in found), 3)
            for what in ("seconds", "processor_seconds", "peak_mb")
        }
        for name, found in took.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        wheel_mb = wheel(Path(folder)).stat().st_size / 1e6
    sizes = {name: size(python) for name, python in (("base", base), ("serve", service))}
    ours = {name: figures for name, figures in shown.items() if "vae" in name}
    ours["sizes"] = {"wheel_mb": round(wheel_mb, 3), **{f"{n}_mb": round(sum(s.values()), 1) for n, s in sizes.items()}}
    for name, figures in (shown | {"sizes": ours["sizes"]}).items():
        print(f"{name:24s}", figures)
    largest = ", ".join(f"{name} {mb:.0f}" for name, mb in list(sizes["serve"].items())[:8])
    return Outcome(
        ours=ours,
        rivals={name: figures for name, figures in shown.items() if name not in ours},
        ratios={"import torch": round(shown["import torch"]["seconds"] / shown["import vaekit"]["seconds"], 1)},
        met=shown["import vaekit"]["processor_seconds"] < IMPORT,
        notes=[
            f"largest of what a service installs, MB: {largest}",
            "sizes are of all files of the installed packages without pip, byte code included; an image adds those of "
            "Python and of the system",
        ],
    )
