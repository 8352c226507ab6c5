"""`tmal study`: what each part of TMAL buys, every variant asked the same questions.

    variants x seeds ─► training ─► the same episodes ─► accuracies, paired differences ─► tables

In two rounds: every variant with one seed on `val`, to choose and to understand; then those that were named beforehand
(`NAMED`) with several seeds on `test`, each time a line in the ledger of looks. Checkpoints are chosen on `val`. One
unit is one variant with one seed on one split: what it got right is a file, written at the end, so a study that was
stopped goes on where it stopped, on another machine too where these files are kept.

Letters: E episodes, N way, Q queries per class.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tmal_core.config import EvaluationSettings, ModelSettings, in_project, settings_hash
from tmal_core.data.episodes import MIXED
from tmal_core.data.sets.catalog import Catalog
from tmal_core.errors import DataError, SettingsError
from tmal_core.evaluation.ledger import TEST, looks
from tmal_core.evaluation.scoring import Episodes, evaluate
from tmal_core.evaluation.statistics import Interval, by_unit, interval, with_correction
from tmal_core.experiment import Experiment, require_used
from tmal_core.models.backbone import load_backbone, located
from tmal_core.models.methods import text_at_test
from tmal_core.models.summary import frozen_hash
from tmal_core.runtime.files import atomic_path
from tmal_core.runtime.processes import Pool
from tmal_core.runtime.progress_bar import tqdm
from tmal_core.runtime.run_folders import Run, commit, environment
from tmal_core.runtime.seeding import generator
from tmal_core.tasks.evaluate import save_table
from tmal_core.tasks.study_table import shown
from tmal_core.tasks.study_variants import EARLIER, FULL, NAMED, QUESTIONS, VARIANTS
from tmal_core.tasks.table_markup import markdown
from tmal_core.tasks.train import train_method

SEEDS = (0, 1, 2, 3, 4)
KEPT = in_project("data/study/answers")
"""Answers of a study that come with the project: a variant whose answers lie there is not trained again."""
_FACTS, _TABLES = "study.json", ("accuracy", "differences", "goals")


@dataclass(frozen=True)
class StudyResults:
    """What the variants got right.

    Variants that learn nothing have one seed.
    """

    split: str
    right: dict[str, dict[int, dict[str, np.ndarray]]]  # variant -> seed -> episode type -> (E, N, Q) bool
    episodes: dict[str, Episodes]  # by episode type, the same for all
    catalog: Catalog  # of their rows
    text: Mapping[str, str]  # variant -> what class names do at test, in the words of `text_at_test`

    def by_seed(self, variant: str, episode_type: str) -> np.ndarray:
        """(seeds, E, N, Q) in percent."""
        return 100.0 * np.stack([found[episode_type] for found in self.right[variant].values()]).astype(np.float64)

    def figures(
        self, values: np.ndarray, episode_type: str, e: EvaluationSettings, accuracy: bool = False
    ) -> tuple[Interval, float]:
        """The interval of the mean of values (seeds, E, N, Q), over seeds too, and their standard deviation over
        seeds. Where only one side of a difference was trained, its other side counts as often as there are seeds."""
        found = by_unit(values, self.episodes[episode_type], self.catalog)
        rng = generator(e.resampling_seed, "bootstrap", episode_type)
        spread = float(values.mean((1, 2, 3)).std(ddof=1)) if len(values) > 1 else math.nan
        return interval(found, rng, e.bootstrap, e.confidence, accuracy), spread


def run_rounds(
    experiment: Experiment,
    out: Path,
    variants: Iterable[str] | None = None,
    seeds: Iterable[int] = SEEDS,
    processes: int = 1,
    val_only: bool = False,
) -> list[StudyResults]:
    """Every variant with the first seed on `val`, then those of them that are `NAMED` with all seeds on `test`.

    Args and errors as of `run_study`; `val_only` leaves the second round out, and nothing looks at test.
    """
    names, seeds = list(VARIANTS) if variants is None else list(variants), sorted(seeds)
    rounds = [run_study(experiment, out, names, seeds[:1], "val", processes)]
    if named := [name for name in names if name in NAMED and not val_only]:
        rounds.append(run_study(experiment, out, named, seeds, TEST, processes))
    return rounds


def run_study(
    experiment: Experiment,
    out: Path,
    variants: Iterable[str] | None = None,
    seeds: Iterable[int] = SEEDS,
    split: str = TEST,
    processes: int = 1,
    progress: bool = True,
) -> StudyResults:
    """Train and ask what is not there yet; seed by seed, so that a stopped study has whole seeds.

    Args:
        experiment: what all variants share; its own method is not asked.
        out: folder of the study; one run folder per variant and seed, and what each got right.
        variants: names in `VARIANTS`; all by default.
        seeds: of training. Episodes are always those of `evaluation.seed`.
        split: that is asked.
        processes: how many trainings at once, each with `compute.num_threads` threads.

    Raises:
        SettingsError: an unknown variant, or a setting of the user's that a variant sets to another value.
    """
    names = list(VARIANTS) if variants is None else list(variants)
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        raise SettingsError(f"variants among {', '.join(VARIANTS)}", ", ".join(unknown), "Correct their names.")
    _require_free(experiment, names)
    units = _units(experiment, out, names, sorted(seeds), split)
    require_used([unit.experiment for unit in units])
    missing = [unit for unit in units if not unit.answers]
    with tqdm(
        total=len(units), initial=len(units) - len(missing), desc="study", unit="run", disable=not progress
    ) as bar:
        if processes <= 1:
            for unit in missing:
                _evaluate_unit(unit)
                bar.update()
        elif missing:
            with Pool(processes, max_tasks_per_child=1) as pool:
                try:
                    for done in as_completed([pool.submit(_evaluate_unit, unit) for unit in missing]):
                        done.result()
                        bar.update()
                except BaseException:
                    pool.abandon()  # a training takes minutes, and goes on from its last validation the next time
                    raise
    right: dict[str, dict[int, dict[str, np.ndarray]]] = {}
    for unit in units:
        assert unit.answers is not None  # it was there, or has been made
        with np.load(unit.answers) as file:
            right.setdefault(unit.name, {})[unit.seed] = dict(file)
    text = {unit.name: text_at_test(unit.experiment.settings.model) for unit in units}
    return StudyResults(split, right, experiment.episodes(split), experiment.split(split), text)


def accuracy_table(results: StudyResults, evaluation: EvaluationSettings, settings: str) -> pd.DataFrame:
    """One row per variant and episode type: mean over seeds, interval over classes and seeds, spread over seeds.

    Args:
        settings: hash of the study's, for the table.
    """
    rows = []
    for name, by_seed in results.right.items():
        for episode_type, episodes in results.episodes.items():
            right = results.by_seed(name, episode_type)
            found, spread = results.figures(right, episode_type, evaluation, accuracy=True)
            row: dict[str, object] = {"method": name, "title": VARIANTS[name].title, "split": results.split}
            row |= {"text_at_test": results.text[name], "episode_type": episode_type}
            row |= {
                "way": episodes.way,
                "shot": episodes.support.shape[2],
                "chance_pct": 100.0 / episodes.way,
                "accuracy_pct": found.mean,
            }
            row |= {"low_pct": found.low, "high_pct": found.high, "seed_spread": spread}
            rows.append(row | {"seeds": len(by_seed), "episodes": len(episodes.query), "settings": settings})
    return pd.DataFrame(rows)


def difference_table(results: StudyResults, evaluation: EvaluationSettings) -> pd.DataFrame:
    """One row per question, variant and episode type: points over the reference, paired on episodes and seeds. No row
    where no two variants of a question were asked."""
    rows = []
    pairs = [(question, name, other) for question, (other, compared) in QUESTIONS.items() for name in compared]
    for question, name, reference in pairs:
        if not {name, reference} <= set(results.right):
            continue
        for episode_type in results.episodes:
            values = results.by_seed(name, episode_type) - results.by_seed(reference, episode_type)
            found, spread = results.figures(values, episode_type, evaluation)
            row: dict[str, object] = {"split": results.split, "question": question, "first": name, "second": reference}
            row |= {"episode_type": episode_type}
            row |= {"points": found.mean, "low": found.low, "high": found.high}
            rows.append(row | {"seed_spread": spread, "p": found.p_value})
    figures = ["points", "low", "high", "seed_spread", "p"]
    columns = ["split", "question", "first", "second", "episode_type", *figures]
    table = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(figures, float))
    return with_correction(table, evaluation.confidence)


def goal_table(accuracy: pd.DataFrame) -> pd.DataFrame:
    """What the parts were built to reach on the diagnostic data, and what they reached, in points or percent."""
    mean = accuracy.pivot(index="method", columns="episode_type", values="accuracy_pct")
    chance = accuracy.groupby("episode_type")["chance_pct"].first()
    families = [name for name in mean.columns if name != MIXED]
    best = mean[families].max()
    cost = mean.loc[[v for v in ("with_text", "with_flow", EARLIER) if v in mean.index], "appearance"].min()
    rows = [
        ("motion: flow adds", mean["motion"][EARLIER] - mean["motion"]["with_text"], ">=", 30.0),
        ("motion: without flow, from chance", abs(mean["motion"]["with_text"] - chance["motion"]), "<=", 3.0),
        ("semantic: text adds", mean["semantic"][EARLIER] - mean["semantic"]["with_flow"], ">=", 20.0),
        ("order: temporal adapters over mean-pooled", mean["order"]["visual"] - mean["order"]["protonet"], ">=", 35.0),
        ("appearance: most that a part costs", mean["appearance"]["visual"] - cost, "<=", 2.0),
        ("TMAL below the best of a family, at most", (best - mean.loc[FULL, families]).max(), "<=", 2.0),
        ("TMAL below the best average", mean[families].mean(axis=1).max() - mean.loc[FULL, families].mean(), "<=", 0.0),
    ]
    table = pd.DataFrame(rows, columns=["goal", "reached", "sign", "wanted"])
    reached, wanted = table["reached"], table["wanted"]
    return table.assign(met=np.where(table["sign"] == ">=", reached >= wanted, reached <= wanted))


class StudyTables(NamedTuple):
    """What a study leaves."""

    accuracy: pd.DataFrame
    differences: pd.DataFrame
    goals: pd.DataFrame | None  # of the last round, where all the variants that they speak of were asked
    facts: dict[str, Any]  # what it was run with


def save_study(experiment: Experiment, rounds: Sequence[StudyResults], out: Path) -> StudyTables:
    """Make the tables and write them to `out/tables` as CSV, every digit kept, with `study.json` on where from.

    A column `split` names the round; p-values are corrected within each.
    """
    evaluation, last = experiment.settings.evaluation, rounds[-1]
    accuracies = [accuracy_table(results, evaluation, experiment.hash) for results in rounds]
    differences = pd.concat([difference_table(results, evaluation) for results in rounds], ignore_index=True)
    on_diagnostic = {"appearance", "order", "motion", "semantic"} <= set(last.episodes)
    goals = goal_table(accuracies[-1]) if on_diagnostic and set(NAMED) <= set(last.right) else None
    facts = {"settings": experiment.hash, **commit(), **environment(experiment.settings.compute)}
    tables = StudyTables(pd.concat(accuracies, ignore_index=True), differences, goals, facts)
    for name in _TABLES:
        if (table := getattr(tables, name)) is not None:
            save_table(table, out, f"study_{name}")
    save_table(looks(experiment.settings.data.folder), out, "looks")
    with atomic_path(out / "tables" / "study.md") as temporary:
        temporary.write_text(markdown(shown(tables.accuracy, evaluation.confidence)) + "\n", encoding="utf-8")
    with atomic_path(out / "tables" / _FACTS) as temporary:
        temporary.write_text(json.dumps(facts, indent=2, default=str), encoding="utf-8")
    return tables


def has_study(folder: Path) -> bool:
    """Whether a folder has tables of a study, which `load_study` reads."""
    return (folder / _FACTS).is_file()


def load_study(folder: Path) -> StudyTables:
    """Read what `save_study` left.

    Raises:
        DataError: a table is missing.
    """
    files = {name: folder / f"study_{name}.csv" for name in _TABLES}
    missing = [path for path in (*files.values(), folder / _FACTS) if not path.is_file()]
    if missing:
        remedy = "Run `make study` with every variant, or name the folder of its tables."
        raise DataError("the tables of a whole study", f"no {missing[0]}", remedy)
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    # A hash such as 12345e678901 would be read as a number.
    tables = {name: pd.read_csv(path, dtype={"settings": str}) for name, path in files.items()}
    return StudyTables(**tables, facts=facts)


class _Unit(NamedTuple):
    """One variant with one seed of training, and the file of what it got right: named by all that it depends on."""

    name: str
    seed: int
    split: str
    experiment: Experiment
    file: Path

    @property
    def answers(self) -> Path | None:
        """Its file, or the one that comes with the project."""
        return next((path for path in (self.file, KEPT / self.file.name) if path.exists()), None)


def _units(experiment: Experiment, out: Path, names: list[str], seeds: list[int], split: str) -> list[_Unit]:
    """Seed by seed; what learns nothing has the first seed alone."""
    units: list[_Unit] = []
    backbones: dict[tuple[str, str], str] = {}
    sections = ("data", "sampling", "episodes", "model", "training", "flow", "evaluation")
    for seed, name in product(seeds, names):
        own = {"model.method": VARIANTS[name].method, **VARIANTS[name].overrides, "seed": seed}
        varied = experiment.changed(own, VARIANTS[name].method, out / name / f"seed{seed}")
        if seed == seeds[0] or varied.method.trained:
            parts = varied.settings.model
            if (key := (parts.backbone, parts.pretrained)) not in backbones:
                backbones[key] = backbone_hash(parts)
            digest = settings_hash(varied.settings, *sections)
            file = out / "answers" / f"{name}-{split}-seed{seed}-{digest}-{backbones[key]}.npz"
            units.append(_Unit(name, seed, split, varied, file))
    return units


def backbone_hash(parts: ModelSettings) -> str:
    """Of the weights that all stands on: their name does not say what the file holds. Random ones follow the seed."""
    if parts.pretrained == "random":
        return parts.pretrained
    return frozen_hash(load_backbone(located(parts.backbone), parts.pretrained))


def _require_free(experiment: Experiment, names: list[str]) -> None:
    """Refuse a setting of the user's that a method fixes, or a variant sets, to another value."""
    experiment.of_methods(dict.fromkeys(VARIANTS[name].method for name in names))
    for name in names:
        for key, value in VARIANTS[name].overrides.items():
            for asked in (key, f"methods.{VARIANTS[name].method}.{key}"):
                if experiment.set_by_user.get(asked, value) != value:
                    got = f"{asked}={experiment.set_by_user[asked]}, but variant {name} has {value}"
                    raise SettingsError("settings that no variant sets otherwise", got, "Leave it out, or the variant.")


def _evaluate_unit(unit: _Unit) -> None:
    """Train one variant with one seed where it learns, ask it, and keep what it got right."""
    experiment = unit.experiment.changed({})  # what it makes goes when it is done
    with Run.create(experiment.folder, experiment.settings, "study", experiment.set_by_user) as run:
        if experiment.method.trained:
            train_method(experiment, run, progress=False)
        bank = experiment.bank(unit.split, progress=False)
        drawn = experiment.episodes(unit.split)
        right: dict[str, Any] = {name: evaluate(experiment.model, bank, part).correct for name, part in drawn.items()}
        percent = {name: 100.0 * float(found.mean()) for name, found in right.items()}
        run.update_summary(**{f"{unit.split}_pct": percent})
    with atomic_path(unit.file) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **right)
