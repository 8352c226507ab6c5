"""`tmal efficiency`: what methods cost. Parameters, operations, memory, and time on the machine that is named.

On frames (and flow) of noise of the preset's sizes, with random weights: no figure depends on what is in them, so
neither data nor weights are needed. Decoding, cropping and reading flow are left out, and so is the text tower, which
reads each class's name once.

Operations are those of the definition (`fast_paths.definitions`): what the papers describe, the same on every machine.
What runs here does somewhat less (the last block computes the class token alone), and its temporal convolutions are no
products of matrices, which alone are counted (`operation_count`).
"""

from __future__ import annotations

import gc
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize

from tmal_core.config import Settings
from tmal_core.data.clips import Clip, EpisodeClips
from tmal_core.data.diagnostic.generation import planned
from tmal_core.data.episodes import training_samplers
from tmal_core.evaluation.feature_bank import encode_clips
from tmal_core.experiment import DIAGNOSTIC, Experiment
from tmal_core.models import fast_paths
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.summary import parameter_table
from tmal_core.runtime.devices import machine_name
from tmal_core.runtime.held_bytes import HeldBytes
from tmal_core.runtime.operation_count import flops_of
from tmal_core.training.losses import episode_loss
from tmal_core.training.optimiser import base_rate, build_optimiser

_CLIPS_ON_CPU = 4  # that are encoded to take the time; on a GPU as many as evaluation encodes at once
_CLASSES = 64  # of the training split, whose names losses read: as Kinetics-100 and SSv2 have


class EpisodeShape(NamedTuple):
    """What decides the cost of a training episode."""

    way: int
    shot: int
    queries: int  # per class
    exchangeable: bool  # whether queries take turns as support, where the recipe lets them


Shapes = Mapping[EpisodeShape, float]


def episode_shapes(settings: Settings) -> Shapes:
    """The shapes of training episodes, and the share of each.

    The diagnostic data's families differ in it; other data sets are taken to have one family.
    """
    e, data = settings.episodes_in_training, settings.data
    if data.name != DIAGNOSTIC:
        return {EpisodeShape(e.way, e.shot, e.queries_train, True): 1.0}
    train = planned(data.folder, data.clips, data.families).select("train")
    both = train.table["role"].eq("both").groupby(train.table["family"]).all()
    shapes = Counter(
        EpisodeShape(one.way, one.shot, one.queries, bool(both[one.episode_type.name]))
        for one in training_samplers(train, e, settings.seed)
    )
    return {shape: count / shapes.total() for shape, count in shapes.items()}


def training_flops(experiment: Experiment) -> float:
    """Floating-point operations of the whole training: of a mean episode, forward and backward, times the number of
    training episodes. Validations are left out; 0 for a method that learns nothing."""
    if not experiment.method.trained:
        return 0.0
    shapes = episode_shapes(experiment.settings)
    return experiment.settings.training.episodes * _episode_flops(experiment, _untrained(experiment), shapes)


def efficiency_tables(
    experiments: Mapping[str, Experiment], rounds: int = 5, say: Callable[[str], None] = lambda _: None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What each method costs: counts, which are the same in every run, and times.

    Counts: `parameters` of the whole model, CLIP's text tower included, and how many are `trained`; `clip_gflop` of a
    clip as a query, and `episode_gflop` and `training_gflop` of a mean training episode and of all; `peak_memory_mb`
    of a training step with all that lies there anyway (model, optimiser, clips), in 10^6 bytes. On a GPU that is
    CUDA's allocator's, on a CPU the bytes of all tensors: what kernels take beside them is not in it.

    Times in ms: `clip_ms` of a clip among `clips_at_once`, `episode_ms` of a training episode with an optimiser step.
    Each is the median of so many rounds after one that does not count.
    """
    counts, times = [], []
    for name, experiment in experiments.items():
        say(f"{name} ...")
        row: dict[str, object] = {"method": name, "title": experiment.method.title}
        model, shapes = _untrained(experiment), episode_shapes(experiment.settings)
        counts.append(row | _counted(experiment, model, shapes) | {"settings": experiment.hash})
        times.append(row | _timed(experiment, model, shapes, rounds))
        del model
        gc.collect()  # or the next method's peak has this one's tensors in it
    return pd.DataFrame(counts), pd.DataFrame(times)


def _untrained(experiment: Experiment) -> FewShotModel:
    """The method with random weights."""
    model = experiment.changed({"model.pretrained": "random"}).build()
    if model.head.in_std:
        model.head.frame_std = 1.0  # measured on data, which there need not be
    model.head.take_classes(_CLASSES)
    return model


def _counted(experiment: Experiment, model: FewShotModel, shapes: Shapes) -> dict[str, object]:
    trained, whole = experiment.method.trained, parameter_table(model).iloc[-1]
    row: dict[str, object] = {"parameters": int(whole["parameters"]), "trained": int(whole["trained"]) * trained}
    clip = _noise(experiment.settings, model, 1)
    with _as_defined(), torch.no_grad():
        model.eval()
        row["clip_gflop"] = flops_of(lambda: model.encoder(*_on(model, clip))) / 1e9
    if not trained:
        return {**row, "episode_gflop": 0.0, "training_gflop": 0.0, "peak_memory_mb": float("nan"), "memory_of": ""}
    gflop = _episode_flops(experiment, model, shapes) / 1e9
    row |= {"episode_gflop": gflop, "training_gflop": gflop * experiment.settings.training.episodes}
    steps = (_Step(experiment, model, shape) for shape in shapes)
    row["peak_memory_mb"] = max(map(_peak_bytes, steps)) / 1e6
    return {**row, "memory_of": "CUDA's allocator" if model.device.type == "cuda" else "tensors"}


def _episode_flops(experiment: Experiment, model: FewShotModel, shapes: Shapes) -> float:
    """Of a mean training episode, forward and backward, without what `training.memory: low` computes anew."""
    found = 0.0
    for shape, share in shapes.items():
        step = _Step(experiment, model, shape)
        model.encoder.low_memory = False
        with _as_defined():
            found += share * flops_of(step.gradients)
        model.zero_grad(set_to_none=True)
    return found


def _timed(experiment: Experiment, model: FewShotModel, shapes: Shapes, rounds: int) -> dict[str, object]:
    s, device = experiment.settings, model.device
    at_once = s.evaluation.batch_videos if device.type == "cuda" else min(s.evaluation.batch_videos, _CLIPS_ON_CPU)
    clips, half = _noise(s, model, at_once), s.evaluation.precision == "bfloat16"
    model.eval()
    clip_ms = _median_ms(lambda: list(encode_clips(model, clips, None, half)), rounds, device) / at_once
    episode_ms = float("nan")
    if experiment.method.trained:
        parts = [(share, _Step(experiment, model, shape)) for shape, share in shapes.items()]
        episode_ms = sum(share * _median_ms(step, rounds, device) for share, step in parts)
    facts = {
        "clips_at_once": at_once,
        "clip_precision": s.evaluation.precision,
        "training_precision": s.training.precision,
    }
    return {
        "clip_ms": clip_ms,
        "episode_ms": episode_ms,
        **facts,
        "rounds": rounds,
        "machine": machine_name(str(device)),
    }


class _Step:
    """A training step on an episode of noise, again and again.

    Args:
        experiment: its recipe; of every call's episode an optimiser step follows, also where episodes accumulate.
        model: the experiment's.
        shape: of the episode.
    """

    def __init__(self, experiment: Experiment, model: FewShotModel, shape: EpisodeShape) -> None:
        self.recipe, self.model = experiment.settings.training, model
        self.clips = _noise_episode(experiment.settings, model, shape)
        generator = torch.Generator().manual_seed(0)
        words = normalize(torch.randn(_CLASSES, model.encoder.joint_width, generator=generator), dim=-1)
        self.text = words.to(model.device) if model.reads_text else None
        rate = base_rate(self.recipe, model.encoder.tune_backbone)
        self.optimiser = build_optimiser(model.tunable(), self.recipe, rate)
        model.encoder.low_memory = self.recipe.memory == "low"

    def gradients(self) -> None:
        """Forward and backward."""
        self.model.train()
        half, r = self.recipe.precision == "bfloat16", self.recipe
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=half):
            result = episode_loss(self.model, self.clips, self.text, r.rotate, r.text_weight)
        result.loss.backward()

    def __call__(self) -> None:
        self.gradients()
        torch.nn.utils.clip_grad_norm_(self.model.tunable().values(), self.recipe.clip_norm or float("inf"))
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    @property
    def lying_bytes(self) -> int:
        """Of model, optimiser and clips."""
        moments = [value for state in self.optimiser.state.values() for value in state.values()]
        clips = [self.clips.frames, self.clips.flow_px]
        held = [*self.model.state_dict().values(), *moments, *clips]
        return sum(tensor.nbytes for tensor in held if isinstance(tensor, Tensor))


def _peak_bytes(step: _Step) -> int:
    """The most that is held during a step, after a first one has made the optimiser's moments."""
    step()
    if step.model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    with HeldBytes() as counted:
        step()
    return step.lying_bytes + counted.peak


def _median_ms(call: Callable[[], object], rounds: int, device: torch.device) -> float:
    call()
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(1000 * (time.perf_counter() - began))
    return statistics.median(found)


def _noise(settings: Settings, model: FewShotModel, num_clips: int) -> Clip:
    """Clips as the model reads them."""
    s, generator = settings.sampling, torch.Generator().manual_seed(0)
    shape = (num_clips, s.num_frames, 3, s.crop, s.crop)
    frames = torch.randn(shape, generator=generator)
    if not model.reads_motion:
        return Clip(frames)
    channels = 1 if settings.model.reads_differences else 2
    return Clip(frames, torch.randn((*shape[:2], channels, *shape[3:]), generator=generator))


def _noise_episode(settings: Settings, model: FewShotModel, shape: EpisodeShape) -> EpisodeClips:
    """Support clips first, class by class; every clip has a base of its own."""
    way, shot, queries, exchangeable = shape
    labels = torch.cat([torch.arange(way).repeat_interleave(count) for count in (shot, queries)])
    named = torch.ones(len(labels), dtype=torch.bool)
    named[: way * shot] = exchangeable
    return EpisodeClips(
        episode_type="noise",
        num_support=way * shot,
        labels=labels,
        classes=torch.arange(way),
        bases=torch.arange(len(labels)),
        named=named,
        exchangeable=exchangeable,
        **_noise(settings, model, len(labels))._asdict(),
    )


def _on(model: FewShotModel, clip: Clip) -> list[Tensor | None]:
    return [None if part is None else part.to(model.device) for part in clip]


@contextmanager
def _as_defined() -> Iterator[None]:
    """Everything is computed as it is defined, for as long as this lasts."""
    before, fast_paths.definitions = fast_paths.definitions, True
    try:
        yield
    finally:
        fast_paths.definitions = before
