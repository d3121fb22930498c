"""Fields and the contract: what the columns of a table are, and how their values become arrays and come back."""

from vaekit.fields.base import Field
from vaekit.fields.category import Category
from vaekit.fields.contract import Contract
from vaekit.fields.count import Count
from vaekit.fields.edit import AnyField
from vaekit.fields.image import Image
from vaekit.fields.lattice import Lattice
from vaekit.fields.number import Number
from vaekit.fields.other import Other
from vaekit.fields.tables import to_arrow
from vaekit.fields.transforms import Monotone
from vaekit.fields.vector import Vector
from vaekit.fields.writing import write

__all__ = [
    "AnyField",
    "Category",
    "Contract",
    "Count",
    "Field",
    "Image",
    "Lattice",
    "Monotone",
    "Number",
    "Other",
    "Vector",
    "to_arrow",
    "write",
]
