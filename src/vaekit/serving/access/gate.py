"""Who may come in: a caller shows a key or a token, and gets what its scopes and its quota allow."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass, field

import msgspec

from vaekit.serving.access.jwks import NoKeys
from vaekit.serving.access.keys import PREFIX, KeyFile
from vaekit.serving.access.limits import Allowance, Allowances, Quota
from vaekit.serving.access.scopes import EVERYTHING, Scopes
from vaekit.serving.access.tokens import BadToken, Rules, Tokens
from vaekit.serving.wire.asking import Fault

__all__ = ["ANYBODY", "Access", "Caller", "Gate"]

HOW = "send a key or a token: 'Authorization: Bearer …', or a key as 'X-Api-Key: …'"


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Who may come in.

    Args:
        keys: The file of API keys, if there are keys.
        tokens: Which tokens are good, if tokens are accepted.
    """

    keys: str | None = None
    tokens: Rules | None = None

    @property
    def guarded(self) -> bool:
        """Whether callers have to show anything."""
        return self.keys is not None or self.tokens is not None


@dataclass(frozen=True)
class Caller:
    """Somebody who was let in.

    Args:
        name: ``key:<id>``, ``token:<hash of the subject>`` or ``anybody``; for logs.
        scopes: What is allowed.
        allowance: The buckets of the caller, if there are limits.
    """

    name: str
    scopes: Scopes
    allowance: Allowance | None = field(default=None, compare=False)

    def refusal(self, query: str, model: str) -> Fault | None:
        """Why a query may not be asked of a model; None if it may. It does not tell whether there is such a model."""
        return None if self.scopes.may(query, model) else _forbidden(self.name, f"{query}:{model}")

    def lacks(self, word: str) -> Fault | None:
        """Why something that needs a scope without a model may not be done; None if it may."""
        return None if self.scopes.has(word) else _forbidden(self.name, word)

    def spend(self, rows: int) -> None:
        """Count the rows of an answer against the quota."""
        if self.allowance is not None:
            self.allowance.spend(rows, time.monotonic())


ANYBODY = Caller("anybody", EVERYTHING)


class Gate:
    """Lets callers in.

    Args:
        access: Who may come in; without keys and tokens, everybody may do everything.

    Raises:
        ConfigError: If the file of keys is broken, or tokens cannot be checked here.
    """

    def __init__(self, access: Access) -> None:
        self.access = access
        self.keys = None if access.keys is None else KeyFile(access.keys)
        self.tokens = None if access.tokens is None else Tokens(access.tokens)
        self._allowances = Allowances()

    async def admit(self, authorization: str | None, api_key: str | None = None) -> Caller | Fault:
        """Find out who a caller is, and count the request against the quota.

        Args:
            authorization: The header ``Authorization``.
            api_key: The header ``X-Api-Key``, which is looked at if the other one is absent.

        Returns:
            The caller, or why it is not let in.
        """
        if not self.access.guarded:
            return ANYBODY
        shown = api_key
        if authorization is not None:
            scheme, _, shown = authorization.partition(" ")
            if scheme.lower() != "bearer":
                return _unknown(f"expected a bearer token; {HOW}")
        shown = (shown or "").strip()
        if not shown:
            return _unknown(f"this service needs to know who asks; {HOW}")
        now = time.monotonic()
        if self.keys is not None and shown.startswith(PREFIX):
            return self._by_key(self.keys, shown, now)
        if self.tokens is not None and authorization is not None:
            return await self._by_token(self.tokens, shown, now)
        return _unknown(f"the key is not known; {HOW}")

    def _by_key(self, keys: KeyFile, shown: str, now: float) -> Caller | Fault:
        keys.refresh(now)
        known = keys.find(shown)
        if known is None:
            return _unknown("the key is not known: it was mistyped, or revoked")
        if known.entry.expired(datetime.datetime.now(datetime.UTC)):
            return _unknown(f"the key {known.entry.id!r} has expired; ask for a new one")
        return self._within(f"key:{known.entry.id}", known.scopes, known.quota, now)

    async def _by_token(self, tokens: Tokens, shown: str, now: float) -> Caller | Fault:
        try:
            token = await tokens.read(shown)
        except BadToken as error:
            return _unknown(f"the token is refused: {error}")
        except NoKeys:
            message = "tokens cannot be checked: the keys of their issuer are not at hand; try again"
            return Fault(status=503, kind="no_issuer", message=message, retry_after=5.0)
        return self._within(f"token:{token.name}", token.scopes, tokens.rules.quota, now)

    def _within(self, name: str, scopes: Scopes, quota: Quota, now: float) -> Caller | Fault:
        if quota.rate is None and quota.rows is None:
            return Caller(name, scopes)
        allowance = self._allowances.of(name, quota, now)
        wait = allowance.admit(now)
        if wait:
            limits = ", ".join(f"{v:g} {k} a second" for k, v in (("requests", quota.rate), ("rows", quota.rows)) if v)
            message = f"more than {name} may ask ({limits}); try again in {wait:.3g} s"
            return Fault(status=429, kind="rate_limit", message=message, retry_after=wait)
        return Caller(name, scopes, allowance)


def _unknown(message: str) -> Fault:
    return Fault(status=401, kind="unauthenticated", message=message)


def _forbidden(name: str, scope: str) -> Fault:
    return Fault(status=403, kind="forbidden", message=f"{name} may not do this: it needs the scope {scope}")
