"""Memory of a training step counted on tensors that have a shape and no content: no run, and any size.

Every operation of the step is asked for its result's shape alone, and the bytes of each storage count from its making
until nobody holds it. Left out are the episode's loss (distances and text similarities of some clips: a few MB), and
what libraries take beside tensors (on a GPU the CUDA context and workspaces of cuBLAS, several hundred MB).
"""

from __future__ import annotations

from unittest.mock import patch

import torch
from subjects import model_of
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import scaled_dot_product_attention

from tmal_core.config import Settings
from tmal_core.models import blocks_fast
from tmal_core.models.few_shot import FewShotModel
from tmal_core.runtime.held_bytes import HeldBytes


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
    flow_px = torch.empty(num_clips, frames, 2, side, side) if model.reads_motion else None
    text = torch.empty(num_clips, model.encoder.joint_width) if model.reads_text else None
    return torch.empty(num_clips, frames, 3, side, side), flow_px, text
