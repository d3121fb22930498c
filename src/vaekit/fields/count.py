"""`count`: how often something happened, with a likelihood on the whole numbers from zero up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaekit.arrays import Block
from vaekit.errors import ContractError
from vaekit.fields import numeric
from vaekit.fields.base import Codec, Column, Float, Role
from vaekit.fields.number_text import NumberText
from vaekit.fields.numeric import Numeric, NumericCodec
from vaekit.fields.profile import Profile

__all__ = ["Count", "CountCodec", "count_likelihood", "looks_like_count"]

LARGEST = 1000  # larger whole numbers are modelled better as rounded numbers
OVERDISPERSED = 1.2
EXCESS_ZEROS = 0.05
MISFIT = 0.25  # nats


class Count(Numeric, frozen=True, kw_only=True, tag="count"):
    """A non-negative whole number.

    Args:
        likelihood: ``poisson``, ``negative_binomial``, or either with the prefix ``zero_inflated_``.
        options: Options of the likelihood.
        bounds: Smallest and largest count in the training rows.
        clip: Keep decoded values within `bounds`.
        text: How the counts are written, in a column of text.

    Example:
        >>> field = Count.blank("visits", pa.int64(), "model").fit(pa.chunked_array([[0, 3, None, 1]]))
        >>> field.likelihood, field.bounds
        ('negative_binomial', (0.0, 3.0))
    """

    @property
    def detail(self) -> str:
        """Range of the counts."""
        return "" if self.bounds is None else f"{self.bounds[0]:.6g} to {self.bounds[1]:.6g}"

    @classmethod
    def blank(cls, name: str, kind: pa.DataType, role: Role) -> Self:
        """A count that is not fitted yet."""
        return cls(name=name, type=str(kind), role=role, likelihood="negative_binomial")

    @classmethod
    def infer(cls, name: str, kind: pa.DataType, profile: Profile, text: NumberText | None = None) -> Self:
        """The field that suits the distinct values of a column."""
        family = count_likelihood(profile)
        return cls(name=name, type=str(kind), role="model", likelihood=family, text=text).fitted(profile)

    def changes(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Options belong to a likelihood and go with it."""
        other = asked.get("likelihood", self.likelihood) != self.likelihood
        return {"options": {}} if other and "options" not in asked else {}

    def tally(self, column: Column, *, strict: bool = True) -> Profile:
        """The distinct counts of a column."""
        read = CountCodec([self]).check([column], len(column))[0] if strict else self.read(column)
        return Profile.of_values(read)

    def fitted(self, tally: Profile) -> Self:
        """Take the range from the distinct values of the training rows.

        Raises:
            ContractError: There is no value to fit to.
        """
        if tally.count == 0:
            raise ContractError("the training rows hold no value; set its role to 'ignore'", field=self.name)
        bounds = (float(tally.values[0]), float(tally.values[-1]))
        return msgspec.structs.replace(self, bounds=bounds, missing=tally.missing / max(tally.rows, 1))

    def point(self, draws: Float) -> Float:
        """The median of draws (S, B)."""
        middle: Float = np.median(draws, axis=0)
        return middle

    def codec(self, fields: Sequence[Any]) -> Codec:
        """What encodes and decodes a block of counts."""
        return CountCodec(fields)


class CountCodec(NumericCodec):
    """Encodes and decodes all `Count` fields of a block at once; encoded units are the counts themselves."""

    def __init__(self, fields: Sequence[Count]) -> None:
        super().__init__(fields)
        largest = [field.bounds[1] if field.clip and field.bounds is not None else np.inf for field in fields]
        self._largest = np.array(largest, dtype=np.float64)

    def check(self, columns: Sequence[Column | None], rows: int) -> Float:
        """Counts as one matrix (F, B), NaN where missing; fractions and negative values are refused."""
        matrix = numeric.read(self.fields, columns, rows)
        bad = (matrix < 0) | (matrix > 2.0**53) | (matrix != np.floor(matrix)) & ~np.isnan(matrix)
        numeric.refuse_first(bad, self.fields, matrix, "value is not a count", "a whole number from 0 to 2**53")
        return matrix

    def encode(self, columns: Sequence[Column | None], rows: int) -> Block:
        """Encode the columns into one block of B rows."""
        from vaekit.fields.families import FAMILIES

        matrix = self.check(columns, rows).T
        observed = ~np.isnan(matrix)
        values = np.where(observed, matrix, 0.0)
        constant = np.where(observed, FAMILIES[self.fields[0].likelihood].constant(values), 0.0)
        return Block(
            np.ascontiguousarray(values, dtype=np.float32),
            np.ascontiguousarray(observed),
            constant=np.ascontiguousarray(constant, dtype=np.float32),
        )

    def units(self, values: NDArray[Any]) -> Float:
        """Whole counts within range."""
        counts: Float = np.clip(np.rint(np.asarray(values, dtype=np.float64)), 0.0, self._largest).T
        return counts


def looks_like_count(profile: Profile) -> bool:
    r"""Whether a numeric column looks like counts.

    It does if its values are whole, start at zero, are not large and skewed to the right, and if the family that the
    moments suggest explains them: :math:`KL(\hat p \| p)` of at most a quarter of a nat, allowing for chance.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> looks_like_count(Profile.of_values(rng.poisson(2.0, 500).astype(float)))
        True
        >>> looks_like_count(Profile.of_values(rng.integers(0, 10, 500).astype(float)))
        False
    """
    values = profile.values
    if len(values) <= 2 or values[0] != 0 or values[-1] > LARGEST or np.any(values != np.floor(values)):
        return False
    centered = (values - profile.mean) / profile.deviation
    skewness = float(np.dot(centered**3, profile.counts)) / profile.count
    if skewness < 0.3 or 2 * profile.quantile(0.5) >= values[-1]:
        return False
    share = profile.counts / profile.count
    divergence = float(np.dot(share, np.log(share) - _log_pmf(profile)))
    return divergence <= MISFIT + 0.5 * (len(values) - 1) / profile.count


def _log_pmf(profile: Profile) -> Float:
    """Log-probability of each value under the Poisson or negative binomial with the column's mean and variance."""
    from scipy.special import gammaln

    mean, variance, values = profile.mean, profile.deviation**2, profile.values
    if variance <= OVERDISPERSED * mean:
        poisson: Float = values * np.log(mean) - mean - gammaln(values + 1)
        return poisson
    size = mean**2 / (variance - mean)
    chance = size / (size + mean)
    ways = gammaln(values + size) - gammaln(size) - gammaln(values + 1)
    negative: Float = ways + size * np.log(chance) + values * np.log1p(-chance)
    return negative


def count_likelihood(profile: Profile) -> str:
    r"""The likelihood that the training moments suggest.

    Poisson if the variance is at most 1.2 times the mean m, else negative binomial with :math:`r = m^2 / (s^2 - m)`;
    zero-inflated if zeros exceed what that family predicts by more than five points.

    Example:
        >>> count_likelihood(Profile.of_values(np.random.default_rng(0).poisson(2.0, 500).astype(float)))
        'poisson'
    """
    mean, variance = profile.mean, profile.deviation**2
    zeros = float(profile.counts[0]) / profile.count if profile.values[0] == 0 else 0.0
    name = "poisson" if variance <= OVERDISPERSED * mean else "negative_binomial"
    predicted = float(np.exp(_log_pmf(profile)[0])) if zeros else 0.0
    return f"zero_inflated_{name}" if zeros > predicted + EXCESS_ZEROS else name
