"""`tmal evaluate`: accuracy of methods on one split, by episode type, with intervals, on the same episodes.

Beside the table it leaves every answer (`answers-<split>.parquet`), which `tmal table` puts together over several runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tmal_core.config import EvaluationSettings
from tmal_core.data.episodes import GROUP_WAY, episode_types, evaluation_sampler
from tmal_core.data.sets.catalog import Catalog
from tmal_core.errors import DataError, EpisodeError, SettingsError
from tmal_core.evaluation.answers import Answerer, recipe_of, save_answers_file
from tmal_core.evaluation.scoring import Episodes, Outcome, evaluate
from tmal_core.evaluation.statistics import (
    accuracy_interval,
    difference_interval,
    episode_interval,
    interval,
    summed,
    with_correction,
)
from tmal_core.experiment import Experiment, left_out, require_used
from tmal_core.models.methods import inputs, resolved, text_at_test, title_of
from tmal_core.runtime.files import file_sha256
from tmal_core.runtime.seeding import generator
from tmal_core.runtime.tables import save_csv
from tmal_core.tasks.classes_trained_on import counts_of
from tmal_core.tasks.prepare import lost_videos

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


def with_and_without_text(experiments: Experiments) -> dict[str, Experiment]:
    """The same, and each that scores class names beside its support clips once more without that score.

    Names in support features stay: they belong to the weights. On `test` either is a look of its own.

    Raises:
        SettingsError: none of them scores names so.
    """
    found: dict[str, Experiment] = {}
    for name, experiment in experiments.items():
        found[name] = experiment
        chosen, parts = experiment.method, resolved(experiment.settings.model)
        if chosen.scores_names(parts) and "text_score" not in chosen.fixed:
            found[f"{name} without text score"] = experiment.changed(chosen.without_names)
    if len(found) == len(experiments):
        alone = all("text_score" in one.method.fixed for one in experiments.values())
        share = "" if alone else "Set model.text_score to the share of names in the answers, or "
        remedy = f"{share}{'l' if share else 'L'}eave --without-text out."
        raise SettingsError("a method that scores class names beside support clips", ", ".join(experiments), remedy)
    return found


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
    """One row per method and episode type: mean, intervals, episodes, seeds, settings hash, what it does with the text
    of an episode's classes (`text_at_test`), and what trained weights were trained with. In percent.

    `classes` counts those that episodes draw from, `left_out` those that `evaluation.leave_out` keeps out of them, and
    `overlap` the tested classes that weights of another data set were trained on (`classes_trained_on.Overlap`).
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
            row: dict[str, object] = {"method": experiment.name, "title": experiment.method.title}
            row |= {"text_at_test": text_at_test(s.model), "split": split, "episode_type": episode_type}
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


def class_table(experiments: Experiments, outcomes: Outcomes, split: str) -> pd.DataFrame:
    """Accuracy in percent per method, episode type and class of the query, with its interval over the class's clips
    and how many queries and clips that is. Of a class with a single clip nothing is known about others: 0 to 100."""
    rows = []
    for name, by_type in outcomes.items():
        experiment = experiments[name]
        e, videos = experiment.settings.evaluation, experiment.split(split).table
        for episode_type, outcome in by_type.items():
            asked, right = outcome.episodes.query.reshape(-1), 100.0 * outcome.correct.reshape(-1)
            of_class = videos["class_name"].to_numpy()[asked]
            for class_name in np.unique(of_class):
                mine = of_class == class_name
                by_clip = summed(right[None, mine], asked[mine])
                rng = generator(e.resampling_seed, "bootstrap", episode_type, class_name)
                found = interval(by_clip, rng, e.bootstrap, e.confidence, accuracy=True)
                row = {"method": name, "split": split, "episode_type": episode_type, "class_name": class_name}
                row |= {"accuracy_pct": found.mean, "low_pct": found.low, "high_pct": found.high}
                rows.append(row | {"queries": int(mine.sum()), "clips": len(by_clip.counts)})
    return pd.DataFrame(rows)


def save_answers(experiments: Experiments, outcomes: Outcomes, split: str) -> Path:
    """Write every answer to the run's `tables/answers-<split>.parquet` (`tmal_core.evaluation.answers`), in place of
    those of the last evaluation, and the accuracy of each class to `tables/classes-<split>.csv`."""
    first = next(iter(experiments.values()))
    e, path = first.settings.evaluation, first.folder / "tables" / f"answers-{split}.parquet"
    facts: dict[str, object] = {"split": split, "data": first.settings.data.name}
    facts |= {"way": first.settings.episodes.way, "shot": first.settings.episodes.shot}
    facts["intervals"] = e.model_dump(include={"confidence", "bootstrap", "resampling_seed"})
    methods = {name: _answerer(experiments[name], by_type) for name, by_type in outcomes.items()}
    save_answers_file(path, outcomes, first.split(split), methods, facts)
    save_table(class_table(experiments, outcomes, split), first.folder, f"classes-{split}")
    return path


def _answerer(experiment: Experiment, by_type: Mapping[str, Outcome]) -> Answerer:
    s, trained = experiment.settings, experiment.method.trained
    random = s.model.pretrained == "random"
    return Answerer(
        title=title_of(s.model),
        trained=trained,
        inputs=inputs(s.model),
        text_at_test=text_at_test(s.model),
        settings=experiment.hash,
        recipe=recipe_of(s.to_flat(), experiment.trained_with, trained),
        seed=experiment.trained_with.get("seed") if trained else s.seed if random else None,
        positions=next(iter(by_type.values())).positions,
        checkpoint=file_sha256(experiment.checkpoint)[:12] if experiment.checkpoint else "",
    )


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
