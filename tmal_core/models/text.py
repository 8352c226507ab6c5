"""Class names as CLIP's text tower sees them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tmal_core.config import ModelSettings
from tmal_core.models.backbone import located, tokenizer


@torch.no_grad()
def class_text(clip: Any, settings: ModelSettings, names: list[str]) -> Float[Tensor, "c d"]:
    """Text features, float32, of class names, each put into `settings.prompt`."""
    tokens = tokenizer(located(settings.backbone))([settings.prompt.format(name) for name in names])
    return clip.encode_text(tokens.to(clip.logit_scale.device)).float()


@dataclass(frozen=True)
class SplitText:
    """The class names of a split as features."""

    features: Tensor
    """(C, d) float32."""
    class_of: np.ndarray
    """(V,) index into `features` of each video's class."""

    def of_videos(self, rows: np.ndarray) -> Tensor:
        """(..., d): text features of the classes of videos (...)."""
        return self.features[torch.from_numpy(self.class_of[rows])]
