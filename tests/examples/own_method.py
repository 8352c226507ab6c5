"""A method of your own: an encoder, a head, and one registration that says what it reads of the settings.

Here `nearest_frame`: frozen CLIP with temporal adapters; two clips are as far apart as their two nearest frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tmal_core.config import ModelSettings, load_settings
from tmal_core.matching import cosine_distance
from tmal_core.models.encoder import build_encoder
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.heads import Head
from tmal_core.models.methods import Method, build, register


class NearestFrameHead(Head):
    """A head needs `distances`; see `Head` for what else it may do in its own way: prototypes, scores, text."""

    def distances(self, query: Tensor, prototypes: Tensor) -> Tensor:
        """Frame features (Q, T, d) and (S, T, d) to (Q, S)."""
        return cosine_distance(query, prototypes).amin((2, 3))


def nearest_frame(clip: nn.Module, parts: ModelSettings) -> FewShotModel:
    """CLIP and the settings to the untrained model."""
    return FewShotModel(build_encoder(clip, parts), NearestFrameHead(parts.logit_scale))


fixed = {"flow_encoder": "none", "text": False, "fusion": "none"}  # a user who asks for another value is refused
reads = frozenset({"adapters", "bottleneck", "logit_scale", "tune_backbone"})  # all others change nothing
register(Method("nearest_frame", "nearest frame", trained=True, build=nearest_frame, reads=reads, fixed=fixed))

model = build(load_settings("tiny", {"model.method": "nearest_frame"}).model).eval()
support, query = torch.randn(2, 8, 3, 64, 64), torch.randn(3, 8, 3, 64, 64)  # two classes, three clips to name
with torch.no_grad():
    logits = model([query], [support], labels=torch.tensor([0, 1]))
print(logits.softmax(1))
