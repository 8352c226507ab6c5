"""Reading weights files that nobody vouches for: tensors and plain values come out, and no code of the file runs.

Three formats, told apart by their first bytes and not by their names: what `torch.save` writes (`.pt`, `.pth`,
`.pth.tar`, `.pyth`, `.bin`; unpickled with `weights_only=True`), safetensors, and TorchScript archives. Opening the
last kind runs code in it, so it has to be one of OpenAI's, whose checksums are known (`runtime.weights_files`).
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from tmal_core.errors import WeightsError
from tmal_core.runtime.weights_files import WEIGHTS, sha256_of

EXPECTED = "a weights file of tensors and plain values"
REMEDY = "Replace the file, or save its tensors alone again with torch.save."
_NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size")  # which OpenAI keeps among its tensors
_MAX_HEADER = 100_000_000  # bytes; safetensors allows no longer one
_KINDS = [np.dtype(kind) for kind in ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")]
_SCALAR = np.float64().__reduce__()[0]  # which makes one, under the names that it has had
_NUMBERS = [(_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
_PLAIN: list[Any] = [np.dtype, *map(type, _KINDS), *_NUMBERS]
"""What makes numpy's numbers, which stand for plain ones in other people's files (an accuracy, an epoch)."""
_PLACE_IN_TORCH = re.compile(r"^\[enforce fail at [^]]*\][ .]*")
_FOREIGN = re.compile(r"[Uu]nsupported (?:global: )?GLOBAL (\S+)")


def read_archive(path: Path, expected: str = EXPECTED, remedy: str = REMEDY) -> object:
    """What a weights file holds, on the CPU; a dict of tensors for safetensors and TorchScript archives.

    Raises:
        WeightsError: the file is missing, damaged, asks to run code, or is a TorchScript archive that nobody knows.
    """
    if not path.is_file():
        raise WeightsError(expected, f"{path} (no such file)", remedy)
    try:
        if is_torchscript(path):
            return _read_torchscript(path)
        with path.open("rb") as file:
            start = file.read(9)
        # safetensors begins with eight bytes of the length of its JSON header.
        if start[8:] == b"{" and int.from_bytes(start[:8], "little") < _MAX_HEADER:
            return load_file(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_PLAIN):
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # rare, and read all the same
            return torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to ask for, MemoryError included
        raise WeightsError(expected, f"{path} ({_reason(error)})", remedy) from error


def is_torchscript(path: Path) -> bool:
    """Whether a file is an archive of TorchScript, which holds code."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def is_state_dict(content: object) -> bool:
    """Whether it is tensors by name."""
    return isinstance(content, dict) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())


def describe_content(content: object) -> str:
    """What an archive holds instead of what was expected, in a few words."""
    keys = list(content)[:3] if isinstance(content, dict) else []
    return f"an archive of {', '.join(map(str, keys)) or type(content).__name__}"


def _read_torchscript(path: Path) -> Mapping[str, Tensor]:
    digest = sha256_of(path)
    known = {entry.sha256: entry.file for entry in WEIGHTS.values() if entry.torchscript}
    if digest not in known:
        expected = f"one of OpenAI's archives, unchanged ({', '.join(known.values())})"
        remedy = "A TorchScript archive holds code: take OpenAI's file, or the same weights as safetensors."
        raise WeightsError(expected, f"{path} (sha256 {digest[:12]}...)", remedy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer formats exist; these files stay what they are
        state = torch.jit.load(path, map_location="cpu").state_dict()
    return {name: value for name, value in state.items() if name not in _NO_WEIGHTS}


def _reason(error: Exception) -> str:
    """Kind and first sentence of an error, without torch's advice to load the file with all that is in it."""
    text = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    if code := _FOREIGN.search(str(error)):
        return f"{type(error).__name__}: it asks to run {code[1]}, which no weights need; nothing of it ran"
    sentence = next(iter(_PLACE_IN_TORCH.sub("", text).splitlines()), "").partition(". ")[0]
    return f"{type(error).__name__}: {sentence}".removesuffix(": ")
