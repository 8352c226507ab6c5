"""`tmal cross`: trained runs of any data set on any other, every one asked the same episodes, in one table.

    runs and frozen methods x tested presets ─► answers ─► accuracies, paired differences, classes that are not new

Where tested classes are to be left out because weights were trained on them (`tasks.classes_trained_on`), those
of any of the runs are left out for all: rows of one preset stay comparable, with and without these classes. One cell is
one method on one preset; what it answered is a file named by all that it depends on (settings, weights, catalogue,
code), so a table that was stopped goes on, and a run that was trained anew is asked anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tmal_core.config import settings_hash
from tmal_core.data.sets.overlap import Kind
from tmal_core.errors import EpisodeError, SettingsError, WeightsError
from tmal_core.evaluation.feature_bank import code_version
from tmal_core.evaluation.scoring import Episodes, Outcome, evaluate
from tmal_core.experiment import Experiment, Overrides, of_checkpoint, require_comparable, require_used
from tmal_core.models.methods import METHODS, method
from tmal_core.runtime.files import atomic_path, file_sha256
from tmal_core.runtime.progress_bar import tqdm
from tmal_core.runtime.run_folders import Run
from tmal_core.tasks.classes_trained_on import leaving_out, overlap_of
from tmal_core.tasks.study import backbone_hash
from tmal_core.training.loop import BEST

ALL, WITHOUT = "all classes", "without overlap"
"""What a part of the table asks."""
_SECTIONS = ("seed", "data", "sampling", "episodes", "model", "flow", "evaluation")


class Source(NamedTuple):
    """What is tested: a method of a trained run, or one that learns nothing."""

    run: str  # as typed; empty for a method that learns nothing
    method: str

    @property
    def label(self) -> str:
        return f"{self.run} {self.method}".strip()


@dataclass(frozen=True)
class Part:
    """One preset with all of its classes, or without those that some weights were trained on."""

    tested: str  # preset
    asked: str  # `ALL` or `WITHOUT`
    experiments: Mapping[str, Experiment]  # by `Source.label`
    outcomes: Mapping[str, dict[str, Outcome]]  # by label and episode type


@dataclass(frozen=True)
class CrossResults:
    """What every source answered on every preset."""

    split: str
    sources: Sequence[Source]
    parts: list[Part] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what could not be asked or compared, and why


def sources_of(runs: Iterable[str | Path], methods: Iterable[str] = ()) -> list[Source]:
    """Every trained method of the runs, then methods that learn nothing.

    Raises:
        RunError: a folder is no run.
        WeightsError: a run without trained weights.
        SettingsError: a method that is trained among `methods`, something twice, or nothing at all.
    """
    found = []
    for run in runs:
        trained = sorted(path.parent.name for path in (Run.open(run).path / "checkpoints").glob(f"*/{BEST}"))
        if not trained:
            remedy = "Train first (`tmal train`), or correct the path."
            raise WeightsError("a run with trained weights", f"{run}, which has none", remedy)
        found += [Source(str(run), name) for name in trained if method(name).trained]
    for name in methods:
        if method(name).trained:
            free = ", ".join(known for known in METHODS if not method(known).trained)
            raise SettingsError(f"methods that learn nothing ({free})", name, "Name its run by --train.")
        found.append(Source("", name))
    twice = sorted({source.label for source in found if found.count(source) > 1})
    if twice or not found:
        raise SettingsError("each run and method once", ", ".join(twice) or "none", "Name runs by --train.")
    return found


def run_cross(
    sources: Sequence[Source],
    presets: Sequence[str | Path],
    out: Path,
    split: str = "val",
    overrides: Overrides = None,
    leave_out: Kind | None = None,
    progress: bool = True,
) -> CrossResults:
    """Ask what is not there yet.

    Args:
        sources: of `sources_of`.
        presets: that are tested, names or YAML files.
        out: folder of answers and tables; in it a folder for each preset with its features.
        split: that is asked. Each source on `test` is one look, with and without overlapping classes together.
        overrides: settings of all, over those of the presets.
        leave_out: also ask each preset without the classes that some source was trained on in another data set: those
            of the `same` name, or `similar` ones too. Where too few classes are left, a note says so.

    Raises:
        SettingsError: a preset twice, sources that would be asked different episodes, or a setting that none reads.
        EpisodeError: a preset cannot give its episodes.
        DataError: classes are to be left out, and nobody knows which ones weights were trained on.
    """
    results = CrossResults(split, sources)
    tested = [_experiments(sources, preset, out, overrides) for preset in presets]
    names = [next(iter(experiments.values())).settings.preset for experiments in tested]
    if len(set(names)) < len(names):
        raise SettingsError("each preset once", ", ".join(names), "Rename a file of settings, or leave it out.")
    with tqdm(total=len(sources) * len(names), desc="cross", unit="cell", disable=not progress) as bar:
        for name, experiments in zip(names, tested, strict=True):
            asked = {ALL: experiments}
            if leave_out and (less := _without(experiments, split, leave_out)):
                asked[WITHOUT] = less
            _ask(results, name, asked, out / "answers", bar)
    return results


def _experiments(
    sources: Sequence[Source], preset: str | Path, out: Path, overrides: Overrides
) -> dict[str, Experiment]:
    """One per source, by label, under one preset; the `model` section of a run stays."""
    found = {}
    for source in sources:
        name = Path(preset).stem
        if source.run:
            found[source.label] = of_checkpoint(Path(source.run), preset, overrides, source.method, out / name)
        else:
            found[source.label] = Experiment.of(preset, overrides, source.method, out / name)
    require_used(found.values())
    require_comparable(found.values())
    return found


def _without(experiments: Mapping[str, Experiment], split: str, kind: Kind) -> dict[str, Experiment]:
    """The same without what any of them was trained on elsewhere; empty where there is no such class."""
    overlaps = [found for one in experiments.values() if (found := overlap_of(one, split))]
    classes = {name for found in overlaps for name in found.classes(kind)}
    return {label: leaving_out(one, classes) for label, one in experiments.items()} if classes else {}


def _ask(
    results: CrossResults, tested: str, asked: Mapping[str, Mapping[str, Experiment]], folder: Path, bar: tqdm
) -> None:
    """Add the parts of one preset to the results; each source is made once, for all that it is asked."""
    drawn: dict[str, dict[str, Episodes]] = {}
    for what, experiments in asked.items():
        try:
            drawn[what] = next(iter(experiments.values())).episodes(results.split)
        except EpisodeError as error:
            if what == ALL:
                raise
            results.notes.append(f"{tested} {what}: {error.in_one_line}")
    outcomes: dict[str, dict[str, dict[str, Outcome]]] = {what: {} for what in drawn}
    catalogue = _catalogue_hash(next(iter(asked[ALL].values())))
    for source in results.sources:
        label = source.label
        made_of = _weights_hash(asked[ALL][label]), catalogue
        files = {what: folder / _file_name(asked[what][label], tested, results.split, *made_of) for what in drawn}
        if missing := [what for what, file in files.items() if not file.exists()]:
            _answer(asked[ALL][label], results.split, {files[what]: drawn[what] for what in missing})
        for what, file in files.items():
            outcomes[what][label] = _read(file, drawn[what])
        bar.update()
    results.parts.extend(Part(tested, what, asked[what], outcomes[what]) for what in drawn)


def _answer(experiment: Experiment, split: str, wanted: Mapping[Path, Mapping[str, Episodes]]) -> None:
    """Answer episodes from one bank, and keep the logits of each set of them in its file."""
    once = experiment.changed({})  # what it makes goes when it is done
    bank = once.bank(split, progress=False)
    for file, episodes in wanted.items():
        kept: dict[str, Any] = {"positions": np.array(bank.positions)}
        kept |= {f"logits {name}": evaluate(once.model, bank, drawn).logits for name, drawn in episodes.items()}
        with atomic_path(file) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **kept)


def _read(file: Path, episodes: Mapping[str, Episodes]) -> dict[str, Outcome]:
    with np.load(file) as kept:
        positions = str(kept["positions"])
        return {name: Outcome(drawn, kept[f"logits {name}"], positions) for name, drawn in episodes.items()}


def _file_name(experiment: Experiment, tested: str, split: str, *made_of: str) -> str:
    """Names all that answers depend on: settings, code, and the hashes of weights and catalogue."""
    facts = [settings_hash(experiment.settings, *_SECTIONS), code_version(), *made_of]
    return f"{experiment.name}-{tested}-{split}-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}.npz"


def _weights_hash(experiment: Experiment) -> str:
    """Of the trained weights, whose file holds the fingerprint of what is frozen beneath them, or of the backbone."""
    if experiment.checkpoint is not None:
        return file_sha256(experiment.checkpoint)
    return backbone_hash(experiment.settings.model)


def _catalogue_hash(experiment: Experiment) -> str:
    """Of every row: which videos there are, of which class, in which split."""
    return hashlib.sha256(json.dumps(experiment.catalog.table.to_numpy().tolist()).encode()).hexdigest()
