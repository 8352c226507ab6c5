"""Downloading one file so that it arrives whole or not at all, and a second try goes on where the first one stopped.

Bytes go to `<file>.part`; what they are part of (address, length, the server's tag) is in `<file>.part.json`. A second
try asks for the rest with `Range` and `If-Range`, so that a server whose file changed sends the new one from its start;
one that ignores `Range` does so too. The file moves to its place only when its length is the announced one and the
caller's check passed. A stall, a cut or Ctrl-C keep the part; a file that is not the right one does not.
"""

from __future__ import annotations

import errno
import http.client
import json
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tqdm.auto import tqdm

from tmal_core.errors import RunError, TmalError, WeightsError
from tmal_core.runtime.files import full_disk_is_clear

MAX_REDIRECTS = 5
STALL_S = 30.0
_BLOCK = 1 << 18
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


def download(
    url: str,
    path: Path,
    check: Callable[[Path], None] = lambda part: None,
    *,
    stall_s: float = STALL_S,
    progress: bool = True,
) -> None:
    """Fetch a file.

    Args:
        url: http or https.
        path: where it goes; whatever is there is replaced at the end, in one step.
        check: called with the whole file before it moves there; what it raises is raised, and the file removed.
        stall_s: longest wait in seconds for an answer or for further bytes.
        progress: show a bar.

    Raises:
        WeightsError: another kind of address, no answer, an answer that is no file, a stall, or another length than
            announced.
        RunError: not enough room on the disk.
    """
    _require_http(url)
    with full_disk_is_clear(path.parent), _writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _Part.of(path, url)
        if not part.is_whole:
            with _network_errors(url, part, stall_s):
                response = _open(url, part, stall_s)
            with closing(response):
                _receive(url, response, part, stall_s, progress)
        try:
            check(part.path)
        except TmalError:
            part.remove()
            raise
        part.path.replace(path)
        part.remove()


@dataclass
class _Facts:
    """What a part is part of."""

    url: str
    length: int | None
    tag: str
    """ETag or Last-Modified, which `If-Range` takes; empty where the server gives neither."""


@dataclass
class _Part:
    """The bytes that are there already."""

    path: Path
    note: Path
    facts: _Facts | None

    @classmethod
    def of(cls, target: Path, url: str) -> _Part:
        """What an earlier try left for this file; a part that nothing is known of, or of another address, goes."""
        part = cls(target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.json"), None)
        try:
            facts = _Facts(**json.loads(part.note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            part.remove()
            return part
        if facts.url == url and facts.tag and part.size:
            part.facts = facts
        else:
            part.remove()
        return part

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing: the last try ended before the file could move to its place."""
        return self.facts is not None and self.facts.length == self.size

    def start(self, facts: _Facts) -> None:
        """Begin anew."""
        self.remove()
        self.facts = facts
        self.note.write_text(json.dumps(asdict(facts)), encoding="utf-8")

    def remove(self) -> None:
        self.facts = None
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Few redirects, to http and https only, and never from https to http."""

    max_redirections = MAX_REDIRECTS

    def redirect_request(self, request, file, code, message, headers, new_url):
        try:
            _require_http(new_url)
            if request.type == "https" and not new_url.lower().startswith("https:"):
                remedy = "Give another --url."
                raise WeightsError(f"https all the way from {request.full_url}", f"a redirect to {new_url}", remedy)
        except WeightsError:
            file.close()
            raise
        return super().redirect_request(request, file, code, message, headers, new_url)


def _require_http(url: str) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and url.isascii()
        valid = valid and not set(url) & set(" \t\r\n")
    except ValueError:
        valid = False
    if not valid:
        raise WeightsError("an address that starts with https:// or http://", repr(url), "Give another --url.")


def _open(url: str, part: _Part, stall_s: float) -> http.client.HTTPResponse:
    """The answer, from byte `part.size` if it goes on; everything before it is there."""
    headers = {"User-Agent": "tmal", "Accept-Encoding": "identity"}
    if part.facts:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.facts.tag}
    # Built by hand: the default opener would follow file: and ftp: addresses too.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=stall_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and part.facts:
            part.remove()  # the file is now shorter than the part
            return _open(url, part, stall_s)
        raise
    if response.headers.get("Content-Encoding", "identity") != "identity":
        response.close()
        raise WeightsError(f"the file itself from {url}", "a compressed answer", "Give another --url.")
    if response.status == http.client.PARTIAL_CONTENT and not _goes_on(response, part):
        response.close()
        if not part.facts:
            raise WeightsError(f"the whole file from {url}", "a part of it, unasked", "Give another --url.")
        part.remove()
        return _open(url, part, stall_s)
    return response


def _goes_on(response: http.client.HTTPResponse, part: _Part) -> bool:
    """Whether a partial answer is the rest of the very file whose beginning is there."""
    match = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if not (match and part.facts):
        return False
    first, last, total = int(match[1]), int(match[2]), match[3]
    same_file = _tag(response) in ("", part.facts.tag) and part.facts.length in (None, last + 1)
    return first == part.size and total in ("*", str(last + 1)) and same_file


def _receive(url: str, response: http.client.HTTPResponse, part: _Part, stall_s: float, progress: bool) -> None:
    announced = response.length
    if response.status == http.client.PARTIAL_CONTENT:
        length = part.facts.length
    else:
        length = announced
        part.start(_Facts(url, length, _tag(response)))
    start = part.size
    _require_room(part, announced)
    with (
        part.path.open("ab") as file,
        tqdm(total=length, initial=start, desc=part.path.stem, unit="B", unit_scale=True, disable=not progress) as bar,
    ):
        while True:
            with _network_errors(url, part, stall_s):
                block = response.read1(_BLOCK)
            if not block:
                break
            file.write(block)
            file.flush()
            bar.update(len(block))
    if length is not None and part.size != length:
        raise WeightsError(f"{length} bytes from {url}", f"{part.size} before it hung up", _again(part))


def _tag(response: http.client.HTTPResponse) -> str:
    """What tells this file from a changed one: a strong ETag, or the time of its last change."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _require_room(part: _Part, needed: int | None) -> None:
    free = shutil.disk_usage(part.path.parent).free
    if needed is not None and needed > free:
        got = f"{free / 1e6:,.0f} MB"
        raise RunError(f"{needed / 1e6:,.0f} MB of room in {part.path.parent}", got, "Free some space and try again.")


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into an error for the user; a full one is left to `full_disk_is_clear`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        got = f"{error.strerror or error} ({error.filename or folder})"
        raise RunError(f"a folder {folder} to write to", got, "Correct it, or choose another.") from error


@contextmanager
def _network_errors(url: str, part: _Part, stall_s: float) -> Iterator[None]:
    """Turn what the network and the server do wrong into an error for the user."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise _failure(url, part, error, stall_s) from error


def _failure(url: str, part: _Part, error: Exception, stall_s: float) -> WeightsError:
    if isinstance(error, urllib.error.HTTPError):
        what = " ".join(str(error.msg).split())[:200]
        remedy = "Look at the address in a browser, or give another --url."
        return WeightsError(f"a file at {url}", f"status {error.code}: {what}", remedy)
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return WeightsError(f"bytes from {url}", f"none for {stall_s:g} s", _again(part))
    if isinstance(reason, http.client.IncompleteRead):
        return WeightsError(f"the whole file from {url}", "an answer cut short", _again(part))
    remedy = f"Look at the address and the network. {_again(part)}"
    return WeightsError(f"an answer from {url}", str(reason), remedy)


def _again(part: _Part) -> str:
    kept = f": it goes on after the {part.size} bytes that came" if part.facts and part.facts.tag and part.size else ""
    return f"Run the same command again{kept}."
