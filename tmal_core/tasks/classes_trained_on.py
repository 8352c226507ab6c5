"""Which classes of a tested data set are not new to the weights: they were trained on, or chosen on, in another one.

A few-shot method is to name classes that it never saw. Within a data set the lists see to it: no class is of two
splits. Across data sets nobody does: UCF101 tests "Punch", HMDB51 trains on "punch". Names are compared by
`tmal_core.data.sets.overlap`. A checkpoint says which classes it was trained and chosen on; of an older one the
catalogue of its training does, while it is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from tmal_core.config import in_project
from tmal_core.data.sets.catalog import load_catalog, with_names
from tmal_core.data.sets.overlap import Kind, Pair, overlapping
from tmal_core.errors import DataError, SettingsError
from tmal_core.experiment import Experiment
from tmal_core.runtime.tables import save_csv
from tmal_core.training.checkpoint import read_checkpoint_file

UNKNOWN = "unknown"
"""In tables: nobody knows what the weights were trained on."""


class Overlap(NamedTuple):
    """Tested classes that are not new to the weights, with what they are like."""

    trained_on: str  # data set
    tested_on: str  # data set and split
    num_classes: int  # that are tested
    num_nameless: int  # of these: nothing can be said of them
    pairs: list[Pair]  # with classes of the training split
    chosen: list[Pair]  # with classes of the validation split, on which the checkpoint was chosen

    def classes(self, kind: Kind = "similar") -> list[str]:
        """Tested classes that were trained on: those of the same name, with `similar` those that are alike too."""
        return sorted({pair.tested for pair in self.pairs if kind == "similar" or pair.kind == "same"})

    @property
    def counts(self) -> str:
        """How many tested classes, by kind: "1 same, 7 similar"."""
        same = len(self.classes("same"))
        return f"{same} same, {len(self.classes()) - same} similar"

    @property
    def table(self) -> pd.DataFrame:
        """One row a pair: the split that was trained or chosen on, both names, and how the pair was found."""
        rows = [("train", *pair) for pair in self.pairs] + [("val", *pair) for pair in self.chosen]
        return pd.DataFrame(rows, columns=["trained_split", *Pair._fields])

    def __str__(self) -> str:
        found = len(self.classes())
        text = f"{found or 'none'} of {self.num_classes} tested classes of {self.tested_on} were trained on in "
        text += f"{self.trained_on} (same name) or are like such"
        return f"{text}: {_in_words(self.pairs)}" if found else f"{text}, by their names"

    @property
    def notes(self) -> list[str]:
        """What else there is to say, a sentence each."""
        chosen = [f"the checkpoint was chosen on the same classes or like ones: {_in_words(self.chosen)}"]
        nameless = [f"{self.num_nameless} of the tested classes have no name: of them nothing is known"]
        return [*(chosen if self.chosen else []), *(nameless if self.num_nameless else [])]


def overlap_of(experiment: Experiment, split: str) -> Overlap | None:
    """What of a split is not new to an experiment's weights; None where there are none, or they were trained on the
    same data set, whose splits share no class.

    Raises:
        DataError: nobody knows which classes they were trained on.
    """
    name, trained_on = experiment.settings.data.name, experiment.trained_with.get("data.name")
    if not experiment.trained_with or trained_on == name:
        return None
    trained = trained_classes(experiment)
    tested = experiment.split(split).table["class_name"].unique().tolist()
    named = with_names(tested)
    pairs, chosen = (overlapping(with_names(trained.get(part, ())), named) for part in ("train", "val"))
    return Overlap(str(trained_on), f"{name} {split}", len(tested), len(tested) - len(named), pairs, chosen)


def counts_of(experiment: Experiment, split: str) -> str:
    """For a table: `Overlap.counts`, "" where there is none to speak of, or `UNKNOWN`."""
    try:
        found = overlap_of(experiment, split)
    except DataError:
        return UNKNOWN
    return found.counts if found else ""


def trained_classes(experiment: Experiment) -> Mapping[str, Iterable[str]]:
    """Names of the classes that the experiment's weights were trained on, by split: train and val.

    Raises:
        DataError: the checkpoint does not say, and the catalogue of its training is gone, or it was made elsewhere.
    """
    assert experiment.checkpoint is not None  # whoever asks has seen what it was trained with
    content = read_checkpoint_file(experiment.checkpoint)
    if content.get("trained_classes"):
        return content["trained_classes"]
    expected, told = "the classes that the weights were trained on", content["trained_with"]
    if "data.root" not in told:
        got = f"{experiment.checkpoint}, adopted from {told.get('adopted_from', 'elsewhere')}, which does not say"
        raise DataError(
            expected, got, "Name classes that are to be left out yourself: --set evaluation.leave_out=[...]."
        )
    root = in_project(told["data.root"])
    try:
        table = load_catalog(root).table
    except DataError as error:
        got = f"{experiment.checkpoint} of an older version, which does not say, and no catalogue in {root} any more"
        remedy = "Put that catalogue back (`tmal prepare` makes it), or train again."
        raise DataError(expected, got, remedy) from error
    return {split: rows["class_name"].unique().tolist() for split, rows in table.groupby("split")}


def without_overlap(experiment: Experiment, split: str, kind: Kind = "similar") -> Experiment:
    """The experiment whose evaluation episodes leave out what was trained on: `evaluation.leave_out` has it.

    Args:
        kind: `same` leaves out equal names alone, `similar` what is like them too.

    Raises:
        SettingsError: its weights were trained on the same data set, or there are none.
        DataError: nobody knows which classes they were trained on.
    """
    found = overlap_of(experiment, split)
    if found is None:
        data = experiment.settings.data.name
        got = f"{experiment.name}, which was trained on {data}" if experiment.trained_with else f"{experiment.name}"
        remedy = "Leave --leave-out-overlap out, or add --checkpoint of a run and --preset of another data set."
        raise SettingsError("weights that were trained on another data set", got, remedy)
    return leaving_out(experiment, found.classes(kind))


def leaving_out(experiment: Experiment, classes: Iterable[str]) -> Experiment:
    """The experiment with these classes left out of its evaluation too."""
    names = sorted({*experiment.settings.evaluation.leave_out, *classes})
    return experiment.changed({"evaluation.leave_out": names}) if names else experiment


def save_overlap(experiment: Experiment, split: str, run_dir: Path, left_out: Kind | None = None) -> str:
    """Write every pair to `tables/overlap-<split>.csv` of a run, and say for people what the overlap is; "" where there
    is none to speak of.

    Args:
        left_out: the kind that the experiment's episodes leave out.
    """
    try:
        found = overlap_of(experiment, split)
    except DataError as error:
        return f"overlap of classes: {UNKNOWN}: {error.in_one_line}"
    if found is None:
        return ""
    save_csv(found.table, run_dir / "tables" / f"overlap-{split}.csv")
    lines = [str(found), *found.notes]
    if left_out:
        gone = {*experiment.settings.evaluation.leave_out} & {*experiment.split(split).table["class_name"]}
        lines.append(f"left out ({left_out}): {len(gone)}, so {found.num_classes - len(gone)} classes are asked")
    elif found.pairs:
        lines[0] += "; --leave-out-overlap leaves them out"
    return "\n".join(lines)


def _in_words(pairs: list[Pair]) -> str:
    """Each tested class with what it is like, where that has another name."""
    like: dict[str, list[str]] = {}
    for pair in pairs:
        like.setdefault(pair.tested, []).extend([pair.trained] if pair.kind == "similar" else [])
    return ", ".join(f"{name} ({', '.join(others)})" if others else name for name, others in like.items())
