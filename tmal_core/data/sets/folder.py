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

_MISSING = "no file of this name"


@dataclass
class Folder:
    """What one walk found. Paths are relative to `root`, with slashes."""

    root: Path
    files: dict[str, list[str]] = field(default_factory=dict)  # stem of the name -> paths of video files
    folders: dict[str, list[str]] = field(default_factory=dict)  # stem -> paths of folders that are called like a video
    refused: dict[str, str] = field(default_factory=dict)  # path -> why it is left out
    other: str = ""  # a file that is not a video, where there is one

    def __len__(self) -> int:
        return sum(len(paths) for paths in self.files.values())

    def paths(self) -> list[str]:
        """All video files, sorted."""
        return sorted(path for paths in self.files.values() for path in paths)


def walk(root: str | Path, leave_out: tuple[str, ...] = ()) -> Folder:
    """Walk over a folder once. Hidden files and folders are passed over.

    Args:
        leave_out: names directly below `root` that are not walked into.

    Raises:
        DataError: the folder or one below it is not there or cannot be read, or there is no video in it.
    """
    found = Folder(Path(root).resolve())
    stack = [""]
    while stack:
        below = stack.pop()
        for entry in _entries(found.root, below):
            path = f"{below}{entry.name}"
            if entry.name.startswith(".") or (not below and entry.name in leave_out):
                continue
            if re.search("[\ud800-\udfff]", entry.name):  # how Python reads bytes that are no UTF-8
                found.refused[repr(path)] = "the name is not UTF-8"
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
        got = f"{found.root}, {f'only files like {found.other}' if found.other else 'which is empty'}"
        remedy = "Correct the folder. Frames that were extracted as pictures are not read: the videos are needed."
        raise DataError(f"videos ({', '.join(VIDEO_SUFFIXES)})", got, remedy)
    return found


def match(table: pd.DataFrame, folder: Folder) -> pd.DataFrame:
    """The file of each listed video: `file` (relative path) and `reason` (why there is none), one of them ""."""
    classes = {class_folder(path) for path in table["path"]} - {""}
    refused = {_key(path.rpartition("/")[2]): reason for path, reason in folder.refused.items()}
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
    key = _key(name)
    candidates = folder.files.get(key, ())
    own = class_folder(listed)
    fitting = [path for path in candidates if class_folder(path) not in classes or class_folder(path) == own]
    if not fitting:
        if key in folder.folders:
            return "", f"{folder.folders[key][0]} is a folder, not a file"
        return "", refused.get(key, _MISSING)
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


def _add_file(found: Folder, path: str, name: str) -> None:
    if _is_video(name):
        found.files.setdefault(_key(name), []).append(path)
    else:
        found.other = found.other or path


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


def _is_video(name: str) -> bool:
    return _suffix(name) in VIDEO_SUFFIXES


def _suffix(name: str) -> str:
    return name[name.rfind(".") :].lower() if "." in name else ""


def _key(name: str) -> str:
    """What names are compared by; macOS keeps accents as characters of their own."""
    return unicodedata.normalize("NFC", stem(name))
