"""The catalogue: one row per video file, kept as `catalog.parquet` in the data folder; everything else reads it.

A catalogue is written last and atomically, so where it exists the data set was prepared to the end. Its metadata names
the folder of the videos, where that is not the data folder, and how many videos were listed: some may be lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tmal_core.errors import DataError
from tmal_core.runtime.files import atomic_path

FILE_NAME = "catalog.parquet"
LEDGER = "test_looks.jsonl"
"""Beside the catalogue: what was answered on its test split (`tmal_core.evaluation.ledger`)."""
SPLITS = ("train", "val", "test")
ROLES = ("both", "support", "query")
COLUMNS = {
    "video": "str",  # unique id
    "path": "str",  # relative to the folder of the videos
    "split": "str",
    "class_name": "str",
    "family": "str",  # part of a data set with results of its own; "all" where there is only one
    "role": "str",  # whether the file may be a support clip, a query or both
    "group": "str",  # classes of one group form an episode; "" where any classes do
    "base": "str",  # the same for a clip and its reversed twin, or for the support and query file of one clip
    "num_frames": "int64",
    "fps": "float64",
    "height": "int64",
    "width": "int64",
    "sha256": "str",
}
_METADATA = b"tmal"
_UNNAMED = re.compile(r"unnamed (train|val|test) \d+")


@dataclass(frozen=True)
class Catalog:
    """A table of videos and the folder that their paths start from."""

    root: Path
    table: pd.DataFrame
    listed: Mapping[str, int] = field(default_factory=dict)  # by split, lost ones included; empty without a list

    def __len__(self) -> int:
        return len(self.table)

    def select(self, split: str | None = None, family: str | None = None) -> Catalog:
        """The rows of one split and, where given, one family, numbered anew from 0.

        Raises:
            DataError: nothing is left.
        """
        table = self.table
        for column, wanted in (("split", split), ("family", family)):
            known = sorted(table[column].unique())
            table = table if wanted is None else table[table[column] == wanted]
            if table.empty:
                where = f"the catalogue of {self.root}"
                raise DataError(f"a {column} among {', '.join(known)} in {where}", repr(wanted), "Choose one of them.")
        return Catalog(self.root, table.reset_index(drop=True), self.listed)

    def spread(self, count: int) -> Catalog:
        """At most `count` of the rows, spread evenly over them and so over their classes."""
        rows = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(int))
        return Catalog(self.root, self.table.iloc[rows].reset_index(drop=True))

    def file(self, row: int) -> Path:
        """Path of the video in the given row."""
        return self.root / self.table["path"].iat[row]

    def lost(self, split: str) -> int:
        """Listed videos of a split that are not in the catalogue: missing, undecodable or too short."""
        return max(0, self.listed[split] - int((self.table["split"] == split).sum())) if split in self.listed else 0

    @property
    def families(self) -> list[str]:
        """Names of the families, in the order in which they come."""
        return list(dict.fromkeys(self.table["family"]))


def unnamed(split: str, class_id: int) -> str:
    """What a class without a name is called."""
    return f"unnamed {split} {class_id}"


def with_names(names: Iterable[str]) -> list[str]:
    """Those of the classes that have a name, each once.

    >>> with_names(["fencing", unnamed("val", 3), "fencing"])
    ['fencing']
    """
    return [name for name in dict.fromkeys(names) if not _UNNAMED.fullmatch(name)]


def require_classes(catalog: Catalog, names: Sequence[str]) -> Sequence[str]:
    """Names of classes that somebody asks for.

    Raises:
        DataError: a class that the catalogue does not have.
    """
    known = set(catalog.table["class_name"]) if names else set()
    if unknown := [name for name in names if name not in known]:
        remedy = "Write names as the column class_name of the catalogue has them."
        raise DataError(f"classes of {catalog.root}", ", ".join(map(repr, unknown)), remedy)
    return names


def require_names(catalog: Catalog) -> None:
    """For methods that read class names.

    Raises:
        DataError: a class of the catalogue has none; the missing file is named.
    """
    classes = catalog.table["class_name"].unique()
    nameless = sorted({*classes} - {*with_names(classes)})
    if nameless:
        remedy = "They are in something-something-v2-train.json and something-something-v2-validation.json of the "
        remedy += "download: run `tmal splits import` with --labels and their folder, and `tmal prepare` again, "
        remedy += "or choose a method without text."
        raise DataError("names of all classes", f"{len(nameless)} without one ({nameless[0]}, ...)", remedy)


def save_catalog(
    root: Path, table: pd.DataFrame, videos: Path | None = None, listed: Mapping[str, int] | None = None
) -> Catalog:
    """Check the table and write it into a data folder, atomically.

    Args:
        videos: the folder that the paths start from, where that is another one.
        listed: how many videos the lists name, by split.

    Raises:
        DataError: a column is missing, an id is not unique, a split or role is unknown, or a path leads elsewhere.
    """
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise DataError(f"the columns {', '.join(COLUMNS)}", f"a table without {', '.join(missing)}", "Add them.")
    table = table[list(COLUMNS)].astype(COLUMNS).reset_index(drop=True)
    twice = table["video"][table["video"].duplicated()]
    if len(twice):
        raise DataError("unique video ids", f"{twice.iat[0]} more than once", "Remove the duplicates from the list.")
    for column, allowed in (("split", SPLITS), ("role", ROLES)):
        wrong = table[~table[column].isin(allowed)]
        if len(wrong):
            got = f"{wrong[column].iat[0]!r} for {wrong['video'].iat[0]}"
            raise DataError(f"a {column} among {', '.join(allowed)}", got, "Correct the list.")
    _check_paths(table)
    listed = dict(listed or {})
    facts = {"videos": str(videos.resolve()) if videos else None, "listed": listed}
    with atomic_path(root / FILE_NAME) as temporary:
        columns = pa.Table.from_pandas(table, preserve_index=False)
        metadata = {**(columns.schema.metadata or {}), _METADATA: json.dumps(facts).encode()}
        pq.write_table(columns.replace_schema_metadata(metadata), temporary)
    return Catalog(videos.resolve() if videos else root, table, listed)


def load_catalog(root: Path) -> Catalog:
    """Read the catalogue of a data folder.

    Raises:
        DataError: there is no folder, no catalogue in it, one that cannot be read, or one whose videos are gone.
    """
    file = root / FILE_NAME
    if not root.is_dir():
        remedy = "Set data.root to your data folder; `tmal synthesise` makes the diagnostic one."
        raise DataError("a data folder", f"{root}, which is not there", remedy)
    if not file.is_file():
        remedy = "Run `tmal synthesise` (diagnostic data) or `tmal prepare` (your videos) first."
        raise DataError(f"{FILE_NAME} in {root}", "none", remedy)
    stat = file.stat()
    table, videos, listed = _read(file, (stat.st_ino, stat.st_mtime_ns, stat.st_size))
    if videos is not None and not Path(videos).is_dir():
        remedy = "Mount it, or run `tmal prepare` with --videos and its new place: nothing is decoded twice."
        raise DataError(f"the videos of {root} in {videos}", "no such folder", remedy)
    return Catalog(Path(videos) if videos else root, table, listed)


@lru_cache(maxsize=8)
def _read(file: Path, state: tuple[int, ...]) -> tuple[pd.DataFrame, str | None, dict[str, int]]:
    """The table, the folder of the videos and how many were listed; once per process and state of the file."""
    try:
        columns = pq.read_table(file)
        facts = json.loads((columns.schema.metadata or {}).get(_METADATA, b"{}"))
        table = columns.to_pandas()[list(COLUMNS)].astype(COLUMNS)
        videos, listed = facts.get("videos"), {str(k): int(v) for k, v in facts.get("listed", {}).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        got = f"{file}, which cannot be read ({' '.join(str(error).split())[:120]})"
        raise DataError("a whole catalogue", got, "Delete it and prepare the data again.") from error
    _check_paths(table)
    return table, videos, listed


def _check_paths(table: pd.DataFrame) -> None:
    """Paths stay below the folder of the videos."""
    wrong = table["path"][table["path"].str.contains(r"(?:^|/)\.\.(?:/|$)|^/|^[A-Za-z]:|\\|\0", regex=True)]
    if len(wrong):
        remedy = "Prepare the data again from a list you trust."
        raise DataError("paths below the folder of the videos", repr(wrong.iat[0]), remedy)
