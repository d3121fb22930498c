"""The public surface: fit, load, Model."""

from vaekit.api.fitting import fit
from vaekit.api.model import Model, load

__all__ = ["Model", "fit", "load"]
