"""`tmal weights`: the table tells what is there, and what is fetched is the right file or nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tmal_core import cli
from tmal_core.errors import SettingsError, WeightsError
from tmal_core.runtime.weights_files import WEIGHTS
from tmal_core.tasks.weights import fetch_weights, list_weights, named, record_weights

pytestmark = pytest.mark.usefixtures("no_sockets_left")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TMAL_WEIGHTS", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.fixture
def served(tmp_path, monkeypatch) -> Iterator[tuple[Path, str]]:
    """A folder, and the address under which its files are."""
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "served").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path / "served")))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield tmp_path / "served", f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def publish(monkeypatch, name: str, path: Path, address: str, digits: int = 64) -> str:
    """Let the registry state the checksum of a file and an address of it."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = dataclasses.replace(WEIGHTS[name], url=f"{address}/{path.name}", sha256=digest[:digits])
    monkeypatch.setitem(WEIGHTS, name, entry)
    return digest


def row(table: str, name: str) -> str:
    return next(line for line in table.splitlines() if line.startswith(f"{name} "))


def test_the_table(folder, monkeypatch):
    table = list_weights(progress=False)
    assert all(name in table for name in WEIGHTS)
    assert "comes with the project" in row(table, "tiny_clip")
    assert all(word in row(table, "clip_vit_b_16") for word in ("~351 MB", "missing", "5806e77cd80f", "ViT-B-16.pt"))
    assert all(word in row(table, "flownet2") for word in ("~620 MB", "missing", "none published"))
    assert f"They belong into {folder} " in table
    assert "By hand: flownet2, flownet2c, flownet2s, flownet2sd, flownet2cs, flownet2css: the links" in table
    assert "There too" not in table

    folder.mkdir()
    for entry in (WEIGHTS["flownet2"], WEIGHTS["raft_small"]):
        (folder / entry.file).write_bytes(b"x" * 2_000_000)
    (folder / "mine.pt").write_bytes(b"")
    table = list_weights(progress=False)
    assert all(word in row(table, "flownet2") for word in (" 2 MB", "there, unchecked", "none published"))
    assert "WRONG FILE" in row(table, "raft_small")
    assert "By hand: flownet2c, " in table, "what is there need not be found"
    assert table.splitlines()[-1] == "There too: mine.pt"
    record_weights("flownet2")
    assert "there, as recorded" in row(list_weights(progress=False), "flownet2")


def test_fetched_and_held_against_the_published_checksum(folder, served, monkeypatch):
    source, address = served
    (source / "clip.pt").write_bytes(b"CLIP" * 1000)
    digest = publish(monkeypatch, "clip_vit_b_16", source / "clip.pt", address)
    said = fetch_weights("clip_vit_b_16")
    assert said == f"{folder}/ViT-B-16.pt: sha256 {digest}, as published."
    assert (folder / "ViT-B-16.pt").read_bytes() == b"CLIP" * 1000
    assert "there, as published" in row(list_weights(progress=False), "clip_vit_b_16")
    (source / "clip.pt").unlink()
    assert fetch_weights("clip_vit_b_16") == f"{folder}/ViT-B-16.pt is there already, as published."


def test_another_file_than_the_published_one_does_not_arrive(folder, served, monkeypatch):
    source, address = served
    (source / "clip.pt").write_bytes(b"CLIP" * 1000)
    digest = publish(monkeypatch, "clip_vit_b_16", source / "clip.pt", address)
    folder.mkdir()
    (folder / "ViT-B-16.pt").write_bytes(b"damaged")
    (source / "clip.pt").write_bytes(b"CLAP" * 1000)
    got = hashlib.sha256(b"CLAP" * 1000).hexdigest()[:12]
    message = rf"ViT-B-16\.pt \(sha256 {digest[:12]}\.\.\.\), got sha256 {got}\.\.\. from {address}.*the official file"
    with pytest.raises(WeightsError, match=message):
        fetch_weights("clip_vit_b_16")
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("ViT-B-16.pt", b"damaged")]
    (source / "mirror").write_bytes(b"CLIP" * 1000)
    fetch_weights("clip_vit_b_16", f"{address}/mirror")
    assert (folder / "ViT-B-16.pt").read_bytes() == b"CLIP" * 1000


@pytest.mark.parametrize("name", ["flownet2s", "raft_small"])
def test_without_a_whole_checksum_it_must_be_a_weights_file(folder, served, monkeypatch, name):
    """A page of Google Drive instead of the file is the commonest way to a broken download."""
    source, address = served
    (source / "page").write_text("<html>Google Drive can't scan this file for viruses.</html>")
    if name == "raft_small":
        publish(monkeypatch, name, source / "page", address, digits=8)
    with pytest.raises(
        WeightsError, match=rf"expected a weights file from {address}/page, got .*Look at the address in"
    ):
        fetch_weights(name, f"{address}/page")
    assert list(folder.iterdir()) == []


def test_without_a_published_checksum_the_one_found_can_be_recorded(folder, served):
    source, address = served
    torch.save({"state_dict": {}}, source / "flownet")
    digest = hashlib.sha256((source / "flownet").read_bytes()).hexdigest()
    said = fetch_weights("flownet2s", f"{address}/flownet")
    keep = "its publisher states no checksum, `tmal weights record flownet2s` keeps this one."
    assert said == f"{folder}/FlowNet2-S_checkpoint.pth.tar: sha256 {digest}; {keep}"
    assert record_weights("flownet2s").startswith(
        f"{folder}/FlowNet2-S_checkpoint.pth.tar: sha256 {digest}, recorded in"
    )
    (folder / "FlowNet2-S_checkpoint.pth.tar").write_bytes(b"changed")
    with pytest.raises(WeightsError, match="recorded sha256"):
        fetch_weights("flownet2s", f"{address}/flownet")
    (folder / "FlowNet2-S_checkpoint.pth.tar").unlink()
    torch.save({"state_dict": {"more": torch.zeros(1)}}, source / "flownet")
    with pytest.raises(WeightsError, match="recorded sha256"):
        fetch_weights("flownet2s", f"{address}/flownet")


def test_names_of_open_clip(folder, served):
    source, address = served
    entry = named("ViT-B-16:laion2b_s34b_b88k")
    assert entry.url.startswith("https://huggingface.co/laion/")
    save_file({"a": torch.zeros(1)}, source / "clip")
    fetch_weights("ViT-B-16:laion2b_s34b_b88k", f"{address}/clip")
    assert "There too: ViT-B-16-laion2b_s34b_b88k.safetensors" in list_weights(progress=False)
    assert named("ViT-B-16-quickgelu:openai") is WEIGHTS["clip_vit_b_16"]
    with pytest.raises(
        SettingsError, match="expected a model and its weights as open_clip calls them, got 'ViT-B-16:no'"
    ):
        named("ViT-B-16:no")


def test_what_cannot_be_fetched(folder):
    with pytest.raises(
        WeightsError, match=r"address of flownet2, got none that is public.*Take FlowNet2_checkpoint.*--url"
    ):
        fetch_weights("flownet2")
    with pytest.raises(WeightsError, match="expected weights that do not come with the project, got tiny_clip"):
        fetch_weights("tiny_clip")
    with pytest.raises(SettingsError, match="got 'resnet'"):
        fetch_weights("resnet")


def test_the_command(folder, served, capsys):
    source, address = served
    torch.save({"state_dict": {}}, source / "flownet")
    assert cli.main(["weights", "fetch", "flownet2", "--url", f"{address}/flownet"]) == 0
    out, err = capsys.readouterr()
    assert "FlowNet2_checkpoint.pth.tar: sha256" in out
    assert "100%" in err, "a bar"
    assert cli.main(["weights", "record", "flownet2"]) == 0
    assert "recorded in SHA256SUMS" in capsys.readouterr().out
    for argv in (["weights"], ["weights", "list"]):
        assert cli.main(argv) == 0
        assert "there, as recorded" in row(capsys.readouterr().out, "flownet2")
    assert cli.main(["weights", "fetch", "flownet2c", "--url", "ftp://a.example/w"]) == 1
    assert capsys.readouterr().err.startswith("tmal: error: expected an address that starts with https:// or http://")
    assert cli.main(["weights", "fetch", "flownet2c", "--url", f"{address}/none"]) == 1
    assert "status 404" in capsys.readouterr().err
