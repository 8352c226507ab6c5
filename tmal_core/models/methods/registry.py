"""What a method is, and the methods by name.

A method puts an encoder and a head together, and says which switches of `ModelSettings` it fixes, and which it reads.
`register` makes it known; `tests/examples/own_method.py` is one of a reader's own.
"""

import math
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from tmal_core.config import ModelSettings
from tmal_core.errors import SettingsError
from tmal_core.models.few_shot import FewShotModel

FRAMES_ALONE = {"flow_encoder": "none", "text": False, "fusion": "none"}
"""What methods fix that read neither flow nor names."""
NAMES = frozenset({"prompt", "prompts", "descriptions"})
"""The switches that say what is read of a class's name (`tmal_core.models.text`)."""
SCORES = NAMES | {"logit_scale", "text_score"}
"""The switches that `scores` reads."""
ALIGNED = SCORES | {"centre", "gate_sharpness", "smoothing", "smoothing_unit"}
"""Those that `aligned` reads."""


@dataclass(frozen=True)
class Method:
    """A way to name clips: what builds its model, the switches that it is built by, and those that it fixes."""

    name: str
    """In settings and tables."""
    title: str
    """For plots."""
    trained: bool
    """Whether anything is learned."""
    build: Callable[[Any, ModelSettings], FewShotModel]
    """A CLIP and the settings, with what the method fixes, to the untrained model."""
    reads: Set[str] = frozenset()
    """Switches of `ModelSettings` that the method is built by."""
    fixed: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Switches that it fixes, and what to. The rest of them it has no use for."""
    scores_names: Callable[[ModelSettings], bool] = lambda parts: parts.text_score > 0
    """Whether class names have a score of their own in the answers at test, by the resolved settings."""
    without_names: Mapping[str, Any] = field(default_factory=lambda: {"model.text_score": 0.0}, hash=False)
    """Dotted settings under which they have none."""
    names_in_features: bool = True
    """Whether names are in features where the settings read them; else for the losses of training alone."""
    starts_as_clip: bool = True
    """Whether untrained it answers by plain CLIP's features, and not by parts that begin at random."""
    titled: Callable[[ModelSettings], str] = lambda parts: ""
    """Its title under these settings, where `title` leaves open what it is."""
    any_tower: bool = False
    """Whether it takes image towers of every kind (`encoder.frozen`), not of CLIP's own ViT blocks alone."""


METHODS: dict[str, Method] = {}
"""Every method by name, in the order in which tables show them."""


def register(found: Method) -> Method:
    """Make a method known: `model.method` takes its name from then on, in this process.

    Raises:
        SettingsError: there is a method of that name, or it speaks of a switch that there is not.
    """
    if found.name in METHODS:
        raise SettingsError(f"a name that no method has ({', '.join(METHODS)})", repr(found.name), "Choose another.")
    unknown = sorted({*found.reads, *found.fixed} - set(ModelSettings.model_fields))
    if unknown:
        remedy = "See ModelSettings in tmal_core/config.py."
        raise SettingsError(f"switches of ModelSettings in {found.name}", ", ".join(unknown), remedy)
    METHODS[found.name] = found
    return found


def method(name: str) -> Method:
    """The method of that name.

    Raises:
        SettingsError: there is none.
    """
    if name not in METHODS:
        remedy = "Set model.method to one of them, or register one of your own first (models.methods.register)."
        raise SettingsError(f"a method among {', '.join(METHODS)}", repr(name), remedy)
    return METHODS[name]


def title_of(settings: ModelSettings) -> str:
    """The method's title, with its matcher where that is all it is: the row of a table must say which it was."""
    chosen = method(settings.method)
    return chosen.titled(settings) or chosen.title


def resolved(settings: ModelSettings) -> ModelSettings:
    """The settings with what their method fixes."""
    return settings.model_copy(update=dict(method(settings.method).fixed))


def text_at_test(settings: ModelSettings) -> Literal["none", "features", "score", "both"]:
    """What the method that the settings name does with the text of an episode's classes at test.

    `features` of support clips or prototypes read it, it has a `score` of its own in the answers, both, or none.
    """
    chosen, parts = method(settings.method), resolved(settings)
    in_features = parts.reads_text and chosen.names_in_features
    if chosen.scores_names(parts):
        return "both" if in_features else "score"
    return "features" if in_features else "none"


def needs_names(settings: ModelSettings) -> bool:
    """Whether the method that the settings name reads names of classes, in its features or for its answers."""
    return resolved(settings).reads_text or text_at_test(settings) != "none"


def compares_whole_frames(parts: ModelSettings) -> bool:
    """Whether frames are compared with what their clip's have in common, one by one: a task can be read from them."""
    return parts.matching != "mean" and parts.centre != "clip"


def scores(clip: Any, parts: ModelSettings) -> dict[str, Any]:
    """What the settings say of a head's scales and of the names' share in its answers."""
    log_text_scale = clip.logit_scale  # where its text and picture features agree
    if parts.reads_text and parts.text_scale != "clip":
        log_text_scale = torch.full_like(log_text_scale, math.log(parts.text_scale))
    return {"logit_scale": parts.logit_scale, "log_text_scale": log_text_scale, "text_score": parts.text_score}


def aligned(clip: Any, parts: ModelSettings) -> dict[str, Any]:
    """The same, and what they say of how frames are compared."""
    names = ("smoothing", "smoothing_unit", "centre", "gate_sharpness")
    return {**{name: getattr(parts, name) for name in names}, **scores(clip, parts)}
