"""Which path is which: patterns with names in braces, looked up by a dictionary once a path was seen."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Found", "Route", "Routes"]

_LONGEST = 256  # characters of a path that is remembered


@dataclass(frozen=True)
class Route:
    """A pattern and who handles it.

    Args:
        pattern: For example ``/v1/models/{model}/{query}``.
        handlers: By HTTP method; each takes the request of its host.
        fixed: Names that the pattern does not say, for example ``{"query": "infer"}``.
        plain: Faults are worded as the Open Inference Protocol does.
    """

    pattern: str
    handlers: Mapping[str, Any]
    fixed: Mapping[str, str] = field(default_factory=dict)
    plain: bool = False

    @functools.cached_property
    def allow(self) -> str:
        """The methods that may be used, as the Allow header lists them."""
        methods = {*self.handlers, "OPTIONS"} | ({"HEAD"} if "GET" in self.handlers else set())
        return ", ".join(sorted(methods))


@dataclass(frozen=True)
class Found:
    """A path that was recognised.

    Args:
        route: The route.
        model: Name of the model in the path, or empty.
        query: Name of the query in the path, or empty.
        version: Version in the path, or empty.
    """

    route: Route
    model: str = ""
    query: str = ""
    version: str = ""


class Routes:
    """All routes.

    Args:
        routes: The routes; the first one that fits is taken.

    Example:
        >>> routes = Routes([Route("/v1/models/{model}/{query}", {"POST": print})])
        >>> routes.find("/v1/models/flights/score").model, routes.find("/v1/models/flights")
        ('flights', None)
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.all = tuple(routes)
        self._parts = [(route, route.pattern.split("/")) for route in self.all]
        self._known = functools.lru_cache(maxsize=4096)(self._find)

    def find(self, path: str) -> Found | None:
        """The route of a path with the names in it; None if there is none. Long paths are not remembered."""
        return self._known(path) if len(path) <= _LONGEST else self._find(path)

    def _find(self, path: str) -> Found | None:
        parts = path.split("/")
        for route, pattern in self._parts:
            if len(pattern) != len(parts):
                continue
            pairs = list(zip(pattern, parts, strict=True))
            if all(part if name[:1] == "{" else name == part for name, part in pairs):
                names = {name[1:-1]: part for name, part in pairs if name[:1] == "{"}
                return Found(route, **{**names, **route.fixed})
        return None
