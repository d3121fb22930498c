"""`vae keys`: what is printed where, and that it can be used."""

import stat
import subprocess
import tomllib

import pytest

from vaekit.cli import main
from vaekit.serving.access.keys import KeyFile


def run(capsys, *argv):
    """Exit code, stdout and stderr of a command."""
    with pytest.raises(SystemExit) as caught:
        main([str(part) for part in argv])
    told = capsys.readouterr()
    return caught.value.code or 0, told.out, told.err


def test_a_new_key_is_shown_once_and_its_entry_can_be_appended(capsys, tmp_path):
    file = tmp_path / "keys.toml"
    options = ["--models", "flights,wine", "--queries", "score,detect", "--rate", "100", "--expires", "2999-01-01"]
    for id in ("ci", "lab"):
        code, out, err = run(capsys, "keys", "new", "--id", id, *options)
        assert code == 0
        key = err.strip().splitlines()[-1]
        assert key.startswith(f"vae_{id}_")
        assert key not in out
        with file.open("a") as keys:
            keys.write(out)
    entries = tomllib.loads(file.read_text())["key"]
    assert [entry["id"] for entry in entries] == ["ci", "lab"]
    known = KeyFile(file).find(key)
    assert known.quota.rate == 100
    assert str(known.scopes) == "detect:flights detect:wine score:flights score:wine"


def test_a_key_goes_to_a_file_that_its_owner_alone_can_read(capsys, tmp_path):
    out = tmp_path / "prometheus.key"
    code, entry, err = run(capsys, "keys", "new", "--id", "prometheus", "--scope", "metrics", "--out", out)
    assert code == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    key = out.read_text().strip()
    assert key not in entry + err
    (tmp_path / "keys.toml").write_text(entry)
    assert KeyFile(tmp_path / "keys.toml").find(key).scopes.has("metrics")
    code, _, err = run(capsys, "keys", "new", "--id", "prometheus", "--scope", "metrics", "--out", out)
    assert code == 2
    assert "exists" in err
    assert out.read_text().strip() == key


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "would allow nothing"),
        (["--models", "a"], "go together"),
        (["--models", "a", "--queries", "no such!"], "scope"),
        (["--scope", "metrics", "--rate", "0"], "rate"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(capsys, options, told):
    code, out, err = run(capsys, "keys", "new", "--id", "ci", *options)
    assert (code, out) == (2, "")
    assert told in err


def test_check_says_who_may_do_what_and_whether_a_key_is_good(capsys, tmp_path):
    file, key = tmp_path / "keys.toml", tmp_path / "ci.key"
    _, entry, _ = run(capsys, "keys", "new", "--id", "ci", "--models", "*", "--queries", "score", "--out", key)
    file.write_text(entry)
    code, out, _ = run(capsys, "keys", "check", file, "--key", key)
    assert code == 0
    assert "ci  score:*" in out
    key.write_text(key.read_text().replace("_ci_", "_lab_"))
    assert run(capsys, "keys", "check", file, "--key", key)[0] == 1
    file.write_text(entry + "expires = 2020-01-01\n")
    code, out, _ = run(capsys, "keys", "check", file)
    assert code == 1
    assert "EXPIRED" in out
    code, out, _ = run(capsys, "keys", "check", file, "--json")
    assert code == 1
    assert '"expired": true' in out
    file.write_text(entry + "rates = 3\n")
    code, _, err = run(capsys, "keys", "check", file)
    assert code == 2
    assert "rates" in err


def test_a_pair_of_signing_keys_is_what_openssl_takes(capsys, tmp_path):
    private = tmp_path / "signing.pem"
    assert run(capsys, "keys", "signing", "--out", private)[0] == 0
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    told = subprocess.run(["openssl", "pkey", "-in", private, "-pubout"], capture_output=True, text=True, check=True)
    assert told.stdout == (tmp_path / "signing.pem.pub").read_text()
    assert run(capsys, "keys", "signing", "--out", private)[0] == 2
