"""`tmal evaluate`: accuracy of methods on one split, by protocol, with intervals, on the same episodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tmal_core.config import Settings, settings_hash
from tmal_core.data.episodes import GROUP_WAY, protocols
from tmal_core.data.sets.catalog import Catalog
from tmal_core.errors import EpisodeError
from tmal_core.evaluation.feature_bank import Bank
from tmal_core.evaluation.scoring import Episodes, Outcome, evaluate
from tmal_core.evaluation.statistics import accuracy_interval, difference_interval, episode_interval, with_correction
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.methods import METHODS
from tmal_core.runtime.devices import set_up
from tmal_core.runtime.files import atomic_path
from tmal_core.tasks.common import bank_of, draw_episodes, load_model, split_of, with_method
from tmal_core.tasks.episodes import evaluation_sampler
from tmal_core.tasks.prepare import lost_videos

Outcomes = dict[str, dict[str, Outcome]]
"""method -> protocol -> answers."""


def answer(settings: Settings, run_dir: Path, methods: list[str], split: str, progress: bool = True) -> Outcomes:
    """Every method's answers to the same episodes of a split; trained ones are read from the run folder.

    Listed videos of the split that the catalogue lacks are named in the run's `tables/lost-<split>.csv`.

    Raises:
        DataError: a method reads class names and the split has classes without one.
    """
    catalog = split_of(settings, split)
    if catalog.lost(split):
        save_table(lost_videos(settings, split), run_dir, f"lost-{split}")
    episodes = draw_episodes(settings, catalog, settings.evaluation.episodes, settings.seed)
    outcomes: Outcomes = {}
    for name, model, bank in _encoded(settings, run_dir, methods, split, progress):
        outcomes[name] = {protocol: evaluate(model, bank, drawn) for protocol, drawn in episodes.items()}
    return outcomes


def _encoded(
    settings: Settings, run_dir: Path, methods: list[str], split: str, progress: bool
) -> Iterator[tuple[str, FewShotModel, Bank]]:
    """Each method by name, its trained model, and its bank of the split from the run folder."""
    device = set_up(settings)
    for name in methods:
        chosen = with_method(settings, name)
        model = load_model(chosen, run_dir, device)
        yield name, model, bank_of(chosen, model, run_dir, split, progress)


def way_shot_table(
    settings: Settings,
    run_dir: Path,
    methods: list[str],
    split: str,
    ways: Sequence[int],
    shots: Sequence[int],
    episodes: int,
    progress: bool = True,
) -> pd.DataFrame:
    """Accuracy in percent by method, protocol, number of classes and number of examples, from the kept banks.

    Every method answers the same episodes. Protocols whose classes come in groups keep their own way.

    Returns:
        One row per method, protocol, way and shot that the split offers; where it does not, `accuracy_pct` is empty and
        `left_out` says why.
    """
    catalog, e = split_of(settings, split), settings.evaluation
    cells, rows = _cells(settings, catalog, ways, shots, episodes), []
    for name, model, bank in _encoded(settings, run_dir, methods, split, progress):
        for (protocol, way, shot), drawn in cells.items():
            row = {"method": name, "title": METHODS[name].title, "protocol": protocol, "way": way, "shot": shot}
            row["chance_pct"] = 100.0 / way
            if isinstance(drawn, EpisodeError):
                rows.append({**row, "left_out": str(drawn)})
                continue
            interval = accuracy_interval(
                evaluate(model, bank, drawn), catalog, settings.seed, e.bootstrap, e.confidence
            )
            found = {"accuracy_pct": interval.mean, "low_pct": interval.low, "high_pct": interval.high}
            rows.append({**row, **found, "episodes": episodes, "seed": settings.seed, "left_out": ""})
    return pd.DataFrame(rows)


def _cells(
    settings: Settings, catalog: Catalog, ways: Sequence[int], shots: Sequence[int], count: int
) -> dict[tuple[str, int, int], Episodes | EpisodeError]:
    """Episodes of each (protocol, way, shot), or why there are none."""
    cells: dict[tuple[str, int, int], Episodes | EpisodeError] = {}
    for protocol in protocols(catalog):
        for way in dict.fromkeys(min(way, GROUP_WAY) if protocol.grouped else way for way in ways):
            for shot in shots:
                asked = settings.replace({"episodes.way": way, "episodes.shot": shot})
                try:
                    sampler = evaluation_sampler(asked, catalog, protocol, settings.seed)
                    cells[protocol.name, way, shot] = Episodes.draw(sampler, count)
                except EpisodeError as error:
                    cells[protocol.name, way, shot] = error
    return cells


def result_table(settings: Settings, outcomes: Outcomes, split: str) -> pd.DataFrame:
    """One row per method and protocol: mean, intervals, episodes, seed, settings hash. In percent."""
    catalog, e = split_of(settings, split), settings.evaluation
    rows = []
    for name, by_protocol in outcomes.items():
        for protocol, outcome in by_protocol.items():
            interval = accuracy_interval(outcome, catalog, settings.seed, e.bootstrap, e.confidence)
            rows.append(
                {
                    "method": name,
                    "title": METHODS[name].title,
                    "split": split,
                    "protocol": protocol,
                    "way": outcome.episodes.way,
                    "shot": settings.episodes.shot,
                    "chance_pct": 100.0 / outcome.episodes.way,
                    "accuracy_pct": interval.mean,
                    "low_pct": interval.low,
                    "high_pct": interval.high,
                    "episode_half_width": episode_interval(outcome, e.confidence).half_width,
                    "episodes": len(outcome.correct),
                    "lost_videos": catalog.lost(split),
                    "seed": settings.seed,
                    "settings": settings_hash(settings),
                }
            )
    return pd.DataFrame(rows)


def difference_table(settings: Settings, outcomes: Outcomes, split: str, pairs: list[tuple[str, str]]) -> pd.DataFrame:
    """First method minus second in points, paired on the same episodes, with its interval."""
    catalog, e = split_of(settings, split), settings.evaluation
    rows = []
    for first, second in pairs:
        for protocol in outcomes[first]:
            sides = outcomes[first][protocol], outcomes[second][protocol]
            interval = difference_interval(*sides, catalog, settings.seed, e.bootstrap, e.confidence)
            row = {"first": first, "second": second, "protocol": protocol, "points": interval.mean}
            rows.append({**row, "low": interval.low, "high": interval.high, "p": interval.p_value})
    return with_correction(pd.DataFrame(rows), e.confidence)


def class_table(outcome: Outcome, catalog: Catalog) -> pd.DataFrame:
    """Accuracy in percent by class of the query, hardest first."""
    names = catalog.table["class_name"].to_numpy()[outcome.episodes.query]
    answers = pd.DataFrame({"class_name": names.reshape(-1), "correct": 100.0 * outcome.correct.reshape(-1)})
    table = answers.groupby("class_name")["correct"].agg(accuracy_pct="mean", queries="size")
    return table.sort_values("accuracy_pct").reset_index()


def hardest_and_easiest(
    by_protocol: Mapping[str, Outcome], catalog: Catalog, count: int = 3
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy in percent of every class by protocol, hardest first; and of these the ends, with a column `end`."""
    tables = {protocol: class_table(outcome, catalog) for protocol, outcome in by_protocol.items()}
    whole = pd.concat(tables, names=["protocol"]).reset_index("protocol").reset_index(drop=True)
    groups = whole.groupby("protocol", sort=False)
    place, size = groups.cumcount(), groups["class_name"].transform("size")
    # Fewer classes than both ends need are shared out, the odd one as hard.
    hard = place < np.minimum(count, -(-size // 2))
    easy = ~hard & (place >= size - count)
    ends = whole.assign(end=np.where(hard, "hard", np.where(easy, "easy", "")))
    return whole, ends[ends["end"] != ""].reset_index(drop=True)


def save_table(table: pd.DataFrame, run_dir: Path, name: str) -> Path:
    """Write a table of results as CSV into the run folder, every digit kept."""
    path = run_dir / "tables" / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)
    return path
