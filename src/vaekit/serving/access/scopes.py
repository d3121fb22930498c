"""What a caller may do: one grammar for keys and tokens.

    scope = query ":" model | word
    query = name | "*"
    model = name | "*"
    word  = "admin" | "feedback" | "metrics"

``score:flights`` allows one query of one model, ``*:flights`` all of them, ``score:*`` one query of every model.
``feedback`` allows to send outcomes, ``metrics`` to read metrics, ``admin`` everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from vaekit.errors import ConfigError

__all__ = ["EVERYTHING", "WORDS", "Scopes"]

WORDS = ("admin", "feedback", "metrics")
ANY = "*"
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_PAIR = re.compile(rf"({_NAME}|\*):({_NAME}|\*)", re.ASCII)


@dataclass(frozen=True)
class Scopes:
    """A set of scopes, taken apart.

    Args:
        words: Scopes that name no model.
        pairs: Pairs of query and model, each of which may be ``*``.

    Example:
        >>> scopes = Scopes.of(["score:flights", "metrics"])
        >>> scopes.may("score", "flights"), scopes.may("impute", "flights"), scopes.has("metrics")
        (True, False, True)
    """

    words: frozenset[str] = frozenset()
    pairs: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def of(cls, items: Iterable[str]) -> Scopes:
        """Read scopes; one that is not in the grammar is an error.

        Raises:
            ConfigError: If a scope is not ``query:model`` or a known word.
        """
        items = tuple(items)
        for item in items:
            if item not in WORDS and not _PAIR.fullmatch(item):
                raise ConfigError(
                    f"scope {item[:200]!r}: expected QUERY:MODEL (either may be *), or one of {', '.join(WORDS)}"
                )
        return cls.among(items)

    @classmethod
    def among(cls, items: Iterable[str]) -> Scopes:
        """Read the scopes among some words and leave out the others: tokens name rights to other services too.

        Example:
            >>> Scopes.among(["openid", "score:flights"]) == Scopes.of(["score:flights"])
            True
        """
        words, pairs = set(), set()
        for item in items:
            if item in WORDS:
                words.add(item)
            elif found := _PAIR.fullmatch(item):
                pairs.add((found[1], found[2]))
        return cls(frozenset(words), frozenset(pairs))

    def may(self, query: str, model: str) -> bool:
        """Whether a query may be asked of a model."""
        pairs = self.pairs
        return (
            (query, model) in pairs
            or (ANY, model) in pairs
            or (query, ANY) in pairs
            or (ANY, ANY) in pairs
            or "admin" in self.words
        )

    def has(self, word: str) -> bool:
        """Whether a word is among the scopes; ``admin`` stands for all of them."""
        return word in self.words or "admin" in self.words

    def queries(self, model: str) -> tuple[str, ...] | None:
        """The queries that may be asked of a model, sorted; None means all of them."""
        if self.may(ANY, model):
            return None
        return tuple(sorted({query for query, of in self.pairs if of in (model, ANY)}))

    def sees(self, model: str) -> bool:
        """Whether anything may be asked of a model: it is then listed and described."""
        return self.queries(model) != ()

    def __str__(self) -> str:
        return " ".join([*sorted(f"{query}:{model}" for query, model in self.pairs), *sorted(self.words)])


EVERYTHING = Scopes(words=frozenset({"admin"}))
