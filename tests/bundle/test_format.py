"""A bundle is whole or refused, and is replaced whole or not at all."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

import vaekit as vk
from tests.notorch.alike import differences
from vaekit.bundle import FORMAT, Bundle
from vaekit.bundle.manifest import seal
from vaekit.errors import BundleError, VaekitError

FILES = (
    "MODEL_CARD.md",
    "calibration.safetensors",
    "contract.json",
    "evaluation.json",
    "graphs/decode.onnx",
    "graphs/encode.onnx",
    "graphs/log_density.onnx",
    "graphs/prior.onnx",
    "graphs/score.onnx",
    "manifest.json",
    "model.json",
    "run.json",
    "weights.safetensors",
)


@pytest.fixture
def copy(zoo, tmp_path):
    """A bundle to damage."""
    return shutil.copytree(zoo["digits"].bundle, tmp_path / "bundle")


def rewrite(path, **changes):
    """Change a manifest and seal it again: what somebody would do who knows the format."""
    plain = json.loads((path / "manifest.json").read_bytes()) | changes
    (path / "manifest.json").write_text(json.dumps(plain | {"seal": seal(plain)}))


def test_a_bundle_holds_these_files_and_no_others(copy):
    found = sorted(p.relative_to(copy).as_posix() for p in copy.rglob("*") if p.is_file())
    assert found == sorted(FILES)
    assert sorted(json.loads((copy / "manifest.json").read_bytes())["files"]) == sorted(set(FILES) - {"manifest.json"})


def test_round_trip(zoo, tmp_path):
    first = Bundle.load(zoo["digits"].bundle)
    again = Bundle.load(first.save(tmp_path / "deep" / "down" / "bundle"))
    assert again.path == tmp_path / "deep" / "down" / "bundle"
    for part in ("contract", "architecture", "graphs", "evaluation", "run"):
        assert getattr(again, part) == getattr(first, part), part
    assert first.contract.hash == again.contract.hash
    for part in ("weights", "calibration"):
        old, new = getattr(first, part), getattr(again, part)
        assert old
        assert set(old) == set(new)
        for name, value in old.items():
            np.testing.assert_array_equal(new[name], value)
            assert new[name].dtype == value.dtype
    for name in FILES:
        if name != "manifest.json":  # which says when it was made
            assert (zoo["digits"].bundle / name).read_bytes() == (again.path / name).read_bytes(), name


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", [0.0, 0.37, 1.0])
def test_one_changed_byte_is_refused_by_the_name_of_the_file(copy, name, where):
    path = copy / name
    content = bytearray(path.read_bytes())
    at = min(int(where * len(content)), len(content) - 1)
    content[at] ^= 0x01
    path.write_bytes(content)
    with pytest.raises(BundleError) as told:
        vk.load(copy)
    assert str(path) in str(told.value)


def test_no_changed_byte_of_the_manifest_goes_unnoticed(copy):
    """Byte by byte: the manifest guards the other files, so it has to guard itself."""
    path = copy / "manifest.json"
    whole = path.read_bytes()
    for at in range(0, len(whole), 3):
        content = bytearray(whole)
        content[at] = ord("7") if content[at] != ord("7") else ord("8")
        path.write_bytes(content)
        if whole[at] in b" \n":
            continue  # between the tokens a digit makes it no JSON; this is the next test
        with pytest.raises(BundleError, match="manifest.json"):
            Bundle.load(copy)
    path.write_bytes(whole)
    Bundle.load(copy)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_a_truncated_file_is_refused_by_its_name(copy, name, kept):
    path = copy / name
    content = path.read_bytes()
    left = min(int(kept * len(content)), len(content) - 1)
    path.write_bytes(content[:left])
    with pytest.raises(BundleError) as told:
        vk.load(copy)
    assert str(path) in str(told.value)
    if name != "manifest.json":
        assert f"expected {len(content)} bytes, got {left}; the file is truncated" in str(told.value)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_its_name(copy, name):
    (copy / name).unlink()
    with pytest.raises(BundleError) as told:
        vk.load(copy)
    assert str(copy / name) in str(told.value)
    assert "No such file" in str(told.value)


@pytest.mark.parametrize("name", ["contract.json", "model.json", "weights.safetensors"])
def test_a_manifest_that_leaves_out_what_a_model_needs_is_refused(copy, name):
    files = json.loads((copy / "manifest.json").read_bytes())["files"]
    rewrite(copy, files={key: value for key, value in files.items() if key != name})
    with pytest.raises(BundleError, match=f"lists no {name}"):
        Bundle.load(copy)


def test_a_file_that_the_manifest_does_not_list_is_not_read(copy):
    (copy / "graphs" / "evil.onnx").write_bytes(b"\x00")
    (copy / "weights.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert sorted(Bundle.load(copy).graphs) == ["decode", "encode", "log_density", "prior", "score"]


def test_a_newer_format_is_refused_with_advice(copy):
    rewrite(copy, format=FORMAT + 1)
    with pytest.raises(BundleError, match=rf"manifest.json: bundle format {FORMAT + 1} is newer.*upgrade vaekit"):
        Bundle.load(copy)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "one"},
        {"format": None},
        {"files": []},
        {"files": {"a": 3}},
        {"data": "d0\r\nx-injected: 1"},  # a service puts it into headers
        {"contract": "c0\n"},
    ],
)
def test_a_manifest_of_another_shape_is_refused(copy, change):
    rewrite(copy, **change)
    with pytest.raises(BundleError, match="manifest.json"):
        Bundle.load(copy)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b"\xff\xfe", b"{", b'{"format": 1}'])
def test_a_manifest_that_is_no_manifest_is_refused(copy, content):
    (copy / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match="manifest.json"):
        Bundle.load(copy)


@pytest.mark.parametrize("name", ["../secret", "graphs/../../secret", "/etc/hostname", "{absolute}", "graphs/.."])
def test_a_manifest_cannot_name_files_outside_the_bundle(copy, name):
    secret = copy.parent / "secret"
    secret.write_bytes(b"secret")
    name = name.format(absolute=secret)
    manifest = json.loads((copy / "manifest.json").read_bytes())
    entry = {"sha256": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b", "bytes": 6}
    rewrite(copy, files=manifest["files"] | {name: entry})
    with pytest.raises(BundleError, match=r"leaves the bundle; the manifest is not trustworthy"):
        Bundle.load(copy)


@pytest.mark.parametrize("path", ["nowhere", "file", "empty"])
def test_what_is_no_bundle_is_refused(tmp_path, path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=rf"is .*{path} a bundle\?"):
        vk.load(tmp_path / path)


def test_a_run_folder_is_as_good_as_its_bundle(zoo):
    assert vk.load(zoo["digits"].folder).bundle.path == zoo["digits"].bundle


# ------------------------------------------------------------------------------------------------------- written whole


def leftovers(folder):
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]


def test_saving_replaces_the_old_bundle_whole(zoo, copy):
    (copy / "stale.txt").write_text("of the old one")
    new = zoo["bits"].torch.bundle
    assert new.save(copy) == copy
    assert not (copy / "stale.txt").exists()
    assert not (copy / "graphs").exists()
    assert Bundle.load(copy).contract == new.contract
    assert leftovers(copy.parent) == []


@pytest.mark.parametrize("calls", [0, 3, 7])
def test_a_crash_while_files_are_written_leaves_the_old_bundle(zoo, copy, monkeypatch, calls):
    """Files go to a folder of another name; the old bundle is not touched before all of them are there."""
    before, real, count = Bundle.load(copy), os.replace, iter(range(99))

    def crash(source, target):
        if next(count) == calls:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="No space left"):
        zoo["bits"].torch.bundle.save(copy)
    monkeypatch.undo()
    assert Bundle.load(copy).contract == before.contract
    assert leftovers(copy.parent) == []


@pytest.mark.parametrize("step", ["old away", "new in"])
def test_a_crash_at_a_rename_leaves_the_old_bundle(zoo, copy, monkeypatch, step):
    before, real, crashed = Bundle.load(copy), os.replace, []

    def crash(source, target):
        if not crashed and str(source if step == "old away" else target) == str(copy):
            crashed.append(source)
            raise OSError(5, "Input/output error")
        real(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="Input/output"):
        zoo["bits"].torch.bundle.save(copy)
    monkeypatch.undo()
    assert Bundle.load(copy).contract == before.contract
    assert leftovers(copy.parent) == []


def test_a_crash_of_a_first_save_leaves_nothing(zoo, tmp_path, monkeypatch):
    def crash(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        zoo["bits"].torch.bundle.save(tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_bundle_is_not_overwritten(zoo, tmp_path):
    bundle = zoo["bits"].torch.bundle
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    (tmp_path / "note").write_text("one line")
    for name in ("thesis", "note"):
        with pytest.raises(BundleError, match=rf"{name} exists and is not a bundle"):
            bundle.save(tmp_path / name)
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "years of work"
    assert (tmp_path / "note").read_text() == "one line"
    (tmp_path / "empty").mkdir()
    assert Bundle.load(bundle.save(tmp_path / "empty")).contract == bundle.contract
    assert leftovers(tmp_path) == []


def test_a_saved_bundle_can_be_read_by_others(zoo, tmp_path):
    path = zoo["bits"].torch.bundle.save(tmp_path / "bundle")
    assert path.stat().st_mode & 0o777 == 0o755
    assert {p.stat().st_mode & 0o777 for p in path.rglob("*") if p.is_file()} == {0o644}


# ------------------------------------------------------------------------------------------------------ what it says


def test_the_model_card_and_the_manifest_say_what_is_inside(zoo):
    kept = zoo["digits"]
    bundle = kept.torch.bundle
    card = (kept.bundle / "MODEL_CARD.md").read_text()
    for name in bundle.contract.names():
        assert name in card
    assert f"{sum(v.size for v in bundle.weights.values()):,}" in card
    assert bundle.contract.hash in card
    assert f"elbo: {bundle.evaluation['elbo']:,.4g}" in card
    assert str(bundle.run["data"]["sha256"]) in card
    manifest = json.loads((kept.bundle / "manifest.json").read_bytes())
    assert manifest["contract"] == bundle.contract.hash
    assert manifest["data"] == bundle.run["data"]["sha256"]
    assert manifest["vaekit"] == vk.__version__


def test_a_bundle_without_calibration_still_answers(zoo, tmp_path):
    kept = zoo["bits"]
    bare = dataclasses.replace(kept.torch.bundle, calibration={}, evaluation={}, run={})
    model = vk.load(bare.save(tmp_path / "bundle"))
    answer = model.score(kept.rows)
    assert answer["p_value"].null_count == len(kept.rows)
    assert differences(answer.select(["score"]), kept.torch.score(kept.rows).select(["score"]), tolerance=1e-6) == []
    with pytest.raises(VaekitError, match="no calibration scores"):
        model.detect(kept.rows)
