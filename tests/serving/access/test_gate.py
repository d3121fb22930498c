"""The gate: who is let in, what they may do, how much, and where a service may listen."""

import asyncio
import datetime

import pytest

from tests.serving.access.test_keys import write
from tests.serving.issuer import Issuer
from vaekit.serving.access import gate as module
from vaekit.serving.access.gate import ANYBODY, Access, Caller, Gate
from vaekit.serving.access.keys import make_key
from vaekit.serving.access.limits import CALLERS, Allowances, Bucket, Quota
from vaekit.serving.access.tokens import Rules
from vaekit.serving.wire.asking import Fault


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys.toml"


def gate_of(file, *entries):
    write(file, *entries)
    return Gate(Access(keys=str(file)))


def admit(gate, *shown):
    return asyncio.run(gate.admit(*shown))


def test_a_key_is_taken_from_either_header(file):
    key, entry = make_key("ci", ("score:flights",))
    gate = gate_of(file, entry)
    for shown in ((f"Bearer {key}", None), (f"bearer  {key}", None), (None, key)):
        caller = admit(gate, *shown)
        assert caller.name == "key:ci"
        assert caller.refusal("score", "flights") is None
        refused = caller.refusal("impute", "flights")
        assert (refused.status, refused.kind) == (403, "forbidden")
        assert "impute:flights" in refused.message


@pytest.mark.parametrize(
    "shown",
    [
        (None, None),
        ("", None),
        ("Bearer", None),
        ("Bearer ", "{key}"),
        ("Basic {key}", None),
        ("{key}", None),
        (None, "{key}x"),
        ("Bearer a.b.c", None),
        (None, ""),
        (None, "é"),
    ],
)
def test_nobody_else_is_let_in(file, shown):
    key, entry = make_key("ci", ("score:flights",))
    refused = admit(gate_of(file, entry), *(text and text.format(key=key) for text in shown))
    assert isinstance(refused, Fault)
    assert (refused.status, refused.kind) == (401, "unauthenticated")
    assert key[:20] not in refused.message


def test_an_expired_key_is_refused_as_such(file):
    key, entry = make_key("ci", ("*:*",), expires=datetime.date(2020, 1, 1))
    refused = admit(gate_of(file, entry), None, key)
    assert refused.status == 401
    assert "expired" in refused.message


def test_a_revoked_key_is_refused_without_a_restart(file, monkeypatch):
    key, entry = make_key("ci", ("*:*",))
    gate = gate_of(file, entry)
    assert isinstance(admit(gate, None, key), Caller)
    write(file)
    monkeypatch.setattr("vaekit.serving.access.keys.EVERY", 0.0)
    assert admit(gate, None, key).status == 401


def test_without_keys_and_tokens_anybody_may_do_everything():
    assert admit(Gate(Access()), None) is ANYBODY
    assert ANYBODY.refusal("score", "flights") is None


@pytest.fixture
def issuer():
    made = Issuer()
    made.add("k")
    yield made
    made.close()


def test_tokens_and_keys_may_be_used_side_by_side(file, issuer):
    key, entry = make_key("ci", ("score:a",))
    write(file, entry)
    rules = Rules(issuer=issuer.url, audience=("vaekit",), jwks=issuer.url + "/keys")
    gate = Gate(Access(keys=str(file), tokens=rules))
    assert admit(gate, f"Bearer {key}").name == "key:ci"
    caller = admit(gate, "Bearer " + issuer.token("k", scope="detect:a"))
    assert caller.name.startswith("token:")
    assert caller.refusal("detect", "a") is None
    assert caller.refusal("score", "a").status == 403
    refused = admit(gate, "Bearer " + issuer.token("k", aud="other"))
    assert refused.status == 401
    assert "audience" in refused.message
    assert admit(gate, None, issuer.token("k")).status == 401  # a token is no key


def test_an_issuer_that_is_away_is_not_the_callers_fault(issuer):
    rules = Rules(issuer=issuer.url, audience=("vaekit",), jwks=issuer.url + "/keys")
    issuer.answers["/realm/keys"] = b"{}"
    refused = admit(Gate(Access(tokens=rules)), "Bearer " + issuer.token("k"))
    assert (refused.status, refused.kind) == (503, "no_issuer")
    assert refused.retry_after


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_each_key_has_a_rate_of_its_own(file, clock):
    (slow, one), (free, two) = make_key("slow", ("*:*",), rate=2.0), make_key("free", ("*:*",))
    gate = gate_of(file, one, two)
    assert all(isinstance(admit(gate, None, slow), Caller) for _ in range(2))
    refused = admit(gate, None, slow)
    assert (refused.status, refused.kind, refused.retry_after) == (429, "rate_limit", 0.5)
    assert all(isinstance(admit(gate, None, free), Caller) for _ in range(20))
    clock.now += refused.retry_after
    assert isinstance(admit(gate, None, slow), Caller)
    assert admit(gate, None, slow).status == 429


def test_rows_are_counted_when_they_are_known(file, clock):
    key, entry = make_key("ci", ("*:*",), rows=100.0)
    gate = gate_of(file, entry)
    admit(gate, None, key).spend(300)
    refused = admit(gate, None, key)
    assert refused.status == 429
    assert refused.retry_after == pytest.approx(2.01)
    clock.now += refused.retry_after
    assert isinstance(admit(gate, None, key), Caller)


def test_subjects_of_tokens_have_a_quota_each(issuer, clock):
    rules = Rules(issuer=issuer.url, audience=("vaekit",), jwks=issuer.url + "/keys", quota=Quota(rate=1.0))
    gate = Gate(Access(tokens=rules))
    assert isinstance(admit(gate, "Bearer " + issuer.token("k", sub="a", jti="1")), Caller)
    assert admit(gate, "Bearer " + issuer.token("k", sub="a", jti="2")).status == 429
    assert isinstance(admit(gate, "Bearer " + issuer.token("k", sub="b")), Caller)


def test_a_bucket_lets_pass_what_its_rate_says():
    """Over any time, at most the burst and the rate, whatever the pattern of attempts."""
    bucket, passed = Bucket(5.0, now=0.0), 0
    for step in range(1000):
        now = step * 0.01
        if not bucket.wait(now):
            bucket.take(1, now)
            passed += 1
    assert passed == pytest.approx(5 + 5 * 9.99, abs=1)


def test_a_rate_below_one_allows_single_requests():
    bucket = Bucket(0.1, now=0.0)
    assert bucket.wait(0.0) == 0.0
    bucket.take(1, 0.0)
    assert bucket.wait(4.0) == pytest.approx(6.0)


def test_buckets_are_bounded_in_number_and_follow_a_changed_quota():
    kept = Allowances()
    first = kept.of("first", Quota(1.0), 0.0)
    for i in range(CALLERS - 1):
        kept.of(str(i), Quota(1.0), 0.0)
    assert kept.of("first", Quota(1.0), 0.0) is first
    kept.of("one more", Quota(1.0), 0.0)
    assert kept.of("first", Quota(1.0), 0.0) is first  # the one that was silent for longest went
    assert len(kept._kept) == CALLERS
    assert kept.of("first", Quota(2.0), 0.0) is not first
