"""Signatures of artifacts, in minisign's format: whose a folder is, where hashes say it is whole.

A signature is of the manifest's bytes, and so through its hashes of every file that it names. It
lies beside it, and minisign itself takes it, too: ``minisign -Vm manifest.json -p KEY.pub``. The
arithmetic is that of the ``minisign`` package (extra [sign]).
"""

from __future__ import annotations

import binascii
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sam3_tvm.errors import Sam3Error, UsageError, as_argument, one_line
from sam3_tvm.extras import needed
from sam3_tvm.files import write_whole
from sam3_tvm.json_file import read_regular

if TYPE_CHECKING:
    from minisign import PublicKey

__all__ = [
    "SIGNATURE",
    "SIGNED_BY",
    "SignatureError",
    "check_signature",
    "key_text",
    "new_key",
    "required_key",
    "sign",
]

SIGNATURE = "manifest.json.minisig"
"""The file with the signature, beside the manifest."""

SIGNED_BY = "SAM3_TVM_SIGNED_BY"
"""The variable of the environment that requires a signature of whatever is opened."""


class SignatureError(Sam3Error):
    """A signature that is missing or another's, or a key that cannot be used."""

    def __str__(self) -> str:
        return one_line(super().__str__())


def required_key(
    given: str | os.PathLike[str] | None, environment: Mapping[str, str] = os.environ
) -> str | os.PathLike[str] | None:
    """The key by which artifacts must be signed; None where nobody asks for one.

    Args:
        given: by the caller; by default what :data:`SIGNED_BY` says.
        environment: where that is looked up.

    Raises:
        SignatureError: an empty key, which would check nothing.
    """
    key = environment.get(SIGNED_BY) if given is None else given
    if key is not None and not os.fspath(key):
        where = f"{SIGNED_BY} in the environment" if given is None else "require_signature"
        raise SignatureError(f"{where} is empty: give a public key, or leave it out")
    return key


def key_text(key: str | os.PathLike[str]) -> str:
    """A public key's text, as it is taken where its file isn't.

    Raises:
        SignatureError: the key is none.
        MissingExtraError: the extra [sign] is missing.
    """
    return str(_public(key).to_base64().decode())


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
        raw = read_regular(folder / SIGNATURE)
    except FileNotFoundError as error:
        raise SignatureError(f"{folder}: has no signature ({SIGNATURE}); {advice}") from error
    except OSError as error:
        raise SignatureError(
            f"{folder / SIGNATURE}: cannot be read ({error.strerror}); {advice}"
        ) from error
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
        with SecretKey.from_bytes(read_regular(key)) as secret:
            if secret.is_encrypted():
                secret.decrypt(password())
            # The package takes printable ASCII alone.
            plain = comment.encode("ascii", "backslashreplace").decode("ascii")
            text = bytes(secret.sign(manifest, trusted_comment=plain))
    except (Error, OSError) as error:
        raise SignatureError(
            f"{key}: can't be signed with ({getattr(error, 'strerror', None) or error}); give the "
            "file of a secret key that minisign -G or sam3-tvm sign --new-key made"
        ) from error
    try:
        write_whole(folder / SIGNATURE, lambda path: path.write_bytes(text))
    except UsageError as error:
        raise SignatureError(f"{error}") from error


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
    pair = KeyPair.generate()
    if password:
        pair.secret_key.encrypt(password)
    made: list[Path] = []
    try:
        for file, mode, key in ((path, 0o600, pair.secret_key), (public, 0o644, pair.public_key)):
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
                made.append(file)
                out.write(bytes(key))
    except OSError as error:
        # Half a pair is of no use, and its name would be taken.
        for file in made:
            file.unlink(missing_ok=True)
        taken = public if made else path
        if isinstance(error, FileExistsError):
            raise SignatureError(
                f"{taken}: exists, and keys are never written over; choose another name, or leave "
                "--new-key out to sign with it"
            ) from error
        raise SignatureError(f"{taken}: cannot be written ({error.strerror})") from error
    return public


def _public(key: str | os.PathLike[str]) -> PublicKey:
    with _package():
        from minisign import Error, PublicKey
    # A text first: a file of that name, which came with an artifact, must not stand in for it.
    if isinstance(key, str) and key.startswith("RW"):
        with suppress(Error, ValueError, binascii.Error):
            return PublicKey.from_base64(key)
    try:
        return PublicKey.from_bytes(read_regular(Path(key)))
    except (Error, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SignatureError(
            f"{as_argument(f'{key}')}: is no public key ({reason}); give the file that minisign "
            "wrote (.pub), or the text in it that begins with RW"
        ) from error


@contextmanager
def _package() -> Iterator[None]:
    with needed("sign", "a signature"):
        yield
