"""The registry of weights: what is published is what is in it, and a file is the one it should be, or an error."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from pathlib import Path

import open_clip
import pytest
from torchvision.models import optical_flow

from tmal_core.config import in_project
from tmal_core.errors import SettingsError, WeightsError
from tmal_core.flow.estimator import ESTIMATORS
from tmal_core.runtime import weights_files as weights
from tmal_core.runtime.weights_files import WEIGHTS, look, record, require, resolve

CONTENT = b"x" * (1 << 20) + b"end"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
FLOW = WEIGHTS["flownet2css"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TMAL_WEIGHTS", str(tmp_path / "kept"))
    (tmp_path / "kept").mkdir()
    return tmp_path / "kept"


def test_addresses_and_checksums_are_those_that_their_libraries_know():
    models = {"b_32": "ViT-B-32", "b_16": "ViT-B-16", "l_14": "ViT-L-14", "l_14_336": "ViT-L-14-336"}
    for end, model in models.items():
        entry = WEIGHTS[f"clip_vit_{end}"]
        assert entry.url == open_clip.get_pretrained_url(model, "openai")
        assert entry.url.split("/")[-2:] == [entry.sha256, entry.file]
        assert re.fullmatch("[0-9a-f]{64}", entry.sha256)
    for name, published in (
        ("raft_small", optical_flow.Raft_Small_Weights.C_T_V2),
        ("raft_large", optical_flow.Raft_Large_Weights.C_T_SKHT_V2),
    ):
        entry = WEIGHTS[name]
        assert entry.url == published.url
        assert entry.file.endswith(f"-{entry.sha256}.pth")
        assert entry.megabytes == round(published.meta["_file_size"] * 2**20 / 1e6)


def test_every_estimator_with_weights_is_in_it():
    assert {name for name in ESTIMATORS if not name.startswith("dis")} == {
        name for name, entry in WEIGHTS.items() if "flow" in entry.purpose
    }
    assert all(entry.name == name and entry.source and entry.purpose for name, entry in WEIGHTS.items())
    assert len({weights.weights_path(entry) for entry in WEIGHTS.values()}) == len(WEIGHTS)


def test_nothing_without_an_address_is_offered_for_download():
    for entry in WEIGHTS.values():
        assert ("tmal weights fetch" in weights.how_to_get(entry, Path("kept"))) == bool(entry.url)
        assert (entry.url or entry.source) == entry.source


def test_the_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("TMAL_WEIGHTS", raising=False)
    assert weights.weights_folder() == in_project("data/weights")
    for value, expected in {
        "": in_project("data/weights"),
        "kept": in_project("kept"),
        str(tmp_path): tmp_path,
        "~/kept": Path.home() / "kept",
    }.items():
        monkeypatch.setenv("TMAL_WEIGHTS", value)
        assert weights.weights_folder() == expected


def test_the_folder_is_under_no_version_control():
    lines = in_project(".gitignore").read_text().splitlines()
    assert "data/*" in lines
    assert not [line for line in lines if line.startswith("!data/weights")]


def test_a_missing_file_says_what_goes_where(folder):
    with pytest.raises(WeightsError) as caught:
        require(FLOW)
    assert str(caught.value) == (
        f"expected {folder}/FlowNet2-CSS_checkpoint.pth.tar (its publisher states no checksum), got no such file. "
        f"Take FlowNet2-CSS_checkpoint.pth.tar from {FLOW.source} and put it into {folder}."
    )
    with pytest.raises(WeightsError, match=r"Run `tmal weights fetch raft_small`, or take raft_small_C_T_V2-01064c6d"):
        require(WEIGHTS["raft_small"])
    assert look(FLOW) == (folder / FLOW.file, "missing", "")


@pytest.mark.parametrize("digits", [8, 64])
def test_a_published_checksum_must_match(folder, digits):
    entry = dataclasses.replace(FLOW, sha256=DIGEST[:digits])
    path = folder / entry.file
    path.write_bytes(CONTENT)
    assert require(entry) == (path, DIGEST), "the checksum is of the whole file"
    assert look(entry) == (path, "there, as published", DIGEST)
    path.write_bytes(CONTENT[:-1])
    got = hashlib.sha256(CONTENT[:-1]).hexdigest()
    message = (
        rf"\(sha256 {DIGEST[:12] if digits > 12 else DIGEST[:8]}\.\.\.\), got sha256 {got[:12]}\.\.\.\. Replace it by"
    )
    with pytest.raises(WeightsError, match=message):
        require(entry)
    assert look(entry) == (path, "WRONG FILE", got)


def test_a_checksum_that_nobody_published_can_be_recorded(folder):
    path = folder / FLOW.file
    path.write_bytes(CONTENT)
    assert require(FLOW) == (path, DIGEST)
    assert look(FLOW).state == "there, unchecked"
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  another.pth\n")
    assert record(FLOW) == DIGEST
    assert (folder / "SHA256SUMS").read_text() == f"{DIGEST}  {FLOW.file}\n{'0' * 64}  another.pth\n"
    assert look(FLOW).state == "there, as recorded"
    assert require(FLOW) == (path, DIGEST)
    path.write_bytes(b"changed")
    assert look(FLOW).state == "WRONG FILE"
    with pytest.raises(
        WeightsError, match=rf"\(recorded sha256 {DIGEST[:12]}\.\.\.\), got .*tmal weights record flown"
    ):
        require(FLOW)
    record(FLOW)
    assert look(FLOW).state == "there, as recorded"


def test_what_cannot_be_recorded(folder):
    with pytest.raises(WeightsError, match="expected weights without a published checksum, got raft_small"):
        record(WEIGHTS["raft_small"])
    with pytest.raises(WeightsError, match="got no such file"):
        record(FLOW)


@pytest.mark.parametrize("line", ["", "abc  file", f"{'0' * 64} file", f"{'g' * 64}  file", f"{'0' * 64}  "])
def test_a_damaged_record_names_the_line(folder, line):
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  other\n{line}\n")
    (folder / FLOW.file).write_bytes(CONTENT)
    for use in (require, look, record):
        with pytest.raises(WeightsError, match=r"expected <sha256>  <file>, got .* in line 2 of .*SHA256SUMS"):
            use(FLOW)


def test_a_file_that_cannot_be_read(folder, monkeypatch):
    (folder / FLOW.file).write_bytes(CONTENT)

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(WeightsError, match=r"got Permission denied\. Make the file readable"):
        require(FLOW)
    assert look(FLOW).state == "unreadable"


def test_what_a_user_may_call_a_file(folder, monkeypatch, tmp_path):
    (folder / "mine.pt").write_bytes(b"")
    assert resolve("clip_vit_b_16") == folder / "ViT-B-16.pt"
    assert resolve("mine.pt") == folder / "mine.pt"
    assert resolve(str(tmp_path / "far.pt")) == tmp_path / "far.pt"
    assert resolve("README.md") == in_project("README.md")
    assert resolve("nowhere.pt") == in_project("nowhere.pt")
    (folder / "README.md").write_bytes(b"")
    assert resolve("README.md") == in_project("README.md"), "a path that exists goes first"


def test_the_tiny_clip_comes_with_the_project(folder):
    found = look(WEIGHTS["tiny_clip"])
    assert found.path == in_project("data/tiny_clip/open_clip_model.safetensors")
    assert found.state == "comes with the project"


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(SettingsError, match=r"expected weights among tiny_clip, clip_vit_b_32, .*, got 'resnet'"):
        weights.entry_of("resnet")
