"""A signed bundle is what its signer made, or refused with the reason."""

import base64
import json
import shutil
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import vaekit as vk
from tests.bundle.test_format import rewrite
from vaekit.bundle import Bundle
from vaekit.bundle.manifest import manifest_bytes
from vaekit.bundle.signature import new_signing_key, sign, trusted_keys
from vaekit.cli import main
from vaekit.errors import BundleError, ConfigError


@pytest.fixture
def keys():
    return new_signing_key()


@pytest.fixture
def signed(zoo, tmp_path, keys):
    """A signed bundle to damage."""
    root = shutil.copytree(zoo["digits"].bundle, tmp_path / "bundle")
    sign(root, manifest_bytes(root), keys[0])
    return root


def test_a_signed_bundle_loads_whether_or_not_that_is_required(signed, keys):
    first = Bundle.load(signed)
    assert Bundle.load(signed, trusted=[keys[1]]).contract == first.contract
    assert vk.load(signed, trusted=[new_signing_key()[1], keys[1]]).contract == first.contract


def test_openssl_agrees(signed, keys, tmp_path):
    """The signature is the plain Ed25519 signature of the manifest."""
    (tmp_path / "public.pem").write_bytes(keys[1])
    (tmp_path / "raw").write_bytes(base64.b64decode(json.loads((signed / "signature").read_bytes())["signature"]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", tmp_path / "public.pem", "-rawin"]
    command += ["-in", signed / "manifest.json", "-sigfile", tmp_path / "raw"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0


def unsigned(root):
    (root / "signature").unlink()


def file_altered(root):
    path = root / "model.json"
    path.write_bytes(path.read_bytes().replace(b"width", b"wIdth", 1))


def file_and_manifest_altered(root):
    """What somebody would do who knows the format: the seal fits again, the signature does not."""
    rewrite(root, data="0" * 64)


def signed_by_another(root):
    sign(root, manifest_bytes(root), new_signing_key()[0])


def said_to_be_signed_by_the_trusted_one(root):
    name = json.loads((root / "signature").read_bytes())["key"]
    signed_by_another(root)
    forged = json.loads((root / "signature").read_bytes()) | {"key": name}
    (root / "signature").write_text(json.dumps(forged))


def signature_of_another_text(root):
    forged = json.loads((root / "signature").read_bytes()) | {"signature": base64.b64encode(bytes(64)).decode()}
    (root / "signature").write_text(json.dumps(forged))


def signature_is_no_base64(root):
    forged = json.loads((root / "signature").read_bytes()) | {"signature": "ä"}
    (root / "signature").write_text(json.dumps(forged))


def signature_is_garbage(root):
    (root / "signature").write_bytes(b"\xff\x00")


def another_algorithm(root):
    forged = json.loads((root / "signature").read_bytes()) | {"algorithm": "none"}
    (root / "signature").write_text(json.dumps(forged))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (unsigned, "not signed"),
        (file_altered, "model.json"),
        (file_and_manifest_altered, "altered after it was signed"),
        (signed_by_another, "not trusted"),
        (said_to_be_signed_by_the_trusted_one, "altered after it was signed"),
        (signature_of_another_text, "altered after it was signed"),
        (signature_is_no_base64, "altered after it was signed"),
        (signature_is_garbage, "not a signature"),
        (another_algorithm, "expected an Ed25519"),
    ],
)
def test_any_other_bundle_is_refused_by_name_with_the_reason(signed, keys, damage, told, capsys, tmp_path):
    damage(signed)
    with pytest.raises(BundleError, match=told) as caught:
        Bundle.load(signed, trusted=[keys[1]])
    assert str(signed) in str(caught.value)
    (tmp_path / "public.pem").write_bytes(keys[1])
    with pytest.raises(SystemExit) as left:
        main(["verify", str(signed), "--key", str(tmp_path / "public.pem")])
    assert left.value.code == 1
    assert told in capsys.readouterr().err


def test_a_signature_does_not_fit_another_bundle(signed, keys, zoo, tmp_path):
    other = shutil.copytree(zoo["visits"].bundle, tmp_path / "other")
    shutil.copy(signed / "signature", other / "signature")
    with pytest.raises(BundleError, match="altered"):
        Bundle.load(other, trusted=[keys[1]])


def test_saving_again_removes_the_signature(signed, keys):
    Bundle.load(signed).save(signed)
    with pytest.raises(BundleError, match="not signed"):
        Bundle.load(signed, trusted=[keys[1]])


def test_what_is_no_public_key_is_refused(keys, tmp_path):
    other = rsa.generate_private_key(65537, 2048).public_key()
    pem = other.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for wrong in (pem, b"", b"x", keys[0], tmp_path / "absent.pem", str(tmp_path)):
        with pytest.raises(ConfigError):
            trusted_keys([wrong])


def test_signing_and_verifying_on_the_command_line(zoo, tmp_path, capsys, monkeypatch):
    def run(*argv):
        with pytest.raises(SystemExit) as left:
            main([str(part) for part in argv])
        told = capsys.readouterr()
        return left.value.code or 0, told.out, told.err

    root = shutil.copytree(zoo["digits"].bundle, tmp_path / "run" / "bundle")
    key, public = tmp_path / "s.pem", tmp_path / "s.pem.pub"
    run("keys", "signing", "--out", key)
    assert "not signed" in run("verify", tmp_path / "run")[1]
    assert run("verify", tmp_path / "run", "--key", public)[0] == 1
    assert run("sign", tmp_path / "run")[0] == 2  # no key
    assert run("sign", tmp_path / "run", "--key", public)[0] == 2
    assert run("sign", tmp_path / "run", "--key", key)[0] == 0
    assert "which is trusted" in run("verify", tmp_path / "run", "--key", public)[1]
    assert "give --key to check" in run("verify", tmp_path / "run")[1]
    (root / "signature").unlink()
    monkeypatch.setenv("VAEKIT_SIGNING_KEY", key.read_text())
    assert run("sign", root)[0] == 0
    told = json.loads(run("verify", root, "--key", public, "--json")[1])
    assert told["signature_checked"]
    assert told["files"] == 12
    (root / "run.json").write_text("{}")
    assert run("sign", root)[0] == 2  # a bundle that is not whole is not signed


def test_the_base_install_says_what_to_install(signed, keys):
    """Without the package cryptography unsigned use goes on, and signatures say what they need."""
    code = f"""
import sys
sys.modules["cryptography"] = None
import vaekit as vk
vk.load({str(signed)!r})
try:
    vk.load({str(signed)!r}, trusted=[{keys[1]!r}])
except vk.ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert "vaekit[serve]" in done.stdout
