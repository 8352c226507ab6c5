"""Memory of a training step counted on tensors that have a shape and no content: no run, and any size.

Every operation of the step is asked for its result's shape alone, and the bytes of each storage count from its making
until nobody holds it. Left out are the episode's loss (distances and text similarities of some clips: a few MB), and
what libraries take beside tensors (on a GPU the CUDA context and workspaces of cuBLAS, several hundred MB).
"""

from __future__ import annotations

import weakref
from typing import Any
from unittest.mock import patch

import torch
from subjects import model_of
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tmal_core.config import Settings
from tmal_core.models import blocks_fast
from tmal_core.models.few_shot import FewShotModel


class HeldBytes(TorchDispatchMode):
    """The bytes of the tensors made inside, and the most that were held at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        for given in _tensors((args, kwargs)):  # what was there before: views of it are nothing new
            self._known.add(given.untyped_storage()._cdata)
        result = function(*args, **(kwargs or {}))
        for made in _tensors(result):
            self._count(made.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.held -= size


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def step_bytes(settings: Settings, num_clips: int) -> int:
    """The most that tensors made by forward and backward of so many clips hold at one time."""
    model = model_of(settings)
    with FakeTensorMode() as mode:
        return _step_bytes(emptied(model, mode), settings, num_clips)


def whole_bytes(settings: Settings, num_support: int, num_query: int) -> int:
    """An episode's with all that lies there anyway: the model, both moments of the optimiser, and the clips.

    For a GPU, whose attention builds no weights.
    """
    num_clips = num_support + num_query
    model = model_of(settings)
    held = sum(tensor.nbytes for tensor in model.state_dict().values())
    moments = 2 * sum(tensor.nbytes for tensor in model.tunable().values())
    fused = patch.object(blocks_fast, "attended", scaled_dot_product_attention)
    with fused, FakeTensorMode() as mode:
        clips = sum(tensor.nbytes for tensor in _clips(model, settings, num_clips) if tensor is not None)
        return held + moments + clips + _step_bytes(emptied(model, mode), settings, num_clips, num_support)


def emptied(model: FewShotModel, mode: FakeTensorMode) -> FewShotModel:
    """The model, its tensors without content."""
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            tensors.update((name, mode.from_tensor(full)) for name, full in tensors.items() if full is not None)
    return model


def _step_bytes(model: FewShotModel, settings: Settings, num_clips: int, num_support: int | None = None) -> int:
    model.encoder.low_memory = settings.training.memory == "low"
    model.train()
    clips = _clips(model, settings, num_clips)
    half = settings.training.precision == "bfloat16"
    with HeldBytes() as counted:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            roles = model.encoder.encode_roles(*clips, num_support)
        sum(tokens.float().square().sum() for tokens in set(roles)).backward()
    return counted.peak


def _clips(model: FewShotModel, settings: Settings, num_clips: int) -> tuple[torch.Tensor | None, ...]:
    """Frames, flow and text as the model reads them."""
    side, frames = settings.sampling.crop, settings.sampling.num_frames
    flow_px = torch.empty(num_clips, frames, 2, side, side) if model.reads_flow else None
    text = torch.empty(num_clips, model.encoder.joint_width) if model.reads_text else None
    return torch.empty(num_clips, frames, 3, side, side), flow_px, text
