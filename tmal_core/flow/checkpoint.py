"""Weights files of flow estimators: where they belong, and whether a file is the one it claims to be."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tmal_core.errors import WeightsError


def require_file(folder: Path, name: str, source: str, checksum: str | None) -> tuple[Path, str]:
    """The path of a weights file and its sha256.

    Args:
        folder: where weights files lie.
        name: of the file.
        source: where a person finds it, for the message.
        checksum: what its sha256 begins with; None where the publisher states none.

    Raises:
        WeightsError: the file is missing or has another checksum.
    """
    path = folder / name
    stated = f"sha256 {checksum}..." if checksum else "its publisher states no checksum"
    wanted = f"{path} ({stated})"
    if not path.is_file():
        raise WeightsError(wanted, "no such file", f"Take {name} from {source} and put it into {folder}.")
    with path.open("rb") as file:
        digest = _sha256(file)
    if checksum and not digest.startswith(checksum):
        raise WeightsError(wanted, f"sha256 {digest[:12]}...", f"Replace it by {name} from {source}.")
    return path, digest


def _sha256(file) -> str:
    # hashlib.file_digest came with Python 3.11.
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
