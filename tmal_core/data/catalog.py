"""The catalogue: one row per video file, kept as `catalog.parquet` in the data folder; everything else reads it.

A catalogue is written last and atomically, so where it exists the data set was prepared to the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tmal_core.errors import DataError
from tmal_core.files import atomic_path

FILE_NAME = "catalog.parquet"
SPLITS = ("train", "val", "test")
ROLES = ("both", "support", "query")
COLUMNS = {
    "video": "str",  # unique id
    "path": "str",  # relative to the data folder
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


@dataclass(frozen=True)
class Catalog:
    """A table of videos and the folder that their paths start from."""

    root: Path
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.table)

    def select(self, split: str | None = None, family: str | None = None) -> Catalog:
        """The rows of one split and, where given, one family, numbered anew from 0.

        Raises:
            DataError: nothing is left.
        """
        table = self.table
        for column, wanted in (("split", split), ("family", family)):
            if wanted is None:
                continue
            known = sorted(table[column].unique())
            table = table[table[column] == wanted]
            if table.empty:
                where = f"{self.root / FILE_NAME}"
                raise DataError(f"a {column} among {', '.join(known)} in {where}", repr(wanted), "Choose one of them.")
        return Catalog(self.root, table.reset_index(drop=True))

    def file(self, row: int) -> Path:
        """Path of the video in the given row."""
        return self.root / self.table["path"].iat[row]

    @property
    def families(self) -> list[str]:
        """Names of the families, in the order in which they come."""
        return list(dict.fromkeys(self.table["family"]))


def save_catalog(root: Path, table: pd.DataFrame) -> Catalog:
    """Check the table and write it atomically.

    Raises:
        DataError: a column is missing, an id is not unique, or a split or role is unknown.
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
    root.mkdir(parents=True, exist_ok=True)
    with atomic_path(root / FILE_NAME) as temporary:
        table.to_parquet(temporary, index=False)
    return Catalog(root, table)


def load_catalog(root: Path) -> Catalog:
    """Read the catalogue of a data folder.

    Raises:
        DataError: there is no folder, no catalogue in it, or one that cannot be read.
    """
    file = root / FILE_NAME
    if not root.is_dir():
        remedy = "Set data.root to your data folder; `tmal synthesise` makes the diagnostic one."
        raise DataError("a data folder", f"{root}, which is not there", remedy)
    if not file.is_file():
        remedy = "Run `tmal synthesise` (diagnostic data) or `tmal prepare` (your videos) first."
        raise DataError(f"{FILE_NAME} in {root}", "none", remedy)
    try:
        table = pd.read_parquet(file)
        return Catalog(root, table[list(COLUMNS)].astype(COLUMNS))
    except (OSError, ValueError, KeyError) as error:
        got = f"{file}, which cannot be read ({' '.join(str(error).split())[:120]})"
        raise DataError("a whole catalogue", got, "Delete it and prepare the data again.") from error
