"""Signatures: what is refused, and that it is before any code of the folder is loaded."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("minisign", reason="the extra [sign] isn't installed")

from sam3_tvm import artifact, signing
from sam3_tvm.errors import MissingExtraError, Sam3Error
from sam3_tvm.runtime import loading as runtime
from sam3_tvm.signing import SIGNATURE, SIGNED_BY, SignatureError, key_text, new_key, sign

sys.path.insert(0, str(Path(__file__).parent / "runtime"))
import toy


@pytest.fixture
def signed(tmp_path) -> tuple[Path, Path]:
    """An artifact's folder, signed, and the public key."""
    made = toy.write_artifact(tmp_path / "toy")
    public = new_key(tmp_path / "maker.key", "")
    _sign(made.path, tmp_path / "maker.key")
    return made.path, public


def _sign(folder: Path, key: Path, password: str = "") -> None:
    sign(folder, (folder / artifact.MANIFEST).read_bytes(), key, "a toy", lambda: password)


@pytest.fixture
def no_code(monkeypatch):
    """Fails where anything of an artifact would be loaded."""

    def loads(*_):
        raise AssertionError("code was loaded")

    monkeypatch.setattr(runtime, "load_functions", loads)


def test_a_signed_artifact_opens_by_the_keys_file_and_by_its_text(signed):
    folder, public = signed
    text = public.read_text().splitlines()[1]
    assert artifact.open(folder, require_signature=public) == artifact.open(folder)
    assert artifact.open(folder, require_signature=text).path == folder
    assert signing.check_signature(folder, (folder / "manifest.json").read_bytes(), text) == "a toy"


def test_each_file_that_changes_is_refused_before_code_is_loaded(signed, no_code):
    folder, public = signed
    for name in artifact.open(folder).manifest.files:
        path = folder / name
        before = path.read_bytes()
        # Of the same length, which the ordinary check doesn't look behind.
        path.write_bytes(bytes([before[0] ^ 1]) + before[1:])
        with pytest.raises(Sam3Error, match=f"{name}: is not the file that was written"):
            runtime.load(folder, require_signature=public)
        path.write_bytes(before)


def test_a_manifest_that_changes_is_refused_whatever_it_says_now(signed, no_code):
    folder, public = signed
    path = folder / artifact.MANIFEST
    data = json.loads(path.read_text())
    data["sam3_tvm"] += ".1"
    for text in (json.dumps(data), json.dumps(json.loads(path.read_text())), "no JSON", ""):
        path.write_text(text)
        with pytest.raises(SignatureError, match="it was changed, or another signed it"):
            runtime.load(folder, require_signature=public)


def test_a_file_with_its_new_hash_in_the_manifest_is_refused(signed, no_code):
    folder, public = signed
    (folder / artifact.MODEL).write_bytes(b"other code")
    path = folder / artifact.MANIFEST
    data = json.loads(path.read_text())
    digest = artifact.sha256(folder / artifact.MODEL)
    data["files"][artifact.MODEL] = {"bytes": len(b"other code"), "sha256": digest}
    path.write_text(json.dumps(data))
    artifact.open(folder, integrity="full")  # whole by its own word
    with pytest.raises(SignatureError, match="it was changed, or another signed it"):
        runtime.load(folder, require_signature=public)


def test_no_signature_and_anothers_are_refused(signed, tmp_path, no_code):
    folder, public = signed
    other = new_key(tmp_path / "other.key", "")
    with pytest.raises(SignatureError, match="incompatible key identifiers"):
        runtime.load(folder, require_signature=other)
    (folder / SIGNATURE).write_text("no signature")
    with pytest.raises(SignatureError, match="its signature isn't of this manifest"):
        runtime.load(folder, require_signature=public)
    (folder / SIGNATURE).unlink()
    with pytest.raises(SignatureError, match=r"has no signature \(manifest.json.minisig\)"):
        runtime.load(folder, require_signature=public)


def test_the_environment_asks_for_a_signature_of_whatever_is_loaded(signed, monkeypatch, no_code):
    folder, public = signed
    monkeypatch.setenv(SIGNED_BY, str(public))
    with pytest.raises(AssertionError, match="code was loaded"):
        runtime.load(folder)
    (folder / SIGNATURE).unlink()
    with pytest.raises(SignatureError, match="has no signature"):
        runtime.load(folder)


def test_an_empty_key_checks_nothing_and_is_refused(signed, monkeypatch, no_code):
    with pytest.raises(SignatureError, match="require_signature is empty"):
        runtime.load(signed[0], require_signature="")
    monkeypatch.setenv(SIGNED_BY, "")
    with pytest.raises(SignatureError, match="SAM3_TVM_SIGNED_BY in the environment is empty"):
        runtime.load(signed[0])


def test_a_file_that_is_named_like_a_key_does_not_stand_in_for_it(signed, tmp_path, monkeypatch):
    folder, public = signed
    text, other = key_text(public), new_key(tmp_path / "other.key", "")
    _sign(folder, tmp_path / "other.key")
    monkeypatch.chdir(tmp_path)
    Path(text).parent.mkdir(exist_ok=True, parents=True)  # base64 may hold a slash
    Path(text).write_bytes(other.read_bytes())
    artifact.open(folder, require_signature=other)
    with pytest.raises(SignatureError, match="incompatible key identifiers"):
        artifact.open(folder, require_signature=text)


def test_a_file_that_the_manifest_does_not_name_is_refused_where_a_signature_is_asked_for(
    signed, no_code
):
    folder, public = signed
    (folder / "verify.json").write_text("{}")  # a report, which commands leave there
    artifact.open(folder, require_signature=public)
    (folder / "libother.so").write_bytes(b"code")
    artifact.open(folder)
    with pytest.raises(artifact.ArtifactError, match=r"libother\.so: isn't named by the signed "):
        runtime.load(folder, require_signature=public)


def test_a_signature_that_is_no_file_is_said_in_a_line(signed):
    folder, public = signed
    (folder / SIGNATURE).unlink()
    (folder / SIGNATURE).mkdir()
    with pytest.raises(SignatureError, match=r"manifest\.json\.minisig: cannot be read \(is no "):
        artifact.open(folder, require_signature=public)


def test_a_comment_may_have_any_letters(signed, tmp_path):
    folder, public = signed
    manifest = (folder / artifact.MANIFEST).read_bytes()
    sign(folder, manifest, tmp_path / "maker.key", "./modèle", lambda: "")
    assert signing.check_signature(folder, manifest, public) == "./mod\\xe8le"


def test_half_a_pair_of_keys_is_not_left_behind(tmp_path):
    (tmp_path / "maker.key.pub").mkdir()
    with pytest.raises(SignatureError, match=r"maker\.key\.pub: exists"):
        new_key(tmp_path / "maker.key", "")
    assert [path.name for path in tmp_path.iterdir()] == ["maker.key.pub"]


@pytest.mark.parametrize("key", ["RWnonsense", "nowhere.pub"])
def test_what_is_no_key_is_said_to_be_none(signed, key):
    with pytest.raises(SignatureError, match="is no public key"):
        artifact.open(signed[0], require_signature=key)


def test_keys_have_passwords_and_are_never_written_over(tmp_path):
    made = toy.write_artifact(tmp_path / "toy")
    key = tmp_path / "maker.key"
    public = new_key(key, "secret")
    assert key.stat().st_mode & 0o077 == 0
    with pytest.raises(SignatureError, match="wrong password"):
        _sign(made.path, key, "guess")
    assert not (made.path / SIGNATURE).exists()
    _sign(made.path, key, "secret")
    artifact.open(made.path, require_signature=public)
    before = key.read_bytes()
    with pytest.raises(SignatureError, match="exists, and keys are never written over"):
        new_key(key, "")
    public.unlink()
    with pytest.raises(SignatureError, match="exists, and keys are never written over"):
        new_key(key, "")
    assert key.read_bytes() == before


def test_an_artifact_that_replaces_a_signed_one_has_no_signature(signed):
    folder, _ = signed
    toy.write_artifact(folder, model=b"newer code")
    assert not (folder / SIGNATURE).exists()


def test_without_the_extra_it_is_named(signed, monkeypatch):
    monkeypatch.setitem(sys.modules, "minisign", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sam3-tvm\[sign\]'"):
        artifact.open(signed[0], require_signature=signed[1])
