"""`tmal evaluate`: accuracy of methods on one split, by episode type, with intervals, on the same episodes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tmal_core.config import EvaluationSettings
from tmal_core.data.episodes import GROUP_WAY, episode_types, evaluation_sampler
from tmal_core.data.sets.catalog import Catalog
from tmal_core.errors import DataError, EpisodeError
from tmal_core.evaluation.scoring import Episodes, Outcome, evaluate
from tmal_core.evaluation.statistics import accuracy_interval, difference_interval, episode_interval, with_correction
from tmal_core.experiment import Experiment, left_out, require_used
from tmal_core.runtime.tables import save_csv
from tmal_core.tasks.prepare import lost_videos
from tmal_core.tasks.trained_classes import counts_of

Experiments = Mapping[str, Experiment]
"""One per method, alike in all but the method (`Experiment.of_methods`)."""
Outcomes = dict[str, dict[str, Outcome]]
"""method -> episode type -> what it found."""
_TIME = re.compile(r"(^|_)(seconds|ms)(_|$)")


def evaluate_methods(experiments: Experiments, split: str, progress: bool = True) -> Outcomes:
    """Every method on the same episodes of a split; trained ones are read from the run folder.

    Listed videos of the split that the catalogue lacks are named in the run's `tables/lost-<split>.csv`.

    Raises:
        DataError: a method reads class names and the split has classes without one.
    """
    require_used(experiments.values())
    first = next(iter(experiments.values()))
    if first.catalog.lost(split):
        save_table(lost_videos(first.settings.data.folder, split), first.folder, f"lost-{split}")
    episodes = first.episodes(split)
    return {
        name: {episode_type: _evaluated(experiment, split, drawn, progress) for episode_type, drawn in episodes.items()}
        for name, experiment in experiments.items()
    }


def way_shot_table(
    experiments: Experiments,
    split: str,
    ways: Sequence[int],
    shots: Sequence[int],
    episodes: int,
    progress: bool = True,
) -> pd.DataFrame:
    """Accuracy in percent by method, episode type, number of classes and number of examples, from the kept banks.

    Every method is asked the same episodes. Episode types whose classes come in groups keep their own way.

    Returns:
        One row per method, episode type, way and shot that the split offers; where it does not, `accuracy_pct` is
        empty and `left_out` says why.
    """
    first = next(iter(experiments.values()))
    catalog, e = first.split(split), first.settings.evaluation
    cells, rows = _cells(first, catalog, ways, shots, episodes), []
    for name, experiment in experiments.items():
        for (episode_type, way, shot), drawn in cells.items():
            row = {
                "method": name,
                "title": experiment.method.title,
                "episode_type": episode_type,
                "way": way,
                "shot": shot,
            }
            row["chance_pct"] = 100.0 / way
            if isinstance(drawn, EpisodeError):
                rows.append({**row, "left_out": str(drawn)})
                continue
            found = _percent(_evaluated(experiment, split, drawn, progress), catalog, e)
            rows.append({**row, **found, "episodes": episodes, "seed": e.seed, "left_out": ""})
    return pd.DataFrame(rows)


def _evaluated(experiment: Experiment, split: str, episodes: Episodes, progress: bool) -> Outcome:
    return evaluate(experiment.model, experiment.bank(split, progress), episodes)


def _percent(outcome: Outcome, catalog: Catalog, e: EvaluationSettings) -> dict[str, float]:
    found = accuracy_interval(outcome, catalog, e.resampling_seed, e.bootstrap, e.confidence)
    return {"accuracy_pct": found.mean, "low_pct": found.low, "high_pct": found.high}


def _cells(
    experiment: Experiment, catalog: Catalog, ways: Sequence[int], shots: Sequence[int], count: int
) -> dict[tuple[str, int, int], Episodes | EpisodeError]:
    """Episodes of each (episode type, way, shot), or why there are none."""
    cells: dict[tuple[str, int, int], Episodes | EpisodeError] = {}
    s = experiment.settings
    for episode_type in episode_types(catalog):
        for way in dict.fromkeys(min(way, GROUP_WAY) if episode_type.grouped else way for way in ways):
            for shot in shots:
                asked = s.episodes.model_copy(update={"way": way, "shot": shot})
                try:
                    sampler = evaluation_sampler(catalog, episode_type, asked, s.evaluation.seed, left_out(experiment))
                    cells[episode_type.name, way, shot] = Episodes.draw(sampler, count)
                except EpisodeError as error:
                    cells[episode_type.name, way, shot] = error
    return cells


def result_table(experiments: Experiments, outcomes: Outcomes, split: str) -> pd.DataFrame:
    """One row per method and episode type: mean, intervals, episodes, seeds, settings hash, and what trained weights
    were trained with. In percent.

    `classes` counts those that episodes draw from, `left_out` those that `evaluation.leave_out` keeps out of them, and
    `overlap` the tested classes that weights of another data set were trained on (`trained_classes.Overlap`).
    """
    rows: list[dict[str, object]] = []
    samplers = next(iter(experiments.values())).samplers(split)
    for name, by_type in outcomes.items():
        experiment = experiments[name]
        s, catalog = experiment.settings, experiment.split(split)
        trained = experiment.trained_with
        shot = trained.get("training.shot") or trained.get("episodes.shot", "")
        origin = {"trained_on": trained.get("data.name", ""), "trained_shot": shot}
        origin |= {"trained_seed": trained.get("seed", ""), "overlap": counts_of(experiment, split)}
        origin |= {"settings": experiment.hash}
        for episode_type, outcome in by_type.items():
            way, e = outcome.episodes.way, s.evaluation
            row: dict[str, object] = {"method": name, "title": experiment.method.title}
            row |= {"split": split, "episode_type": episode_type}
            row |= {"way": way, "shot": s.episodes.shot, "chance_pct": 100.0 / way, **_percent(outcome, catalog, e)}
            row |= {"episode_half_width": episode_interval(outcome, e.confidence).half_width}
            row |= {"episodes": len(outcome.correct), "lost_videos": catalog.lost(split), "seed": e.seed}
            drawn = samplers[episode_type]
            row |= {"classes": len(drawn.classes), "left_out": drawn.num_left_out}
            rows.append(row | origin)
    return pd.DataFrame(rows)


def difference_table(
    experiments: Experiments, outcomes: Outcomes, split: str, pairs: list[tuple[str, str]]
) -> pd.DataFrame:
    """First method minus second in points, paired on the same episodes, with its interval."""
    shared = next(iter(experiments.values()))
    catalog, e = shared.split(split), shared.settings.evaluation
    rows = []
    for first, second in pairs:
        for episode_type, outcome in outcomes[first].items():
            other = outcomes[second][episode_type]
            found = difference_interval(outcome, other, catalog, e.resampling_seed, e.bootstrap, e.confidence)
            row = {"first": first, "second": second, "episode_type": episode_type, "points": found.mean}
            rows.append({**row, "low": found.low, "high": found.high, "p": found.p_value})
    return with_correction(pd.DataFrame(rows), e.confidence)


def hardest_and_easiest(
    by_type: Mapping[str, Outcome], catalog: Catalog, count: int = 3
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy in percent by episode type and class of the query, hardest first; and the ends, with a column `end`."""
    tables = {}
    for episode_type, outcome in by_type.items():
        names = catalog.table["class_name"].to_numpy()[outcome.episodes.query]
        queries = pd.DataFrame({"class_name": names.reshape(-1), "correct": 100.0 * outcome.correct.reshape(-1)})
        found = queries.groupby("class_name")["correct"].agg(accuracy_pct="mean", queries="size")
        tables[episode_type] = found.sort_values("accuracy_pct").reset_index()
    whole = pd.concat(tables, names=["episode_type"]).reset_index("episode_type").reset_index(drop=True)
    groups = whole.groupby("episode_type", sort=False)
    place, size = groups.cumcount(), groups["class_name"].transform("size")
    # Fewer classes than both ends need are shared out, the odd one as hard.
    hard = place < np.minimum(count, -(-size // 2))
    easy = ~hard & (place >= size - count)
    ends = whole.assign(end=np.where(hard, "hard", np.where(easy, "easy", "")))
    return whole, ends[ends["end"] != ""].reset_index(drop=True)


def save_table(table: pd.DataFrame, run_dir: Path, name: str) -> Path:
    """Write a table of results as CSV into the run folder, every digit kept.

    Times stand in tables of their own, whose names end in `_time`: all others are equal in a second run, to the byte.

    Raises:
        DataError: there is a column of time in a table of another name.
    """
    times = [str(column) for column in table if _TIME.search(str(column))]
    if times and not name.endswith("_time"):
        remedy = "Save times by themselves, under a name that ends in _time."
        raise DataError("a table without columns of time", f"{', '.join(times)} in {name}", remedy)
    path = run_dir / "tables" / f"{name}.csv"
    save_csv(table, path)
    return path
