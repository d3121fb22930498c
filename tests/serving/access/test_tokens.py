"""Tokens: which are good, why the others are refused, and how the keys of an issuer are fetched."""

import asyncio
import base64
import hashlib
import hmac
import json
import time

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.serving.issuer import KINDS, Issuer, base64url
from vaekit.errors import ConfigError
from vaekit.serving.access import jwks
from vaekit.serving.access.jwks import KeySet, NoKeys, fetch
from vaekit.serving.access.scopes import Scopes
from vaekit.serving.access.tokens import BadToken, Rules, Tokens


@pytest.fixture
def issuer():
    made = Issuer()
    made.add("first")
    yield made
    made.close()


def rules(issuer, **changes):
    return Rules(**{"issuer": issuer.url, "audience": ("vaekit",), "jwks": issuer.url + "/keys"} | changes)


def read(tokens, text):
    return asyncio.run(tokens.read(text))


@pytest.mark.parametrize("algorithm", list(KINDS))
def test_a_good_token_says_what_is_allowed(issuer, algorithm):
    issuer.add("k", algorithm)
    token = read(Tokens(rules(issuer)), issuer.token("k", scope="openid score:flights metrics"))
    assert token.scopes == Scopes.of(["score:flights", "metrics"])
    assert "ada" not in token.name


def test_scopes_may_be_a_list_under_another_name(issuer):
    found = read(Tokens(rules(issuer, scopes="scp")), issuer.token("first", scope="*:*", scp=["score:a", 3, "profile"]))
    assert found.scopes == Scopes.of(["score:a"])


def test_subjects_are_told_apart_and_the_same_subject_is_the_same_caller(issuer):
    tokens = Tokens(rules(issuer))
    names = [read(tokens, issuer.token("first", sub=sub, jti=str(i))).name for i, sub in enumerate("aab")]
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"aud": "elsewhere"}, "audience"),
        ({"aud": None}, "claim aud"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"iss": None}, "claim iss"),
        ({"exp": int(time.time()) - 61}, "expired"),
        ({"exp": None}, "claim exp"),
        ({"nbf": int(time.time()) + 86_400}, "not valid yet"),
        ({"sub": None}, "claim sub"),
        ({"tenant": None}, "claim tenant"),
        ({"exp": "soon"}, "not a valid token"),
    ],
)
def test_a_token_with_a_wrong_claim_is_refused_with_the_reason(issuer, claims, told):
    tokens = Tokens(rules(issuer, require=("sub", "tenant")))
    read(tokens, issuer.token("first", tenant="t"))
    with pytest.raises(BadToken, match=told):
        read(tokens, issuer.token("first", **{"tenant": "t"} | claims))


def test_an_end_that_is_no_number_is_no_defect(issuer):
    tokens = Tokens(rules(issuer))
    assert read(tokens, issuer.token("first", exp="4000000000")).until == 4000000060.0
    for odd in (10**400, "soon", [1], {}):
        with pytest.raises(BadToken):
            read(tokens, issuer.token("first", exp=odd))


def test_clocks_may_differ_by_the_leeway(issuer):
    tokens = Tokens(rules(issuer, leeway=30.0))
    now = int(time.time())
    read(tokens, issuer.token("first", exp=now - 10))
    read(tokens, issuer.token("first", nbf=now + 20))
    with pytest.raises(BadToken):
        read(tokens, issuer.token("first", exp=now - 40))


def test_forged_tokens_are_refused(issuer):
    issuer.add("rsa", "RS256")
    tokens = Tokens(rules(issuer))
    good = issuer.token("first", scope="score:a")
    header, claims, signature = good.split(".")
    richer = base64url({**json.loads(base64.urlsafe_b64decode(claims + "==")), "scope": "admin"})
    pem = (
        issuer.keys["rsa"][0]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    confused = base64url({"alg": "HS256", "kid": "rsa"}) + "." + richer
    mac = base64url(hmac.new(pem, confused.encode(), hashlib.sha256).digest())
    stranger = Issuer()
    stranger.add("first")
    stranger.url, own = issuer.url, stranger.url
    forged = {
        "its claims were changed": f"{header}.{richer}.{signature}",
        "no signature": base64url({"alg": "none", "kid": "first"}) + f".{richer}.",
        "signature cut off": f"{header}.{claims}.",
        "public key used as a secret": f"{confused}.{mac}",
        "signed by another": stranger.token("first"),
        "key in the token": issuer.token("first", header={"kid": "x", "jwk": issuer.public["first"]}),
        "unknown key": issuer.token("first", header={"kid": "nobody"}),
        "wrong algorithm for the key": issuer.token("first", header={"kid": "rsa"}),
        "too long": good + "a" * 20_000,
        "two parts": f"{header}.{claims}",
        "empty": "..",
        "no text": "ä.ö.ü",
        "kid is no text": base64url({"alg": "ES256", "kid": 7}) + f".{claims}.{signature}",
        "header is a list": base64url(b"[]") + f".{claims}.{signature}",
    }
    read(tokens, good)
    for what, token in forged.items():
        with pytest.raises(BadToken):
            print(what, read(tokens, token))
    stranger.url = own
    stranger.close()


def test_a_token_of_another_algorithm_is_refused_before_its_key_is_looked_for(issuer):
    with pytest.raises(BadToken, match="algorithm"):
        read(Tokens(rules(issuer, algorithms=("RS256",))), issuer.token("first"))
    assert not issuer.asked


def test_no_word_of_a_token_is_in_the_refusal(issuer):
    tokens = Tokens(rules(issuer))
    with pytest.raises(BadToken) as caught:
        read(tokens, issuer.token("first", aud="SECRET-AUDIENCE", sub="SECRET-SUBJECT"))
    assert "SECRET" not in str(caught.value)


def test_a_checked_token_is_not_checked_again_but_ends_in_time(issuer, monkeypatch):
    tokens = Tokens(rules(issuer, leeway=0.0))
    text = issuer.token("first", exp=int(time.time()) + 30)
    read(tokens, text)
    monkeypatch.setattr(tokens, "_check", None)  # would fail if it were called
    read(tokens, text)
    later = time.time() + 31
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(TypeError):
        read(tokens, text)


def test_a_token_is_checked_again_when_the_keys_of_its_issuer_have_changed(issuer):
    tokens = Tokens(rules(issuer))
    text = issuer.token("first")

    async def story():
        await tokens.read(text)
        issuer.add("second")
        issuer.remove("first")
        tokens.keys._tried_at = -jwks.FLOOR * 2  # long ago
        await tokens.read(issuer.token("second"))  # an unknown key: fetched
        with pytest.raises(BadToken, match="no such key"):
            await tokens.read(text)

    asyncio.run(story())


def test_unknown_keys_cause_one_fetch_in_a_while(issuer):
    tokens = Tokens(rules(issuer))

    async def story():
        await asyncio.gather(*(tokens.read(issuer.token("first", jti=str(i))) for i in range(20)))
        for i in range(20):
            with pytest.raises(BadToken):
                await tokens.read(issuer.token("first", header={"kid": f"unknown{i}"}))

    asyncio.run(story())
    assert issuer.asked == ["/realm/keys"]


def test_discovery_finds_the_keys_and_wants_the_same_issuer(issuer):
    tokens = Tokens(rules(issuer, jwks=None))
    read(tokens, issuer.token("first"))
    assert issuer.asked == ["/realm/.well-known/openid-configuration", "/realm/keys"]
    issuer.answers["/realm/.well-known/openid-configuration"] = json.dumps(
        {"issuer": "https://other.example", "jwks_uri": issuer.url + "/keys"}
    ).encode()
    with pytest.raises(NoKeys):
        read(Tokens(rules(issuer, jwks=None)), issuer.token("first"))


def test_keys_may_lie_in_a_file(issuer, tmp_path):
    path = tmp_path / "jwks.json"
    path.write_bytes(issuer.document("/realm/keys"))
    read(Tokens(rules(issuer, jwks=str(path))), issuer.token("first"))
    assert not issuer.asked


def test_a_token_without_a_key_id_is_good_where_there_is_one_key(issuer):
    text = issuer.token("first", header={})
    read(Tokens(rules(issuer)), text)
    issuer.add("second")
    with pytest.raises(BadToken):
        read(Tokens(rules(issuer)), text)


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b'{"keys": []}', b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "first"}]}', b"\xff" * 9],
)
def test_an_issuer_that_sends_no_keys_is_told_from_a_bad_token(issuer, document):
    issuer.answers["/realm/keys"] = document or b" "
    with pytest.raises(NoKeys):
        read(Tokens(rules(issuer)), issuer.token("first"))


def test_weak_keys_and_keys_for_encryption_are_left_out(issuer):
    weak = rsa.generate_private_key(65537, 1024)
    issuer.public["weak"] = {**json.loads(RSAAlgorithm.to_jwk(weak.public_key())), "kid": "weak", "alg": "RS256"}
    issuer.public["first"]["use"] = "enc"
    issuer.add("good")
    found = jwks._parsed(issuer.document("/realm/keys"))
    assert list(found) == ["good"]


def test_large_slow_and_moved_documents_are_refused(issuer, monkeypatch, tmp_path):
    issuer.answers["/realm/keys"] = b" " * (jwks.LARGEST + 1)
    with pytest.raises(ConfigError, match="more than"):
        fetch(issuer.url + "/keys")
    issuer.moved["/realm/old"] = issuer.url + "/new"
    with pytest.raises(OSError, match="302"):
        fetch(issuer.url + "/old")
    assert "/realm/new" not in issuer.asked
    for far in ("http://example.org/keys", "http://10.0.0.1/keys"):
        with pytest.raises(ConfigError, match="https"):
            fetch(far)
    monkeypatch.setattr(jwks, "SECONDS", 0.1)
    issuer.delay = 1.0
    with pytest.raises(OSError, match="timed out"):
        fetch(issuer.url + "/slow")
    with pytest.raises(OSError):
        fetch(str(tmp_path / "absent.json"))
    with pytest.raises(OSError):
        fetch("file:///etc/hostname")  # a path, not an address


def test_fetching_does_not_block_the_event_loop(issuer):
    issuer.delay = 0.4
    tokens = Tokens(rules(issuer))

    async def story():
        waiting = asyncio.ensure_future(tokens.read(issuer.token("first")))
        turns = 0
        while not waiting.done():
            await asyncio.sleep(0.01)
            turns += 1
        await waiting
        return turns

    assert asyncio.run(story()) > 5  # it would be one if the fetch held the loop


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def test_old_keys_serve_while_an_issuer_is_away_but_not_for_ever(issuer):
    document, clock = issuer.document("/realm/keys"), Clock()
    reads = [document, OSError("away"), OSError("away"), document]

    def read():
        found = reads.pop(0)
        if isinstance(found, OSError):
            raise found
        return found

    async def story():
        keys = KeySet(read, clock)
        assert await keys.find("first")
        clock.now += jwks.FRESH - 1
        assert await keys.find("first")
        await asyncio.sleep(0)
        assert len(reads) == 3  # fresh enough
        clock.now += 2
        assert await keys.find("first")  # at once, the fetch goes on behind
        await keys._task
        assert len(reads) == 2
        assert await keys.find("first")
        clock.now += jwks.OLDEST
        with pytest.raises(NoKeys):
            await keys.find("first")
        clock.now += jwks.FLOOR
        assert await keys.find("first")

    asyncio.run(story())


def test_a_caller_who_leaves_does_not_stop_the_fetch_for_others(issuer):
    issuer.delay = 0.2
    tokens = Tokens(rules(issuer))

    async def story():
        first = asyncio.ensure_future(tokens.read(issuer.token("first", jti="a")))
        second = asyncio.ensure_future(tokens.read(issuer.token("first", jti="b")))
        await asyncio.sleep(0.05)
        first.cancel()
        await second

    asyncio.run(story())
    assert issuer.asked == ["/realm/keys"]


def test_rules_that_protect_nothing_are_refused(issuer):
    with pytest.raises(ConfigError, match="audience"):
        Tokens(rules(issuer, audience=()))
    for bad in (("HS256",), ("none",), ("RS256", "HS512"), ()):
        with pytest.raises(ConfigError, match="algorithm"):
            Tokens(rules(issuer, algorithms=bad))
