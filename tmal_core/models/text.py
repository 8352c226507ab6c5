"""Class names as CLIP's text tower sees them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tmal_core.config import ModelSettings
from tmal_core.models.backbone import located, tokenizer


@torch.no_grad()
def class_text(clip: nn.Module, settings: ModelSettings, names: list[str]) -> Tensor:
    """Text features (C, d) float32 of class names, each put into `settings.prompt`."""
    tokenize = tokenizer(located(settings.backbone))
    tokens = tokenize([settings.prompt.format(name) for name in names])
    return clip.encode_text(tokens.to(clip.logit_scale.device)).float()


@dataclass(frozen=True)
class SplitText:
    """The class names of a split as features.

    Attributes:
        features: (C, d) float32.
        class_of: (V,) index into `features` of each video's class.
    """

    features: Tensor
    class_of: np.ndarray

    def of_videos(self, rows: np.ndarray) -> Tensor:
        """(..., d): text features of the classes of videos (...)."""
        return self.features[torch.from_numpy(self.class_of[rows])]
