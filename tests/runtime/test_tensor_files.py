"""Weights files by content: three formats come out as tensors, and whatever is none of them is one clear error."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tmal_core.errors import WeightsError
from tmal_core.runtime import tensor_files
from tmal_core.runtime.tensor_files import is_torchscript, read_archive
from tmal_core.runtime.weights_files import WEIGHTS

STATE = {"conv.weight": torch.arange(600.0).view(2, 300), "scale": torch.tensor(2.0)}


class Archive(torch.nn.Module):
    """As OpenAI's archives are: half precision, and whole numbers among the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3, dtype=torch.float16))
        self.register_buffer("input_resolution", torch.tensor(224))

    def forward(self, x):
        return x


def write(path: Path, form: str) -> Path:
    if form == "safetensors":
        save_file(STATE, path)
    elif form == "torchscript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.jit.save(torch.jit.script(Archive()), path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=form == "zip")
    return path


@pytest.mark.parametrize("form", ["zip", "pickle", "safetensors"])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors", "w"])
def test_formats_are_told_apart_by_content(tmp_path, form, name):
    """A wrong extension changes nothing."""
    state = read_archive(write(tmp_path / name, form))
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[key], value) for key, value in STATE.items())


@pytest.mark.parametrize("form", ["zip", "pickle", "safetensors", "torchscript"])
def test_truncated_files_are_refused(tmp_path, form):
    whole = write(tmp_path / "whole", form).read_bytes()
    path = tmp_path / "cut.pt"
    for length in [0, 1, 2, 7, 9, 40, 300, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"^expected a weights file.*, got .*cut\.pt \(.+\)\. Replace the file"):
            read_archive(path)


@pytest.mark.parametrize("form", ["zip", "pickle", "safetensors"])
def test_bytes_changed_anywhere_never_raise_anything_else(tmp_path, form):
    """Tensors without a checksum may change unseen; the rest is refused, and always in the same way."""
    whole = write(tmp_path / "whole", form).read_bytes()
    path = tmp_path / "changed.pt"

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(place=st.integers(0, len(whole) - 1), value=st.binary(min_size=1, max_size=12))
    def change(place, value):
        path.write_bytes(whole[:place] + value + whole[place + len(value) :])
        try:
            read_archive(path)
        except WeightsError as error:
            assert str(path) in error.got
            assert "weights_only" not in str(error), "torch advises to run the code"

    change()


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(start=st.sampled_from([b"", b"\x80\x02", b"PK\x03\x04", (40).to_bytes(8, "little") + b"{"]), rest=st.binary())
def test_random_bytes_are_refused(tmp_path_factory, start, rest):
    path = tmp_path_factory.getbasetemp() / "random.pt"
    path.write_bytes(start + rest)
    with pytest.raises(WeightsError, match=r"random\.pt"):
        read_archive(path)


class Payload:
    """Leaves a file behind when it is unpickled as usual."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("core", ["numpy._core", "numpy.core"], ids=["numpy 2", "numpy 1"])
def test_numpy_s_numbers_beside_the_weights_are_read(tmp_path, core):
    """As training loops of others leave them; so are settings that are text, and an optimiser's state."""
    beside = {"accuracy": np.float64(61.9), "epoch": np.int64(3), "best": np.bool_(True), "cfg": '{"SHOT": 1}'}
    optimiser = torch.optim.Adam([torch.zeros(2, requires_grad=True)]).state_dict()
    path = tmp_path / "theirs.pyth"
    torch.save({**beside, "optimizer_state": optimiser, **STATE}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", f"{core}.multiarray".encode()))
    found = read_archive(path)
    assert {key: found[key] for key in beside} == beside and found["optimizer_state"] == optimiser
    torch.save(beside, path)
    assert read_archive(path) == beside


@pytest.mark.parametrize("form", ["zip", "pickle", "bare pickle", "inside a dict", "other pickle protocol"])
def test_code_in_a_file_does_not_run(tmp_path, form):
    ran, path = tmp_path / "ran", tmp_path / "evil.pt"
    if form == "inside a dict":
        torch.save({"state_dict": STATE, "args": Payload(ran)}, path)
    elif form in ("zip", "pickle"):
        torch.save(Payload(ran), path, _use_new_zipfile_serialization=form == "zip")
    else:
        path.write_bytes(pickle.dumps(Payload(ran), protocol=2 if form == "bare pickle" else 4))
    with pytest.raises(WeightsError) as caught:
        read_archive(path, "weights of a model", "Take another.")
    assert not ran.exists()
    assert str(caught.value).startswith(f"expected weights of a model, got {path} (UnpicklingError: ")
    assert str(caught.value).endswith("). Take another.")
    if form != "other pickle protocol":
        assert "it asks to run posix.mkdir, which no weights need; nothing of it ran" in caught.value.got
    if form in ("zip", "pickle", "inside a dict"):
        torch.load(path, weights_only=False)
        assert ran.exists(), "the payload itself does nothing: the test would show nothing"


@pytest.mark.parametrize("form", ["missing", "folder"])
def test_no_file(tmp_path, form):
    path = tmp_path / "w.pt"
    if form == "folder":
        path.mkdir()
    with pytest.raises(WeightsError, match=r"w\.pt \(no such file\)"):
        read_archive(path)


def test_a_torchscript_archive_that_nobody_knows_is_not_opened(tmp_path, monkeypatch):
    """It may hold any code; its checksum is the only thing that speaks for it."""
    path = write(tmp_path / "ViT-B-16.pt", "torchscript")
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("it was opened"))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was opened"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    message = (
        rf"expected one of OpenAI's archives, unchanged \(ViT-B-32\.pt, .*, got {path} \(sha256 {digest[:12]}\.\.\.\)"
    )
    with pytest.raises(WeightsError, match=message):
        read_archive(path)


def test_a_known_torchscript_archive_gives_its_tensors(tmp_path, monkeypatch):
    path = write(tmp_path / "renamed.bin", "torchscript")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(WEIGHTS, "clip_vit_b_16", dataclasses.replace(WEIGHTS["clip_vit_b_16"], sha256=digest))
    state = read_archive(path)
    assert list(state) == ["weight"]
    assert state["weight"].dtype == torch.float16


def test_what_is_torchscript(tmp_path):
    for form, expected in {"zip": False, "pickle": False, "safetensors": False, "torchscript": True}.items():
        assert is_torchscript(write(tmp_path / form, form)) == expected
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("hello.txt", "hello")
    assert not is_torchscript(tmp_path / "other.zip")
    with pytest.raises(WeightsError, match=r"other\.zip \(RuntimeError: file in archive is not in a subdirectory"):
        read_archive(tmp_path / "other.zip")


def test_descriptions():
    assert (
        tensor_files.describe_content({"model": 1, "epoch": 2, "more": 3, "yet": 4})
        == "an archive of model, epoch, more"
    )
    assert tensor_files.describe_content([1]) == "an archive of list"
    assert tensor_files.is_state_dict(STATE)
    assert not tensor_files.is_state_dict({0: torch.zeros(1)})
    assert not tensor_files.is_state_dict({"a": 1})
