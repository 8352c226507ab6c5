"""Dense inverse search (Kroeger et al. 2016), OpenCV's implementation: flow without weights.

At the medium preset its end-point error on smooth motion is 0.1-0.4 px at 6 ms a pair of 224x224 frames; among OpenCV's
methods the best trade of error against time. `fast` and `ultrafast` search more coarsely and skip pixels. The result
does not depend on OpenCV's number of threads.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from tmal_core.flow.frame_pairs import check_pair

MIN_SIDE = 16  # OpenCV refuses frames smaller than 12 pixels; those are padded to this side
PRESETS = {
    "dis": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
    "dis_fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "dis_ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
}


class DIS:
    """DIS on grey frames, by the name of one of PRESETS."""

    weights_hash = "none"
    runs_in_workers = True

    def __init__(self, name: str = "dis") -> None:
        self.name = name
        self._dis: Any = cv2.DISOpticalFlow.create(PRESETS[name])  # its stubs miss that `calc` takes None
        self._scale, self._patch = self._dis.getFinestScale(), self._dis.getPatchSize()

    def __reduce__(self):
        # OpenCV objects cannot be pickled; workers build their own.
        return DIS, (self.name,)

    def estimate(self, first: Tensor, second: Tensor) -> Tensor:
        """See FlowEstimator."""
        check_pair(first, second)
        height, width = first.shape[-2:]
        # numpy copies, not torch: between its calls OpenMP's threads would spin on the cores that DIS needs.
        flow = np.empty((len(first), 2, height, width), dtype=np.float32)
        for index, pair in enumerate(zip(_uint8_rows(first), _uint8_rows(second), strict=True)):
            # Frames too small for the preset make OpenCV choose another scale, and keep it for all that come later.
            self._dis.setFinestScale(self._scale)
            self._dis.setPatchSize(self._patch)
            one, two = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in pair)
            flow[index] = self._dis.calc(one, two, None)[:height, :width].transpose(2, 0, 1)
        return torch.from_numpy(flow)


def _uint8_rows(frames: Tensor) -> np.ndarray:
    """(B, 3, H, W) to (B, H', W', 3) uint8, at least MIN_SIDE in H' and W'; without a copy where possible."""
    height, width = frames.shape[-2:]
    if frames.dtype != torch.uint8:
        frames = frames.detach().round().clamp(0, 255).to(torch.uint8)
    if min(height, width) < MIN_SIDE:
        missing = (0, max(MIN_SIDE - width, 0), 0, max(MIN_SIDE - height, 0))
        frames = pad(frames.float(), missing, mode="replicate").to(torch.uint8)
    return np.ascontiguousarray(frames.cpu().permute(0, 2, 3, 1).numpy())
