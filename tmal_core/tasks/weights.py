"""Weights at a glance: what is there, what is missing, where it belongs; and fetching what has an address.

Names are those of `runtime.weights_files`, or `<model>:<weights>` as open_clip calls them
(`ViT-B-16:laion2b_s34b_b88k`).
"""

from __future__ import annotations

from pathlib import Path

from tmal_core.errors import SettingsError, WeightsError
from tmal_core.runtime.downloads import download
from tmal_core.runtime.progress_bar import tqdm
from tmal_core.runtime.tensor_files import read_archive
from tmal_core.runtime.weights_files import (
    ABSENT,
    RECORD,
    VARIABLE,
    WEIGHTS,
    WeightsFile,
    check_digest,
    entry_of,
    look,
    record,
    require,
    sha256_of,
    weights_folder,
    weights_path,
)

_FULL_DIGEST = 64


def named(name: str) -> WeightsFile:
    """The file of that name.

    Raises:
        SettingsError: neither the project nor open_clip knows it.
    """
    model, colon, pretrained = name.partition(":")
    if not colon:
        return entry_of(name)
    # Imported here: it takes seconds, and most names need no open_clip.
    from tmal_core.models.backbone import published_weights

    entry = published_weights(model, pretrained)
    if entry is None:
        remedy = "See open_clip.list_pretrained(), and `tmal weights` for all others."
        raise SettingsError("a model and its weights as open_clip calls them", repr(name), remedy)
    return entry


def list_weights(progress: bool = True) -> str:
    """A table of all files, and how to get those that are missing or wrong.

    Raises:
        WeightsError: the record of checksums in the folder is damaged.
    """
    folder = weights_folder()
    rows = [("name", "for", "size", "state", "sha256", "file")]
    by_hand: dict[str, list[str]] = {}
    known = {folder / RECORD}
    for entry in tqdm(WEIGHTS.values(), desc="weights", leave=False, disable=not progress):
        found = look(entry, progress=progress)
        known.add(found.path)
        size = f"~{entry.megabytes} MB" if entry.megabytes else ""
        if found.state != ABSENT:
            size = f"{found.path.stat().st_size / 1e6:.0f} MB"
        published = f"{entry.sha256[:12]}..." if entry.sha256 else "none published"
        rows.append((entry.name, entry.purpose, size, found.state, published, entry.file))
        if found.state == ABSENT and not (entry.url or entry.home):
            by_hand.setdefault(entry.source, []).append(entry.name)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += ["", f"They belong into {folder} (the environment variable {VARIABLE} names another folder)."]
    lines += [f"By hand: {', '.join(names)}: {source}." for source, names in by_hand.items()]
    lines += ["All others: tmal weights fetch NAME"]
    others = sorted(path.name for path in folder.glob("*") if path.is_file() and path not in known)
    lines += [f"There too: {', '.join(others)}"] if others else []
    return "\n".join(lines)


def fetch_weights(name: str, url: str | None = None) -> str:
    """Fetch a file into the folder of weights, unless the right one is there; says where it is, in a sentence.

    A file whose whole checksum is published is held against it; any other must at least open as a weights file.

    Args:
        name: see `named`.
        url: where from, in place of the official address.

    Raises:
        SettingsError: unknown name.
        WeightsError: it has no address and none was given, its place is taken by another file than was recorded, or
            the download failed or is not the file.
        RunError: the disk is full, or the folder cannot be written to.
    """
    entry = named(name)
    path, address = weights_path(entry), url or entry.url
    if entry.home:
        raise WeightsError("weights that do not come with the project", name, f"It is {path}.")
    if path.is_file():
        try:
            require(entry)
        except WeightsError:
            if not entry.sha256:
                raise
        else:
            return f"{path} is there already{_trust(entry)}."
    if not address:
        remedy = f"Take {entry.file} from {entry.source} and put it into {path.parent}, or give --url."
        raise WeightsError(f"an address of {name}", "none that is public and stable", remedy)
    digest = ""

    def check(part: Path) -> None:
        nonlocal digest
        digest = sha256_of(part, progress=True)
        try:
            check_digest(entry, path, digest)
        except WeightsError as error:
            got = f"sha256 {digest[:12]}... from {address}"
            raise WeightsError(error.expected, got, "Give the address of the official file.") from error
        if len(entry.sha256) < _FULL_DIGEST:
            read_archive(part, f"a weights file from {address}", "Look at the address in a browser.")

    download(address, path, check)
    return f"{path}: sha256 {digest}{_trust(entry)}."


def record_weights(name: str) -> str:
    """Write down the checksum of a file whose publisher states none; says which, in a sentence.

    Raises:
        SettingsError: unknown name.
        WeightsError: the file is missing or cannot be read, or has a published checksum.
    """
    entry = named(name)
    return f"{weights_path(entry)}: sha256 {record(entry)}, recorded in {RECORD} beside it."


def _trust(entry: WeightsFile) -> str:
    if entry.sha256:
        return ", as published"
    return f"; its publisher states no checksum, `tmal weights record {entry.name}` keeps this one"
