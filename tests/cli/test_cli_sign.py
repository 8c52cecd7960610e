"""``sam3-tvm sign``, and ``verify --integrity --key``."""

from __future__ import annotations

import pytest
import toy

from sam3_tvm.signing import SIGNATURE

pytest.importorskip("minisign", reason="the extra [sign] isn't installed")


@pytest.fixture
def made(folder, monkeypatch):
    monkeypatch.setenv("SAM3_TVM_KEY_PASSWORD", "")
    return toy.write_artifact(folder / "toy").path


def test_a_signature_is_made_and_checked(cli, made):
    done = cli("sign", "toy", "--key", "maker.key", "--new-key")
    assert done.exit_code == 0, done.output
    assert "maker.key.pub: the public one" in done.stdout
    assert "random:toy for this machine" in done.stdout
    assert (made / SIGNATURE).is_file()
    assert cli("verify", "toy", "--integrity", "--key", "maker.key.pub").exit_code == 0
    assert cli("sign", "toy", "--key", "maker.key").exit_code == 0
    (made / "model.so").write_bytes(b"no Code")
    for arguments in (
        ("verify", "toy", "--integrity", "--key", "maker.key.pub"),
        ("sign", "toy", "--key", "maker.key"),
    ):
        refused = cli(*arguments)
        assert refused.exit_code == 2
        assert refused.stderr.count("\n") == 1
        assert "model.so: is not the file that was written" in refused.stderr


def test_what_cannot_be_signed_with_is_a_line(cli, made):
    refused = cli("sign", "toy", "--key", "nowhere.key")
    assert refused.exit_code == 2
    assert refused.stderr.count("\n") == 1
    assert "nowhere.key: can't be signed with (No such file or directory)" in refused.stderr


def test_a_key_goes_with_integrity(cli, made):
    refused = cli("verify", "toy", "--key", "maker.key.pub")
    assert refused.exit_code == 2
    assert "--key goes with --integrity" in refused.stderr


def test_a_password_is_asked_for(cli, made, monkeypatch):
    from typer.testing import CliRunner

    from sam3_tvm.cli import app

    monkeypatch.delenv("SAM3_TVM_KEY_PASSWORD")
    arguments = ["sign", "toy", "--key", "maker.key", "--new-key"]
    done = CliRunner().invoke(app, arguments, input="secret\nsecret\nsecret\n")
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, arguments[:-1], input="guess\n")
    assert done.exit_code == 2
    assert "wrong password for that key" in done.stderr
