"""Settings of who may come in, as users write them."""

from __future__ import annotations

from vaekit.errors import ConfigError
from vaekit.serving.access.gate import Access
from vaekit.serving.access.limits import Quota
from vaekit.serving.access.tls import Tls
from vaekit.serving.access.tokens import Rules
from vaekit.serving.config import ServeConfig

__all__ = ["AccessSettings"]


class AccessSettings(ServeConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may come in, and over which connections; see docs/security.md.

    Args:
        keys: File of API keys, made by ``vae keys new``; None: there are none.
        jwt_issuer: Issuer of tokens that are accepted; None: none are.
        jwt_audience: Names of this service in the claim ``aud`` of tokens.
        jwt_keys: File or address of the issuer's public keys (JWKS); None: where its OpenID configuration says.
        jwt_algorithms: Signature algorithms that are accepted.
        jwt_leeway: Seconds by which clocks may differ.
        jwt_require: Claims that tokens must have beside ``iss``, ``aud`` and ``exp``.
        jwt_scope_claim: Claim that holds scopes.
        jwt_rate: Requests a second of each subject; None: no limit.
        jwt_rows: Rows a second of each subject; None: no limit.
        insecure_public: Listen to other machines though nobody has to show who asks.
        tls_cert: Certificate chain, PEM.
        tls_key: Its private key, PEM.
        tls_client_ca: Certificates of authorities; callers must show a certificate of one of them.
    """

    keys: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: tuple[str, ...] = ()
    jwt_keys: str | None = None
    jwt_algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")
    jwt_leeway: float = 60.0
    jwt_require: tuple[str, ...] = ("sub",)
    jwt_scope_claim: str = "scope"
    jwt_rate: float | None = None
    jwt_rows: float | None = None
    insecure_public: bool = False
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("TLS needs both tls_cert and tls_key")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ConfigError("tls_client_ca needs tls_cert and tls_key too")
        if self.jwt_issuer is None and (self.jwt_audience or self.jwt_keys):
            raise ConfigError("jwt_audience and jwt_keys need jwt_issuer too")
        for name in ("jwt_rate", "jwt_rows"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be above 0, got {value}")
        if not self.jwt_leeway >= 0:
            raise ConfigError(f"jwt_leeway must be at least 0, got {self.jwt_leeway}")

    @property
    def access(self) -> Access:
        """Who may come in."""
        tokens = None
        if self.jwt_issuer is not None:
            tokens = Rules(
                issuer=self.jwt_issuer,
                audience=self.jwt_audience,
                jwks=self.jwt_keys,
                algorithms=self.jwt_algorithms,
                leeway=self.jwt_leeway,
                require=self.jwt_require,
                scopes=self.jwt_scope_claim,
                quota=Quota(self.jwt_rate, self.jwt_rows),
            )
        return Access(keys=self.keys, tokens=tokens)

    @property
    def tls(self) -> Tls | None:
        """Where certificates lie, if connections are encrypted."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        return Tls(cert=self.tls_cert, key=self.tls_key, client_ca=self.tls_client_ca)
