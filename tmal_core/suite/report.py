"""The report: one page that shows what a suite found, from what lies in its run folder.

The page needs no network and no other file, so it can be mailed or opened with `file://`. What it says first is read
from `<run>/tables/*.csv`; the executed notebooks are inside, closed. Its look is in `report_page/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from tmal_core.config import Settings, settings_hash
from tmal_core.evaluation.ledger import looks
from tmal_core.runtime.files import atomic_path
from tmal_core.runtime.run_folders import Run
from tmal_core.suite.report_charts import Chart, differences_chart, grid_chart, results_chart, training_chart
from tmal_core.suite.report_examples import examples
from tmal_core.suite.report_notebooks import Picture, Pictures, Shown
from tmal_core.suite.report_tables import (
    SmallTable,
    clear_differences,
    highest_by_method,
    read_table,
    small_table,
    sorting_table,
)
from tmal_core.viz.widgets.page_files import json_inside, scripts

RESULT_COLUMNS = {"method", "title", "split", "episode_type", "way", "shot", "chance_pct", "accuracy_pct", "episodes"}
RESULT_COLUMNS |= {"low_pct", "high_pct"}
PAGE = Path(__file__).with_name("report_page")
RESULT, DIFFERENCES, TRAINING, GRID = "results", "05_differences", "03_training", "05_ways_and_shots"
"""Names of the tables that charts are drawn of."""
LOOKS = "looks"
"""The ledger's copy in a run folder: the page shows the ledger."""


@dataclass(frozen=True)
class Found:
    """What the tables say; without a table of results nothing."""

    results: Chart | None = None
    small: SmallTable | None = None
    highest: Sequence[tuple[str, str]] = ()
    differing: Sequence[tuple[str, str]] = ()
    split: str = ""
    episodes: int = 0
    charts: Sequence[Chart] = ()
    training: Chart | None = None


def write_report(out: Path, settings: Settings, seconds: Mapping[Path, float]) -> Path:
    """Write `<out>/report.html` from what the suite's run folder holds.

    Args:
        seconds: the executed copies in order, with the time each took.

    Raises:
        RunError: a table that cannot be read.
        DataError: the ledger of looks at the test split is broken.
    """
    record, pictures = Run.open(out).record, Pictures()
    shown = Shown(pictures)
    notebooks = [shown.notebook(path, duration) for path, duration in seconds.items()]
    tables = sorted((out / "tables").glob("*.csv"))
    shown_examples = examples(out)
    page = (
        _environment()
        .get_template("report.html")
        .render(
            settings=settings,
            record=record,
            hash=settings_hash(settings),
            found=_found(out / "tables", settings),
            tables=[sorting_table(path) for path in tables if path.stem not in (RESULT, LOOKS)],
            results_table=sorting_table(out / "tables" / f"{RESULT}.csv") if _has(out / "tables", RESULT) else None,
            examples=shown_examples,
            clips=json_inside(shown_examples.clips or {}),
            notebooks=notebooks,
            others=_other_figures(out / "figures", pictures),
            sections=_sections(settings),
            looks=looks(settings.data.folder).to_dict("records"),
            seconds=sum(seconds.values()),
            script=scripts("dom", "clips") + "\n" + _part("report.js"),
            style=_part("report.css"),
        )
    )
    with atomic_path(out / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out / "report.html"


def duration(seconds: float) -> str:
    """For people.

    >>> duration(7.9), duration(125.0)
    ('8 s', '2 min 5 s')
    """
    return f"{seconds:.0f} s" if seconds < 100 else f"{int(seconds // 60)} min {int(seconds % 60)} s"


def _environment() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    found.filters["duration"] = duration
    return found


def _found(tables: Path, settings: Settings) -> Found:
    """What the page opens with, and its charts: of the tables that there are."""
    if not _has(tables, RESULT):
        return Found()
    results = read_table(tables / f"{RESULT}.csv")
    if not set(results) >= RESULT_COLUMNS:
        return Found()  # a table of a notebook of one's own: shown, not drawn
    titles = dict(zip(results["method"], results["title"], strict=True))
    charts: list[Chart] = []
    differing: list[tuple[str, str]] = []
    training: Chart | None = None
    if _has(tables, DIFFERENCES):
        differences = read_table(tables / f"{DIFFERENCES}.csv")
        differing = clear_differences(differences, titles)
        charts.append(differences_chart(differences, titles))
    if _has(tables, GRID):
        grid = read_table(tables / f"{GRID}.csv")
        charts += [grid_chart(grid, "shot", settings.episodes.way), grid_chart(grid, "way", settings.episodes.shot)]
    if _has(tables, TRAINING):
        history = read_table(tables / f"{TRAINING}.csv")
        training = training_chart(history, titles, settings.training.val_episodes)
    return Found(
        results=results_chart(results),
        small=small_table(results),
        highest=highest_by_method(results),
        differing=differing,
        split=", ".join(results["split"].unique()),
        episodes=int(results["episodes"].min()),
        charts=[chart for chart in charts if chart.panels],
        training=training,
    )


def _has(tables: Path, name: str) -> bool:
    return (tables / f"{name}.csv").is_file()


def _other_figures(folder: Path, pictures: Pictures) -> list[Picture]:
    """Figures of the run folder that no notebook shows."""
    taken = [pictures.take(path.read_bytes(), path.stem) for path in sorted(folder.glob("*.png"))]
    return [picture for picture in taken if not picture.again]


def _sections(settings: Settings) -> list[tuple[str, dict[str, Any]]]:
    """Resolved settings by section; those of a method alone as dotted names."""
    tree = settings.model_dump(mode="json")
    own = {f"{method}: {name}": value for method, some in tree.pop("methods").items() for name, value in some.items()}
    loose = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    nested = {key: value for key, value in tree.items() if isinstance(value, dict)}
    return [("general", loose), *nested.items(), *([("of single methods", own)] if own else [])]


def _part(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")
