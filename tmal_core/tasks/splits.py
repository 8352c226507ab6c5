"""`tmal splits import`: published lists, or your own of the same form, to one checked table in the data folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from tmal_core.data.sets.catalog import SPLITS
from tmal_core.data.sets.class_names import LABEL_FILES, given_names, name_classes, templates
from tmal_core.data.sets.lists import check_published, join_lists, list_name, read_clip_fsar_list, save_splits
from tmal_core.errors import DataError

_PLACES = ("", "{name}", "configs/projects/CLIPFSAR/{name}", "configs/projects/*/{name}")
"""Where the lists of a data set may lie below the folder that is given: CLIP-FSAR's layout, or a plain one."""


@dataclass(frozen=True)
class ImportedSplits:
    """What was imported."""

    name: str
    table: pd.DataFrame
    path: Path
    origins: dict[str, str]  # split -> where its class names come from
    published: bool  # whether classes and videos were compared with published numbers
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        groups = self.table.groupby("split", sort=False)["class_id"]
        classes, videos = groups.nunique(), groups.size().map("{:,}".format)
        checked = "as published" if self.published else "no published numbers to compare with"
        counts = f"{' / '.join(map(str, classes))} classes, {' / '.join(videos)} videos ({' / '.join(classes.index)})"
        lines = [f"{self.name}: {counts}, {checked}: {self.path}"]
        named = [f"{split} from {origin}" for split, origin in self.origins.items() if origin != "none"]
        if named:
            lines.append(f"class names: {', '.join(named)}")
        nameless = [f"{classes[split]} classes of {split}" for split in classes.index if self.origins[split] == "none"]
        if nameless:
            files = " and ".join(first for first, *_ in LABEL_FILES.values())
            missed = f"only methods that read class names miss them, they are in {files} of the download (--labels)"
            lines.append(f"unnamed: {', '.join(nameless)}; {missed}")
        return "\n".join([*lines, *self.notes])


def import_splits(
    sources: Sequence[str | Path],
    name: str,
    out: str | Path,
    labels: str | Path | None = None,
    any_counts: bool = False,
) -> ImportedSplits:
    """Read lists, name their classes, check everything, and write `splits.csv`.

    Args:
        sources: a checkout of CLIP-FSAR or another folder with the three lists, or single lists.
        name: of the data set; those of `tmal_core.data.sets.sources` are compared with the published numbers.
        out: the data folder.
        labels: folder of Something-Something's label files; by default that of the lists and the data folder are tried.
        any_counts: accept lists of these classes with more or fewer videos than published.

    Raises:
        DataError: lists are missing or faulty, or do not have the published numbers; nothing is written then.
    """
    out = Path(out)
    files = _find_lists([Path(source) for source in sources], name)
    lists = {split: read_clip_fsar_list(path, split) for split, path in files.items()}
    by_video = _templates(labels, [*{path.parent for path in files.values()}, out])
    named = {
        split: name_classes(split, lists[split], given_names(path.parent).get(split), by_video)
        for split, path in files.items()
    }
    table = join_lists(lists, {split: found.names for split, found in named.items()})
    published = check_published(table, name, any_counts)
    origins = {split: found.origin for split, found in named.items()}
    notes = [note for found in named.values() for note in found.notes]
    return ImportedSplits(name, table, save_splits(out, table), origins, published, notes)


def _find_lists(sources: list[Path], name: str) -> dict[str, Path]:
    """Split -> its list."""
    found: dict[str, Path] = {}
    for source in sources:
        lists = _lists_below(source, name) if source.is_dir() else {_split_of(source): source}
        for split, path in lists.items():
            if split in found:
                got = f"{found[split]} and {path}"
                raise DataError(f"one list for {split}", got, "Name one of them.")
            found[split] = path
    return {split: found[split] for split in SPLITS if split in found}


def _lists_below(source: Path, name: str) -> dict[str, Path]:
    for place in _PLACES:
        pattern = place.format(name=name)
        for folder in sorted(source.glob(pattern)) if pattern else [source]:
            lists = {split: folder / list_name(split) for split in SPLITS}
            missing = [path.name for path in lists.values() if not path.is_file()]
            if not missing:
                return lists
            if len(missing) < len(lists):
                remedy = "Fetch it, or name single lists: --from once for each."
                raise DataError(f"three lists in {folder}", f"{', '.join(missing)} missing", remedy)
    wanted = ", ".join(list_name(split) for split in SPLITS)
    got = f"none in {source}, {source / name} or {source / 'configs/projects/CLIPFSAR' / name}"
    raise DataError(f"the lists {wanted} of {name}", got, "Name the folder that they lie in.")


def _split_of(path: Path) -> str:
    """The split of a single list: by its name, else by its first line."""
    if by_name := [split for split in SPLITS if path.name.startswith(split)]:
        return by_name[0]
    try:
        with path.open("rb") as file:
            match = re.match(rb"(?:\xef\xbb\xbf)?(train|val|test)\d", file.readline(4096))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError("a list, or a folder of lists", f"{path} ({reason})", "Correct the path.") from error
    if match is None:
        got = f"{path}, whose first line begins otherwise"
        raise DataError("a list whose lines begin with train, val or test", got, "Name a list in CLIP-FSAR's format.")
    return match[1].decode()


def _templates(labels: str | Path | None, places: list[Path]) -> dict[str, str] | None:
    """Something-Something's templates, where its label files are."""
    if labels is not None:
        return templates(Path(labels))
    longest = [first for first, *_ in LABEL_FILES.values()]  # "train.json" alone could be anything
    folder = next((folder for folder in places if any((folder / name).is_file() for name in longest)), None)
    return templates(folder) if folder else None
