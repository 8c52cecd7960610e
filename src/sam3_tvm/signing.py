"""Signatures of artifacts, in minisign's format: whose a folder is, where hashes say it is whole.

A signature is of the manifest's bytes, and so through its hashes of every file that it names. It
lies beside it, and minisign itself takes it, too: ``minisign -Vm manifest.json -p KEY.pub``. The
arithmetic is that of the ``minisign`` package (extra [sign]).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sam3_tvm.errors import Sam3Error, as_argument, one_line
from sam3_tvm.extras import needed

if TYPE_CHECKING:
    from minisign import PublicKey

__all__ = ["SIGNATURE", "SignatureError", "check_signature", "new_key", "sign"]

SIGNATURE = "manifest.json.minisig"
"""The file with the signature, beside the manifest."""

# Longer ones are no keys and no signatures.
_MOST_BYTES = 1 << 14


class SignatureError(Sam3Error):
    """A signature that is missing or another's, or a key that cannot be used."""

    def __str__(self) -> str:
        return one_line(super().__str__())


def check_signature(folder: Path, manifest: bytes, key: str | os.PathLike[str]) -> str:
    """Hold a manifest against the signature beside it.

    Args:
        folder: the artifact's.
        manifest: the bytes of its manifest, as they were read.
        key: minisign's public key: its file, or the text in it that begins with ``RW``.

    Returns:
        The signature's trusted comment, which is signed, too.

    Raises:
        SignatureError: there is none, it is of other bytes or by another key, or the key is none.
        MissingExtraError: the extra [sign] is missing.
    """
    public = _public(key)
    advice = "load only what its maker signed, or sign it anew if you made it (sam3-tvm sign)"
    try:
        raw = _read(folder / SIGNATURE)
    except FileNotFoundError as error:
        raise SignatureError(f"{folder}: has no signature ({SIGNATURE}); {advice}") from error
    with _package():
        from minisign import Error, Signature
    try:
        signature = Signature.from_bytes(raw)
        public.verify(manifest, signature)
    except Error as error:
        raise SignatureError(
            f"{folder}: its signature isn't of this manifest by the key "
            f"{public.to_base64().decode()} ({error}): it was changed, or another signed it; "
            f"{advice}"
        ) from error
    return str(signature.trusted_comment)


def sign(
    folder: Path, manifest: bytes, key: Path, comment: str, password: Callable[[], str]
) -> None:
    """Write the signature of a manifest beside it.

    Args:
        folder: the artifact's.
        manifest: the bytes of its manifest.
        key: the file of minisign's secret key.
        comment: what is signed with it, for people to read; a line.
        password: asked for the key's, if it has one.

    Raises:
        SignatureError: no key, a wrong password, or a folder that can't be written to.
        MissingExtraError: the extra [sign] is missing.
    """
    with _package():
        from minisign import Error, SecretKey
    try:
        with SecretKey.from_bytes(_read(key)) as secret:
            if secret.is_encrypted():
                secret.decrypt(password())
            text = bytes(secret.sign(manifest, trusted_comment=comment))
    except (Error, OSError) as error:
        raise SignatureError(
            f"{key}: can't be signed with ({getattr(error, 'strerror', None) or error}); give the "
            "file of a secret key that minisign -G or sam3-tvm sign --new-key made"
        ) from error
    new = folder / f".{SIGNATURE}.new"
    try:
        new.write_bytes(text)
        new.replace(folder / SIGNATURE)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise SignatureError(f"{folder}: cannot be written ({error.strerror})") from error


def new_key(path: Path, password: str) -> Path:
    """Make a pair of keys: the secret one in ``path``, readable by its owner alone, the public one
    beside it, in ``path`` with ``.pub``.

    Args:
        path: a name that isn't taken.
        password: to encrypt the secret key with; empty for none.

    Returns:
        The public key's file.

    Raises:
        SignatureError: either file exists, or can't be written.
        MissingExtraError: the extra [sign] is missing.
    """
    with _package():
        from minisign import KeyPair
    public = path.with_name(f"{path.name}.pub")
    if public.exists():
        raise SignatureError(f"{public}: exists, and keys are never written over; choose another")
    pair = KeyPair.generate()
    if password:
        pair.secret_key.encrypt(password)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(bytes(pair.secret_key))
        public.write_bytes(bytes(pair.public_key))
    except FileExistsError as error:
        raise SignatureError(
            f"{path}: exists, and keys are never written over; choose another name, or leave "
            "--new-key out to sign with it"
        ) from error
    except OSError as error:
        raise SignatureError(f"{path}: cannot be written ({error.strerror})") from error
    return public


def _public(key: str | os.PathLike[str]) -> PublicKey:
    with _package():
        from minisign import Error, PublicKey
    try:
        if isinstance(key, str) and key.startswith("RW") and not os.path.exists(key):
            return PublicKey.from_base64(key)
        return PublicKey.from_bytes(_read(Path(key)))
    except (Error, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SignatureError(
            f"{as_argument(f'{key}')}: is no public key ({reason}); give the file that minisign "
            "wrote (.pub), or the text in it that begins with RW"
        ) from error


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST_BYTES)


@contextmanager
def _package() -> Iterator[None]:
    with needed("sign", "a signature"):
        yield
