"""`tmal baselines`: what frozen encoders reach by themselves, under every matcher, on the same episodes.

    encoders ─► each video encoded once ─► matchers ─► the same episodes ─► accuracies, paired differences ─► tables

Nothing is trained. What one encoder answered under one matcher is a file, named by all that it depends on, weights and
videos included: a call that was stopped goes on where it stopped, and one that names further encoders asks only these.
An encoder that cannot be asked is left out with its reason, and the others go on.

Both rows of OTAM have one smoothing in standard deviations of frame distances, measured for each encoder on clips of
`train`: encoders put frames differently close to each other, and a smoothing in distances themselves would mean
something else for each. The size of pictures is each encoder's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from tmal_core.config import EvaluationSettings, settings_hash
from tmal_core.data.sets.catalog import Catalog
from tmal_core.errors import SettingsError, WeightsError
from tmal_core.evaluation.feature_bank import bank_key, positions_hash
from tmal_core.evaluation.scoring import Outcome, evaluate
from tmal_core.evaluation.statistics import accuracy_interval, difference_interval, with_correction
from tmal_core.experiment import Experiment, measured, require_comparable, require_used
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.methods import build_on, text_at_test
from tmal_core.models.open_clip_access import has_text, image_size
from tmal_core.models.summary import frozen_hash
from tmal_core.runtime.files import atomic_path
from tmal_core.tasks.encoder_names import NamedEncoder, load_encoder, named_encoders
from tmal_core.tasks.evaluate import save_table
from tmal_core.viz.baseline_plots import baselines
from tmal_core.viz.style import save_figure


class Matcher(NamedTuple):
    """One way to compare the clips of a frozen encoder."""

    title: str
    method: str
    overrides: Mapping[str, Any]  # dotted settings


_OTAM = {"model.matching": "otam", "model.smoothing": 0.03, "model.smoothing_unit": "std"}
MATCHERS = {
    "mean": Matcher("frames averaged", "protonet", {"model.matching": "mean"}),
    "diagonal": Matcher("frame by frame", "frozen", {"model.matching": "diagonal", "model.centre": "none"}),
    "otam": Matcher("OTAM", "otam", {**_OTAM, "model.centre": "none"}),
    "otam_centred": Matcher("OTAM on centred frames", "otam", {**_OTAM, "model.centre": "clip"}),
}
"""The rows of every encoder by name."""
REFERENCE = "otam"
"""The row of the first encoder that all others are compared with."""
_DECISIVE = ("data", "sampling", "episodes", "model", "evaluation")
_COUNTS = ("way", "shot", "episodes", "seed", "crop_px", "resize_px", "width")
_COLUMNS = ["encoder", "weights", "matcher", "title", "text_at_test", "split", "episode_type", "way", "shot"]
_COLUMNS += ["chance_pct", "accuracy_pct", "low_pct", "high_pct", "episodes", "seed", "crop_px", "resize_px", "width"]
_COLUMNS += ["text", "frozen", "settings", "left_out"]


@dataclass(frozen=True)
class Answer:
    """What one encoder answered under one matcher."""

    encoder: NamedEncoder
    matcher: str
    experiment: Experiment
    outcomes: dict[str, Outcome]  # by episode type; logits are 1 for the answer, else 0
    facts: dict[str, Any]  # of the encoder, for the table

    def __str__(self) -> str:
        return f"{self.encoder} {self.matcher}"


@dataclass(frozen=True)
class Answers:
    """What all of them answered, and why some did not."""

    split: str
    given: list[Answer]
    left_out: dict[NamedEncoder, str]  # reason, in one line
    catalog: Catalog  # of the episodes' rows
    evaluation: EvaluationSettings


def run_baselines(
    experiment: Experiment, names: Iterable[str], split: str, say: Callable[[str], object] = print
) -> pd.DataFrame:
    """Ask every encoder, and write tables and picture to the run folder; the table of `baseline_table`.

    Args as of `ask_encoders`.

    Raises:
        SettingsError: a setting of the user's that rows set themselves, or that changes nothing here; names that cannot
            be read; no run folder.
    """
    require_free(experiment)
    answers = ask_encoders(experiment, names, split, say)
    accuracy, differences = baseline_table(answers), baseline_differences(answers)
    save_table(accuracy, experiment.folder, f"baselines-{split}")
    save_table(differences, experiment.folder, f"baselines_differences-{split}")
    if answers.given:
        save_figure(baselines(accuracy), experiment.folder, f"baselines-{split}")
    return accuracy


def require_all(table: pd.DataFrame) -> None:
    """Raise a WeightsError that names the encoders of a table that were left out."""
    missing = table[table["left_out"] != ""]
    if len(missing):
        names = ", ".join(missing["encoder"] + ":" + missing["weights"])
        remedy = "Put right what is said above and give the same command again: what was answered is kept."
        raise WeightsError("answers of every encoder", f"none of {names}", remedy)


def require_free(experiment: Experiment) -> None:
    """Refuse settings of a user's that encoders or rows set, that no row reads, or that ask rows differently."""
    own = {"model.backbone", "model.pretrained", "model.method"}.union(*(row.overrides for row in MATCHERS.values()))
    for key, value in experiment.set_by_user.items():
        if (key.split(".", 2)[2] if key.startswith("methods.") else key) in own:
            remedy = "Leave it out: --encoders names the encoders, and each is asked under the same matchers."
            raise SettingsError("settings that the rows of baselines do not set themselves", f"{key}={value}", remedy)
    rows = [experiment.changed({}, row.method) for row in MATCHERS.values()]
    require_used(rows)
    require_comparable(rows)


def ask_encoders(
    experiment: Experiment,
    names: Iterable[str],
    split: str = "val",
    say: Callable[[str], object] = lambda line: None,
    progress: bool = True,
) -> Answers:
    """Every encoder under every matcher on the same episodes; what was answered before is read, not asked again.

    Encoders and rows set what they are made of, whatever the experiment says of backbone and matching. Crop and resize
    follow the encoder's size, in the preset's proportion, unless the user set them.

    Args:
        experiment: data, episodes, evaluation and run folder; its own method is not asked.
        names: as of `named_encoders`; a name without weights takes the settings' `model.pretrained`.
        split: that is asked. Each row that is asked on `test` is a look.
        say: is told of each encoder, in a line.

    Raises:
        SettingsError: names that cannot be read, or no run folder.
    """
    encoders = named_encoders(names, experiment.settings.model.pretrained)
    given: list[Answer] = []
    left_out: dict[NamedEncoder, str] = {}
    # What no encoder is to blame for is said before the first one is asked.
    catalog, device, _ = experiment.split(split), experiment.device, experiment.folder
    for encoder in encoders:
        answered: list[Answer] = []
        try:
            answered = _answers(experiment, encoder, device, split, progress)
        except (WeightsError, SettingsError) as error:
            left_out[encoder] = error.in_one_line
        except torch.OutOfMemoryError:
            left_out[encoder] = "too little memory: lower evaluation.batch_videos, or take a smaller encoder"
        given += answered
        found = ", ".join(one.matcher for one in answered)
        say(f"{encoder}: {f'answered under {found}' if answered else f'left out, {left_out[encoder]}'}")
    return Answers(split, given, left_out, catalog, experiment.settings.evaluation)


def _answers(
    experiment: Experiment, encoder: NamedEncoder, device: torch.device, split: str, progress: bool
) -> list[Answer]:
    """Of one encoder under every matcher, a file each; its weights are loaded once for all of them."""
    clip = load_encoder(encoder, experiment.settings.seed, device)
    side = image_size(clip.visual)[0]
    rows = _rows(experiment, encoder, side)
    models = {name: _on(row, clip) for name, row in rows.items()}
    readers = {name: row.reader(row.split(split)) for name, row in rows.items()}
    first, precision = next(iter(rows)), experiment.settings.evaluation.precision
    key = bank_key(models[first], readers[first], None, precision)
    facts: dict[str, Any] = {"width": models[first].encoder.joint_width, "text": has_text(clip)}
    facts["frozen"] = frozen_hash(clip)
    words, answers = re.sub(r"[^A-Za-z0-9]+", "-", str(encoder)), []
    for name, row in rows.items():
        file = row.folder / "answers" / f"{words}-{name}-{split}-{settings_hash(row.settings, *_DECISIVE)}-{key}.npz"
        if not file.is_file():
            _ask(row, models[name], split, file, progress)
        answers.append(Answer(encoder, name, row, _read(row, split, file, positions_hash(readers[name])), facts))
    return answers


def _rows(experiment: Experiment, encoder: NamedEncoder, side: int) -> dict[str, Experiment]:
    """The experiment of each row; SettingsError where the user's crop is not what the encoder takes."""
    s, own = experiment.settings.sampling, experiment.set_by_user
    pictures = {"sampling.crop": side, "sampling.resize": round(side * s.resize / s.crop)}
    if own.get("sampling.crop", side) != side:
        remedy = "Leave it out: each encoder then gets pictures of its own size."
        raise SettingsError(f"crops of {side} pixels, as {encoder} takes", f"sampling.crop {s.crop}", remedy)
    made: dict[str, Any] = {"model.backbone": encoder.name, "model.pretrained": encoder.weights}
    made |= {key: value for key, value in pictures.items() if key not in own}
    return {
        name: experiment.changed({**made, **row.overrides, "model.method": row.method}, row.method)
        for name, row in MATCHERS.items()
    }


def _on(row: Experiment, clip: Any) -> FewShotModel:
    """The row's method on a backbone that is loaded and stays as it is."""
    return build_on(clip, row.settings.model).to(row.device).eval()


def _ask(row: Experiment, model: FewShotModel, split: str, file: Path, progress: bool) -> None:
    """Ask one row, and keep the labels that it answered: (E, N, Q) by episode type."""
    asked = row.changed({})  # what it makes goes when it is done
    measured(asked, model, asked.folder / "features")
    asked.model = model
    bank, drawn = asked.bank(split, progress), asked.episodes(split)
    labels: dict[str, Any] = {name: evaluate(model, bank, part).predicted for name, part in drawn.items()}
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **{name: found.astype(np.uint16) for name, found in labels.items()})


def _read(row: Experiment, split: str, file: Path, positions: str) -> dict[str, Outcome]:
    """What was answered, as outcomes."""
    found = {}
    with np.load(file) as labels:
        for name, drawn in row.episodes(split).items():
            one_hot = np.eye(drawn.way, dtype=np.float32)[labels[name].reshape(len(drawn.query), -1)]
            found[name] = Outcome(drawn, one_hot, positions)
    return found


def baseline_table(answers: Answers) -> pd.DataFrame:
    """One row per encoder, matcher and episode type, in percent; of an encoder that was left out one row, which says
    why under `left_out`.

    `frozen` names the weights bit by bit, `width` is that of frame features, `text` whether it has a text tower,
    `text_at_test` what names do in its answers.
    """
    rows: list[dict[str, Any]] = []
    for one in answers.given:
        s, e = one.experiment.settings, answers.evaluation
        named: dict[str, Any] = {"encoder": one.encoder.name, "weights": one.encoder.weights, "matcher": one.matcher}
        pictures = {"crop_px": s.sampling.crop, "resize_px": s.sampling.resize}
        for episode_type, outcome in one.outcomes.items():
            found = accuracy_interval(outcome, answers.catalog, e.resampling_seed, e.bootstrap, e.confidence)
            row = {**named, "title": MATCHERS[one.matcher].title, "text_at_test": text_at_test(s.model)}
            row |= {"split": answers.split, "episode_type": episode_type}
            row |= {"way": outcome.episodes.way, "shot": s.episodes.shot, "chance_pct": 100.0 / outcome.episodes.way}
            row |= {"accuracy_pct": found.mean, "low_pct": found.low, "high_pct": found.high}
            row |= {"episodes": len(outcome.correct), "seed": e.seed, **pictures, **one.facts}
            rows.append({**row, "settings": one.experiment.hash, "left_out": ""})
    for encoder, reason in answers.left_out.items():
        rows.append({"encoder": encoder.name, "weights": encoder.weights, "split": answers.split, "left_out": reason})
    return pd.DataFrame(rows, columns=_COLUMNS).astype(dict.fromkeys(_COUNTS, "Int64"))


def baseline_differences(answers: Answers) -> pd.DataFrame:
    """Every row minus the `REFERENCE` of the first encoder, in points, paired on the same episodes and frames.

    A row that was shown other frames has nothing to be paired with, and is not in the table.
    """
    columns = ["first", "second", "episode_type", "points", "low", "high", "p"]
    rows, e = [], answers.evaluation
    for reference in [one for one in answers.given if one.matcher == REFERENCE][:1]:
        for one, (episode_type, other) in product(answers.given, reference.outcomes.items()):
            outcome = one.outcomes[episode_type]
            if one is reference or outcome.positions != other.positions:
                continue
            found = difference_interval(outcome, other, answers.catalog, e.resampling_seed, e.bootstrap, e.confidence)
            rows.append((str(one), str(reference), episode_type, found.mean, found.low, found.high, found.p_value))
    return with_correction(pd.DataFrame(rows, columns=columns), e.confidence)
