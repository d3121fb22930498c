"""JSON Web Tokens of an identity provider: who signed them, for whom, until when, and what they allow."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from functools import partial
from typing import Any

import msgspec

from vaekit.errors import ConfigError
from vaekit.serving.access.jwks import KeySet, discovered, fetch
from vaekit.serving.access.limits import Quota
from vaekit.serving.access.scopes import Scopes

__all__ = ["ALGORITHMS", "BadToken", "Rules", "Token", "Tokens"]

# Asymmetric ones only: with a secret that both sides know, whoever checks tokens could make them too.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LONGEST = 16_384  # characters of a token
KEPT = 1024  # tokens whose signature was checked
KEPT_FOR = 60.0  # seconds that they count as checked


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Which tokens are good.

    Args:
        issuer: The claim ``iss``, exactly.
        audience: Names of this service; the claim ``aud`` must hold one of them.
        jwks: A file or address of the issuer's public keys; None: where its OpenID configuration says.
        algorithms: Signature algorithms that are accepted.
        leeway: Seconds by which clocks may differ.
        require: Claims that a token must have beside ``iss``, ``aud`` and ``exp``.
        scopes: The claim that holds scopes, as text with spaces between or as a list.
        quota: What each subject may ask.
    """

    issuer: str
    audience: tuple[str, ...]
    jwks: str | None = None
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")
    leeway: float = 60.0
    require: tuple[str, ...] = ("sub",)
    scopes: str = "scope"
    quota: Quota = Quota()


class Token(msgspec.Struct, frozen=True):
    """What a good token says.

    Args:
        name: Its subject as a short hash: the same caller has the same one, and no log holds a name or an address.
        scopes: What it allows.
        until: When it ends, seconds since 1970, leeway included.
    """

    name: str
    scopes: Scopes
    until: float


class BadToken(Exception):
    """A token is refused; the text says why and quotes nothing of it."""


class Tokens:
    """Checks tokens against the rules.

    Args:
        rules: The rules.

    Raises:
        ConfigError: If PyJWT is not installed, or a rule is impossible.
    """

    def __init__(self, rules: Rules) -> None:
        try:
            import jwt
        except ImportError as error:
            raise ConfigError("tokens need PyJWT: pip install 'vaekit[serve]'") from error
        if not rules.audience:
            raise ConfigError("--jwt-audience is missing: tokens that were made for other services would be accepted")
        if unknown := set(rules.algorithms) - set(ALGORITHMS) or not rules.algorithms:
            raise ConfigError(f"--jwt-algorithm {unknown}: expected some of {', '.join(ALGORITHMS)}")
        self._jwt = jwt
        self.rules = rules
        self.keys = KeySet(partial(fetch, rules.jwks) if rules.jwks else discovered(rules.issuer))
        self._checked: OrderedDict[bytes, tuple[float, int, Token]] = OrderedDict()

    async def read(self, text: str) -> Token:
        """Check a token.

        Args:
            text: The token as it came.

        Returns:
            What it says.

        Raises:
            BadToken: If it is refused.
            NoKeys: If it cannot be checked, since the keys of the issuer are not at hand.
        """
        digest = hashlib.sha256(text.encode()).digest()
        now = time.time()
        if kept := self._checked.get(digest):
            until, generation, token = kept
            if now < until and generation == self.keys.generation:
                return token
        token = await self._check(text)
        self._checked[digest] = (min(token.until, now + KEPT_FOR), self.keys.generation, token)
        while len(self._checked) > KEPT:
            self._checked.popitem(last=False)
        return token

    async def _check(self, text: str) -> Token:
        jwt, rules = self._jwt, self.rules
        if len(text) > LONGEST:
            raise BadToken("the token is too long")
        try:
            header = jwt.get_unverified_header(text)
            if header.get("alg") not in rules.algorithms:
                raise BadToken(f"its algorithm is not one of {', '.join(rules.algorithms)}")
            key = await self.keys.find(header.get("kid"))
            if key is None:
                raise BadToken("its issuer has no such key")
            claims = jwt.decode(
                text,
                key,
                algorithms=list(rules.algorithms),
                audience=list(rules.audience),
                issuer=rules.issuer,
                leeway=rules.leeway,
                options={"require": ["exp", "iss", "aud", *rules.require]},
            )
        except jwt.MissingRequiredClaimError as error:
            raise BadToken(f"it lacks the claim {error.claim}") from error
        except jwt.InvalidTokenError as error:
            raise BadToken(_REASONS.get(type(error).__name__, "it is not a valid token")) from error
        subject = hashlib.sha256(f"{rules.issuer}\n{claims.get('sub', '')}".encode()).hexdigest()
        return Token(
            subject[:16], Scopes.among(_words(claims.get(rules.scopes))), _seconds(claims["exp"]) + rules.leeway
        )


_REASONS = {
    "ExpiredSignatureError": "it has expired",
    "ImmatureSignatureError": "it is not valid yet",
    "InvalidAudienceError": "it was made for another audience",
    "InvalidIssuerError": "it is of another issuer",
    "InvalidSignatureError": "its signature is wrong",
}


def _seconds(claim: Any) -> float:
    """A time, which an issuer may write as text."""
    try:
        return float(claim)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadToken("its claim exp is no time") from error


def _words(claim: Any) -> list[str]:
    """The words of a claim that is text with spaces between, or a list of texts."""
    words = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else []
    return [word for word in words if isinstance(word, str)]
