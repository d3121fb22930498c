"""How a configuration names a part: by its name alone, or by a mapping that holds its options as well."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from vaekit.errors import ConfigError
from vaekit.nn.own import is_own, own_part

__all__ = ["Around", "Part", "make", "named", "options_of"]

T = TypeVar("T")
Part = str | dict[str, Any]
"""``"mixture"``, or ``{"name": "mixture", "components": 64}``; one's own part is named ``package.module:Class``."""


@dataclass(frozen=True)
class Around:
    """What a latent part may lean on.

    Args:
        width: Width H of the encoder's hidden vector.
        condition: Width of the condition's hidden vector; 0 without condition fields.
        trunk: The encoder after its stems, (..., H) to (..., H); None if the encoder has no such half.
        experts: Number of experts of the encoder; 0 if it gives one hidden vector.
        maps: Channels, height and width of the maps of an image that lie behind the hidden vector, coarsest first.
    """

    width: int
    condition: int = 0
    trunk: Callable[[Tensor], Tensor] | None = None
    experts: int = 0
    maps: tuple[tuple[int, int, int], ...] = ()


def named(part: Part) -> str:
    """The name of a part.

    Example:
        >>> named("standard"), named({"name": "mixture", "components": 64})
        ('standard', 'mixture')
    """
    return part if isinstance(part, str) else str(part.get("name", ""))


def options_of(kind: str, part: Part, registry: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
    """The options of a part, checked: its options are the keyword-only arguments of what the registry holds.

    Args:
        kind: What kind of part it is, for messages.
        part: The part.
        registry: All parts of the kind.

    Returns:
        The options without the name.

    Raises:
        ConfigError: If there is no such part, or it has no such option.

    Example:
        >>> def coupling(size, *, layers=6): ...
        >>> options_of("prior", {"name": "flow", "layers": 2}, {"flow": coupling})
        {'layers': 2}
    """
    name = named(part)
    if name not in registry and not is_own(name):
        raise ConfigError(
            f"unknown {kind} {name!r}; known: {', '.join(sorted(registry))}, and your own as package.module:Class"
        )
    options = {} if isinstance(part, str) else {key: value for key, value in part.items() if key != "name"}
    signature = inspect.signature(registry[name] if name in registry else own_part(kind, name)).parameters.values()
    known = [one.name for one in signature if one.kind is inspect.Parameter.KEYWORD_ONLY]
    if unknown := sorted(options.keys() - set(known)):
        raise ConfigError(f"{kind} {name!r} has no option {', '.join(unknown)}; it has: {', '.join(known) or 'none'}")
    return options


def make(kind: str, part: Part, registry: Mapping[str, Callable[..., T]], *args: Any) -> T:
    """Make a part.

    Args:
        kind: What kind of part it is, for messages.
        part: Its name, or a mapping with its name and options.
        registry: All parts of the kind.
        args: What every part of the kind is made from.

    Returns:
        The part.

    Raises:
        ConfigError: If there is no such part, it has no such option, or it refuses a value.
    """
    options = options_of(kind, part, registry)
    name = named(part)
    maker: Callable[..., T] = registry[name] if name in registry else own_part(kind, name)
    return maker(*args, **options)
