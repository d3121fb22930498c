"""`number`: integers and floats, mapped to encoded units by a monotone map; readings may be rounded to a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaekit.arrays import Block
from vaekit.errors import ConfigError, ContractError
from vaekit.fields import numeric
from vaekit.fields.arrow_types import decimals_of, value_type
from vaekit.fields.base import Codec, Column, Float, Role
from vaekit.fields.families import FAMILIES
from vaekit.fields.lattice import Lattice, find_lattice
from vaekit.fields.number_text import NumberText
from vaekit.fields.numeric import Numeric, NumericCodec
from vaekit.fields.profile import Profile
from vaekit.fields.quantile import fit_quantile
from vaekit.fields.transforms import Maps, Monotone, fit_affine

__all__ = ["Number", "NumberCodec"]

CHUNK = 1024  # rows encoded at a time, so that what is worked on stays in the cache
FARTHEST = 1e9  # encoded outliers end here, so that their squares fit single precision
FINEST_GRID = 15  # most decimals of a grid
WHOLE_ROWS = 20  # so many floats that are all whole are whole by nature
RESOLUTION = 0.01  # of the robust spread: at which continuous readings are compared with rounded ones


class Number(Numeric, frozen=True, kw_only=True, tag="number"):
    r"""A number, modelled as :math:`y = T(x)` with a strictly increasing T that was fitted on training rows.

    The measure is a lattice if readings are rounded to a grid, and continuous otherwise; a continuous field may have
    atoms, values that many rows repeat exactly, which are treated as grid points of their own.

    Args:
        likelihood: ``gaussian``, ``student_t`` (heavy tails) or ``mixture`` (several modes).
        transform: ``quantile`` (roughly normal afterwards; affine below 50 rows) or ``standard`` (affine). A
            ``student_t`` is always ``standard``, with a robust scale.
        options: Options of the likelihood, for example ``{"scale": "fixed", "sigma": 0.1}``.
        lattice: The grid of the readings, or None if they are continuous.
        atoms: Values of a continuous field that decode exactly.
        map: The fitted transform.
        bounds: Smallest and largest value in the training rows.
        clip: Keep decoded values within `bounds`.
        text: How the numbers are written, in a column of text.
        spread: Robust standard deviation of the training rows, in the units of the column.

    Example:
        >>> field = Number.blank("speed", pa.float64(), "model").fit(pa.chunked_array([[1.0, 2.0, None, 5.0]]))
        >>> field.measure, field.bounds, field.missing
        ('continuous', (1.0, 5.0), 0.25)
    """

    transform: Literal["quantile", "standard"] = "quantile"
    lattice: Lattice | None = None
    atoms: tuple[float, ...] = ()
    map: Monotone | None = None
    spread: float = 1.0

    editable: ClassVar[frozenset[str]] = Numeric.editable | {"transform", "lattice"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.transform not in (allowed := FAMILIES[self.likelihood].transforms):
            raise ConfigError(
                f"field {self.name!r}: a {self.likelihood} needs transform={' or '.join(map(repr, allowed))}; "
                f"got {self.transform!r}"
            )

    @property
    def measure(self) -> str:
        """``lattice`` if readings are rounded to a grid, ``continuous`` otherwise."""
        return "continuous" if self.lattice is None else "lattice"

    @property
    def detail(self) -> str:
        """Range, grid and atoms."""
        parts = [] if self.bounds is None else [f"{self.bounds[0]:.6g} to {self.bounds[1]:.6g}"]
        if self.lattice is not None:
            parts.append(f"steps of {self.lattice.delta:.6g}")
        if self.atoms:
            parts.append(f"often {', '.join(f'{atom:.6g}' for atom in self.atoms[:3])}")
        return ", ".join(parts)

    @classmethod
    def blank(cls, name: str, kind: pa.DataType, role: Role) -> Self:
        """A number that is not fitted yet: integers are on the grid of step 1, floats are continuous."""
        decimals = decimals_of(value_type(kind))
        grid = Lattice(step=1, decimals=decimals) if decimals is not None and decimals <= FINEST_GRID else None
        return cls(name=name, type=str(kind), role=role, likelihood="gaussian", lattice=grid)

    @classmethod
    def infer(cls, name: str, kind: pa.DataType, profile: Profile, text: NumberText | None = None) -> Self:
        """The field that suits the distinct values of a column: finds its grid and fits the transform."""
        decimals = text.decimals if text is not None else decimals_of(kind)
        if decimals is None and profile.count >= WHOLE_ROWS and profile.whole:
            decimals = 0  # whole numbers that became floats, as where some are missing
        if not profile.exact or decimals is None or decimals > FINEST_GRID:
            lattice = profile.lattice(whole=decimals == 0, precision=_precision(kind))
        else:
            scaled = np.rint(profile.values * 10.0**decimals)
            lattice = find_lattice(scaled, profile.count, whole=True, precision=0.0)
            lattice = lattice and msgspec.structs.replace(lattice, decimals=decimals)
        field = cls(name=name, type=str(kind), role="model", likelihood="gaussian", lattice=lattice, text=text)
        return field.fitted(profile)

    def changes(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Another likelihood brings its own transform and options; another transform or grid must be fitted."""
        more: dict[str, Any] = {}
        family = asked.get("likelihood", self.likelihood)
        if family != self.likelihood and "transform" not in asked:
            more["transform"] = FAMILIES[family].transforms[0] if family in FAMILIES else self.transform
        if family != self.likelihood and "options" not in asked:
            more["options"] = {}
        if isinstance(asked.get("lattice"), int | float):
            more["lattice"] = Lattice.of(float(asked["lattice"]))
        if {"likelihood", "transform", "lattice"} & (asked.keys() | more.keys()):
            more |= {"map": None, "atoms": ()}
        return more

    def snap(self, values: Float) -> Float:
        """Values in the units of the column, on its grid."""
        return values if self.lattice is None else self.lattice.snap(values)

    def point(self, draws: Float) -> Float:
        """The mean of draws (S, B), on the grid."""
        return self.snap(super().point(draws))

    def tally(self, column: Column, *, strict: bool = True) -> Profile:
        """The distinct values of a column with their counts."""
        return replace(super().tally(column, strict=strict), precision=_precision(value_type(column.type)))

    def fitted(self, tally: Profile) -> Self:
        """The field with its transform fitted to the distinct values of the training rows; the grid stays.

        Raises:
            ContractError: There is no finite value to fit to.
        """
        if tally.count == 0:
            raise ContractError("the training rows hold no value; set its role to 'ignore'", field=self.name)
        if self.transform == "quantile":
            fitted, atoms = fit_quantile(tally, self.lattice)
        else:
            fitted, atoms = fit_affine(tally, robust=FAMILIES[self.likelihood].robust), ()
        return msgspec.structs.replace(
            self,
            map=fitted,
            atoms=atoms,
            bounds=(float(tally.values[0]), float(tally.values[-1])),
            spread=tally.spread,
            missing=tally.missing / max(tally.rows, 1),
        )

    def codec(self, fields: Sequence[Any]) -> Codec:
        """What encodes and decodes a block of numbers."""
        return NumberCodec(fields)


class NumberCodec(NumericCodec):
    """Encodes and decodes all `Number` fields of a block at once."""

    def __init__(self, fields: Sequence[Number]) -> None:
        super().__init__(fields)
        maps = []
        for field in fields:
            if field.map is None:
                raise ContractError("field is not fitted; call Contract.fit with the training rows", field=field.name)
            maps.append(field.map)
        self._maps = Maps(maps)
        grids = [field.lattice for field in fields]
        self._delta = np.array([0.0 if grid is None else grid.delta for grid in grids])
        self._low, self._high = (np.array([_side(field, side) for field in fields]) for side in (0, 1))
        least = [float(one.slopes.min()) for one in maps]
        self.cell = tuple(float(width) for width in 0.5 * self._delta * least)
        self._atoms = _atoms_by_piece(self.fields, self._maps)
        self._has_atoms = bool(np.isfinite(self._atoms).any())
        self._has_cells = self._has_atoms or bool(self._delta.any())

    def check(self, columns: Sequence[Column | None], rows: int) -> Float:
        """Numbers as one matrix (F, B), NaN where missing; infinite values are refused."""
        return numeric.read(self.fields, columns, rows)

    def encode(self, columns: Sequence[Column | None], rows: int) -> Block:
        """Encode the columns into one block of B rows."""
        return self.encoded(self.check(columns, rows))

    def encoded(self, matrix: Float) -> Block:
        """Encode numbers in the units of the columns (F, B), NaN where missing."""
        rows = matrix.shape[1]
        shape = (rows, len(self.fields))
        values, constant = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
        half, observed = np.zeros(shape, dtype=np.float32), np.empty(shape, dtype=np.bool_)
        for start in range(0, rows, CHUNK):
            part = slice(start, start + CHUNK)
            x = np.ascontiguousarray(matrix[:, part].T)
            y, slope, piece = self._maps.at(x)
            np.clip(y, -FARTHEST, FARTHEST, out=y)
            if self._has_cells:
                slope *= 0.5 * self._delta  # half the width of a cell
            if self._has_atoms:
                y, slope = self._center(y, slope, piece)
            if self._has_cells:
                half[part] = slope
            values[part], constant[part] = y, self._maps.log_slope.take(piece)
            absent = np.isnan(x)
            np.logical_not(absent, out=observed[part])
            if absent.any():
                for array in (values, half, constant):
                    array[part][absent] = 0.0
        return Block(values, observed, half=half, constant=constant)

    def _center(self, y: Float, width: Float, piece: NDArray[np.intp]) -> tuple[Float, Float]:
        """Give readings at an atom the whole piece of the atom as their cell."""
        hit = ~np.isnan(self._atoms.take(piece))
        middle, reach = self._maps.span(piece)
        return np.where(hit, middle, y), np.where(hit, reach, width)

    def units(self, values: NDArray[Any]) -> Float:
        """Numbers in the units of the columns, on their grid and within range."""
        encoded = np.asarray(values)
        x = np.empty((len(self.fields), len(encoded)))
        for start in range(0, len(encoded), CHUNK):
            part = slice(start, start + CHUNK)
            x[:, part] = self._back(encoded[part].astype(np.float64)).T
        for row, field in zip(x, self.fields, strict=True):
            row[:] = field.snap(row)
        return x

    def _back(self, encoded: Float) -> Float:
        """Encoded values (B, F) in the units of the columns."""
        x, piece = self._maps.back(encoded)
        if self._has_atoms:
            atoms = self._atoms.take(piece)
            x = np.where(np.isnan(atoms) | np.isnan(encoded), x, atoms)
        return np.clip(x, self._low, self._high, out=x)

    def resolution(self, block: Block) -> Float:
        """A reading with a cell is known to the width of the cell; others to a hundredth of the robust spread."""
        half = np.asarray(block.half, np.float64)
        width = np.log(2.0 * np.where(half > 0, half, 0.5)) - np.asarray(block.constant, np.float64)
        spread = np.log([RESOLUTION * field.spread for field in self.fields])
        nats: Float = np.asarray(block.observed) * np.where(half > 0, width, spread)
        return nats


def _precision(kind: pa.DataType) -> float:
    """Relative precision of the values of a type: integers are exact."""
    if pa.types.is_integer(kind):
        return 0.0
    return {pa.float32(): 2e-7, pa.float16(): 1e-3}.get(kind, 1e-12)


def _side(field: Number, side: int) -> float:
    """The bound on one side that decoded values are kept within."""
    if field.clip and field.bounds is not None:
        return field.bounds[side]
    return (-np.inf, np.inf)[side]


def _atoms_by_piece(fields: Sequence[Number], maps: Maps) -> Float:
    """For each piece of each stacked map the atom that it holds, or NaN."""
    atoms = np.full(maps.log_slope.size, np.nan)
    for index, field in enumerate(fields):
        values = np.zeros((len(field.atoms), len(fields)))
        values[:, index] = field.atoms
        atoms[maps.pieces(values)[:, index]] = field.atoms
    return atoms
