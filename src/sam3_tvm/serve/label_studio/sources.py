"""Where pictures of tasks come from: the task itself, one Label Studio, one folder; nowhere else.

A task names its picture, and who writes tasks isn't who runs this server: a name leads to no other
host and to no file outside that folder.
"""

from __future__ import annotations

import base64
import json
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

from sam3_tvm.errors import UsageError, one_line
from sam3_tvm.locks import Lock
from sam3_tvm.serve.problems import Problem

__all__ = ["KEY", "Sources", "check_url"]

KEY = "LABEL_STUDIO_API_KEY"
"""The environment variable that has the access token, as for Label Studio's own backends."""

_SECONDS = 30.0
_LOCAL_FILES = "/data/local-files/"
# Of a path, its query and a fragment, RFC 3986; letters and digits always are.
_AS_THEY_ARE = "%/?#:@!$&'()*+,;="
_DATA = re.compile(r"data:image/[\w.+-]+;base64,", re.ASCII)


def check_url(url: str) -> str:
    """A Label Studio's address, without a slash at its end.

    Raises:
        UsageError: it is none.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or "@" in parts.netloc:
        raise UsageError(
            f"--label-studio {url}: takes the address of a Label Studio, such as "
            "http://localhost:8080"
        )
    return url.rstrip("/")


@dataclass(frozen=True)
class Sources:
    """What tasks may name.

    Attributes:
        url: the Label Studio's address; None for none.
        key: its access token.
        files: the folder of its local files, ``LOCAL_FILES_DOCUMENT_ROOT`` there; None for none.
    """

    url: str | None = None
    key: str | None = field(default=None, repr=False)
    files: Path | None = None

    def read(self, name: str, most: int) -> bytes:
        """A picture's file. This waits for the network and the disk.

        Args:
            name: as a task has it: ``data:image/...;base64,...``, ``/data/upload/...`` or another
                path of the Label Studio's, ``/data/local-files/?d=...``, or its address and that.
            most: bytes that are taken.

        Raises:
            Problem: another name (422), what isn't there (404), too large (413), or a Label Studio
                that doesn't give it (502).
        """
        if found := _DATA.match(name):
            return _checked(_decoded(name[found.end() :]), most)
        path = self._path(name)
        parts = urlsplit(path)
        if self.files is not None and parts.path == _LOCAL_FILES:
            return self._local(self.files, parse_qs(parts.query).get("d", [""])[0], most)
        if self.url is None:
            raise Problem(
                422,
                f"{one_line(name[:200])}: start the server with --label-studio URL to read this",
            )
        return self._fetched(self.url, path, most)

    def _path(self, name: str) -> str:
        """The path, and the query, of a name that leads to the Label Studio."""
        if name.startswith("/") and not name.startswith("//"):
            return name
        if self.url is not None:
            own, other = urlsplit(self.url), _split(name)
            if other and (own.scheme, own.netloc.lower()) == (other.scheme, other.netloc.lower()):
                return other._replace(scheme="", netloc="").geturl() or "/"
        raise Problem(
            422,
            f"{one_line(name[:200])}: pictures are read from the Label Studio of --label-studio, "
            "from the folder of --label-studio-files, or from data: URLs, and from nowhere else",
        )

    @staticmethod
    def _local(folder: Path, name: str, most: int) -> bytes:
        root = folder.resolve()
        try:
            path = (root / name).resolve()
            inside = path.is_relative_to(root) and path.is_file()
        except (OSError, ValueError):
            inside = False
        if not inside:
            raise Problem(404, f"{one_line(name[:200])}: not in the folder of --label-studio-files")
        try:
            with path.open("rb") as file:
                return _checked(file.read(most + 1), most)
        except OSError as error:
            raise Problem(404, f"{one_line(name[:200])}: cannot be read") from error

    def _fetched(self, url: str, path: str, most: int) -> bytes:
        own = urlsplit(url)
        # A name that was written by hand has spaces or letters that no request may have; "%" stays.
        request = urllib.request.Request(f"{own.scheme}://{own.netloc}{quote(path, _AS_THEY_ARE)}")
        if self.key:
            request.add_header("Authorization", _tokens.header(url, self.key))
        return _checked(_ask(request, most + 1), most)


def _split(name: str) -> SplitResult | None:
    try:
        return urlsplit(name)
    except ValueError:  # brackets without an address in them, say
        return None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Problem(422, "a data: URL that is no base64") from error


def _checked(data: bytes, most: int) -> bytes:
    if len(data) > most:
        raise Problem(413, f"a picture has more than the {most:,} bytes that are taken")
    return data


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection, which would lead elsewhere."""

    def redirect_request(self, *_: object) -> None:
        return None


def _ask(request: urllib.request.Request, most: int) -> bytes:
    try:
        # Checked by check_url: http or https.
        with urllib.request.build_opener(_Stay).open(request, timeout=_SECONDS) as answer:
            content: bytes = answer.read(most)
            return content
    except urllib.error.HTTPError as error:
        where = urlsplit(request.full_url).path
        if error.code in (401, 403):
            why = f"it wants another access token than that in {KEY}"
        elif error.code == 404:
            why = "it has no such thing, or not for whoever has this access token"
        elif error.code < 400:
            why = "it leads elsewhere, where nothing is read: cloud storages need local files"
        else:
            why = f"it answers {error.code}"
        raise Problem(502, f"Label Studio doesn't give {one_line(where[:200])}: {why}") from error
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise Problem(502, f"Label Studio cannot be reached ({one_line(f'{reason}')})") from error


class _Tokens:
    """Access tokens: old ones are sent as they are, personal ones are exchanged for a short one."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._short: dict[tuple[str, str], tuple[str, float]] = {}

    def header(self, url: str, key: str) -> str:
        """What goes into ``Authorization``."""
        if key.count(".") != 2:
            return f"Token {key}"
        with self._lock:
            short, until = self._short.get((url, key), ("", 0.0))
            if time.monotonic() >= until:
                request = urllib.request.Request(
                    f"{url}/api/token/refresh",
                    json.dumps({"refresh": key}).encode(),
                    {"Content-Type": "application/json"},
                )
                try:
                    short = f"{json.loads(_ask(request, 1 << 16))['access']}"
                except (ValueError, KeyError, TypeError) as error:
                    raise Problem(502, "Label Studio gives no access token") from error
                self._short[url, key] = (short, time.monotonic() + _SHORT_LIVED)
            return f"Bearer {short}"


# Seconds; Label Studio lets them live five minutes.
_SHORT_LIVED = 120.0

_tokens = _Tokens()
