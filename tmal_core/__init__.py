"""TMAL: time-enhanced multimodal adaptation learning for few-shot action recognition.

The names below are loaded when they are first used: importing the package takes nothing heavy.

    >>> import tmal_core as tm
    >>> tm.load_settings("tiny", {"episodes.shot": 5}).episodes.shot
    5
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PLACES = {
    "config": ("Settings", "load_settings", "preset_names"),
    "experiment": ("Experiment",),
    "data.sets.catalog": ("Catalog",),
    "data.video": ("probe", "read_clip", "read_frames"),
    "data.episodes": ("EpisodeSampler",),
    "matching": ("bimhm", "match", "otam", "register_matcher"),
    "models.methods": ("Method", "build", "register"),
    "evaluation.scoring": ("Episodes", "evaluate"),
    "evaluation.statistics": ("interval",),
    "errors": ("TmalError",),
}
_HOME = {name: module for module, names in _PLACES.items() for name in names}
__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from tmal_core.config import Settings, load_settings, preset_names
    from tmal_core.data.episodes import EpisodeSampler
    from tmal_core.data.sets.catalog import Catalog
    from tmal_core.data.video import probe, read_clip, read_frames
    from tmal_core.errors import TmalError
    from tmal_core.evaluation.scoring import Episodes, evaluate
    from tmal_core.evaluation.statistics import interval
    from tmal_core.experiment import Experiment
    from tmal_core.matching import bimhm, match, otam, register_matcher
    from tmal_core.models.methods import Method, build, register


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tmal_core' has no attribute {name!r}")
    return getattr(import_module(f"tmal_core.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
