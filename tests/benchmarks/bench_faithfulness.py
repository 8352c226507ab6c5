"""Which explanations are true to a trained TMAL: 200 clips of each diagnostic family, drawn for this and never seen.

The method is that of the newest run under `runs/` that has trained TMAL on the diagnostic data set. In the environment
`TMAL_RUN=runs/suite` names another one, `TMAL_CLIPS=4` measures fewer clips, to see that all works, and `TMAL_KEEP=1`
keeps the table in `data/faithfulness.csv`, where notebook 6 finds it. It lies beside the figures of each run too.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import row

from tmal_core.analysis.faithfulness import ANEW, BELOW_RANDOM, MOST_TIMES_AREA, TIMES_AREA
from tmal_core.analysis.faithfulness_bars import HIGHEST_CORRELATION, LEAST_TIMES_AREA, verdicts
from tmal_core.config import FAMILIES, in_project
from tmal_core.experiment import DIAGNOSTIC, Experiment
from tmal_core.runtime.files import file_sha256
from tmal_core.runtime.tables import save_csv
from tmal_core.tasks.faithfulness_table import KEPT, faithfulness
from tmal_core.tasks.flow import extract_flow
from tmal_core.tasks.synthesise import make_diagnostic
from tmal_core.viz.widgets.run_choice import RunChoice, trained

METHOD, CLIPS = "tmal", 200
CLASSES = 6  # of `appearance` in val, which has the fewest
SPARE = 1.2  # a family has so many times the clips that are asked for, so that episodes find them


def rows(folder: Path) -> Iterator[dict]:
    """For each measure and input what it reaches at each bar; the whole table is `faithfulness.csv` in the folder."""
    run, clips = run_dir(), int(os.environ.get("TMAL_CLIPS", CLIPS))
    keep = bool(os.environ.get("TMAL_KEEP"))
    if keep and clips < CLIPS:
        raise SystemExit(f"expected {CLIPS} clips for a table that is kept, got {clips}: leave TMAL_CLIPS out.")
    if run is None:
        yield row("faithfulness: no run with trained TMAL, not measured (make suite trains it)", None, "")
        return
    own = Experiment.of_run(run, method=METHOD)
    with TemporaryDirectory() as videos:
        table = faithfulness(drawn_for(own, clips, Path(videos) / "videos"), clips, processes=os.cpu_count() or 1)
    # Of the settings and weights of the run: those with the clips drawn here name a folder that is gone.
    table = table.assign(settings=own.hash, weights=file_sha256(own.checkpoint)[:12])
    save_csv(table, folder / "faithfulness.csv")
    if keep:
        shutil.copyfile(folder / "faithfulness.csv", KEPT)
    numbers = table.set_index(["input", "family", "measure", "quantity"])
    for judged in verdicts(table).itertuples():
        for quantity, (column, bar, limit) in LIMITS.items():
            found = numbers.loc[(judged.input, judged.family, judged.measure, quantity)]
            name = f"{judged.measure}, {judged.input} of {judged.family}: {quantity}"
            yield row(name, float(found[column]), found["unit"], bar, limit)


LIMITS = {
    TIMES_AREA: ("mean", ">=", LEAST_TIMES_AREA),
    MOST_TIMES_AREA: ("mean", None, None),
    **dict.fromkeys(ANEW.values(), ("mean", "<=", HIGHEST_CORRELATION)),
    BELOW_RANDOM: ("high", "<=", 0.0),
}
"""Quantity -> column of the table, bar and limit; of deletion it is the interval's upper end."""


def run_dir() -> Path | None:
    """The run that was named, or the newest with trained TMAL on the diagnostic data set."""
    if named := os.environ.get("TMAL_RUN"):
        return in_project(named)
    root = in_project("runs")
    folders = (root / name for name in RunChoice(root).runs()) if root.is_dir() else ()
    found = (path for path in folders if METHOD in trained(path))
    return next((path for path in found if Experiment.of_run(path).settings.data.name == DIAGNOSTIC), None)


def drawn_for(own: Experiment, clips: int, videos: Path) -> Experiment:
    """The run's method on more clips of val, with their flow; of the other splits there is one clip of each class."""
    settings = {"data.root": str(videos), "data.families": list(FAMILIES), "data.cache": False}
    settings |= {"data.clips_val": max(4, math.ceil(SPARE * clips / CLASSES)), "data.clips_train": 1}
    settings |= {"data.clips_test": 1, "episodes.shot": 1, "episodes.queries_eval": 1}
    settings |= {"compute.num_threads": os.cpu_count() or 1}
    experiment = own.changed(settings)
    make_diagnostic(experiment.settings.data, os.cpu_count() or 1)
    extract_flow(experiment)
    return experiment
