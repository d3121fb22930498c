"""Checks of parts that a user has written, against the contract that all parts keep.

    from vaekit.testing import check

    check("prior", {"name": "shop.priors:Seasonal", "months": 12})

Each check builds small models with the part, in float64 from fixed seeds, and raises an `AssertionError` that says what
was expected and what came. `check` fits any kind of part; what is checked of each is told by the functions it calls.
"""

from vaekit.testing.checks import CHECKS, check

__all__ = ["CHECKS", "check"]
