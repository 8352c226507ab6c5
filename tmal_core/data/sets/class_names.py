"""Names of the classes of a data set: what its text encoder reads.

Names come, in this order, from `class_names.json` or CLIP-FSAR's own YAML files beside the lists (`TRAIN.CLASS_NAME`
and `TEST.CLASS_NAME`, by id), from Something-Something's label files (the template of each video), or from the folders
that the lists name. Where two of them speak they are compared. Classes that nobody names are `unnamed val 3`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from tmal_core.data.sets.catalog import SPLITS, unnamed
from tmal_core.data.sets.lists import class_folder, plain
from tmal_core.errors import DataError

JSON_NAME = "class_names.json"
LABEL_FILES = {
    "train": ("something-something-v2-train.json", "train.json"),
    "validation": ("something-something-v2-validation.json", "validation.json"),
}
"""Something-Something's lists of videos with their templates: its names in the first release and in later ones."""
LABELS = ("something-something-v2-labels.json", "labels.json")  # its list of classes


class GivenNames(NamedTuple):
    """Class names by id, and the file that gives them."""

    names: list[str]
    source: Path


class Named(NamedTuple):
    """Names of the classes of one split, by id; where they come from, and what is worth saying about them."""

    names: list[str]
    origin: str
    notes: Sequence[str] = ()


def from_folder(folder: str) -> str:
    """A readable name from a folder's: "brush_hair" and "BrushHair" have two words."""
    words = re.sub(r"[_\s]+", " ", folder).strip()
    return words if " " in words else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", words)


def given_names(folder: Path) -> dict[str, GivenNames]:
    """Names by split that `class_names.json` or CLIP-FSAR's YAML files in the folder of the lists give.

    Raises:
        DataError: a file is unreadable, or two of them disagree.
    """
    found: dict[str, GivenNames] = {}
    if (folder / JSON_NAME).is_file():
        tree = _read(folder / JSON_NAME, json.loads)
        if not isinstance(tree, dict) or not set(tree) <= set(SPLITS):
            got = f"{folder / JSON_NAME} with something else"
            raise DataError(f"lists of names for {', '.join(SPLITS)}", got, "Correct the file.")
        return {split: _given(names, folder / JSON_NAME, split) for split, names in tree.items()}
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        tree = _read(path, yaml.safe_load)
        for split in SPLITS:
            section = tree.get(split.upper()) if isinstance(tree, dict) else None
            if not isinstance(section, dict) or "CLASS_NAME" not in section:
                continue
            given = _given(section["CLASS_NAME"], path, split)
            other = found.setdefault(split, given)
            if other.names != given.names:
                got = f"{other.source.name} and {path.name}, which differ"
                raise DataError(f"one list of names for {split} in {folder}", got, "Remove the wrong file.")
    return found


def templates(folder: Path) -> dict[str, str]:
    """Something-Something's template ("Holding [something]") of each video, by the video's id.

    Raises:
        DataError: there is no label file in the folder, or one is unreadable.
    """
    found: dict[str, str] = {}
    for path in filter(None, (_first_file(folder, names) for names in LABEL_FILES.values())):
        try:
            found |= {str(entry["id"]): str(entry["template"]) for entry in _read(path, json.loads)}
        except (TypeError, KeyError) as error:
            got = f"{path} with entries of another form"
            raise DataError("a list of videos with id and template", got, "Fetch the file again.") from error
    if not found:
        wanted = " or ".join(first for first, *_ in LABEL_FILES.values())
        raise DataError(f"{wanted} in {folder}", "neither", "Correct the folder: it is part of the download.")
    _check_templates(folder, found)
    return found


def name_classes(
    split: str, rows: pd.DataFrame, given: GivenNames | None = None, by_video: Mapping[str, str] | None = None
) -> Named:
    """Names of the classes of one list, from what `read_clip_fsar_list`, `given_names` and `templates` gave.

    Raises:
        DataError: there are not as many names as classes, or two sources name different classes.
    """
    size = int(rows["class_id"].max()) + 1
    if given is not None and len(given.names) != size:
        got = f"{len(given.names)} names in {given.source}"
        remedy = "Fetch list and names again: a class is missing in one of them."
        raise DataError(f"names of the {size} classes of {split}", got, remedy)
    first = rows.drop_duplicates("class_id").set_index("class_id")["path"]
    folders = [class_folder(first[class_id]) for class_id in range(size)]
    if all(folders):  # else the list has bare ids
        if given is None:
            return Named([from_folder(name) for name in folders], "names of the folders")
        for class_id, (name, folder) in enumerate(zip(given.names, folders, strict=True)):
            if plain(name) != plain(folder):
                got = f"{name!r} in {given.source} for the folder {folder}"
                raise DataError(f"one name for class {split}{class_id}", got, "Correct the names or the list.")
        return Named(given.names, given.source.name)
    if by_video is None:
        if given is None:
            return Named([unnamed(split, class_id) for class_id in range(size)], "none")
        return Named(given.names, given.source.name)
    return _from_templates(split, rows, size, given, by_video)


def _from_templates(
    split: str, rows: pd.DataFrame, size: int, given: GivenNames | None, by_video: Mapping[str, str]
) -> Named:
    """The template that most videos of a class have; what departs from it is said, too much of it is an error."""
    found, notes, odd = [], [], 0
    for class_id in range(size):
        videos = rows.loc[rows["class_id"] == class_id, "video"]
        counts = Counter(by_video[video] for video in videos if video in by_video)
        if not counts:
            got = f"none of the {len(videos)} videos of {split}{class_id}, as {videos.iat[0]}"
            raise DataError("the listed videos in the label files", got, "Use the label files of the same data set.")
        template, count = counts.most_common(1)[0]
        odd += len(videos) - count
        found.append(template)
    others = f"{odd} of {len(rows)} videos of {split}"
    if odd * 2 > len(rows):
        remedy = "Use the label files of the same data set."
        raise DataError("one template per class", f"{others} that have another", remedy)
    if odd:
        notes.append(f"{others} have another template in the label files, or none")
    if given is None:
        return Named(found, "label files", notes)
    differ = [i for i, (a, b) in enumerate(zip(given.names, found, strict=True)) if plain(a) != plain(b)]
    if len(differ) * 2 > size:
        first = differ[0]
        got = f"{given.names[first]!r} in {given.source} and {found[first]!r} in the label files for {split}{first}"
        raise DataError(f"the same names for {split}", got, "Correct the names: their order is wrong.")
    if differ:
        listed = ", ".join(f"{split}{i}" for i in differ)
        notes.append(f"names in {given.source.name} differ from the label files for {listed}")
    return Named(given.names, given.source.name, notes)


def _check_templates(folder: Path, found: Mapping[str, str]) -> None:
    """Every template is a class of the data set, where its list of classes is there."""
    path = _first_file(folder, LABELS)
    if path is None:
        return
    labels = _read(path, json.loads)
    known = {plain(str(label)) for label in (labels if isinstance(labels, dict) else {})}
    unknown = sorted({template for template in found.values() if plain(template) not in known})
    if unknown:
        got = f"{unknown[0]!r} and {len(unknown) - 1} more that are not in it"
        raise DataError(f"templates that are classes in {path}", got, "Use label files of one release.")


def _first_file(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _given(names: Any, path: Path, split: str) -> GivenNames:
    right = isinstance(names, list) and all(isinstance(n, str) and plain(n) and n.isprintable() for n in names)
    if not right or not names:
        raise DataError(f"a list of class names for {split}", f"something else in {path}", "Correct the file.")
    return GivenNames(names, path)


def _read(path: Path, parse: Any) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        got = f"{path} ({' '.join(str(error).split())[:120]})"
        raise DataError("a readable file of class names", got, "Fetch it again.") from error
