"""Your own videos as a data set: a folder with one subfolder per class, its classes dealt out to the three splits.

Which classes go where is drawn by the seed; the same folders, numbers and seed give the same split.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice

import pandas as pd

from tmal_core.data.sets.catalog import SPLITS
from tmal_core.data.sets.class_names import from_folder
from tmal_core.data.sets.folder import Folder
from tmal_core.data.sets.lists import COLUMNS, path_fault, plain, stem
from tmal_core.errors import DataError, SettingsError
from tmal_core.runtime.seeding import generator


def own_splits(folder: Folder, numbers: str, seed: int, way: int) -> pd.DataFrame:
    """The table of splits of a folder with one subfolder per class; a class's videos may lie deeper in its folder.

    Args:
        numbers: classes of train, val and test, as "64/12/24": counts or percentages.
        seed: which classes go where.
        way: classes that an episode takes: each split needs as many, or none.

    Raises:
        SettingsError: the numbers are malformed or fit neither way.
        DataError: no class folders, two folders or two videos of one name, or too few classes for the episodes.
    """
    videos = by_class(folder)
    sizes = class_counts(numbers, len(videos))
    small = [f"{sizes[split]} in {split}" for split in SPLITS if 0 < sizes[split] < way]
    if small or not sizes["test"]:
        got = f"{', '.join(small) or 'none in test'} ({len(videos)} classes in {folder.root}, split {numbers})"
        remedy = "Add classes, change the numbers (0 leaves train or val empty), or lower episodes.way."
        raise DataError(f"at least {way} classes in each split, for episodes of {way} (episodes.way)", got, remedy)
    dealt = iter(generator(seed, "split by class").permutation(len(videos)))
    rows = []
    for split in SPLITS:
        chosen = sorted(sorted(videos)[i] for i in islice(dealt, sizes[split]))
        for class_id, name in enumerate(chosen):
            rows += [(stem(path), path, split, class_id, name) for path in videos[name]]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    again = table["video"].duplicated(keep=False)
    if again.any():
        first, second, *_ = table.loc[again].sort_values("path")["path"]
        raise DataError("one video of a name in a folder", f"{first} and {second}", "Rename or remove one of them.")
    return table


def class_counts(numbers: str, num_classes: int) -> dict[str, int]:
    """Classes per split from "64/12/24": counts where they add up to the number of classes, else percentages.

    Percentages are rounded so that all classes are used: down first, then up where most was cut off.

    Raises:
        SettingsError: not three whole numbers, or they add up to neither the number of classes nor 100.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})/(\d{1,6})", numbers)
    if match is None:
        raise SettingsError("three numbers for train, val and test, as 64/12/24", repr(numbers), "Write them so.")
    wanted = [int(number) for number in match.groups()]
    if sum(wanted) == num_classes:
        return dict(zip(SPLITS, wanted, strict=True))
    if sum(wanted) != 100:
        expected = f"numbers that add up to the {num_classes} classes, or to 100 (percent)"
        raise SettingsError(expected, f"{numbers}, which adds up to {sum(wanted)}", "Change the numbers.")
    counts = [number * num_classes // 100 for number in wanted]
    cut = sorted(range(3), key=lambda i: (-(wanted[i] * num_classes % 100), i))
    for i in cut[: num_classes - sum(counts)]:
        counts[i] += 1
    return dict(zip(SPLITS, counts, strict=True))


def moved_classes(old: pd.DataFrame, new: pd.DataFrame) -> Mapping[str, tuple[str, str]]:
    """Classes of both tables that have moved to another split: name -> (old, new)."""
    before, after = (dict(zip(table["class_name"], table["split"], strict=True)) for table in (old, new))
    return {name: (before[name], after[name]) for name in before if name in after and before[name] != after[name]}


def folders_without_videos(folder: Folder) -> list[str]:
    """Folders directly below the root in which the walk met neither a video nor anything that it refused."""
    met = {path.partition("/")[0] for path in [*folder.paths(), *folder.refused]}
    folders = (entry.name for entry in folder.root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return sorted(name for name in folders if name not in met)


def by_class(folder: Folder) -> dict[str, list[str]]:
    """Class name -> sorted paths of its videos; videos beside the class folders are left out.

    A file whose name cannot be used is left out, and named in `folder.refused`.

    Raises:
        DataError: no class folders, two of one name, or a class whose name or files' names cannot be used.
    """
    found: dict[str, list[str]] = {}
    owners: dict[str, str] = {}
    left_out: dict[str, dict[str, str]] = {}
    for path in folder.paths():
        top, slash, _ = path.partition("/")
        if not slash:
            continue  # beside the class folders: the report names it as extra
        fault = path_fault(path)
        if path_fault(f"{top}/x") or not plain(top):
            raise _unfit(path, fault or "a folder without letters")
        owner = owners.setdefault(plain(top), top)
        if owner != top:
            expected = "class folders whose names differ in letters or digits"
            raise DataError(expected, f"{owner} and {top}", "Rename or join them.")
        videos = found.setdefault(from_folder(top), [])
        if fault:
            left_out.setdefault(from_folder(top), {})[path if path.isprintable() else repr(path)] = fault
        else:
            videos.append(path)
    if not found:
        hint = "".join(f" (left out: {path}, {reason})" for path, reason in [*folder.refused.items()][:1])
        got = f"{folder.root} with {len(folder)} videos and no folder around them{hint}"
        raise DataError("one subfolder per class", got, "Move the videos of each class into a folder of its name.")
    for name, faults in left_out.items():
        if not found[name]:
            raise _unfit(*next(iter(faults.items())))
        folder.refused.update(faults)
    return found


def _unfit(path: str, fault: str) -> DataError:
    return DataError("plain names of folders and videos", f"{path!r} ({fault})", "Rename it.")
