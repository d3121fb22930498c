"""Why a worker does not answer a request: an exception that carries a `Fault`, and the faults of other exceptions."""

from __future__ import annotations

import msgspec

from vaekit.errors import BundleError, ConfigError, ContractError, QueryError, VaekitError
from vaekit.serving.wire.asking import Fault

__all__ = ["Refusal", "fault_of"]

_STATUS = {ContractError: 422, ConfigError: 400, QueryError: 400, BundleError: 404}


class Refusal(VaekitError):
    """A request that is refused before its query is asked.

    Args:
        status: HTTP status, see `Fault`.
        kind: The reason as one word.
        message: What was expected, what came, where, and what to do.
        field: Name of the field, if one is to blame.
        row: Zero-based row of the request, if one is to blame.

    Example:
        >>> Refusal(413, "too_many_rows", "split it").fault.status
        413
    """

    def __init__(
        self, status: int, kind: str, message: str, *, field: str | None = None, row: int | None = None
    ) -> None:
        super().__init__(message)
        self.fault = Fault(status=status, kind=kind, message=message, field=field, row=row)


def fault_of(error: VaekitError, before: int = 0) -> Fault:
    """The fault that an exception means.

    Args:
        error: The exception.
        before: Rows of other requests before those of this one; a row is counted without them.

    Example:
        >>> fault_of(ContractError("value is infinite", field="x", row=5), before=3).row
        2
    """
    if isinstance(error, Refusal):
        row = error.fault.row
        return error.fault if row is None or not before else msgspec.structs.replace(error.fault, row=row - before)
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
    if not isinstance(error, ContractError):
        return Fault(status=status, kind=type(error).__name__, message=str(error))
    told = error.after(-before)
    return Fault(status=status, kind="ContractError", message=str(told), field=told.field, row=told.row)
