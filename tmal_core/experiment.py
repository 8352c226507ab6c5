"""One experiment: settings resolved once, and everything that is made of them, each thing once, when first asked for.

    defaults < preset < the preset's block for the method < what the user set

What a method fixes (`otam` has no adapters) nobody overrides: a user who sets such a switch to another value is told
so. An experiment is what notebooks show, what is hashed, and what a run's record holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tmal_core.config import AT_SHOT, Settings, flatten, in_project, load_settings, settings_hash
from tmal_core.data.clips import ClipReader, TrainingEpisodes
from tmal_core.data.diagnostic.generation import planned
from tmal_core.data.episodes import EpisodeSampler, episode_types, evaluation_sampler, training_samplers
from tmal_core.data.sets.catalog import FILE_NAME, Catalog, load_catalog, require_classes, require_names
from tmal_core.errors import SettingsError, WeightsError
from tmal_core.evaluation.feature_bank import Bank, encode
from tmal_core.evaluation.frame_distances import MOST_CLIPS, measure_unit
from tmal_core.evaluation.ledger import TEST, note_look
from tmal_core.evaluation.scoring import Episodes
from tmal_core.flow.reader import FlowReader
from tmal_core.flow.store import FlowStore, flow_store
from tmal_core.models.backbone import located, picture_statistics
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.methods import METHODS, build, method, needs_names, resolved, unread
from tmal_core.models.open_clip_access import image_size
from tmal_core.models.text import SplitText, class_text
from tmal_core.runtime.devices import set_up
from tmal_core.runtime.run_folders import Run
from tmal_core.training.checkpoint import Origin, load_checkpoint, read_checkpoint_file
from tmal_core.training.loop import BEST
from tmal_core.training.optimiser import SCHEDULES

Overrides = Mapping[str, Any] | None
Place = str | Path | None
DIAGNOSTIC = "diagnostic"
"""`data.name` of the data set that is generated."""


class Experiment:
    """One method under one set of settings, resolved once: its data, episodes, model and features.

    Args:
        common: settings of every method, as `load_settings` gives them.
        set_by_user: dotted settings in them that a user set.
        method_name: of the method; by default the settings' `model.method`.
        run_dir: the run folder, where trained weights and features are kept.
        checkpoint: trained weights elsewhere than in the run folder.

    Raises:
        SettingsError: no such method, a switch set against what it fixes, or settings that `sampling.scheme` refuses.
    """

    def __init__(
        self,
        common: Settings,
        set_by_user: Overrides = None,
        method_name: str | None = None,
        run_dir: Place = None,
        checkpoint: Path | None = None,
    ) -> None:
        self.common, self.set_by_user = common, flatten(set_by_user or {})
        self.name = method_name or common.model.method
        self.method = method(self.name)
        require_consistent(common, self.set_by_user, [self.name])
        fixed = {f"model.{switch}": value for switch, value in self.method.fixed.items()}
        self.settings = common.for_method(self.name, fixed)
        require_frames(self.settings)
        self.run_dir, self._checkpoint = None if run_dir is None else in_project(run_dir), checkpoint
        self._banks: dict[str, Bank] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Workers get what it was made of, not what it has made."""
        return Experiment, (self.common, self.set_by_user, self.name, self.run_dir, self._checkpoint)

    @classmethod
    def of(
        cls, preset: str | Path = "tiny", overrides: Overrides = None, method: str | None = None, run_dir: Place = None
    ) -> Experiment:
        """From a preset and what a user sets.

        >>> experiment = Experiment.of("tiny", {"training.episodes": 100}, method="otam")
        >>> experiment.settings.training.episodes, experiment.settings.model.matching
        (100, 'otam')
        """
        return cls(load_settings(preset, overrides), overrides, method, run_dir)

    @classmethod
    def of_run(cls, run_dir: str | Path, overrides: Overrides = None, method: str | None = None) -> Experiment:
        """That of a run folder, with further settings."""
        run, more = Run.open(in_project(run_dir)), dict(overrides or {})
        return cls(run.settings.replace(more), {**run.set_by_user, **more}, method, run.path)

    def of_methods(self, names: Iterable[str]) -> dict[str, Experiment]:
        """The same for several methods, by name.

        Raises:
            SettingsError: switches that some of them fix otherwise, or that none reads; or different episodes.
        """
        names = list(names)
        require_consistent(self.common, self.set_by_user, names)
        own = {self.name: self._checkpoint}
        made = [Experiment(self.common, self.set_by_user, name, self.run_dir, own.get(name)) for name in names]
        require_used(made)
        require_comparable(made)
        return {one.name: one for one in made}

    def changed(
        self, overrides: Mapping[str, Any], method_name: str | None = None, run_dir: Place = None
    ) -> Experiment:
        """One with further settings, as if the user had set them too."""
        common = self.common.replace(overrides)
        where = self.run_dir if run_dir is None else run_dir
        return Experiment(common, {**self.set_by_user, **overrides}, method_name or self.name, where, self._checkpoint)

    @cached_property
    def device(self) -> torch.device:
        """Where to compute; torch has the threads that the settings say."""
        return set_up(self.settings.compute)

    @property
    def hash(self) -> str:
        """Names the resolved settings."""
        return settings_hash(self.settings)

    @property
    def origin(self) -> Origin:
        """What weights that are trained under these settings come from."""
        sections = ("seed", "data", "sampling", "episodes", "model", "training", "flow")
        return Origin(settings_hash(self.settings, *sections), self.settings.to_flat())

    @property
    def catalog(self) -> Catalog:
        """The whole data set."""
        return load_catalog(self.settings.data.folder)

    def split(self, name: str) -> Catalog:
        """One split of it: train, val or test."""
        return self.catalog.select(name)

    @property
    def flow_store(self) -> FlowStore:
        """Where the data set's flow by the settings' estimator is kept."""
        return flow_store(self.settings.data.folder, self.settings.flow)

    def reader(self, catalog: Catalog, cache: bool = False, with_flow: bool | None = None) -> ClipReader:
        """Reads clips of a catalogue as the settings say; with flow or differences where they are read, or as asked."""
        s, e = self.settings, self.settings.evaluation
        mean, std = picture_statistics(located(s.model.backbone), s.model.pretrained)
        how: dict[str, Any] = {"mean": mean, "std": std, "differences": s.model.reads_differences and with_flow is None}
        if s.model.reads_flow if with_flow is None else with_flow:
            how["flow"] = FlowReader(catalog, self.flow_store, s.flow.estimator)
        return ClipReader(catalog, s.sampling, s.data.decoder, cache=cache, views=e.views, seed=e.seed, **how)

    def training_episodes(self, with_flow: bool | None = None) -> TrainingEpisodes:
        """Training episodes, evenly over the families of the data set; with flow as `reader` gives it."""
        s, catalog = self.settings, self.split("train")
        samplers = training_samplers(catalog, s.episodes_in_training, s.seed)
        return TrainingEpisodes(self.reader(catalog, s.data.cache, with_flow), samplers, s.training.episodes, s.seed)

    def samplers(self, split: str, seed: int | None = None) -> dict[str, EpisodeSampler]:
        """Samplers of evaluation episodes of a split, by episode type."""
        catalog, s = self.split(split), self.settings
        how = s.episodes, s.evaluation.seed if seed is None else seed, left_out(self)
        return {found.name: evaluation_sampler(catalog, found, *how) for found in episode_types(catalog)}

    def episodes(self, split: str, count: int | None = None, seed: int | None = None) -> dict[str, Episodes]:
        """Evaluation episodes of a split by episode type; the same for every method."""
        count = self.settings.evaluation.episodes if count is None else count
        return {name: Episodes.draw(sampler, count) for name, sampler in self.samplers(split, seed).items()}

    def build(self) -> FewShotModel:
        """The method untrained; SettingsError if the backbone takes pictures of another size than the settings crop."""
        model = build(self.settings.model, self.device)
        (height, _), crop = image_size(model.encoder.clip.visual), self.settings.sampling.crop
        if height != crop:
            remedy = f"Set sampling.crop to {height} (and sampling.resize to at least that)."
            expected = f"crops of {height} pixels, as {self.settings.model.backbone} takes"
            raise SettingsError(expected, f"sampling.crop {crop}", remedy)
        return model

    @property
    def folder(self) -> Path:
        """The run folder, where it has one."""
        if self.run_dir is None:
            raise SettingsError("an experiment with a run folder", "none", "Pass run_dir.")
        return self.run_dir

    @property
    def checkpoints(self) -> Path:
        """Folder of the method's checkpoints in the run folder."""
        return self.folder / "checkpoints" / self.name

    @property
    def has_checkpoint(self) -> bool:
        """Whether trained weights were named when it was made."""
        return self.method.trained and self._checkpoint is not None

    @property
    def checkpoint(self) -> Path | None:
        """File of the trained weights that are used; None for a method that is not trained."""
        return (self._checkpoint or self.checkpoints / BEST) if self.method.trained else None

    @cached_property
    def model(self) -> FewShotModel:
        """The method in eval mode, with its best trained weights if it is trained; WeightsError without such."""
        model = self.build().eval()
        if self.checkpoint is not None:
            load_checkpoint(self.checkpoint, model)
        else:
            measured(self, model)
        return model

    @cached_property
    def trained_with(self) -> dict[str, Any]:
        """Dotted settings under which the weights were trained; empty for a method that is not trained."""
        return {} if self.checkpoint is None else read_checkpoint_file(self.checkpoint)["trained_with"]

    def text(self, catalog: Catalog, model: FewShotModel | None = None) -> SplitText | None:
        """Text features of a catalogue's classes, on the CPU; None for a method that asks for no class names.

        A method that does refuses classes without names by a DataError.
        """
        if not needs_names(self.settings.model):
            return None
        require_names(catalog)
        names, class_of = np.unique(catalog.table["class_name"].to_numpy(str), return_inverse=True)
        clip = (model or self.model).encoder.clip
        return SplitText(class_text(clip, self.settings.model, names.tolist()).cpu(), class_of)

    def bank(self, split: str, progress: bool = True) -> Bank:
        """The clip tokens of a split by the model, kept in the run folder. Opening those of `test` is a look: noted."""
        if split not in self._banks:
            s, catalog = self.settings, self.split(split)
            parts = self.model, self.reader(catalog), self.text(catalog), s.evaluation, s.compute
            if split == TEST:
                note_look(s.data.folder, self.folder, self.name, self.hash, self.checkpoint)
            self._banks[split] = encode(*parts, progress=progress, folder=self.folder / "features")
        return self._banks[split]


def left_out(experiment: Experiment) -> Sequence[str]:
    """Names of the classes that evaluation episodes do not draw from; DataError if the data set has no such class."""
    return require_classes(experiment.catalog, experiment.settings.evaluation.leave_out)


def measured(experiment: Experiment, model: FewShotModel, features: Path | None = None) -> None:
    """Give the untrained model what its head counts in, where it does: the training split's (`measure_unit`)."""
    if model.head.is_measured:
        s, train = experiment.settings, experiment.split("train").spread(MOST_CLIPS)
        kept = experiment.folder / f"frame_distances-{experiment.name}.json"
        measure_unit(model, experiment.reader(train), s.evaluation, s.compute, kept, features)


def trained_in_words(experiment: Experiment) -> str:
    """What the weights of a trained method were trained with, for people, and what is asked otherwise of the model and
    its frames."""
    t, now = experiment.trained_with, experiment.settings.to_flat()
    if "data.name" not in t:
        return f"weights of {t.get('adopted_from', 'unknown origin')}"
    shot = t.get("training.shot") or t["episodes.shot"]
    where = f"{t['data.name']}, {t['episodes.way']}-way {shot}-shot, seed {t['seed']}"
    source = f"; recipe: {t['training.source']}" if t.get("training.source") else ""
    asked = [key for key in now if key.startswith(("model.", "sampling.")) and key in t and now[key] != t[key]]
    otherwise = "".join(f"; asked with {key}={now[key]}, trained with {t[key]}" for key in asked)
    return f"trained on {where}: {experiment.checkpoint}{source}{otherwise}"


def of_checkpoint(
    checkpoint: Path,
    preset: Place = None,
    overrides: Overrides = None,
    method_name: str | None = None,
    run_dir: Place = None,
) -> Experiment:
    """A trained method, used under the settings of its run or of another preset: its `model` section stays.

    Args:
        checkpoint: a run folder, or a file in its `checkpoints/<method>/`.
        preset: of another data set, way, shot ...
        method_name: where the run trained several.
        run_dir: where features are kept, outside the run that is read.

    Raises:
        WeightsError: no such file or folder, a file of another method, or one that no run made.
        RunError: the folder is no run.
        SettingsError: `run_dir` lies in the run that is read.
    """
    home, name = _home(checkpoint, method_name)
    if run_dir is not None and in_project(run_dir).resolve().is_relative_to(home):
        remedy = "Name another folder for the tables: --out."
        raise SettingsError("a folder other than the run that is read", str(run_dir), remedy)
    trained, more = Experiment.of_run(home, method=name), dict(overrides or {})
    common = trained.settings
    if preset is not None:
        kept = {f"model.{key}": value for key, value in common.model.model_dump(mode="json").items()}
        common = load_settings(preset).for_method(trained.name, kept)
    file = checkpoint if checkpoint.is_file() else trained.checkpoint
    known = {key: value for key, value in trained.set_by_user.items() if preset is None}
    return Experiment(common.replace(more), {**known, **more}, trained.name, run_dir, file)


def require_episodes(experiment: Experiment) -> None:
    """Check, before anything runs, that every split has the classes and clips for the episodes that are asked for.

    What the diagnostic data set will hold is known before it is made. Of another data set the catalogue tells;
    without one there is nothing to check.

    Raises:
        EpisodeError: too few classes, or too few clips in a class.
        DataError: classes are to be left out that there are not.
    """
    s = experiment.settings
    data = s.data
    if data.name == DIAGNOSTIC:
        catalog = planned(data.folder, data.clips, data.families)
    elif (data.folder / FILE_NAME).is_file():
        catalog = experiment.catalog
    else:
        return
    training_samplers(catalog.select("train"), s.episodes_in_training, s.seed)
    leave_out = require_classes(catalog, s.evaluation.leave_out)
    for split in ("val", "test"):
        part = catalog.select(split)
        for found in episode_types(part):
            evaluation_sampler(part, found, s.episodes, s.evaluation.seed, leave_out)


def require_used(experiments: Iterable[Experiment]) -> None:
    """Refuse what a user set of model or schedule and no method here uses: a SettingsError that says why for each."""
    experiments = list(experiments)
    for key, value in experiments[0].set_by_user.items():
        block = key.split(".")[1] if key.startswith("methods.") else None
        owner, switch = block and block.partition(AT_SHOT)[0], key.removeprefix(f"methods.{block}.")
        asked = [one for one in experiments if owner in (None, one.name)]
        why = [reason for one in asked if (reason := _why_unread(switch, one.settings))]
        if len(why) == len(asked) and (why or switch.startswith("model.")):
            got = f"{key}={value}, but {'; '.join(why) or f'{owner} is not among the methods'}"
            raise SettingsError("settings that change something", got, "Leave it out, or choose another method.")


def _why_unread(switch: str, settings: Settings) -> str:
    """Why a dotted switch, or the section that it is in, changes nothing; empty where it does."""
    found = (why for unread, why in _unread(settings).items() if f"{switch}.".startswith(f"{unread}."))
    return next(found, "")


def _unread(settings: Settings) -> dict[str, str]:
    """Dotted switches that change nothing -> why, in words."""
    method_name, schedule = settings.model.method, settings.training.schedule
    of_other = [switch for read in SCHEDULES.values() for switch in read if switch not in SCHEDULES[schedule]]
    found = {f"model.{switch}": why for switch, why in unread(settings.model).items()}
    found |= {f"training.{name}": f"the schedule of {method_name} is {schedule}" for name in of_other}
    if resolved(settings.model).tune_backbone:
        found["training.learning_rate"] = f"{method_name} tunes the whole image tower, at backbone_learning_rate"
    else:
        found["training.backbone_learning_rate"] = f"{method_name} leaves the image tower frozen"
    if not needs_names(settings.model):
        found["training.text_weight"] = f"{method_name} reads no class names"
    return found


def require_comparable(experiments: Iterable[Experiment]) -> None:
    """Refuse methods that would be asked different episodes, or on different data: a SettingsError with both values."""
    settings = [one.settings for one in experiments]
    for first, other in pairwise(settings):
        for section, without in {"data": {"cache"}, "episodes": {"queries_train"}, "evaluation": {"precision"}}.items():
            mine, theirs = (getattr(s, section).model_dump(exclude=without) for s in (first, other))
            for key in (key for key in mine if mine[key] != theirs[key]):
                got = f"{section}.{key} {mine[key]} of {first.model.method} and {theirs[key]} of {other.model.method}"
                raise SettingsError("the same episodes for all methods", got, "Set it for all, or evaluate apart.")


def require_consistent(common: Settings, set_by_user: Mapping[str, Any], names: list[str]) -> None:
    """Refuse what a user, or a method's own block, sets against what the method fixes."""
    for block in common.methods:
        method(block.partition(AT_SHOT)[0])
    against: dict[str, list[str]] = {}
    general = {key: value for key, value in set_by_user.items() if key != "model.method"}
    for name in names:
        asked = {**general, **flatten(common.methods.get(name, {}))}
        for switch, value in {"method": name, **method(name).fixed}.items():
            key = f"model.{switch}"
            if key in asked and asked[key] != value:
                against.setdefault(f"{key}={asked[key]}", []).append(f"{name} has {value}")
    if against:
        first = next(iter(against))
        switch = first.partition("=")[0].removeprefix("model.")
        free = [name for name in METHODS if switch != "method" and switch not in method(name).fixed]
        choice = f", or set it for one method that has a choice: --set methods.{free[-1]}.{first}" if free else ""
        got = "; ".join(f"{key}, but {', '.join(who)}" for key, who in against.items())
        raise SettingsError("settings that the method does not fix otherwise", got, f"Leave it out{choice}.")


def require_frames(settings: Settings) -> None:
    """Refuse what the scheme of sampling has no use for, a scheme whose frames have no flow, a single frame that is
    centred, and tuples of more frames than a clip has: a SettingsError."""
    s, name, views = settings.sampling, settings.model.method, settings.evaluation.views
    if (fixed := settings.model.ts_fsar.num_frames) != s.num_frames and "ts_fsar" not in unread(settings.model):
        remedy = "Set both to one number; weights that are there are for that of their training."
        raise SettingsError(f"sampling.num_frames {fixed}, as model.ts_fsar.num_frames", str(s.num_frames), remedy)
    if s.num_frames == 1 and settings.model.centre != "none" and "centre" not in unread(settings.model):
        remedy = "Set it to none: a clip of one frame is its own mean."
        expected = f"sampling.num_frames of two and more with model.centre {settings.model.centre}"
        raise SettingsError(expected, "1", remedy)
    if max(settings.model.tuples) > s.num_frames and "tuples" not in unread(settings.model):
        remedy = "Leave the longer ones out, or raise sampling.num_frames."
        got = ", ".join(map(str, settings.model.tuples))
        raise SettingsError(f"model.tuples of up to sampling.num_frames {s.num_frames} frames", got, remedy)
    if s.scheme == "segments":
        return
    if settings.model.reads_flow and s.grid != "all":
        got, remedy = f"sampling.scheme {s.scheme} with sampling.grid {s.grid}", "Change one of the two."
        raise SettingsError(f"sampling.scheme segments or sampling.grid all for {name}, which reads flow", got, remedy)
    if s.min_gap:
        remedy = "Set it to 0, or sampling.scheme to segments."
        raise SettingsError(f"no sampling.min_gap with sampling.scheme {s.scheme}", str(s.min_gap), remedy)
    if s.scheme == "reference_stride" and views > 1:
        remedy = "Leave it out, or choose another sampling.scheme."
        raise SettingsError("evaluation.views 1 with sampling.scheme reference_stride", str(views), remedy)


def _home(checkpoint: Path, name: str | None) -> tuple[Path, str | None]:
    """The run folder of a checkpoint, and the name of its method."""
    path = checkpoint.resolve()
    if not path.exists():
        remedy = "Train first (`tmal train`), or correct the path."
        raise WeightsError("a run folder, or a checkpoint in one", f"{checkpoint}, which is not there", remedy)
    if path.is_dir():
        return path, name
    found, home = path.parent.name, path.parents[min(2, len(path.parents) - 1)]
    if not (home / "run.json").exists():
        remedy = "Name the run folder. A checkpoint of other code becomes a run by `tmal adopt`."
        raise WeightsError("a run folder, or a checkpoint in its checkpoints/<method>/", str(checkpoint), remedy)
    if name not in (None, found):
        remedy = "Name the method that it was trained for, or leave the method out."
        raise WeightsError(f"a checkpoint of {name}", f"{checkpoint} of {found}", remedy)
    return home, found
