"""`tmal evaluate`: accuracy of methods on one split, by protocol, with intervals, on the same episodes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tmal_core.compute import set_up
from tmal_core.config import Settings, settings_hash
from tmal_core.data.catalog import Catalog
from tmal_core.evaluation.protocol import Outcome, evaluate, evaluate_text
from tmal_core.evaluation.statistics import accuracy_interval, difference_interval, episode_interval, with_correction
from tmal_core.files import atomic_path
from tmal_core.models.methods import METHODS
from tmal_core.tasks.common import bank_of, draw_episodes, load_model, split_of, with_method
from tmal_core.tasks.prepare import lost_videos

Outcomes = dict[str, dict[str, Outcome]]
"""method -> protocol -> answers."""


def answer(settings: Settings, run_dir: Path, methods: list[str], split: str, progress: bool = True) -> Outcomes:
    """Every method's answers to the same episodes of a split; trained ones are read from the run folder.

    Listed videos of the split that the catalogue lacks are named in the run's `tables/lost-<split>.csv`.

    Raises:
        DataError: a method reads class names and the split has classes without one.
    """
    device = set_up(settings)
    catalog = split_of(settings, split)
    if catalog.lost(split):
        save_table(lost_videos(settings, split), run_dir, f"lost-{split}")
    episodes = draw_episodes(settings, catalog, settings.evaluation.episodes, settings.seed)
    outcomes: Outcomes = {}
    for name in methods:
        chosen = with_method(settings, name)
        model = load_model(chosen, run_dir, device)
        bank = bank_of(chosen, model, run_dir, split, progress)
        by = evaluate_text if METHODS[name].text_only else evaluate
        outcomes[name] = {protocol: by(model, bank, drawn) for protocol, drawn in episodes.items()}
    return outcomes


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


def save_table(table: pd.DataFrame, run_dir: Path, name: str) -> Path:
    """Write a table of results as CSV into the run folder, every digit kept."""
    path = run_dir / "tables" / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)
    return path
