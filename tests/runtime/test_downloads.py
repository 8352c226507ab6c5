"""Downloads against a server on this machine: whole, checked and in place, or one line and nothing left."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
import torch

from tmal_core.errors import RunError, WeightsError
from tmal_core.runtime.downloads import download

BODY = bytes(range(256)) * 1000
REVISION = "0" * 40


class _Handler(BaseHTTPRequestHandler):
    """Gives BODY for addresses that end with `.pt`, as Hugging Face would, and status 404 for all others."""

    def do_HEAD(self) -> None:
        found = self.path.endswith(".pt")
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(BODY) if found else 0))
        self.send_header("ETag", '"one"')
        self.send_header("X-Repo-Commit", REVISION)
        if not found:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        if self.path.endswith(".pt"):
            self.wfile.write(BODY)

    def log_message(self, *arguments: object) -> None:
        pass


pytestmark = pytest.mark.usefixtures("no_sockets_left")


@pytest.fixture
def address(monkeypatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "weights" / "kept.pt"


def assert_nothing_left(target: Path) -> None:
    assert not list(target.parent.glob("*"))


def test_a_file_arrives_whole_and_after_its_check(address, target, capfd):
    seen = []
    download(f"{address}/a.pt", target, lambda part: seen.append((part.read_bytes() == BODY, target.exists())))
    assert seen == [(True, False)]
    assert target.read_bytes() == BODY
    assert list(target.parent.iterdir()) == [target], "nothing stays beside it"
    assert "100%" in capfd.readouterr().err, "a bar"
    assert socket.getdefaulttimeout() is None


def test_hugging_face(address, target, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", partial(huggingface_hub.hf_hub_download, endpoint=address))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    url = "https://huggingface.co/somebody/clip/resolve/main/"
    download(f"{url}model.pt", target)
    assert target.read_bytes() == BODY
    assert list(target.parent.iterdir()) == [target], "nothing stays beside it"
    with pytest.raises(WeightsError, match=rf"^expected a file at {url}none, got status 404\. Look at the address"):
        download(f"{url}none", target)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=rf"^expected an answer from {url}model.pt, got .*offline.*"):
        download(f"{url}model.pt", target)
    assert target.read_bytes() == BODY, "what was there stays"


def test_a_file_that_fails_its_check_does_not_arrive(address, target):
    def check(part: Path) -> None:
        raise WeightsError("the right file", "another", "Give another address.")

    with pytest.raises(WeightsError, match="expected the right file, got another"):
        download(f"{address}/a.pt", target, check)
    assert_nothing_left(target)
    target.write_bytes(b"before")
    with pytest.raises(WeightsError):
        download(f"{address}/a.pt", target, check)
    assert target.read_bytes() == b"before"


def test_an_error_page_is_no_file(address, target):
    with pytest.raises(WeightsError, match=rf"^expected a file at {address}/a, got status 404\. Look at the address"):
        download(f"{address}/a", target)
    assert_nothing_left(target)


def test_nobody_listens(target, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/a.pt"
        with pytest.raises(WeightsError, match=rf"expected an answer from {url}, got .*refused\. Look at the address"):
            download(url, target)
    assert_nothing_left(target)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://a.example/w", "/w", "", "https://", "http://a b/w"])
def test_addresses_of_another_kind_are_refused(target, url):
    with pytest.raises(WeightsError, match="expected an address that starts with https:// or http://, got"):
        download(url, target)
    assert not target.parent.exists()


def test_a_full_disk(target, monkeypatch):
    def fill(url: str, part: str) -> None:
        Path(part).write_bytes(BODY)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fill)
    with pytest.raises(RunError, match=r"expected room on the disk for .*weights, got a full disk"):
        download("https://a.example/a.pt", target)
    assert_nothing_left(target)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "weights").write_bytes(b"a file")
    with pytest.raises(RunError, match=r"expected a folder .*weights to write to, got (File exists|Not a directory)"):
        download("https://a.example/a.pt", tmp_path / "weights" / "kept.pt")
