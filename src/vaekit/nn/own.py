"""Parts that a user has written: named by import path, ``package.module:Class``, and imported only where trusted."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from vaekit.errors import ConfigError

__all__ = ["is_own", "modules_of", "own_part", "refuse_untrusted"]

_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_own(name: str) -> bool:
    """Whether the name of a part is an import path.

    Example:
        >>> is_own("flow"), is_own("shop.priors:Seasonal")
        (False, True)
    """
    return ":" in name


def own_part(kind: str, name: str) -> Callable[..., Any]:
    """The class, or function, that an import path names.

    Raises:
        ConfigError: The path is none, its module cannot be imported, or it does not hold the name.

    Example:
        >>> own_part("prior", "vaekit.nn.priors.standard:StandardNormal").__name__
        'StandardNormal'
    """
    if not _PATH.fullmatch(name):
        raise ConfigError(f"{kind} {name!r} is no import path; write package.module:Class")
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{kind} {name!r} cannot be imported: {error}") from error
    if not callable(found):
        raise ConfigError(f"{kind} {name!r} is {type(found).__name__}, not a class")
    made: Callable[..., Any] = found
    return made


def modules_of(plain: Any) -> set[str]:
    """The modules that a plain configuration names: in values, names and keys that are import paths.

    Example:
        >>> sorted(modules_of({"prior": {"name": "shop.priors:Seasonal"}, "terms": {"shop.terms:Fair": {}}}))
        ['shop.priors', 'shop.terms']
        >>> modules_of({"prior": "flow", "width": 8})
        set()
    """
    if isinstance(plain, str):
        return {plain.partition(":")[0]} if _PATH.fullmatch(plain) else set()
    if isinstance(plain, Mapping):
        plain = [*plain.keys(), *plain.values()]
    if isinstance(plain, list | tuple):
        return set().union(*(modules_of(one) for one in plain))
    return set()


def refuse_untrusted(plain: Any, trusted: Collection[str]) -> None:
    """Refuse a configuration that came with a bundle and names modules that the caller does not trust.

    Args:
        plain: The configuration.
        trusted: Names of modules that may be imported.

    Raises:
        ConfigError: It names others.

    Example:
        >>> refuse_untrusted({"prior": "shop.priors:Seasonal"}, ["shop.priors"])
    """
    if unknown := sorted(modules_of(plain) - set(trusted)):
        raise ConfigError(
            f"the model has parts from {', '.join(unknown)}, which torch would have to import, and a bundle must not "
            f"run code by itself; load it with modules={unknown!r} if you trust them. Graphs need none (backend='onnx')"
        )
