"""The grammar of scopes: what it takes, and what a set of scopes allows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaekit.errors import ConfigError
from vaekit.serving.access.scopes import EVERYTHING, WORDS, Scopes

names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}", fullmatch=True)
parts = names | st.just("*")
pairs = st.tuples(parts, parts)
sets = st.tuples(st.sets(pairs, max_size=4), st.sets(st.sampled_from(WORDS), max_size=2))


def text_of(pairs, words):
    return [f"{query}:{model}" for query, model in pairs] + list(words)


@given(sets, names, names)
def test_what_is_allowed_is_what_the_grammar_says(scopes, query, model):
    """Against the definition, spelled out: some pair matches, a star matches all, admin is all."""
    allowed, words = scopes
    plain = any(q in ("*", query) and m in ("*", model) for q, m in allowed) or "admin" in words
    found = Scopes.of(text_of(allowed, words))
    assert found.may(query, model) is plain
    listed = found.queries(model)
    assert (listed is None or query in listed) is plain
    assert found.sees(model) is (listed != ())
    for word in WORDS:
        assert found.has(word) is (word in words or "admin" in words)


@given(sets)
def test_written_and_read_again_is_the_same(scopes):
    found = Scopes.of(text_of(*scopes))
    assert Scopes.of(str(found).split()) == found


@given(st.text(max_size=20))
def test_any_text_is_read_as_one_pair_or_word_or_refused(text):
    query, colon, model = text.partition(":")
    good = text in WORDS or (bool(colon) and all(_is_name(part) for part in (query, model)))
    if good:
        assert str(Scopes.of([text])) == text
    else:
        with pytest.raises(ConfigError):
            Scopes.of([text])
        assert Scopes.among([text]) == Scopes()


def _is_name(part):
    letters = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
    return part == "*" or (0 < len(part) <= 128 and part[0] in letters and set(part) <= letters | set(".-"))


@given(st.lists(st.sampled_from(["score:flights", "*:a", "metrics", "openid", "a:b:c", "", "score: x"]), max_size=6))
def test_a_token_may_name_rights_to_other_services(items):
    known = [item for item in items if item in ("score:flights", "*:a", "metrics")]
    assert Scopes.among(items) == Scopes.of(known)


def test_nothing_is_allowed_without_a_scope():
    assert not Scopes().may("score", "flights")
    assert not Scopes().has("metrics")
    assert EVERYTHING.may("score", "flights")
