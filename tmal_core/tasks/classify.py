"""`tmal classify`: name new clips from a few examples per class, trained or with CLIP as it is.

Examples are a folder with one subfolder per class, as many clips in each as there are; new clips are a folder or one
file. Both are examined as `tmal prepare` does it, and each file that cannot be used is named with its reason: a new
clip in its own row of the table, an example in the summary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tmal_core.config import Settings
from tmal_core.data.clips import ClipReader
from tmal_core.data.sets.catalog import Catalog
from tmal_core.data.sets.folder import Folder, one_file, walk
from tmal_core.data.sets.own_videos import by_class, folders_without_videos
from tmal_core.errors import DataError, SettingsError
from tmal_core.evaluation.feature_bank import Bank, encode
from tmal_core.evaluation.naming import Check, Examples, check, logits, use_untrained
from tmal_core.experiment import Experiment, require_used
from tmal_core.flow.loose_clips import few_workers, flow_place, readable
from tmal_core.flow.reader import FlowReader
from tmal_core.flow.store import FlowStore
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.methods import needs_names
from tmal_core.models.open_clip_access import image_size, statistics
from tmal_core.models.text import SplitText, class_text
from tmal_core.runtime.seeding import seed_everything

UNSURE = "unsure"
UNSURE_BELOW = 0.6
"""Two classes are never less than half sure, so it is more than a half."""
_PHOTOGRAPH = 112  # pixels: CLIPs that learned from photographs see 224 and more, the project's tiny one 64


@dataclass(frozen=True)
class Classified:
    """What became of the new clips.

    Columns of the table: `clip`; `answer`, a class, "unsure", or empty where the clip could not be read; `best`, the
    most probable class, and its `probability`; `note`, why a clip could not be read or what is odd about it; and a
    column `p(<class>)` per class.
    """

    table: pd.DataFrame  # a row per new clip, in the order of their paths
    num_examples: int  # that were used
    check: Check  # how the examples name each other
    notes: list[str] = field(default_factory=list)  # what else should be known, unused examples first

    def __str__(self) -> str:
        names = self.table["answer"]
        unsure, lost = int((names == UNSURE).sum()), int((names == "").sum())
        classes = sum(column.startswith("p(") for column in self.table)
        counts = f"{len(names) - unsure - lost:,} named, {unsure:,} unsure, {lost:,} not read"
        lines = [f"{len(names):,} new clips, {classes} classes from {self.num_examples} examples: {counts}"]
        if self.check.asked:
            lines.append(f"{self.check.right} of {self.check.asked} examples are named right from the others")
        else:
            lines.append("one example per class: nothing says how far the probabilities can be trusted")
        first = self.table[names == ""].head(5)
        lines += [f"not read: {clip} ({note})" for clip, note in zip(first["clip"], first["note"], strict=True)]
        if lost > len(first):
            lines.append(f"and {lost - len(first):,} more that could not be read: see the table")
        return "\n".join([*lines, *self.notes])


def classify_clips(
    experiment: Experiment,
    support: str | Path,
    queries: str | Path,
    unsure_below: float = UNSURE_BELOW,
    flow_folder: Path | None = None,
    force: bool = False,
    progress: bool = True,
) -> Classified:
    """Name every clip of `queries` with one of the classes of `support`.

    Args:
        experiment: the method; one of a checkpoint (`of_checkpoint`) takes its trained weights, others CLIP as it is.
        support: folder with one subfolder per class.
        queries: a folder of new clips, at any depth, or one video file.
        unsure_below: the least probability of an answer, 0..1.
        flow_folder: where computed flow is kept for the next time; None throws it away. Flow of the data set that the
            settings name is used in any case.
        force: accept a backbone that never saw a photograph.

    Raises:
        SettingsError: an impossible threshold, method or backbone.
        DataError: fewer than two classes, a class without an example that can be used, or no new clip.
        WeightsError: weights are missing or do not belong to the settings.
    """
    if not 0 <= unsure_below <= 1:
        raise SettingsError("a probability from 0 to 1 below which a clip is unsure", f"{unsure_below}", "Change it.")
    require_used([experiment])
    settings, folder, place = experiment.settings, walk(Path(support)), Path(queries).resolve()
    by_name = by_class(folder)
    listed = {path: name for name, paths in sorted(by_name.items()) for path in paths}
    if len(by_name) < 2:
        remedy = "Add a folder of examples for each class that new clips may show."
        raise DataError(f"two classes or more in {support}", f"one, {next(iter(by_name))!r}", remedy)
    new = one_file(place) if place.is_file() else walk(Path(queries))
    model, notes = _model(experiment, force), list[str]()
    with flow_place(settings.model.reads_flow, flow_folder, settings.flow) as store:
        examples, broken = readable(folder.root, list(listed), settings, store, progress)
        names = _class_names(listed, examples, broken)
        clips, lost = readable(new.root, new.paths(), settings, store, progress)
        class_of = np.array([names.index(listed[path]) for path in examples.table["path"]])
        text = None
        if needs_names(settings.model):
            features = class_text(model.encoder.clip, settings.model, names, say=notes.append)
            text = SplitText(features.cpu(), class_of)
        bank = _encoded(settings, model, examples, store, text, progress)
        tokens = _encoded(settings, model, clips, store, None, progress).query if len(clips) else None
    known = Examples(bank.query, bank.support, torch.from_numpy(class_of), None if text is None else text.features)
    checked = check(model, known)
    probabilities = np.empty((0, len(names)))
    if tokens is not None:
        probabilities = (logits(model, tokens, known) / checked.temperature).softmax(1).numpy()
    notes += [f"example not used: {path} ({reason})" for path, reason in sorted(broken.items())]
    notes += _same_content(examples, listed)
    notes += [f"example used though frames are lost: {path} ({what})" for path, what in _lost_frames(examples).items()]
    same, odd = set(examples.table["sha256"]), _lost_frames(clips)
    odd |= {row.path: "the same file as an example" for row in clips.table.itertuples() if row.sha256 in same}
    table = _table(names, clips, probabilities, {**new.refused, **new.others, **lost}, odd, unsure_below)
    return Classified(table, len(examples), checked, [*notes, *_left_out(folder), *_hidden(new)])


def _lost_frames(clips: Catalog) -> dict[str, str]:
    """Path -> what is lost of a clip, in words."""
    rows = clips.table[clips.table["lost_frames"] > 0].itertuples()
    return {row.path: f"{row.num_frames} frames, {row.lost_frames} more are lost" for row in rows}


def _same_content(examples: Catalog, listed: dict[str, str]) -> list[str]:
    """Files that show two classes: a copy, or a link to one file."""
    notes = []
    for _, paths in examples.table.groupby("sha256", sort=False)["path"]:
        first, *others = paths
        other = next((path for path in others if listed[path] != listed[first]), None)
        notes += [f"the same content as an example of two classes: {first} and {other}"] if other else []
    return notes


def _hidden(found: Folder) -> list[str]:
    count = len(found.hidden)
    return [f"left out: {count} hidden by their names in {found.root}, as {found.hidden[0]}"] if count else []


def _left_out(found: Folder) -> list[str]:
    """What in the folder of examples is none, in words."""
    beside = [path for path in found.paths() if "/" not in path]
    unusable = sorted({**found.refused, **found.others}.items())
    notes = [*(f"left out: {path} ({reason})" for path, reason in unusable), *_hidden(found)]
    if beside:
        notes.append(f"left out: {len(beside)} videos beside the class folders, as {beside[0]}")
    notes += [f"left out: {name}, a folder without videos" for name in folders_without_videos(found)]
    return notes


def _model(experiment: Experiment, force: bool) -> FewShotModel:
    """The method, ready to answer; refused where its answers would mean nothing."""
    name, parts, pretrained = experiment.name, experiment.settings.model, experiment.settings.model.pretrained
    untrained = not experiment.has_checkpoint
    if untrained and not experiment.method.starts_as_clip:
        remedy = "Pass --checkpoint, or choose otam, which needs none."
        raise SettingsError(f"a checkpoint for {name}, whose prototypes begin at random", "none", remedy)
    experiment.device  # noqa: B018 - threads are set before anything is made
    seed_everything(experiment.settings.seed)
    model = experiment.build().eval() if untrained else experiment.model
    side, _ = image_size(model.encoder.clip.visual)
    if not force and (side < _PHOTOGRAPH or pretrained == "random"):
        what = "random weights" if pretrained == "random" else f"{side}-pixel pictures"
        remedy = "Set model.backbone, model.pretrained and sampling to a real CLIP's, or pass --force to see it guess."
        raise SettingsError("a backbone that has seen photographs", f"{parts.backbone} with {what}", remedy)
    if untrained and model.head.is_measured:
        switch, other = ("smoothing_unit std", "absolute") if model.head.in_std else ("centre gate", "none")
        remedy = f"Set it to {other}: what it counts in is measured on a training split, and here is none."
        raise SettingsError(f"a checkpoint for {name} with model.{switch}", "none", remedy)
    if untrained:
        use_untrained(model, experiment.settings.sampling.num_frames)
    return model


def _class_names(listed: dict[str, str], examples: Catalog, broken: dict[str, str]) -> list[str]:
    """Names of the classes, sorted; each must have an example that can be used."""
    names = sorted(set(listed.values()))
    used = {listed[path] for path in examples.table["path"]}
    empty = [name for name in names if name not in used]
    if empty:
        path = next(path for path in broken if listed[path] == empty[0])
        got = f"none of {len(empty)} of them, as {empty[0]!r}: {path} ({broken[path]})"
        remedy = "Replace these files, or leave the class out."
        raise DataError("an example of every class that can be used", got, remedy)
    return names


def _encoded(
    settings: Settings,
    model: FewShotModel,
    clips: Catalog,
    store: FlowStore | None,
    text: SplitText | None,
    progress: bool,
) -> Bank:
    """One view of each clip, with flow or differences where they are read; without text as queries alone."""
    flow = None if store is None else FlowReader(clips, store, settings.flow.estimator)
    differences = settings.model.reads_differences
    mean, std = statistics(model.encoder.clip.visual)
    how: dict[str, Any] = {"flow": flow, "differences": differences, "mean": mean, "std": std}
    reader = ClipReader(clips, settings.sampling, settings.data.decoder, **how)
    return encode(model, reader, text, settings.evaluation, few_workers(settings.compute, len(clips)), progress)


def _table(
    names: list[str],
    clips: Catalog,
    probabilities: np.ndarray,
    lost: dict[str, str],
    notes: dict[str, str],
    unsure_below: float,
) -> pd.DataFrame:
    columns = ["clip", "answer", "best", "probability", "note", *(f"p({name})" for name in names)]
    unknown = [np.nan] * len(names)
    rows: list[tuple[object, ...]] = [(path, "", "", np.nan, reason, *unknown) for path, reason in lost.items()]
    for path, row in zip(clips.table["path"], probabilities, strict=True):
        best, sure = names[row.argmax()], float(row.max())
        rows.append((path, best if sure >= unsure_below else UNSURE, best, sure, notes.get(path, ""), *row.tolist()))
    return pd.DataFrame(rows, columns=columns).sort_values("clip", ignore_index=True)
