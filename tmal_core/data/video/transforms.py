"""From decoded frames to what the models read, and the same for flow.

Two ways to fit a frame into the square that a model reads. `crop` keeps its aspect ratio: short side, bicubic with
antialiasing, as CLIP's own pipeline does, but in one batched call on uint8: within 1-2 grey levels of open_clip's PIL
pipeline and several times faster. `squash` gives it up: both sides, bilinear without antialiasing, in float, as
CLIP-FSAR's code does, and TS-FSAR's and D2ST-Adapter's; it is held against CLIP-FSAR's pictures. Then both cut a window
and normalise. Flow goes through the same plan: vectors are scaled with the frame, dx and dy apart where it is squashed,
and a flip negates dx.

Letters: T frames, H, W pixels of the decoded frame, h, w samples of a flow field over the same frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from tmal_core.data.video.colour_jitter import LUMA, ColourJitter, draw_jitter, jittered
from tmal_core.errors import DataError, SettingsError

Fit = Literal["crop", "squash"]
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class CropPlan(NamedTuple):
    """What is done to all frames of one clip: resize to (height, width), cut a window, perhaps flip it, and jitter its
    colours."""

    height: int
    width: int
    top: int
    left: int
    flip: bool
    jitter: ColourJitter | None = None


@dataclass(frozen=True)
class ClipTransform:
    """Resize, crop and normalise the frames of a clip, and its flow with them.

    Args:
        resize: short side after resizing, both sides with `squash`; pixels.
        crop: side of the square window, pixels; at most `resize`.
        flip: whether training mirrors half of the clips. Never for classes with a direction in their name.
        fit: `crop` keeps the aspect ratio, `squash` does not.
        mean, std: of red, green and blue in 0..1, by which pictures are normalised: those of the model that reads them.

    >>> transform = ClipTransform(resize=32, crop=24)
    >>> plan = transform.plan(48, 64)
    >>> plan
    CropPlan(height=32, width=42, top=4, left=9, flip=False, jitter=None)
    >>> transform.apply_frames(np.zeros((8, 48, 64, 3), np.uint8), plan).shape
    torch.Size([8, 3, 24, 24])
    """

    resize: int = 256
    crop: int = 224
    flip: bool = False
    fit: Fit = "crop"
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD

    def __post_init__(self) -> None:
        if not 1 <= self.crop <= self.resize:
            got, remedy = f"crop {self.crop} of resize {self.resize}", "Change sampling.crop or sampling.resize."
            raise SettingsError("a crop between 1 and the resized short side", got, remedy)

    def plan(
        self, height: int, width: int, generator: np.random.Generator | None = None, augmented: bool = False
    ) -> CropPlan:
        """The plan for a clip of height x width frames: the centre crop, or a random one when a generator is given.

        `augmented` clips are flipped in any case (half of them), and their colours jittered.
        """
        if self.fit == "squash":
            return self._squashed(generator, augmented)
        # Truncated, not rounded, as torchvision and open_clip do.
        if height <= width:
            new_height, new_width = self.resize, int(self.resize * width / height)
        else:
            new_height, new_width = int(self.resize * height / width), self.resize
        spare_y, spare_x = new_height - self.crop, new_width - self.crop
        if generator is None:
            return CropPlan(new_height, new_width, round(spare_y / 2), round(spare_x / 2), flip=False)
        top, left = int(generator.integers(spare_y + 1)), int(generator.integers(spare_x + 1))
        # Drawn in any case, so that switching the flip on does not move the crops.
        mirrored = bool(generator.random() < 0.5)
        jitter = draw_jitter(generator) if augmented else None
        return CropPlan(new_height, new_width, top, left, (self.flip or augmented) and mirrored, jitter)

    def _squashed(self, generator: np.random.Generator | None, augmented: bool) -> CropPlan:
        """Drawn in the reference's order. It mirrors the frame before it cuts the window, from whose other side the
        window is counted here; and it cuts its random offset down to whole numbers, so the last one is never drawn."""
        side, spare = self.resize, self.resize - self.crop
        if generator is None:
            return CropPlan(side, side, spare // 2, spare // 2, flip=False)
        mirrored = (self.flip or augmented) and bool(generator.random() < 0.5)
        x, y = int(generator.uniform(0, spare)), int(generator.uniform(0, spare))
        jitter = draw_jitter(generator) if augmented else None
        return CropPlan(side, side, y, spare - x if mirrored else x, mirrored, jitter)

    def apply_frames(self, frames: np.ndarray, plan: CropPlan) -> Tensor:
        """(T, H, W, 3) uint8 to (T, 3, crop, crop) float32, normalised, by the plan."""
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or frames.size == 0:
            got = f"{frames.dtype} {frames.shape}"
            raise DataError("uint8 frames of shape (T, H, W, 3)", got, "Pass frames as decoded.")
        # A view with channels last in memory: the layout torch resizes fastest.
        images = torch.from_numpy(frames).permute(0, 3, 1, 2)
        size = (plan.height, plan.width)
        if self.fit == "squash":
            images = interpolate(images.float(), size, mode="bilinear", align_corners=False)
        elif images.shape[-2:] != size:
            # What torchvision's resize does for uint8, without the second that workers would take to import it.
            images = interpolate(images, size, mode="bicubic", align_corners=False, antialias=True)
        images = images[..., plan.top : plan.top + self.crop, plan.left : plan.left + self.crop]
        if plan.flip:
            images = images.flip(-1)
        mean, std = (torch.tensor(value).view(3, 1, 1) * 255 for value in (self.mean, self.std))
        images = images.to(torch.float32, memory_format=torch.contiguous_format)
        if plan.jitter is not None:
            images = jittered(images / 255, plan.jitter) * 255
        return images.sub_(mean).div_(std)

    def apply_flow(self, flow_px: np.ndarray, plan: CropPlan, frame: tuple[int, int]) -> Tensor:
        """Flow inside the plan's window, (T, 2, crop, crop) float32 in pixels of the crop.

        Args:
            flow_px: (T, 2, h, w) as (dx, dy), h x w samples spread evenly over the whole frame (any resolution).
            plan: of the clip's frames.
            frame: (height, width) of the frame in whose pixels the vectors are measured.
        """
        flow = _flow(flow_px)
        # Coordinates run from -1 to 1 over the whole frame, edge to edge (align_corners=False), whatever h and w are.
        offsets = torch.arange(self.crop) + 0.5
        y = (plan.top + offsets) * (2 / plan.height) - 1
        x = (plan.left + offsets) * (2 / plan.width) - 1
        where = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).expand(len(flow), -1, -1, -1)
        flow = grid_sample(flow, where, mode="bilinear", padding_mode="border", align_corners=False)
        scale_x, scale_y = plan.width / frame[1], plan.height / frame[0]
        if plan.flip:
            flow, scale_x = flow.flip(-1), -scale_x
        return flow * torch.tensor([scale_x, scale_y]).view(2, 1, 1)


def grey_difference(first: Tensor, second: Tensor, std: tuple[float, ...] = CLIP_STD) -> Tensor:
    """How much brighter the second frames are, (T, 1, C, C) in -1..1 as a share of the range from black to white; both
    are (T, 3, C, C) as `apply_frames` gives them, normalised by that std."""
    weights = torch.tensor(LUMA) * torch.tensor(std)
    return ((second - first) * weights.view(3, 1, 1)).sum(1, keepdim=True)


def resize_flow(flow_px: np.ndarray, frame: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Flow over a whole frame as if the frame were another size: samples interpolated, vectors scaled.

    Args:
        flow_px, frame: as for `ClipTransform.apply_flow`.
        size: (height, width) of the frame asked for.

    Returns:
        (T, 2, *size) float32, pixels of the frame asked for.
    """
    flow = interpolate(_flow(flow_px), size=tuple(size), mode="bilinear", align_corners=False, antialias=True)
    return flow * torch.tensor([size[1] / frame[1], size[0] / frame[0]]).view(2, 1, 1)


def _flow(flow_px: np.ndarray) -> Tensor:
    if flow_px.ndim != 4 or flow_px.shape[1] != 2:
        raise DataError("flow of shape (T, 2, h, w)", str(flow_px.shape), "Pass (dx, dy) per frame.")
    return torch.from_numpy(flow_px).float()
