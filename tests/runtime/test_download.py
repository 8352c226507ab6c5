"""Downloads against a server that does everything wrong: whole and right, or an error and what is worth keeping."""

from __future__ import annotations

import errno
import io
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tmal_core.errors import RunError, WeightsError
from tmal_core.runtime import download as module
from tmal_core.runtime.download import download

BODY = np.random.default_rng(0).bytes(300_000)


class Server(ThreadingHTTPServer):
    """Serves `body` under every address; `answer`, if set, does something else with a request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = BODY
        self.etag: str | None = '"one"'
        self.honours_range = True
        self.answer: Callable[[_Handler], None] | None = None
        self.asked: list[tuple[str, str | None]] = []
        """Address and Range of every request."""
        self.released = threading.Event()
        """What a stalling answer waits for: the end of the test."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/weights.pt"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.close_connection = True
        self.server.asked.append((self.path, self.headers.get("Range")))
        (self.server.answer or _Handler.give)(self)

    def give(self, status: int | None = None, announce: int | None = None, send: int | None = None, **headers) -> None:
        """The file, or the rest of it; `announce` and `send` other numbers of bytes than are right."""
        body, start = self.server.body, 0
        same = self.headers.get("If-Range") in (None, self.server.etag)
        if self.server.honours_range and same and (match := re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))):
            start = int(match[1])
            if start >= len(body):
                self.head(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": 0})
                return
            headers = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} | headers
        rest = body[start:]
        tag = {"ETag": self.server.etag} if self.server.etag else {}
        length = {"Content-Length": len(rest) if announce is None else announce}
        self.head(status or (206 if start else 200), tag | length | headers)
        self.wfile.write(rest[:send])

    def head(self, status: int, headers: dict[str, object]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """Whatever proxy the machine has: all servers are here."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "weights" / "weights.pt"


def fetch(server: Server, target: Path, **options) -> None:
    download(server.url, target, progress=False, **{"stall_s": 120} | options)


def part_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def cut_after(sent: int) -> Callable[[_Handler], None]:
    return lambda handler: handler.give(send=sent)


def assert_whole(target: Path, body: bytes = BODY) -> None:
    assert target.read_bytes() == body
    assert list(target.parent.iterdir()) == [target], "nothing stays beside it"


def assert_kept(target: Path, size: int) -> None:
    assert not target.exists()
    assert part_of(target).read_bytes() == BODY[:size]


def test_whole_file(server, target, capfd):
    fetch(server, target)
    assert_whole(target)
    assert capfd.readouterr() == ("", "")
    download(server.url, target)
    assert "weights.pt" in capfd.readouterr().err, "a bar"


def test_a_cut_answer_keeps_its_part_and_the_next_try_goes_on(server, target):
    server.answer = cut_after(100_000)
    with pytest.raises(
        WeightsError,
        match=r"expected 300000 bytes from http.*, got 100000 before it hung up\. .*after the 100000 bytes",
    ):
        fetch(server, target)
    assert_kept(target, 100_000)
    server.answer = lambda handler: handler.give(send=50_000)
    with pytest.raises(WeightsError, match=r"expected 300000 bytes from http.*, got 150000 before it hung up"):
        fetch(server, target)
    assert_kept(target, 150_000)
    server.answer = None
    fetch(server, target)
    assert_whole(target)
    assert [asked for _, asked in server.asked] == [None, "bytes=100000-", "bytes=150000-"]


def test_a_stall_is_an_error_that_keeps_the_part(server, target):
    def stall(handler: _Handler) -> None:
        handler.give(send=100_000)
        handler.wfile.flush()
        server.released.wait(250)

    server.answer = stall
    with pytest.raises(
        WeightsError, match=r"got none for 4 s\. Run the same command again: it goes on after the 100000 byt"
    ):
        fetch(server, target, stall_s=4)  # long enough for the first bytes on a busy machine
    assert_kept(target, 100_000)
    server.answer = None
    fetch(server, target)
    assert_whole(target)
    assert server.asked[-1][1] == "bytes=100000-"


def test_no_answer_at_all(server, target):
    server.answer = lambda handler: server.released.wait(250)
    with pytest.raises(WeightsError, match=r"got none for 0\.3 s\. Run the same command again\.$"):
        fetch(server, target, stall_s=0.3)


def test_nobody_listens(server, target):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/weights.pt"
        with pytest.raises(WeightsError, match=rf"expected an answer from {url}, got .*refused\. Look at the address"):
            download(url, target, progress=False)


def test_more_announced_than_sent(server, target):
    server.answer = lambda handler: handler.give(announce=300_007)
    with pytest.raises(WeightsError, match=r"expected 300007 bytes from .*, got 300000 before it hung up"):
        fetch(server, target)
    assert not target.exists()


def test_less_announced_than_sent_is_found_by_the_check(server, target):
    """HTTP ends a file where its announced length ends; only who knows the file can tell. The part is worth nothing."""

    def check(part: Path) -> None:
        assert not target.exists()
        if part.read_bytes() != BODY:
            raise WeightsError("the file", "another", "Try again.")

    server.answer = lambda handler: handler.give(announce=200_000)
    with pytest.raises(WeightsError, match="expected the file, got another"):
        fetch(server, target, check=check)
    assert list(target.parent.iterdir()) == []
    server.answer = None
    fetch(server, target, check=check)
    assert_whole(target)


def test_a_wrong_file_does_not_replace_what_is_there(server, target):
    def refuse(part: Path) -> None:
        raise WeightsError("another file", "this one", "Go on.")

    target.parent.mkdir()
    target.write_bytes(b"old")
    with pytest.raises(WeightsError, match="expected another file"):
        fetch(server, target, check=refuse)
    assert_whole(target, b"old")
    fetch(server, target)
    assert_whole(target)


def test_interrupted_while_it_is_checked(server, target):
    """Hashing a gigabyte takes a while; whoever stops it does not load the gigabyte again."""

    def interrupt(part: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(server, target, check=interrupt)
    assert_kept(target, len(BODY))
    fetch(server, target)
    assert_whole(target)
    assert len(server.asked) == 1, "nothing was missing, so nobody was asked"


def test_a_server_that_ignores_range(server, target):
    server.answer = cut_after(100_000)
    with pytest.raises(WeightsError):
        fetch(server, target)
    server.answer, server.honours_range = None, False
    fetch(server, target)
    assert_whole(target)


@pytest.mark.parametrize("honest", [True, False])
def test_a_file_that_changes_between_two_tries(server, target, honest):
    """An honest server answers `If-Range` with the new file; another is given away by its ETag."""
    server.answer = cut_after(100_000)
    with pytest.raises(WeightsError):
        fetch(server, target)
    server.body, server.etag = BODY[::-1], '"two"'

    def give_the_rest(handler: _Handler) -> None:
        if handler.headers.get("If-Range"):
            handler.headers.replace_header("If-Range", '"two"')
        handler.give()

    server.answer = None if honest else give_the_rest
    fetch(server, target)
    assert_whole(target, BODY[::-1])
    assert [asked for _, asked in server.asked] == [None, "bytes=100000-", *([] if honest else [None])]


def test_a_file_that_became_shorter(server, target):
    server.answer = cut_after(100_000)
    with pytest.raises(WeightsError):
        fetch(server, target)
    server.body, server.answer = BODY[:50_000], None
    fetch(server, target)
    assert_whole(target, BODY[:50_000])


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": None},
        {"Content-Range": "bytes 99000-299999/300000"},
        {"Content-Range": "bytes 100000-299999/400000"},
        {"Content-Range": "lines 1-2/3"},
    ],
)
def test_a_part_that_does_not_fit_is_not_appended(server, target, headers):
    server.answer = cut_after(100_000)
    with pytest.raises(WeightsError):
        fetch(server, target)
    server.answer = lambda handler: handler.give(**headers if handler.headers.get("Range") else {})
    fetch(server, target)
    assert_whole(target)
    assert [asked for _, asked in server.asked] == [None, "bytes=100000-", None]


def test_a_part_that_nobody_asked_for(server, target):
    server.answer = lambda handler: handler.give(206, **{"Content-Range": "bytes 0-299999/300000"})
    with pytest.raises(WeightsError, match=r"expected the whole file from http.*, got a part of it, unasked"):
        fetch(server, target)


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_tag_the_next_try_starts_anew(server, target, etag):
    """Nothing would tell a changed file from the same one."""
    server.etag, server.answer = etag, cut_after(100_000)
    with pytest.raises(WeightsError):
        fetch(server, target)
    server.answer = None
    fetch(server, target)
    assert_whole(target)
    assert server.asked[-1][1] is None


def test_the_time_of_the_last_change_is_a_tag_too(server, target):
    when = {"ETag": None, "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    server.etag, server.answer = when["Last-Modified"], lambda handler: handler.give(send=100_000, **when)
    with pytest.raises(WeightsError):
        fetch(server, target)
    server.answer = lambda handler: handler.give(**when)
    fetch(server, target)
    assert_whole(target)
    assert server.asked[-1][1] == "bytes=100000-"


@pytest.mark.parametrize("damage", ["note gone", "note damaged", "another address"])
def test_a_part_of_something_else_is_not_used(server, target, damage):
    server.answer = cut_after(100_000)
    with pytest.raises(WeightsError):
        fetch(server, target)
    server.answer, note = None, part_of(target).with_suffix(".part.json")
    assert json.loads(note.read_text())["length"] == 300_000
    if damage == "note gone":
        note.unlink()
    elif damage == "note damaged":
        note.write_text("{")
    else:
        note.write_text(note.read_text().replace("weights.pt", "others.pt"))
    fetch(server, target)
    assert_whole(target)
    assert server.asked[-1][1] is None


def redirect(location: str) -> Callable[[_Handler], None]:
    return lambda handler: handler.head(302, {"Location": location, "Content-Length": 0})


def test_redirects_are_followed(server, target):
    server.answer = lambda handler: handler.give() if handler.path == "/there" else redirect("/there")(handler)
    fetch(server, target)
    assert_whole(target)
    assert [path for path, _ in server.asked] == ["/weights.pt", "/there"]


def test_a_redirect_keeps_the_range(server, target):
    server.answer = cut_after(100_000)
    with pytest.raises(WeightsError):
        fetch(server, target)
    server.answer = lambda handler: handler.give() if handler.path == "/there" else redirect("/there")(handler)
    fetch(server, target)
    assert_whole(target)
    assert server.asked[-1] == ("/there", "bytes=100000-")


@pytest.mark.parametrize("loop", ["/weights.pt", "/more"])
def test_redirects_end(server, target, loop):
    """A loop, and a chain of ever new addresses."""
    server.answer = lambda handler: redirect(loop if loop == "/weights.pt" else handler.path + "/more")(handler)
    with pytest.raises(WeightsError, match=r"expected a file at http.*, got status 302: .*infinite loop"):
        fetch(server, target)
    assert len(server.asked) <= module.MAX_REDIRECTS + 1


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/weights.pt", "data:,weights", "http:"])
def test_redirects_to_something_else_are_refused(server, target, location):
    server.answer = redirect(location)
    with pytest.raises(WeightsError, match=r"not allowed|starts with https:// or http://|status 302|no host"):
        fetch(server, target)
    assert not target.exists()


def test_https_is_not_left():
    request = module.urllib.request.Request("https://a.example/weights.pt")
    with (
        Path(__file__).open("rb") as file,
        pytest.raises(WeightsError, match="expected https all the way from https://a"),
    ):
        module._Redirects().redirect_request(request, file, 302, "Found", {}, "http://a.example/weights.pt")


@pytest.mark.parametrize(
    "url",
    ["file:///etc/hostname", "ftp://a.example/w", "/etc/hostname", "", "https://", "http://a b/w", "http://ä.example/",
     "http://a:99999/w", "http://[::1/w", "data:,weights"],
)  # fmt: skip
def test_addresses_of_another_kind_are_refused(target, url):
    with pytest.raises(WeightsError, match="expected an address that starts with https:// or http://, got"):
        download(url, target, progress=False)
    assert not target.parent.exists()


@pytest.mark.parametrize(("status", "message"), [(404, "status 404: Not Found"), (503, "status 503: Service Unavail")])
def test_an_error_page_is_no_file(server, target, status, message):
    server.answer = lambda handler: handler.give(status)
    with pytest.raises(WeightsError, match=rf"expected a file at http.*, got {message}.*or give another --url"):
        fetch(server, target)
    assert not target.exists()


def test_a_server_that_is_busy_later_costs_no_bytes(server, target):
    server.answer = cut_after(100_000)
    with pytest.raises(WeightsError):
        fetch(server, target)
    server.answer = lambda handler: handler.give(503)
    with pytest.raises(WeightsError, match="status 503"):
        fetch(server, target)
    assert_kept(target, 100_000)


def test_garbage_instead_of_http(server, target):
    server.answer = lambda handler: handler.wfile.write(b"SSH-2.0-x\r\n")
    with pytest.raises(WeightsError, match=r"expected an answer from http"):
        fetch(server, target)


def chunks(*sizes: int, end: bytes = b"0\r\n\r\n") -> Callable[[_Handler], None]:
    def answer(handler: _Handler) -> None:
        handler.head(200, {"Transfer-Encoding": "chunked", "ETag": '"one"'})
        start = 0
        for size in sizes:
            handler.wfile.write(f"{size:x}\r\n".encode() + BODY[start : start + size] + b"\r\n")
            start += size
        handler.wfile.write(end)

    return answer


def test_a_length_that_is_not_announced(server, target):
    server.answer = chunks(100_000, 200_000)
    fetch(server, target)
    assert_whole(target)


def test_a_length_that_is_not_announced_cut_short(server, target):
    server.answer = chunks(100_000, end=b"")
    with pytest.raises(WeightsError, match=r"expected the whole file from http.*cut short\. .*after the 100000 bytes"):
        fetch(server, target)
    server.answer = None
    fetch(server, target)
    assert_whole(target)
    assert server.asked[-1][1] == "bytes=100000-"


def test_a_compressed_answer_is_refused(server, target):
    server.answer = lambda handler: handler.give(**{"Content-Encoding": "gzip"})
    with pytest.raises(WeightsError, match=r"expected the file itself from .*, got a compressed answer"):
        fetch(server, target)


def test_more_than_the_disk_holds_is_refused_before_it_is_full(server, target):
    server.answer = lambda handler: handler.give(announce=10**17)
    with pytest.raises(RunError, match=r"expected 100,000,000,000 MB of room in .*weights, got [\d,]+ MB"):
        fetch(server, target)


def test_a_disk_that_fills_up(server, target, monkeypatch):
    """The part is kept: with more room the next try goes on."""
    with monkeypatch.context() as patch:
        patch.setattr(module, "_BLOCK", 1000)
        opened = Path.open
        patch.setattr(
            Path, "open", lambda path, mode, **how: (_FullDisk if mode == "ab" else opened)(path, mode, **how)
        )
        with pytest.raises(RunError, match=r"expected room on the disk .*, got a full disk"):
            fetch(server, target)
    assert_kept(target, 50_000)
    fetch(server, target)
    assert_whole(target)
    assert server.asked[-1][1] == "bytes=50000-"


class _FullDisk(io.FileIO):
    """A file on a disk with 50,000 bytes left."""

    def write(self, block: bytes) -> int:
        written = super().write(block[: 50_000 - self.tell()])
        if written < len(block):
            raise OSError(errno.ENOSPC, "No space left on device")
        return written


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "weights").write_bytes(b"a file")
    with pytest.raises(RunError, match=r"expected a folder .*weights to write to, got (File exists|Not a directory)"):
        fetch(server, tmp_path / "weights" / "weights.pt")
