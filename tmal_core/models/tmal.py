"""The model: a frozen CLIP, what is learned inside it, and how episodes are matched.

Letters: N clips, T frames, P patches, D width of the tower, d joint width; S support clips, Q queries.

The image tower's blocks are run here one by one, so that adapters stand where ST-Adapter puts them: before attention
and before the feed-forward part of a block. With nothing learned yet, every block gives plain CLIP's tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tmal_core.matching import match
from tmal_core.models.adapters import STAdapter

BEFORE_ATTENTION, BEFORE_FFN = "attention", "ffn"


class TMAL(nn.Module):
    """Clips to frame features, frame features to logits.

    Args:
        clip: a frozen open_clip model (`load_backbone`).
        adapters: where temporal adapters stand in each block: any of "attention" and "ffn"; none for frozen CLIP.
        bottleneck: width inside an adapter.
        matching: name of the distance between clips, see `tmal_core.matching.MATCHERS`.
        smoothing: OTAM's softmin temperature.
        logit_scale: start of the learnable factor on minus the distance.
    """

    def __init__(
        self,
        clip: nn.Module,
        *,
        adapters: tuple[str, ...] = (),
        bottleneck: int = 384,
        matching: str = "otam",
        smoothing: float = 0.5,
        logit_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.clip = clip.requires_grad_(False)
        self.matching, self.smoothing = matching, smoothing
        width = clip.visual.conv1.out_channels
        blocks = range(len(clip.visual.transformer.resblocks))
        self.adapters = nn.ModuleDict(
            {place: nn.ModuleList(STAdapter(width, bottleneck) for _ in blocks) for place in adapters}
        )
        self.log_scale = nn.Parameter(torch.tensor(math.log(logit_scale)))

    def train(self, mode: bool = True) -> TMAL:
        """Switch what is learned; the frozen CLIP stays in eval mode."""
        super().train(mode)
        self.clip.eval()
        return self

    def encode(self, frames: Tensor) -> Tensor:
        """Frame features of clips.

        Args:
            frames: (N, T, 3, H, W) float, normalised.

        Returns:
            (N, T, d).
        """
        visual = self.clip.visual
        tokens = self.tokens(frames)[-1]
        pooled, _ = visual._pool(tokens)
        features = pooled if visual.proj is None else pooled @ visual.proj
        return features.unflatten(0, frames.shape[:2])

    def tokens(self, frames: Tensor) -> list[Tensor]:
        """Tokens (N * T, 1 + P, D) that enter the first block, and those that leave each block."""
        visual = self.clip.visual
        num_frames = frames.shape[1]
        tokens = visual._embeds(frames.flatten(0, 1))
        stages = [tokens]
        for index, block in enumerate(visual.transformer.resblocks):
            tokens = self._adapt(BEFORE_ATTENTION, index, tokens, num_frames)
            tokens = tokens + block.ls_1(block.attention(block.ln_1(tokens)))
            tokens = self._adapt(BEFORE_FFN, index, tokens, num_frames)
            tokens = tokens + block.ls_2(block.mlp(block.ln_2(tokens)))
            stages.append(tokens)
        return stages

    def distances(self, query: Tensor, support: Tensor) -> Tensor:
        """Frame features (Q, T, d) and (S, T, d) to clip distances (Q, S)."""
        return match(query, support, self.matching, smoothing=self.smoothing)

    def episode_logits(self, query: Tensor, support: Tensor, labels: Tensor) -> Tensor:
        """Logits of an episode from frame features.

        Args:
            query: (Q, T, d).
            support: (S, T, d).
            labels: (S,) int64 in 0..N-1, each at least once.

        Returns:
            (Q, N): minus the mean distance to a class's support clips, times the learned scale.
        """
        return self.log_scale.exp() * class_logits(self.distances(query, support), labels)

    def tunable(self) -> dict[str, Tensor]:
        """What training changes, by name: the content of a checkpoint."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def _adapt(self, place: str, block: int, tokens: Tensor, num_frames: int) -> Tensor:
        return self.adapters[place][block](tokens, num_frames) if place in self.adapters else tokens


def class_logits(distances: Tensor, labels: Tensor) -> Tensor:
    """Minus the mean distance to each class: (Q, S) and (S,) int64 to (Q, N)."""
    one_hot = nn.functional.one_hot(labels).to(distances.dtype)
    return -(distances @ one_hot) / one_hot.sum(0)
