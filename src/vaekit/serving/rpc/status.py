"""How faults and facts are worded over gRPC: status codes and metadata."""

from __future__ import annotations

import math

import grpc

from vaekit.serving.wire.asking import Fault

__all__ = ["code_of", "details_of", "hints_of"]

_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_LONGEST = 1000  # characters of details: a client takes 8 kB of metadata, and each character may need nine bytes there


def code_of(fault: Fault) -> grpc.StatusCode:
    """The status code of a fault.

    Example:
        >>> code_of(Fault(status=422, kind="ContractError", message="…")).name
        'INVALID_ARGUMENT'
    """
    other = grpc.StatusCode.INVALID_ARGUMENT if fault.status < 500 else grpc.StatusCode.INTERNAL
    return _CODES.get(fault.status, other)


def details_of(fault: Fault) -> str:
    """The message of a fault, no longer than metadata may be."""
    text = fault.message
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def hints_of(fault: Fault) -> list[tuple[str, str]]:
    """What a fault says to programs, as metadata.

    ``grpc-retry-pushback-ms`` is what clients with a retry policy obey; a negative one tells them not to try again.

    Example:
        >>> hints_of(Fault(status=503, kind="queue_full", message="…", retry_after=0.25))
        [('x-error-kind', 'queue_full'), ('retry-after', '1'), ('grpc-retry-pushback-ms', '250')]
    """
    hints = [("x-error-kind", fault.kind)]
    if fault.row is not None:
        hints.append(("x-error-row", str(fault.row)))
    if fault.retry_after is not None:
        hints.append(("retry-after", str(max(1, math.ceil(fault.retry_after)))))
        hints.append(("grpc-retry-pushback-ms", str(max(1, math.ceil(fault.retry_after * 1000)))))
    return hints
