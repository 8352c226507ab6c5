"""The folder of the videos: one walk over it, and which file is which listed video.

Files are found by their name without suffix, so `78687.webm` serves a list that says `78687.mp4`, wherever below the
folder it lies. Where several files bear the name, the one whose folders agree best with the listed path is taken; a
file in the folder of another class never is. The walk reads directories only. Links are followed to files inside the
folder; links that lead out of it are refused and named, and those to folders are not walked into.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

import pandas as pd

from tmal_core.data.sets.lists import VIDEO_SUFFIXES, class_folder, stem
from tmal_core.errors import DataError
from tmal_core.runtime.files import PARTIAL

_MISSING = "no file of this name"
NOT_TEXT = "the name is not UTF-8"
_NOT_DECODED = {".webp": "animated WebP is not decoded: save it as GIF or mp4"}


@dataclass
class Folder:
    """What one walk found. Paths are relative to `root`, with slashes."""

    root: Path
    files: dict[str, list[str]] = field(default_factory=dict)  # stem of the name -> paths of video files
    folders: dict[str, list[str]] = field(default_factory=dict)  # stem -> paths of folders that are called like a video
    refused: dict[str, str] = field(default_factory=dict)  # path -> why it is left out
    others: dict[str, str] = field(default_factory=dict)  # the same for files that are no videos
    hidden: list[str] = field(default_factory=list)  # files and folders whose names begin with a dot

    def __len__(self) -> int:
        return sum(len(paths) for paths in self.files.values())

    @property
    def aside(self) -> dict[str, str]:
        """Path -> why it is left aside, sorted."""
        return dict(sorted({**self.refused, **self.others, **dict.fromkeys(self.hidden, "hidden by its name")}.items()))

    def paths(self) -> list[str]:
        """All video files, sorted."""
        return sorted(path for paths in self.files.values() for path in paths)


def walk(root: str | Path, is_data_folder: bool = False) -> Folder:
    """Walk over a folder once. What is left aside is named with the reason; hidden folders are not walked into.

    Args:
        is_data_folder: `flow` and files beside the videos are this project's own then, and passed over.

    Raises:
        DataError: the folder or one below it is not there or cannot be read, or there is no video in it.
    """
    found = Folder(Path(root).resolve())
    stack = [""]
    while stack:
        below = stack.pop()
        for entry in _entries(found.root, below):
            path = f"{below}{entry.name}"
            if entry.name.startswith(PARTIAL) or (is_data_folder and not below and _is_ours(entry)):
                continue
            if not_text(entry.name):
                found.refused[repr(path)] = NOT_TEXT
            elif entry.name.startswith("."):
                found.hidden.append(path)
            elif entry.is_symlink():
                _add_link(found, path)
            elif entry.is_dir():
                stack.append(f"{path}/")
                if _is_video(entry.name):
                    found.folders.setdefault(_key(entry.name), []).append(path)
            elif entry.is_file():
                _add_file(found, path, entry.name)
            else:
                found.refused[path] = "not a file: a pipe, a socket or a device"
    if not found.files and not found.refused:
        other = next(iter(sorted(found.others)), "")
        got = f"{found.root}, {f'only files like {other}' if other else 'which is empty'}"
        remedy = "Correct the folder. Frames that were extracted as pictures are not read: the videos are needed."
        raise DataError(f"videos ({', '.join(VIDEO_SUFFIXES)})", got, remedy)
    return found


def one_file(path: Path) -> Folder:
    """A single file as a walk would find it, whatever its suffix."""
    found = Folder(path.parent.resolve())
    if not_text(path.name):
        found.refused[repr(path.name)] = NOT_TEXT
    else:
        found.files[_key(path.name)] = [path.name]
    return found


def not_text(name: str) -> bool:
    """Whether a name holds bytes that are no UTF-8, which Python reads as halves of pairs."""
    return re.search("[\ud800-\udfff]", name) is not None


def match(table: pd.DataFrame, folder: Folder) -> pd.DataFrame:
    """The file of each listed video: `file` (relative path) and `reason` (why there is none), one of them ""."""
    classes = {class_folder(path) for path in table["path"]} - {""}
    names = {path: _key(path.rpartition("/")[2]).casefold() for path in folder.aside}
    refused = {names[path].rpartition(".")[0]: reason for path, reason in folder.others.items()}
    refused |= {names[path]: reason for path, reason in folder.aside.items()}
    found = [_find(path, folder, classes, refused) for path in table["path"]]
    uses = Counter(file for file, _ in found if file)
    for row, ((file, reason), listed) in enumerate(zip(found, table["path"], strict=True)):
        if uses[file] > 1:
            found[row] = "", f"ambiguous: {file} could be {uses[file]} listed videos"
        elif reason == _MISSING:
            strangers = [path for path in folder.files.get(_key(listed.rpartition("/")[2]), ()) if not uses[path]]
            if strangers:
                found[row] = "", f"{reason}; {strangers[0]} lies in the folder of another class"
    return pd.DataFrame(found, columns=["file", "reason"], index=table.index)


def _find(listed: str, folder: Folder, classes: set[str], refused: dict[str, str]) -> tuple[str, str]:
    """The file of one listed path, or why there is none."""
    *parents, name = listed.split("/")
    key, own = _key(name), class_folder(listed)
    # "x.mp4" may have become "x.mp4.avi", whose stem is the whole listed name.
    for candidates in (folder.files.get(key, ()), folder.files.get(unicodedata.normalize("NFC", name), ())):
        fitting = [path for path in candidates if class_folder(path) not in classes or class_folder(path) == own]
        if fitting:
            break
    else:
        if key in folder.folders:
            return "", f"{folder.folders[key][0]} is a folder, not a file"
        return "", refused.get(key.casefold(), _MISSING)
    if len(fitting) == 1:
        return fitting[0], ""
    agreement = {path: _agreement(path, parents) for path in fitting}
    most = max(agreement.values())
    best = sorted(path for path in fitting if agreement[path] == most)
    if len({path.rpartition("/")[0] for path in best}) > 1:
        return "", f"ambiguous: {', '.join(best[:3])}" + (", ..." if len(best) > 3 else "")
    return min(best, key=lambda path: (path.rpartition("/")[2] != name, VIDEO_SUFFIXES.index(_suffix(path)))), ""


def _agreement(path: str, parents: list[str]) -> int:
    """How many folders above the file are those of the listed path, counted from the file up."""
    pairs = zip(path.split("/")[-2::-1], parents[::-1], strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _entries(root: Path, below: str) -> Iterator[os.DirEntry]:
    try:
        with os.scandir(root / below) as entries:
            yield from entries
    except OSError as error:
        got, remedy = f"{root / below} ({error.strerror})", "Correct its path or its permissions."
        raise DataError("a folder of videos that can be read", got, remedy) from error


def _is_ours(entry: os.DirEntry) -> bool:
    return entry.name == "flow" or not (_is_video(entry.name) or entry.is_dir())


def _add_file(found: Folder, path: str, name: str) -> None:
    if _is_video(name):
        found.files.setdefault(_key(name), []).append(path)
    else:
        kind = _suffix(name)
        found.others[path] = _NOT_DECODED.get(kind) or f"not a kind of video that is read ({kind or 'no suffix'})"


def _add_link(found: Folder, path: str) -> None:
    link = found.root / path
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop, before Python 3.13
        loop = isinstance(error, RuntimeError) or "symbolic links" in str(error)
        found.refused[path] = "a link that leads in a circle" if loop else "a broken link"
        return
    if not target.is_relative_to(found.root):
        found.refused[path] = f"a link that leads out of the folder, to {target}"
    elif target.is_file():
        _add_file(found, path, link.name)
    else:
        found.refused[path] = "a link to a folder, which is not walked into"


def _is_video(name: str) -> bool:
    return _suffix(name) in VIDEO_SUFFIXES


def _suffix(name: str) -> str:
    return name[name.rfind(".") :].lower() if "." in name else ""


def _key(name: str) -> str:
    """What names are compared by; macOS keeps accents as characters of their own."""
    return unicodedata.normalize("NFC", stem(name))
