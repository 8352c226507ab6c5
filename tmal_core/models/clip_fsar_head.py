"""CLIP-FSAR's way to answer: prototypes that read the class name, matched to queries by OTAM.

Wang et al., "CLIP-guided Prototype Modulating for Few-shot Action Recognition", IJCV 2023, section 3.

    prototypes    context([frames averaged over a class's shots, its text]), the text token dropped
    queries       context(frames)
    logits        - OTAM distance of query and prototype
    class logits  scale * cosine (0.01 added to the norms) of a clip's mean frame feature with every class's text

Text alone scores a query by softmax(scale * exact cosine); both together by p_text^a * p_visual^(1 - a) with
p_visual = softmax((8 - distance) / 8), 8 being the number of frames in the paper's protocol and a constant in its code.
The form of its checkpoints is `references.CLIPFSARHead`, which scores by the functions below.
"""

import torch
from torch import Tensor, nn

from tmal_core.matching import cosine_distance
from tmal_core.matching.cosine import at_least_float32
from tmal_core.models.heads import Frames, MatchingHead, Names, Scores, Similarities, combined, pooled_cosine
from tmal_core.models.prototypes import in_context
from tmal_core.models.temporal_transformer import TemporalTransformer

DISTANCE_UNIT = 8.0


def class_cosine(frames: Frames, class_text: Names) -> Similarities:
    """Cosines, 0.01 added to the norms, of clips' mean frame features with text."""
    frames, class_text = at_least_float32(frames, class_text)
    return 1 - cosine_distance(frames.mean(1)[:, None], class_text[:, None])[:, :, 0, 0]


def log_scores(distances: Scores, text_logits: Scores, power: float) -> Scores:
    """Distances and text's logits to the log of the combined score."""
    return combined((DISTANCE_UNIT - distances) / DISTANCE_UNIT, text_logits, power)


class CLIPFSARHead(MatchingHead):
    """Clip tokens to logits, for features of `width`; `mlp_width` is that of the temporal transformer's FFN."""

    reads_text = merges_shots = True

    def __init__(self, width: int, mlp_width: int, smoothing: float, text_score: float) -> None:
        super().__init__("otam", smoothing, text_score=text_score)
        self.log_scale.requires_grad_(False)  # distances are taken as they are
        self.register_parameter("log_text_scale", None)
        self.scale = nn.Parameter(torch.ones(1))  # in its place: learned as it is, not as its logarithm
        self.context2 = TemporalTransformer(width, mlp_width=mlp_width)

    def modulate(self, clip_tokens: Tensor, text: Tensor | None = None) -> Tensor:
        return in_context(self.context2, clip_tokens, text)

    def class_logits(self, clip_tokens: Tensor, class_text: Tensor) -> Tensor:
        return self.scale * class_cosine(clip_tokens, class_text)

    def text_similarity(self, clip_tokens: Tensor, text: Tensor) -> Tensor:
        return self.scale * pooled_cosine(clip_tokens, text)

    def score(self, visual: Tensor | None, text: Tensor | None = None) -> Tensor:
        assert visual is not None
        return visual if text is None else log_scores(-visual, text, self.text_score)
