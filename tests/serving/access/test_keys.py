"""Keys: what the file holds, who is found, and what happens when the file changes."""

import datetime
import hmac
import logging
import types

import msgspec
import pytest

from vaekit.errors import ConfigError
from vaekit.serving.access import keys as module
from vaekit.serving.access.keys import KeyFile, make_key, read_keys


def block(entry):
    return "[[key]]\n" + msgspec.toml.encode(entry).decode()


def write(path, *entries):
    path.write_text("\n".join(block(entry) for entry in entries))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys.toml"


def test_the_file_holds_no_key_and_finds_its_owner(file):
    key, entry = make_key("ci", ("score:flights",), rate=10.0)
    other, second = make_key("lab", ("*:*",))
    write(file, entry, second)
    assert key not in file.read_text()
    assert key.split("_", 2)[2] not in file.read_text()
    found = KeyFile(file)
    assert found.find(key).entry == entry
    assert found.find(other).entry == second
    assert found.find(key).scopes.may("score", "flights")
    assert not found.find(key).scopes.may("detect", "flights")


def test_no_other_text_is_a_key(file):
    key, entry = make_key("ci", ("score:flights",))
    write(file, entry)
    found = KeyFile(file)
    for near in (
        key[:-1],
        key + "x",
        key.upper(),
        key.replace("_ci_", "_lab_"),
        entry.hash,
        "vae_ci_",
        "vae_",
        "",
        "ключ",
    ):
        assert found.find(near) is None, near


def test_keys_are_random_and_long():
    drawn = {make_key("a", ("*:*",))[0] for _ in range(100)}
    assert len(drawn) == 100
    assert all(len(key) == len("vae_a_") + 43 for key in drawn)  # 256 bits in base64


def test_every_candidate_is_compared_in_constant_time(file, monkeypatch):
    (first, one), (_, two), (_, elsewhere) = (make_key(id, ("*:*",)) for id in ("ci", "ci", "lab"))
    write(file, one, two, elsewhere)
    compared = []

    def compare(a, b):
        compared.append(a)
        return hmac.compare_digest(a, b)

    monkeypatch.setattr(module, "hmac", types.SimpleNamespace(compare_digest=compare))
    assert KeyFile(file).find(first).entry == one
    assert compared == [one.hash, two.hash]  # the second too, though the first one matched


def test_a_key_expires_when_its_day_begins_in_utc():
    day = make_key("a", ("*:*",), expires=datetime.date(2027, 1, 1))[1]
    east = datetime.timezone(datetime.timedelta(hours=2))
    assert not day.expired(datetime.datetime(2027, 1, 1, 1, 59, 59, tzinfo=east))
    assert day.expired(datetime.datetime(2027, 1, 1, 2, tzinfo=east))
    assert not make_key("a", ("*:*",))[1].expired(datetime.datetime(9999, 1, 1, tzinfo=datetime.UTC))


def test_a_key_is_replaced_without_a_restart(file):
    (old, one), (new, two) = make_key("ci", ("*:*",)), make_key("ci", ("*:*",))
    write(file, one)
    found = KeyFile(file)
    found.refresh(0.0)
    write(file, one, two)
    found.refresh(0.5)  # looked a moment ago
    assert found.find(new) is None
    found.refresh(2.0)
    assert found.find(old)
    assert found.find(new)
    write(file, two)
    found.refresh(4.0)
    assert found.find(old) is None
    assert found.find(new)


@pytest.mark.parametrize("broken", ["[[key]\n", "[[key]]\nid = 3\n", None])
def test_a_broken_file_keeps_the_old_keys_and_says_so(file, caplog, broken):
    key, entry = make_key("ci", ("*:*",))
    write(file, entry)
    found = KeyFile(file)
    file.unlink() if broken is None else file.write_text(broken)
    with caplog.at_level(logging.ERROR):
        found.refresh(2.0)
        found.refresh(4.0)
    assert found.find(key)
    assert str(file) in found.broken
    assert len(caplog.records) == 1  # once for each state of the file
    write(file, entry)
    found.refresh(6.0)
    assert found.broken is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hash": "sha256:abc"}, "hash"),
        ({"hash": "vae_ci_plain"}, "hash"),
        ({"id": "no spaces"}, "id"),
        ({"id": ""}, "id"),
        ({"scopes": ("flights",)}, "scope"),
        ({"scopes": ()}, "scopes"),
        ({"rate": 0.0}, "rate"),
        ({"rows": float("nan")}, "rows"),
        ({"rate": -1.0}, "rate"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_place(file, change, told):
    good = make_key("ci", ("*:*",))[1]
    write(file, good, msgspec.structs.replace(good, **change))
    with pytest.raises(ConfigError, match=told) as caught:
        read_keys(file)
    assert "plain" not in str(caught.value)
    if "scopes" not in change or not change["scopes"]:
        assert "key 2" in str(caught.value)


def test_unknown_options_and_files_that_cannot_be_are_refused(file):
    entry = make_key("ci", ("*:*",))[1]
    file.write_text(block(entry) + "\nlimit = 3\n")
    with pytest.raises(ConfigError, match="limit"):
        read_keys(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not a file of keys"):
        read_keys(file)
    file.write_bytes(b"#" * (module.LARGEST + 1))
    with pytest.raises(ConfigError, match="at most"):
        read_keys(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        KeyFile(file.with_name("absent.toml"))
