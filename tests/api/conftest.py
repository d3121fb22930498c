"""A model that is wide enough to be made compact."""

from pathlib import Path

import pytest

import vaekit as vk
from tests.support import cancer, fit

__all__ = ["Wide", "wide"]


class Wide:
    """A fitted model of two hidden layers, its bundle on disk, and the table of the fit."""

    def __init__(self, folder: Path) -> None:
        self.table = cancer().select(["radius", "texture", "smoothness", "symmetry", "diagnosis"])
        contract = vk.Contract.infer(self.table).replace("diagnosis", role="condition")
        self.fitted = fit(self.table, contract, width=64, depth=2, epochs=40)
        self.path = self.fitted.save(folder / "bundle")
        self.model = vk.load(self.path, "onnx")


@pytest.fixture(scope="session")
def wide(tmp_path_factory):
    return Wide(tmp_path_factory.mktemp("wide"))
