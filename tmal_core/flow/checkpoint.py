"""Weights files of flow estimators: where they belong, whether a file is the one it claims to be, and reading it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from tmal_core.errors import WeightsError


def require_file(folder: Path, name: str, source: str, checksum: str | None) -> tuple[Path, str]:
    """The path of a weights file and its sha256.

    Args:
        folder: where weights files lie.
        name: of the file.
        source: where a person finds it, for the message.
        checksum: what its sha256 begins with; None where the publisher states none.

    Raises:
        WeightsError: the file is missing, cannot be read or has another checksum.
    """
    path = folder / name
    stated = f"sha256 {checksum}..." if checksum else "its publisher states no checksum"
    wanted = f"{path} ({stated})"
    if not path.is_file():
        raise WeightsError(wanted, "no such file", f"Take {name} from {source} and put it into {folder}.")
    try:
        with path.open("rb") as file:
            digest = _sha256(file)
    except OSError as error:
        raise WeightsError(wanted, error.strerror or str(error), "Make the file readable.") from error
    if checksum and not digest.startswith(checksum):
        raise WeightsError(wanted, f"sha256 {digest[:12]}...", f"Replace it by {name} from {source}.")
    return path, digest


def read_archive(path: Path, expected: str, remedy: str) -> object:
    """What a `.pth` or `.pth.tar` file holds; only tensors and plain values are unpickled, no code of the file runs.

    Args:
        expected, remedy: for the message.

    Raises:
        WeightsError: the file is missing, damaged, or no such archive.
    """
    if not path.is_file():
        raise WeightsError(expected, f"{path} (no such file)", remedy)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to ask for, MemoryError included
        raise WeightsError(expected, f"{path} ({_reason(error)})", remedy) from error


def _reason(error: Exception) -> str:
    """Kind and first sentence of an error, without torch's advice to load the file with all that is in it."""
    text = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    sentence = next(iter(text.splitlines()), "").partition(". ")[0]
    return f"{type(error).__name__}: {sentence}".removesuffix(": ")


def is_state_dict(content: object) -> bool:
    """Whether it is tensors by name."""
    return isinstance(content, dict) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())


def describe_content(content: object) -> str:
    """What an archive holds instead of what was expected, in a few words."""
    keys = list(content)[:3] if isinstance(content, dict) else []
    return f"an archive of {', '.join(map(str, keys)) or type(content).__name__}"


def _sha256(file) -> str:
    # hashlib.file_digest came with Python 3.11.
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
