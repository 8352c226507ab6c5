"""Splits of a data set: which video belongs to which class, and which classes are for training, validation and test.

Lists in CLIP-FSAR's format (Wang et al., 2023) name one video per line, in two forms:

    train8/78687                      split and class id / id of the video (Something-Something)
    train0//videos/brush_hair/x.avi   split and class id // path below the folder of the videos (all others)

Whatever the form, a data folder keeps one normalised table, `splits.csv`, one row per video: `video` (unique id: the
listed path without its suffix), `path` (as listed), `split`, `class_id` (counts from 0 in each split), `class_name`.

Everything that is read is checked: ids without gaps, one folder per class, no video and no class twice or in two
splits, no path that could lead out of the folder of the videos.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from tmal_core.data.sets.catalog import SPLITS
from tmal_core.data.sets.sources import SOURCES
from tmal_core.errors import DataError
from tmal_core.runtime.tables import cell_text, save_csv

FILE_NAME = "splits.csv"
COLUMNS = ("video", "path", "split", "class_id", "class_name")
VIDEO_SUFFIXES = (
    *(".mp4", ".webm", ".avi", ".mkv"),
    *(".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".3gp", ".vob"),  # of cameras and phones
    *(".wmv", ".flv", ".ogv", ".gif"),
)
"""Of video files; a listed file is found under any of them."""

_LINE = re.compile(r"(train|val|test)(0|[1-9][0-9]{0,5})/(/?)(.*)", re.DOTALL)
_FORMS = "train8/78687 or train0//videos/brush_hair/x.avi"


def list_name(split: str) -> str:
    """What CLIP-FSAR calls the list of a split."""
    return f"{split}_few_shot.txt"


def stem(path: str) -> str:
    """A path without the suffix of a video; other dots belong to the name."""
    head, dot, suffix = path.rpartition(".")
    return head if dot and f".{suffix.lower()}" in VIDEO_SUFFIXES else path


def class_folder(path: str) -> str:
    """Name of the folder that a listed file lies in; "" for a bare id."""
    return path.rpartition("/")[0].rpartition("/")[2]


def path_fault(path: str) -> str:
    """Why a relative path is refused: it could lead out of its folder, or names no file; "" where it is fine."""
    parts = path.split("/")
    if re.search(r"[\x00-\x1f\x7f]", path):
        return "a control character"
    if path.startswith("/") or re.match("[A-Za-z]:", path):
        return "an absolute path"
    if "\\" in path:
        return "a backslash"
    if ".." in parts:
        return "'..', which leads out of the folder"
    if "" in parts or "." in parts or not stem(parts[-1]):
        return "no name of a file"
    return ""


def read_clip_fsar_list(path: str | Path, split: str) -> pd.DataFrame:
    """One list in CLIP-FSAR's format, of either form.

    Args:
        path: the text file, UTF-8, with any line ends; blank lines are passed over.
        split: "train", "val" or "test"; a line of another split is an error.

    Returns:
        One row per video, in the order of the list: `video`, `path`, `split`, `class_id`, `line` (number in the file).

    Raises:
        DataError: an unreadable or empty file, a malformed line, a line of another split, a path that is refused, a
            video twice, a class with two folders or a folder with two classes, a gap in the class ids.

    >>> file = getfixture("tmp_path") / "test_few_shot.txt"
    >>> _ = file.write_text("test0//videos/brush_hair/x.avi\\ntest1//videos/wave/y.avi\\n")
    >>> read_clip_fsar_list(file, "test")[["video", "class_id"]].values.tolist()
    [['videos/brush_hair/x', 0], ['videos/wave/y', 1]]
    """
    path = Path(path)
    if split not in SPLITS:
        raise DataError(f"a split among {', '.join(SPLITS)}", repr(split), "Choose one of them.")
    rows = [_parse(path, number, line, split) for number, line in _lines(path)]
    if not rows:
        raise DataError(f"a list with lines like {_FORMS}", f"{path}, which is empty", "Fetch the list again.")
    table = pd.DataFrame(rows, columns=["video", "path", "split", "class_id", "line"])
    _check_list(path, table)
    return table


def join_lists(lists: Mapping[str, pd.DataFrame], names: Mapping[str, list[str]]) -> pd.DataFrame:
    """The table of a data set from its lists and the names of their classes by id; it may lack a split.

    Raises:
        DataError: a video or a class stands in two splits.
    """
    here = [split for split in SPLITS if split in lists]
    parts = [lists[s].assign(class_name=[names[s][i] for i in lists[s]["class_id"]]) for s in here]
    table = pd.concat(parts, ignore_index=True)
    if twice := _twice(table):
        first, second = twice
        places = f"line {first['line']} of {first['split']} and line {second['line']} of {second['split']}"
        got = f"{second['path']} in both: {places}"
        raise DataError("splits without a common video", got, "Fetch the lists again, or remove one of the lines.")
    table = table[list(COLUMNS)]
    _check_classes(table, "the lists")
    return table


def check_published(table: pd.DataFrame, name: str, any_counts: bool = False) -> bool:
    """Compare the table with the published numbers of a data set (`data.name`), and say whether there are any.

    Args:
        any_counts: let the number of videos differ; the classes must be complete in any case.

    Raises:
        DataError: a split has fewer or more classes or videos than published.
    """
    if name not in SOURCES:
        return False
    source = SOURCES[name]
    for split, rows in table.groupby("split", sort=False):
        classes = ("classes", rows["class_id"].nunique(), source.classes[split])
        for kind, found, wanted in (classes, ("videos", len(rows), source.videos[split])):
            if found != wanted and not (kind == "videos" and any_counts):
                remedy = "Fetch the lists again, or choose the preset that they belong to."
                remedy += " Pass --any-counts if they are shortened on purpose." if kind == "videos" else ""
                got = f"{found:,}: {split} of this list"
                raise DataError(f"{wanted:,} {kind} in {split} of {name}", got, remedy)
    return True


def save_splits(root: Path, table: pd.DataFrame) -> Path:
    """Write `splits.csv` into a data folder, atomically."""
    save_csv(table[list(COLUMNS)], root / FILE_NAME)
    return root / FILE_NAME


def load_splits(root: Path) -> pd.DataFrame:
    """Read `splits.csv` of a data folder; it may have been edited, so it is checked like a list.

    Raises:
        DataError: it is missing, unreadable or inconsistent; the line is named.
    """
    path = root / FILE_NAME
    if not path.is_file():
        remedy = "Run `tmal splits import` (published lists) or `tmal prepare --split-by-class` (your videos) first."
        raise DataError(f"{FILE_NAME} in {root}", "none", remedy)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [[cell_text(cell) for cell in cells] for cells in csv.reader(file, strict=True)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        got = f"{path} ({' '.join(str(error).split())})"
        raise DataError("a readable table of splits", got, "Import the lists again.") from error
    if not lines or tuple(lines[0]) != COLUMNS or len(lines) < 2:
        got = f"{path}, which begins with {','.join(lines[0]) if lines else 'nothing'} and has {len(lines)} lines"
        raise DataError(f"a table with the columns {', '.join(COLUMNS)}", got, "Import the lists again.")
    for number, cells in enumerate(lines[1:], start=2):
        _check_row(path, number, cells)
    table = pd.DataFrame(lines[1:], columns=list(COLUMNS)).astype({"class_id": "int64"})
    if twice := _twice(table):
        _, second = twice
        raise _fault("each video once", path, int(second.name) + 2, second["video"], "Remove one of the lines.")
    for split, rows in table.groupby("split", sort=False):
        _check_ids(path, str(split), rows["class_id"])
    _check_classes(table, str(path))
    return table


def _lines(path: Path) -> list[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError("a list of videos", f"{path} ({reason})", "Correct the path of the list.") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        remedy = "Save the list as UTF-8, or fetch it again."
        raise DataError("a list in UTF-8", f"{path}, line {number}: {error.reason}", remedy) from None
    numbered = enumerate(text.split("\n"), start=1)
    return [(number, line.strip(" \t\r")) for number, line in numbered if line.strip(" \t\r")]


def _parse(path: Path, number: int, line: str, split: str) -> tuple[str, str, str, int, int]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise _fault(f"a line like {_FORMS}", path, number, line, "Correct the line.")
    found, class_id, is_path, rest = match.groups()
    if found != split:
        remedy = f"Correct the line, or read the file as {found}."
        raise _fault(f"lines of {split}", path, number, line, remedy)
    fault = path_fault(rest)
    if not fault and bool(is_path) != ("/" in rest):
        fault = "no folder of a class" if is_path else "a path after one slash, where it takes two"
    if fault:
        raise _fault("a path below the folder of the videos", path, number, f"{line} ({fault})", "Correct the line.")
    return stem(rest), rest, split, int(class_id), number


def _twice(table: pd.DataFrame) -> tuple[pd.Series, pd.Series] | None:
    """The row of the first video that comes again, and the row in which it does."""
    again = table[table["video"].duplicated()]
    return None if again.empty else (table[table["video"] == again["video"].iat[0]].iloc[0], again.iloc[0])


def _check_list(path: Path, table: pd.DataFrame) -> None:
    if twice := _twice(table):
        first, second = twice
        got = f"{second['path']}, first in line {first['line']}"
        raise _fault("each video once", path, second["line"], got, "Remove one of the lines.")
    split = table["split"].iat[0]
    folders: dict[int, str] = {}
    owners: dict[str, int] = {}
    for class_id, file, line in zip(table["class_id"], table["path"], table["line"], strict=True):
        folder = class_folder(file)
        if folders.setdefault(class_id, folder) != folder:
            got = f"{file} in class {split}{class_id}, which began with {folders[class_id] or 'bare ids'}"
            raise _fault("one folder per class", path, line, got, "Correct the class id or the path.")
        if folder and owners.setdefault(folder, class_id) != class_id:
            got = f"{file} in class {split}{class_id}, before it was {split}{owners[folder]}"
            raise _fault("one class per folder", path, line, got, "Correct the class id or the path.")
    if "" in folders.values() and len(set(folders.values())) > 1:
        raise DataError("lines of one form", f"{path} with ids and with paths", "Use one form in a list.")
    _check_ids(path, split, table["class_id"])


def _check_ids(path: Path, split: str, class_ids: pd.Series) -> None:
    gaps = sorted(set(range(class_ids.max() + 1)) - set(class_ids))
    if gaps:
        missing = ", ".join(f"{split}{gap}" for gap in gaps[:5]) + (", ..." if len(gaps) > 5 else "")
        got = f"{path} without {missing}"
        raise DataError(f"classes {split}0 to {split}{class_ids.max()}", got, "Fetch the list again.")


def _check_classes(table: pd.DataFrame, where: str) -> None:
    """Each class has one name, and each name, however it is written, belongs to one class of one split."""
    owners: dict[str, str] = {}
    for split, class_id, name in table[["split", "class_id", "class_name"]].drop_duplicates().itertuples(index=False):
        own = f"{split}{class_id}"
        if own in owners.values():
            got = f"{where} with several for {own}, one of them {name!r}"
            raise DataError("one name per class", got, "Correct the names.")
        owner = owners.setdefault(plain(name), own)
        if owner != own:
            got = f"{name!r} as {owner} and as {own} in {where}"
            raise DataError("different classes in all splits", got, "Keep each class in one split.")


def plain(name: str) -> str:
    """A class name as it is compared: letters and digits in lower case ("draw_sword" is "Draw Sword")."""
    return re.sub(r"[\W_]+", "", name.casefold())


def _check_row(path: Path, number: int, cells: list[str]) -> None:
    remedy = "Correct the line, or import the lists again."
    if len(cells) != len(COLUMNS):
        raise _fault(f"{len(COLUMNS)} columns", path, number, ",".join(cells), remedy)
    video, file, split, class_id, name = cells
    if split not in SPLITS:
        raise _fault(f"a split among {', '.join(SPLITS)}", path, number, repr(split), remedy)
    if not re.fullmatch("0|[1-9][0-9]{0,5}", class_id):
        raise _fault("a class id from 0", path, number, repr(class_id), remedy)
    if path_fault(file) or video != stem(file):
        got = f"video {video!r} at {file!r} ({path_fault(file) or 'not the path without its suffix'})"
        raise _fault("a path below the folder of the videos, and as its id", path, number, got, remedy)
    if not plain(name) or not name.isprintable():
        raise _fault("a class name", path, number, repr(name), remedy)


def _fault(expected: str, path: Path, number: int, got: str, remedy: str) -> DataError:
    short = "".join(c if c.isprintable() else "?" for c in got)
    short = short if len(short) <= 160 else f"{short[:157]}..."
    return DataError(expected, f"{path}, line {number}: {short}", remedy)
