"""`tmal table`: what several runs answered as the table of a paper, in Markdown, CSV and LaTeX.

Reads the answers that `tmal evaluate` left in each run (`tmal_core.evaluation.answers`); nothing is computed anew, and
test is not looked at. The CSV has every digit, a row per method and episode type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tmal_core.config import in_project
from tmal_core.errors import RunError
from tmal_core.evaluation.answers import Answers, load_answers
from tmal_core.evaluation.ledger import COLUMNS, TEST, looks
from tmal_core.evaluation.paper_table import ABOVE, BELOW, NOT_BELOW, Block, blocks_of, figures
from tmal_core.evaluation.published_results import comparison_note, published_table
from tmal_core.runtime.files import PARTIAL, atomic_path
from tmal_core.runtime.run_folders import Run
from tmal_core.runtime.tables import load_csv, save_csv
from tmal_core.tasks.table_markup import Cell, Shown, latex, markdown, markdown_text

_MARKS = {NOT_BELOW: "†", ABOVE: "⁺", BELOW: "⁻"}
_HEAD = ("method", "reads", "text at test", "looks at test", "seeds")
_PACKAGES = "% \\usepackage{booktabs,graphicx}"


@dataclass(frozen=True)
class PaperTable:
    """A table of runs in all its forms."""

    figures: pd.DataFrame  # every digit
    shown: Sequence[Shown]  # a table per data set, way and shot
    published: Shown | None  # figures of others, measured elsewhere
    left_out: Sequence[str]  # what was named and has no answers, and why

    def save(self, folder: Path) -> list[Path]:
        """Write `table.md`, `table.csv` and `table.tex`, and where asked for `published.csv`."""
        tables = [*self.shown, *([self.published] if self.published else [])]
        texts = {
            "table.md": "\n\n".join(f"## {markdown_text(table.label)}\n\n{markdown(table)}" for table in tables),
            "table.tex": "\n\n".join([_PACKAGES, *map(latex, tables)]),
        }
        for name, text in texts.items():
            with atomic_path(folder / name) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
        save_csv(self.figures, folder / "table.csv")
        written = [*texts, "table.csv"]
        if self.published:
            save_csv(published_table().reset_index(names="method"), folder / "published.csv")
            written.append("published.csv")
        return [folder / name for name in written]


def table_of_runs(
    paths: Iterable[Path], split: str = TEST, against: str | None = None, published: bool = False
) -> PaperTable:
    """The table of these runs.

    Args:
        paths: run folders, and folders with such below them.
        split: whose answers are read.
        against: the method that all others are compared with; by default each is with the best of its column.
        published: whether a table of published figures stands beside, by itself.

    Raises:
        RunError: no such folder; no run has answers of the split; or runs that cannot stand in one table (`blocks_of`).
        SettingsError: no row, or more than one, is named `against`.
    """
    found, left_out = _answers(paths, split)
    blocks = blocks_of({str(run): answers for run, answers in found.items()})
    known = _looks(found)
    tables = [(block, figures(block, against)) for block in blocks]
    whole = pd.concat([_csv(block, table, known) for block, table in tables], ignore_index=True)
    shown = [_shown(block, table, known, against) for block, table in tables]
    return PaperTable(whole, shown, _published(blocks) if published else None, left_out)


def run_folders(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """The runs that are named or lie below, each once, in this order; and what was named and holds none.

    Raises:
        RunError: there is no such file or folder.
    """
    runs: dict[Path, Path] = {}
    without = []
    for path in paths:
        if not path.exists():
            raise RunError("run folders, or a folder of runs", f"{path}, which is not there", "Correct the path.")
        found = [path / "run.json"] if (path / "run.json").exists() else sorted(path.rglob("run.json"))
        kept = [file for file in found if not any(part.startswith(PARTIAL) for part in file.parts)]
        runs |= {file.parent.resolve(): file.parent for file in kept if file.parent.resolve() not in runs}
        without += [] if kept else [path]
    return list(runs.values()), without


def _answers(paths: Iterable[Path], split: str) -> tuple[dict[Path, Answers], list[str]]:
    runs, without = run_folders(paths)
    left_out = [f"{path}: no run" for path in without]
    found = {}
    for run in runs:
        file = run / "tables" / f"answers-{split}.parquet"
        if file.is_file():
            found[run] = load_answers(file)
        else:
            left_out.append(f"{run}: {_why_none(run, split)}")
    if not found:
        got = f"none in {runs[0]}" + (f" and {len(runs) - 1} more" if len(runs) > 1 else "") if runs else "no run"
        counted = ", each method a look at test that is counted" if split == TEST else ""
        remedy = f"Run `{_command(runs[0] if runs else Path('runs/train'), split)}` first{counted}"
        other = "val" if split == TEST else TEST
        raise RunError(f"answers of {split} in the runs", got, f"{remedy}, or ask for --split {other}.")
    return found, left_out


def _why_none(run: Path, split: str) -> str:
    if Run.open(run).record["kind"] == "baselines":
        return "rows of `tmal baselines` stand in its own table, tables/baselines-*.csv"
    return f"no answers of {split}; `{_command(run, split)}` makes them"


def _command(run: Path, split: str) -> str:
    return f"tmal evaluate --out {run}{' --final' if split == TEST else ''}"


def _looks(runs: Iterable[Path]) -> dict[str, dict[str, int]]:
    """How often each method has answered test, in any run: by name of the data set.

    By the ledger beside the data and, where the data are elsewhere by now, by the lines that each run has kept.
    """
    by_data: dict[str, list[pd.DataFrame]] = {}
    for run in runs:
        data = Run.open(run).record["settings"]["data"]
        kept = run / "tables" / "looks.csv"
        lines = [looks(in_project(data["root"])).astype(str), *([load_csv(kept, str)] if kept.is_file() else [])]
        by_data.setdefault(data["name"], []).extend(lines)
    counts = {}
    for name, lines in by_data.items():
        counts[name] = pd.concat(lines).drop_duplicates(["look", *COLUMNS])["method"].value_counts().to_dict()
    return counts


def _csv(block: Block, table: pd.DataFrame, known: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    """The block's figures with what every row is of in front."""
    answers, lines = block.answers, []
    for line in table.to_dict("records"):
        row = block.rows[line.pop("row")]
        one = row.answerer
        facts: dict[str, object] = {"data_set": answers.data, "split": answers.split, "way": answers.way}
        facts |= {"shot": answers.shot, "method": row.method, "title": one.title, "variant": row.variant}
        facts |= {"inputs": ", ".join(one.inputs), "text_at_test": one.text_at_test}
        facts |= {"looks_at_test": known[answers.data].get(row.method, 0), "seeds": len(row.seeds)}
        lines.append({**facts, **line, "settings": one.settings, "runs": "; ".join(row.runs)})
    return pd.DataFrame(lines).drop(columns="best")


def _shown(block: Block, table: pd.DataFrame, known: Mapping[str, Mapping[str, int]], against: str | None) -> Shown:
    """The block for people, a row per method and a column per episode type."""
    a = block.answers
    kinds = {name: f"{name} ({one.way}-way)" if len(a.asked) > 1 else "accuracy" for name, one in a.asked.items()}
    lines: list[list[str | Cell]] = []
    for number, row in enumerate(block.rows):
        one, mine = row.answerer, table[table["row"] == number].set_index("episode_type")
        name = f"{one.title} ({row.variant})" if row.variant else one.title
        facts = [name, ", ".join(one.inputs), one.text_at_test, str(known[a.data].get(row.method, 0))]
        cells = [_cell(mine.loc[kind]) for kind in kinds]
        lines.append([*facts, str(len(row.seeds)) if one.trained or len(row.seeds) > 1 else "-", *cells])
    label = f"{a.data}, {a.split}, {a.way}-way {a.shot}-shot"
    return Shown(label, _caption(block, table, label, against), [*_HEAD, *kinds.values()], lines)


def _cell(line: pd.Series) -> Cell:
    spread = "" if pd.isna(line["seed_spread"]) else f" ± {line['seed_spread']:.1f}"
    beside = f"[{line['low_pct']:.1f}, {line['high_pct']:.1f}]{spread}"
    return Cell(f"{line['accuracy_pct']:.1f}", beside, _MARKS.get(line["mark"], ""), bool(line["best"]))


def _caption(block: Block, table: pd.DataFrame, label: str, against: str | None) -> list[str]:
    """What a reader must know to read it, a sentence each."""
    episodes = sorted({one.episodes for one in block.answers.asked.values()})
    percent = f"{100 * block.answers.intervals['confidence']:g} %"
    several = any(len(row.seeds) > 1 for row in block.rows)
    over = "classes with their clips" + (" and, of several, over seeds of training" if several else "")
    caption = [f"{label}: accuracy in %, mean of {' or '.join(f'{count:,}' for count in episodes)} episodes."]
    caption.append(f"In brackets the {percent} interval over {over}.")
    if several:
        caption.append("± is the standard deviation over seeds.")
    count = int(table["p"].notna().sum())
    how = f"paired on the same episodes, Holm-corrected over {count} comparisons"
    caption.append("Bold is the highest mean of a column.")
    if against is None:
        caption.append(f"† is not clearly below it ({how}).")
    else:
        caption.append(f"⁺ and ⁻ are clearly above and below {table['against'].iat[0]} ({how}).")
    if apart := _apart(block, table):
        caption.append(f"Not compared where the other row reads other frames of the same videos: {', '.join(apart)}.")
    caption.append("Text at test says whether class names join the features, have a score of their own, or both.")
    caption.append("Looks at test are all answers on test that the data set's ledger has of the method.")
    return caption


def _apart(block: Block, table: pd.DataFrame) -> list[str]:
    """Names of rows that could not be compared somewhere."""
    names = [block.rows[number].name for number in table.loc[table["p"].isna(), "row"]]
    lone = table.loc[table["p"].isna(), "against"]
    return list(dict.fromkeys(name for name, other in zip(names, lone, strict=True) if name != other))


def _published(blocks: Sequence[Block]) -> Shown:
    """Published figures, apart from what was measured."""
    table = published_table()
    notes = {block.answers.data: comparison_note(*_where(block)) for block in blocks}
    caption = ["Published by others, not measured here: 1-shot / 5-shot accuracy in %, CLIP ViT-B/16, 5-way,"]
    caption += ["without intervals, with checkpoints commonly chosen on the test split.", *notes.values()]
    lines = [[str(name), *map(str, row)] for name, row in zip(table.index, table.to_numpy(), strict=True)]
    return Shown("published elsewhere", caption, ["method", *table.columns], lines)


def _where(block: Block) -> tuple[str, int, int]:
    return block.answers.data, block.answers.way, block.answers.shot
