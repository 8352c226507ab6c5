"""Settings: one frozen tree, read from a YAML preset, changed by dotted overrides, named by a hash.

Every number that changes a result is here. A wrong key, type or range is an error that names the exact path.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from tmal_core.errors import SettingsError

PRESETS = Path(__file__).parent / "presets"

AT_SHOT = "@"
"""Between a method's name and the shot that a further block of its settings is for."""
MATCHERS = ["otam", "bimhm", "mean", "diagonal", "tuples"]
"""Names that `model.matching` takes, and what its sums are made of; `tmal_core.matching.register_matcher` adds to
them."""


def matchers_in(name: str) -> tuple[str, ...]:
    """The matchers that a name is made of: one, or those of a sum.

    >>> matchers_in("otam"), matchers_in("otam+diagonal")
    (('otam',), ('otam', 'diagonal'))

    Raises:
        ValueError: one of them is unknown, comes twice, or is "mean" among others: frame features are centred for the
            others, and of their mean nothing would be left.
    """
    parts = tuple(name.split("+"))
    summed = len(parts) > 1
    if not set(parts) <= set(MATCHERS) or len(set(parts)) < len(parts) or (summed and "mean" in parts):
        raise ValueError(f"a matcher among {', '.join(MATCHERS)}, or a sum of others than mean, as otam+diagonal")
    return parts


def _prompt(prompt: str) -> str:
    with suppress(ValueError, LookupError, AttributeError):
        if "{}" in prompt and "\0" in prompt.format("\0"):
            return prompt
    raise ValueError("a sentence with {} for the class name, and no other braces")


def _matcher(name: str) -> str:
    matchers_in(name)
    return name


def _cardinalities(sizes: tuple[int, ...]) -> tuple[int, ...]:
    if not sizes or len(set(sizes)) < len(sizes):
        raise ValueError("at least one number of frames in a tuple, each of them once")
    return sizes


def _families(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or len(set(names)) < len(names):
        raise ValueError("at least one family, each of them once")
    return names


def _path(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("a path without a zero byte")
    return path


Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Precision = Literal["float32", "bfloat16"]
Family = Literal["appearance", "order", "speed", "camera", "motion", "semantic"]
FAMILIES: tuple[Family, ...] = get_args(Family)
"""The families of the diagnostic data set, where the settings name no others."""
DESCRIPTION_FORMATS = (".json", ".yaml", ".yml")
"""Endings of the files that `model.descriptions` takes."""
Levels = Literal["none", "last", "all"] | tuple[int, ...]


class Section(BaseModel):
    """A part of the settings: immutable, and closed to keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class DataSettings(Section):
    name: str = "diagnostic"
    """Name of the data set, shown in tables."""
    root: Annotated[Path, AfterValidator(_path)] = Path("data/diagnostic")
    """Folder of the videos; `catalog.parquet` lies in it. Relative to the project's root."""
    decoder: Literal["auto", "decord", "pyav"] = "auto"
    """Which library reads video: `auto` and `pyav` read every file exactly, `decord` mp4, webm and mkv only."""
    cache: bool = False
    """Keep decoded training clips in memory (grid x height x width x 3 bytes a video, twice that with differences): for
    small videos."""
    seed: Natural = 0
    """Seed of the generated clips (diagnostic data set only); apart from the seed of training."""
    families: Annotated[tuple[Family, ...], AfterValidator(_families)] = FAMILIES
    """What the diagnostic data set is made of, each family once; order, speed and camera are those that no picture
    alone, no first and last one and no unordered set of pictures gives away."""
    clips_train: Count = 24
    """Generated clips per class in training (diagnostic data set only)."""
    clips_val: Count = 16
    """Generated clips per class in validation (diagnostic data set only)."""
    clips_test: Count = 24
    """Generated clips per class in test (diagnostic data set only)."""

    @property
    def folder(self) -> Path:
        """`root` as an absolute path."""
        return in_project(self.root)

    @property
    def clips(self) -> dict[str, int]:
        """Generated clips per class by split."""
        return {"train": self.clips_train, "val": self.clips_val, "test": self.clips_test}


class PrepareSettings(Section):
    """What `tmal prepare` lets into the catalogue."""

    max_lost: Fraction = 0.02
    """Largest share of the listed videos that may be missing, undecodable or too short; they are always named."""
    min_frames: Count = 8
    """Videos with fewer frames are too short and left out."""


class SamplingSettings(Section):
    num_frames: Count = 8
    """T, frames per clip."""
    scheme: Literal["segments", "reference_segments", "reference_stride"] = "segments"
    """Which T frames. `segments`: of T equal segments of the grid the middles at test, random positions in training.
    `reference_segments`: CLIP-FSAR's, a random frame of each, at test too. `reference_stride`: CLIP-FSAR's on
    Kinetics-100, T equally spaced frames. The last two choose among all frames, and read neither grid nor min_gap."""
    grid: Count | Literal["all"] = 32
    """G, positions per video that sampling may choose."""
    min_gap: Natural = 0
    """Least distance in native frames between two sampled frames, in training."""
    fit: Literal["crop", "squash"] = "crop"
    """How a frame becomes a square: `crop` resizes its short side (bicubic, antialiased) and keeps its aspect ratio,
    `squash` resizes both (bilinear, not antialiased), as CLIP-FSAR does. Both then cut out the crop."""
    resize: Count = 256
    """Short side in pixels before cropping; both sides with `squash`."""
    crop: Count = 224
    """Side of the crop in pixels: random in training, centred in evaluation."""
    flip: bool = False
    """Random horizontal flip in training; never for data sets with direction words."""
    augment_queries: bool = False
    """Flip and jitter the colours of training queries, not of support clips: CLIP-FSAR's on Kinetics-100."""

    @model_validator(mode="after")
    def _fits(self) -> SamplingSettings:
        if self.crop > self.resize:
            raise ValueError(f"crop {self.crop} is larger than resize {self.resize}")
        if self.grid != "all" and self.grid % self.num_frames:
            raise ValueError(f"grid {self.grid} is not a multiple of num_frames {self.num_frames}")
        return self


class EpisodeSettings(Section):
    way: Annotated[int, Field(ge=2)] = 5
    """N, classes per episode (families whose classes come in groups use the group's size instead)."""
    shot: Count = 1
    """K, support clips per class."""
    queries_train: Count = 5
    """Queries per class in training episodes."""
    queries_eval: Count = 1
    """Queries per class in validation and test episodes."""


class TSFSARSettings(Section):
    """TS-FSAR's parts, powers and weights; by default those of its 1-shot preset for HMDB51."""

    num_frames: Count = 8
    """T, frames per clip, which its weights fix; `sampling.num_frames` has to agree."""
    side_width: Count = 256
    """Width of the side network, a multiple of 64."""
    temporal_blocks: tuple[Natural, ...] = (6, 8, 10)
    """Blocks of the side network, from 0, that attend over frames."""
    alpha: Positive = 0.4
    """Power of squared distances between channels."""
    residual: Annotated[float, Field(ge=0, le=2)] = 0.4
    """r of the adapter behind CLIP: (2 - r) features + r attention."""
    clip_temperature: Positive = 50.0
    """Factor on cosines of adapted CLIP features with names."""
    side_temperature: Positive = 50.0
    """The same of the side network's."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.7
    """Before the classifier of channel distances, in training."""
    guided_weight: NotNegative = 1.0
    """Of that classifier's cross-entropy over the training classes."""
    side_weight: NotNegative = 1.0
    """Of the side network's cross-entropy with names."""
    clip_weight: NotNegative = 6.0
    """Of the adapted CLIP's cross-entropy with names, and of what it teaches the classifier."""
    distillation_temperature: Positive = 10.0
    powers: tuple[NotNegative, NotNegative, NotNegative] = (0.15, 0.8, 0.05)
    """At test, of the probabilities by matching, by the adapted CLIP's names and by the side network's names. [1, 0, 0]
    answers without class names."""

    @model_validator(mode="after")
    def _answers(self) -> TSFSARSettings:
        if not any(self.powers):
            raise ValueError("powers are all 0: nothing would answer")
        return self


class ModelSettings(Section):
    method: str = "st_adapter"
    """Name of the method: see `tmal_core.models.methods`."""
    backbone: str = "ViT-B-16-quickgelu"
    """An open_clip model name, or a folder with `open_clip_config.json` and weights."""
    pretrained: str = "openai"
    """Weights of the backbone: `openai` or another of open_clip's names for them, a file, the folder's own (`folder`),
    or `random` (only when meant). `tmal weights` tells where files belong."""
    prompt: Annotated[str, AfterValidator(_prompt)] = "a photo of {}"
    """Sentence around a class name, `{}`; CLIP-FSAR's by default."""
    prompts: tuple[Annotated[str, AfterValidator(_prompt)], ...] = ()
    """Several such sentences, in place of `prompt`: a class is the mean of what they say."""
    descriptions: Annotated[Path, AfterValidator(_path)] | None = None
    """Sentences about each class, in place of prompts: a YAML or JSON file of class name and sentences, or a folder of
    such files. Relative to the project's root. It is named by its content: the hash of settings changes with it."""
    adapters: Literal["none", "ffn", "attention", "both"] = "ffn"
    """Where temporal adapters stand in every block: before the FFN (ST-Adapter's 12 x 384 on ViT-B/16), before
    attention, or before each (24 x 384)."""
    bottleneck: Count = 384
    """Width inside a temporal adapter, and inside temporal attention."""
    temporal_attention: Natural = 0
    """Number of the tower's last blocks before which the class tokens of a clip's frames attend to each other."""
    side_width: Natural = 0
    """Width of a side network beside the tower, a multiple of 64: it is fed by the tokens of every block, as TS-FSAR's,
    and what it says of a frame is added to the frame's feature. 0 for none."""
    flow_encoder: Literal["none", "stem", "clip", "difference"] = "stem"
    """What makes motion tokens: a learned stem of flow, the frozen CLIP of colour-coded flow, or the same stem of grey
    differences: of the two native frames between which flow is the motion. No flow is read then."""
    text: bool = True
    """Whether the class names of support clips are read."""
    fusion: Literal["none", "token", "prototype", "both"] = "both"
    """Where flow and text join: CLIP's tokens, the prototypes, or both."""
    fusion_levels: Levels = "all"
    """Blocks (1, 2, ...) before whose attention flow joins the tokens; all: every quarter of the depth."""
    text_levels: Levels = "all"
    """The same for text."""
    fusion_width: Count = 64
    """Width of motion tokens, and inside a fusion adapter."""
    mlp_width: Count = 2048
    """Width of the FFN of the prototypes' temporal transformer."""
    tune_backbone: bool = False
    """Fine-tune the whole image tower (CLIP-FSAR) instead of keeping it frozen."""
    matching: Annotated[str, AfterValidator(_matcher)] = "otam"
    """Distance between clips: otam, bimhm, mean, diagonal, tuples, or one of your own
    (`tmal_core.matching.register_matcher`). Names joined by + (otam+diagonal) are the mean of their distances."""
    task_conditioned: bool = False
    """Whether the episode says which moments of two clips are to agree, beside the matcher (after TS-FSAR)."""
    text_score: Fraction = 0.0
    """Share (a power) of the class names' own score in the answers at test; 0 leaves it out, CLIP-FSAR has 0.9."""
    logit_scale: Positive = 1.0
    """Start of the learnable factor on minus the distance."""
    text_scale: Positive | Literal["clip"] = "clip"
    """Start of the learnable factor on cosines of clips with names, of the video-text loss: CLIP's own (100 once it is
    trained), or a number; CLIP-FSAR starts at 1, and its `training.text_weight` is made for that."""
    smoothing: Positive = 0.5
    """OTAM's softmin temperature: 0.5 in CLIP-FSAR, 0.1 in OTAM."""
    smoothing_unit: Literal["absolute", "std"] = "absolute"
    """What `smoothing` counts in: distances themselves, or standard deviations of the distances between frames of
    different training clips, measured once on the untrained model and kept with the run and its checkpoints."""
    centre: Literal["none", "clip", "both", "gate"] = "none"
    """clip: the mean over a clip's frames is taken off its frame features before they are compared, of queries and
    prototypes alike. What the frames have in common counts no more, only how they differ in time. both: frame features
    are compared as they are and centred, each with half a say. gate: how much of a say each has is decided in every
    episode, by how far its support clips lie apart, and the frames of a clip."""
    gate_sharpness: Positive = 4.0
    """Factor on the log of that ratio over the training split's, before the sigmoid that is the gate: learned, in
    methods that learn, and this is its start. Near 0 it is `both`."""
    tuples: Annotated[tuple[Annotated[int, Field(ge=2)], ...], AfterValidator(_cardinalities)] = (2, 3)
    """How many frames TRX's tuples have, a cross-transformer for each number; none of them more than a clip has."""
    tuple_width: Count = 1152
    """Width of the keys and values of TRX's tuples."""
    ts_fsar: TSFSARSettings = TSFSARSettings()
    """What TS-FSAR alone is made of."""

    @property
    def reads_motion(self) -> bool:
        """Whether clips come with flow, or with differences in its place."""
        return self.flow_encoder != "none" and self.fusion != "none"

    @property
    def reads_differences(self) -> bool:
        """Whether clips come with the grey differences of neighbouring frames."""
        return self.reads_motion and self.flow_encoder == "difference"

    @property
    def reads_flow(self) -> bool:
        """Whether clips come with stored flow."""
        return self.reads_motion and not self.reads_differences

    @property
    def reads_text(self) -> bool:
        """Whether support clips come with their class's text."""
        return self.text and self.fusion != "none"


class TrainingSettings(Section):
    episodes: Count = 5000
    """Training episodes."""
    rotate: bool = False
    """Let all clips of an episode take turns as support: more to learn from each encoded clip."""
    learning_rate: Positive = 1e-3
    """Of what is added to a frozen CLIP: adapters, fusion, prototypes."""
    backbone_learning_rate: Positive = 1e-5
    """Of everything where the backbone itself is fine-tuned (CLIP-FSAR's base learning rate)."""
    text_weight: NotNegative = 0.0
    """Weight of the video-text cross-entropy over all training classes (methods that read text)."""
    optimiser: Literal["adamw", "adam_l2", "adamw_all"] = "adamw"
    """adamw decays matrices, apart from the gradient; adam_l2 adds the decay to the gradient, for all but norms
    (CLIP-FSAR's); adamw_all decays everything, with an eps of 1e-6 (TS-FSAR's)."""
    rate_factors: tuple[tuple[str, Positive], ...] = ()
    """Part of a parameter's name -> factor on its learning rate; the first that fits: [[generator, 0.5]]."""
    weight_decay: NotNegative = 5e-5
    schedule: Literal["cosine", "steps", "late_cosine"] = "cosine"
    """cosine: `warmup` steps of linear rise, then half a cosine down to zero. steps: `warmup_episodes` of linear rise
    from `warmup_rate`, then the learning rate times the last factor of `rate_drops` that is due. late_cosine: half a
    cosine without a rise, each step at the rate of the one before (TS-FSAR's)."""
    warmup: Natural = 50
    """Optimiser steps of linear warm-up (cosine)."""
    warmup_episodes: Natural = 0
    """Episodes of linear warm-up (steps)."""
    warmup_rate: NotNegative = 0.0
    """Learning rate that the warm-up starts from (steps)."""
    rate_drops: tuple[tuple[Count, Fraction], ...] = ()
    """From which episode on which factor (steps), in ascending order: [[1400, 0.1], [2100, 0.01]]."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay per optimiser step of an exponential moving average of the weights, which is validated, kept as best and
    used in their place; 0 averages nothing."""
    accumulation: Count = 1
    """Episodes per optimiser step."""
    shot: Count | None = None
    """K of training episodes where it is not `episodes.shot`: 1 in CLIP-FSAR, also where 5 are tested."""
    clip_norm: Positive | None = 1.0
    """Largest norm of the gradient; null does not clip."""
    validate_every: Count = 500
    """Episodes between two validations on `val`."""
    val_episodes: Count = 500
    """Episodes per family and validation."""
    patience: Count = 5
    """Validations without a new best before training stops early."""
    precision: Precision = "float32"
    """bfloat16 runs the forward pass under autocast."""
    memory: Literal["normal", "low"] = "normal"
    """low computes each block anew in the backward pass, some clips at a time: slower, with less memory. The numbers
    stay the same."""
    source: str = ""
    """Where the preset has its recipe from, in words, for those who read the run's record."""

    @model_validator(mode="after")
    def _ascends(self) -> TrainingSettings:
        starts = [start for start, _ in self.rate_drops]
        if starts != sorted(set(starts)):
            raise ValueError(f"rate_drops start at {starts}, not in ascending order")
        return self


class EvaluationSettings(Section):
    episodes: Count = 10_000
    """Test episodes per family."""
    seed: Natural = 0
    """Which episodes, and which random views: the same for every seed of training, so that differences are paired."""
    resampling_seed: Natural = 0
    """Of the resamples behind an interval."""
    bootstrap: Count = 1000
    """Resamples behind an interval."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Confidence level of the intervals."""
    batch_videos: Count = 32
    """Videos encoded at once."""
    precision: Precision = "float32"
    """bfloat16 encodes under autocast; episodes are matched in float32 in any case."""
    views: Count = 1
    """1 reads the middle of each segment. k encodes k random samples of each video; which of them an episode uses
    follows from the seed, the episode and the clip's place in it. With `reference_segments` 1 is random too;
    `reference_stride` has no more than 1."""
    leave_out: tuple[str, ...] = ()
    """Names of classes that no evaluation episode draws from, as those that the weights were trained on in another data
    set (`tmal evaluate --leave-out-overlap`)."""


class FlowSettings(Section):
    estimator: str = "dis"
    """Name of the flow estimator: see `tmal_core.flow.estimator`."""
    compact: bool = False
    """Store flow as PNG blobs: about a fifth of the size, slower to read."""


class ComputeSettings(Section):
    device: Literal["cpu", "cuda"] = "cpu"
    """Where tensors live; a missing GPU that was asked for is an error."""
    num_threads: Count = 2
    """Threads of torch in the main process."""
    num_workers: Natural = 0
    """Processes that decode and transform clips ahead of the model."""


class Settings(Section):
    """Everything that decides a result, in one tree."""

    preset: str
    seed: Natural = 0
    """Of training: first weights, episodes of training and validation, dropout."""
    data: DataSettings = DataSettings()
    prepare: PrepareSettings = PrepareSettings()
    sampling: SamplingSettings = SamplingSettings()
    episodes: EpisodeSettings = EpisodeSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    flow: FlowSettings = FlowSettings()
    compute: ComputeSettings = ComputeSettings()
    methods: dict[str, dict[str, Any]] = {}
    """Method -> dotted settings that hold for it alone; empty once a method is chosen. What a user sets for every
    method (`model.adapters`) goes before a preset's block, what a user sets for one (`methods.tmal.model.adapters`)
    before both. A block `<method>@5` holds beside the method's own where 5 shots are asked, and goes before it."""

    @model_validator(mode="after")
    def _roles_stay(self) -> Settings:
        if self.sampling.augment_queries and self.training.rotate:
            raise ValueError("sampling.augment_queries with training.rotate, by which queries become support clips")
        return self

    def for_method(self, name: str, fixed: Mapping[str, Any] = MappingProxyType({})) -> Settings:
        """These settings for one method: what holds for it alone, and the switches that it fixes. Asked twice, the
        same."""
        own = flatten(self.methods.get(name, {}))
        shot = own.get("episodes.shot", self.episodes.shot)
        return self._chosen(name, {**own, **flatten(self.methods.get(f"{name}{AT_SHOT}{shot}", {})), **fixed}, name)

    def _chosen(self, name: str, own: Mapping[str, Any], source: str) -> Settings:
        chosen = {"model.method": name, **own, "methods": {}}
        return _validate(_apply(self.model_dump(mode="json"), chosen), source=f"methods.{source}")

    def require_valid_methods(self) -> None:
        """Refuse a wrong setting in any method's block, whichever is asked: a SettingsError."""
        for block, own in self.methods.items():
            name, _, _ = block.partition(AT_SHOT)
            base = self.methods.get(name, {})
            self._chosen(name, {**flatten(base), **flatten(own)}, block)

    @property
    def episodes_in_training(self) -> EpisodeSettings:
        """Episodes as training draws them: with its own K, where it has one."""
        return self.episodes.model_copy(update={"shot": self.training.shot or self.episodes.shot})

    def to_flat(self) -> dict[str, Any]:
        """The tree as one dict of dotted keys and plain values."""
        return flatten(self.model_dump(mode="json"))

    def replace(self, overrides: Mapping[str, Any]) -> Settings:
        """A copy with dotted keys changed.

        >>> load_settings("tiny").replace({"training.episodes": 100}).training.episodes
        100
        """
        return _validate(_override(self.model_dump(mode="json"), overrides), source="overrides")


def in_project(path: str | Path) -> Path:
    """The path, a relative one from the project's root: notebooks run in their own folder, commands anywhere.

    Where the package is installed without its source tree, relative paths start at the working directory.
    """
    source = Path(__file__).resolve().parents[1]
    return (source if (source / "pyproject.toml").is_file() else Path.cwd()) / path


def preset_names() -> list[str]:
    """Names of the presets that come with the package.

    >>> preset_names()
    ['hmdb51', 'kinetics100', 'smoke', 'ssv2_full', 'ssv2_small', 'tiny', 'ucf101']
    """
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_settings(preset: str | Path = "tiny", overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read a preset and change it.

    Args:
        preset: a name from `preset_names()` or the path of a YAML file of the same form.
        overrides: dotted keys and their values, `{"training.episodes": 500}`.

    Raises:
        SettingsError: unknown preset, unreadable file, unknown key, wrong type or range (all of them at once).

    >>> load_settings("hmdb51", {"episodes.shot": 5}).episodes
    EpisodeSettings(way=5, shot=5, queries_train=1, queries_eval=1)
    >>> load_settings("hmdb51", {"episodes.shots": 5})
    Traceback (most recent call last):
    tmal_core.errors.SettingsError: expected valid settings in ... (got 5; did you mean episodes.shot?). ...
    """
    if "preset" in (overrides or {}):
        raise SettingsError("a preset by itself", "preset among other settings", "Name it as --preset.")
    path = Path(preset)
    if path.suffix not in {".yaml", ".yml"}:
        if str(preset) not in preset_names():
            remedy = "Pass one of them, or the path of a .yaml file."
            raise SettingsError(f"one of the presets {', '.join(preset_names())}", repr(str(preset)), remedy)
        path = PRESETS / f"{preset}.yaml"
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        what = " ".join(str(error).split())
        raise SettingsError("a readable YAML preset", f"{path}: {what}", "Correct the file or its path.") from error
    if not isinstance(tree, dict):
        raise SettingsError("a preset of keys and values", f"{path} with {type(tree).__name__}", "Correct the file.")
    source = f"{path} with what was set over it" if overrides else str(path)
    return _validate(_override({"preset": path.stem, **tree}, overrides or {}), source)


CHANGES_NO_NUMBER = {"training": {"memory", "source"}, "data": {"root", "cache"}}
"""What the hash of settings leaves out."""
LEFT_ALONE: dict[str, dict[str, Any]] = {
    "model": {
        "prompts": [],
        "descriptions": None,
        "temporal_attention": 0,
        "side_width": 0,
        "task_conditioned": False,
        "gate_sharpness": 4.0,
        "tuples": [2, 3],
        "tuple_width": 1152,
        "ts_fsar": TSFSARSettings().model_dump(mode="json"),
    },
    "training": {"rate_factors": [], "ema": 0.0},
    "evaluation": {"leave_out": []},
}
"""Section -> its settings that are younger than kept results, and the value, as JSON has it, under which they change
nothing. With it the hash leaves them out: what was made before there were such settings keeps its name."""


def settings_hash(settings: Settings, *sections: str) -> str:
    """12 hex digits that name the settings, or only the named sections of them; without what changes no number: how
    much memory training takes, and where the data and descriptions of classes lie. What these say is in it.

    >>> tiny, moved = load_settings("tiny"), load_settings("tiny", {"data.root": "elsewhere"})
    >>> settings_hash(tiny) == settings_hash(moved) != settings_hash(tiny.replace({"seed": 1}))
    True
    """
    tree = settings.model_dump(mode="json", include=set(sections) or None, exclude=CHANGES_NO_NUMBER)
    if "model" in tree and (content := descriptions_sha256(settings.model)):
        tree["model"]["descriptions"] = content
    for section, values in LEFT_ALONE.items():
        for name, value in values.items():
            if section in tree and tree[section][name] == value:
                del tree[section][name]
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:12]


def description_files(place: Path) -> list[Path]:
    """The files that `model.descriptions` means: that file, or the YAML and JSON files of that folder by name."""
    paths = (
        [path for path in place.iterdir() if path.suffix.lower() in DESCRIPTION_FORMATS] if place.is_dir() else [place]
    )
    return sorted(path for path in paths if path.is_file())


def descriptions_sha256(settings: ModelSettings) -> str | None:
    """Names what the descriptions of classes say: the file's sha256, of a folder that of its files' together. None
    where there are none, or no such file."""
    files = [] if settings.descriptions is None else description_files(in_project(settings.descriptions))
    found = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest() if found else None


def _validate(tree: dict[str, Any], source: str) -> Settings:
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        faults = "; ".join(_in_words(fault) for fault in error.errors())
        raise SettingsError(f"valid settings in {source}", faults, "Correct these keys.") from error
    settings.require_valid_methods()
    return settings


def _in_words(fault: Mapping[str, Any]) -> str:
    """One fault; a key that nobody knows with the one that it is nearest to."""
    if not fault["loc"]:  # settings that do not go together
        return fault["msg"].removeprefix("Value error, ")
    key = ".".join(map(str, fault["loc"]))
    near = get_close_matches(key, list(Settings(preset="").to_flat()), 1) if fault["type"] == "extra_forbidden" else []
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{key}: {fault['msg'].lower()} (got {fault['input']!r}{hint})"


def _override(tree: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Apply what a user asked for, for every method or (`methods.<name>.<key>`) for one, which no preset may undo."""
    methods, overrides = tree.setdefault("methods", {}), flatten(overrides)
    for_all = {key: value for key, value in overrides.items() if not key.startswith("methods.")}
    for own in methods.values() if isinstance(methods, dict) else ():
        for key in for_all if isinstance(own, dict) else ():
            own.pop(key, None)
    for key in overrides.keys() - for_all.keys():
        _, name, rest = [*key.split(".", 2), ""][:3]
        if not rest:
            raise SettingsError("methods.<name>.<key>", repr(key), "Write for example methods.tmal.model.adapters=ffn.")
        for block, own in methods.items():
            if block.startswith(f"{name}{AT_SHOT}"):
                own.pop(rest, None)
        methods.setdefault(name, {})[rest] = overrides[key]
    return _apply(tree, for_all)


def _apply(tree: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in overrides.items():
        *parents, leaf = str(key).split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise SettingsError("a dotted key below a section", repr(key), "See the settings of the preset.")
        node[leaf] = value
    return tree


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys and their values: a section that was set as a whole is its keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
