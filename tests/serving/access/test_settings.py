"""Settings of who may come in: what they mean, and which make no sense."""

import pytest

from vaekit.errors import ConfigError
from vaekit.serving.access.tls import Tls
from vaekit.serving.settings import Settings


def settings(**given):
    return Settings(bundles={"m": "nowhere"}, **given)


def test_nothing_is_asked_of_callers_unless_it_is_said():
    assert not settings().access.guarded
    assert settings().tls is None
    assert settings(keys="keys.toml").access.guarded
    assert settings(jwt_issuer="https://i.example", jwt_audience=("a",)).access.guarded


def test_settings_of_tokens_are_rules():
    given = {"jwt_issuer": "https://i.example", "jwt_audience": ("a", "b"), "jwt_keys": "keys.json", "jwt_rate": 5.0}
    given |= {
        "jwt_algorithms": ("PS256",),
        "jwt_leeway": 3.0,
        "jwt_require": ("sub", "azp"),
        "jwt_scope_claim": "roles",
    }
    rules = settings(**given, jwt_rows=7.0).access.tokens
    assert (rules.issuer, rules.audience, rules.jwks) == ("https://i.example", ("a", "b"), "keys.json")
    assert (rules.algorithms, rules.leeway, rules.require) == (("PS256",), 3.0, ("sub", "azp"))
    assert (rules.scopes, rules.quota.rate, rules.quota.rows) == ("roles", 5.0, 7.0)


def test_settings_of_tls():
    found = settings(tls_cert="c", tls_key="k", tls_client_ca="a").tls
    assert found == Tls(cert="c", key="k", client_ca="a")


@pytest.mark.parametrize(
    "given",
    [
        {"tls_cert": "c"},
        {"tls_key": "k"},
        {"tls_client_ca": "a"},
        {"jwt_audience": ("a",)},
        {"jwt_keys": "k"},
        {"jwt_issuer": "i", "jwt_audience": ("a",), "jwt_rate": 0.0},
        {"jwt_issuer": "i", "jwt_audience": ("a",), "jwt_rows": -1.0},
        {"jwt_issuer": "i", "jwt_audience": ("a",), "jwt_leeway": -1.0},
    ],
)
def test_settings_that_make_no_sense_are_refused(given):
    with pytest.raises(ConfigError):
        settings(**given)
