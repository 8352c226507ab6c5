"""Tables as CSV that a spreadsheet opens as text: no cell begins a formula.

A cell that begins with =, +, -, @ or a tab gets an apostrophe in front (OWASP, CSV injection), and so does one that
begins with apostrophes and then one of these: reading takes one off, and what was written comes back.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmal_core.runtime.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def text_cell(text: Any) -> Any:
    """A cell as it is written; only text changes, numbers may be negative."""
    return f"'{text}" if isinstance(text, str) and _FORMULA.match(text) else text


def cell_text(cell: Any) -> Any:
    """What a cell meant.

    >>> [cell_text(text_cell(text)) for text in ("=1+1.mp4", "'-x", "plain")]
    ['=1+1.mp4', "'-x", 'plain']
    """
    return cell[1:] if isinstance(cell, str) and cell[:1] == "'" and _FORMULA.match(cell) else cell


def save_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table, every digit kept."""
    with atomic_path(path) as temporary:
        table.map(text_cell).rename(columns=text_cell).to_csv(temporary, index=False, lineterminator="\n")


def load_csv(path: Path, dtype: type | None = None) -> pd.DataFrame:
    """A table that `save_csv` wrote, empty cells as empty text; pandas' errors are passed on."""
    import pandas as pd  # half a second that writers of files need not spend

    return pd.read_csv(path, dtype=dtype, keep_default_na=False).map(cell_text).rename(columns=cell_text)
