"""The model: a frozen CLIP, what is learned inside and behind it, and how episodes are matched.

    frames ─► block 1 .. L, frozen ─► frame features ─► prototype modulation ─► matching ─► logits
              ▲ temporal adapters, motion tokens, text  ▲ motion token, text

Letters: n clips, T frames, P patches, D width of the tower, d joint width; M motion tokens per clip (1 or 0); S support
clips, Q queries, N way.

The image tower's blocks are run here one by one, so that adapters stand where ST-Adapter puts them (before attention
and before the feed-forward part of a block) and other modalities join before attention. With nothing learned yet, every
block gives plain CLIP's tokens, and the logits are those of the matcher on plain frame features.
A class's name is given to support clips only: nothing of a query's class reaches its features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from tmal_core.config import ModelSettings
from tmal_core.matching import cosine_distance, match, match_groups
from tmal_core.matching.cosine import at_least_float32
from tmal_core.models.adapters import STAdapter
from tmal_core.models.blocks import attend, feed_forward
from tmal_core.models.fusion import TokenFusion, fuse_patches, fusion_blocks
from tmal_core.models.motion import Motion, PictureEncoder, StemEncoder
from tmal_core.models.prototypes import PrototypeModulation, class_means

BEFORE_ATTENTION, BEFORE_FFN = "attention", "ffn"
_PLACES = {
    "none": (),
    "ffn": (BEFORE_FFN,),
    "attention": (BEFORE_ATTENTION,),
    "both": (BEFORE_ATTENTION, BEFORE_FFN),
}
_CLIPS_IN_LOW_MEMORY = 8  # whose block is computed anew at a time
_CLIP_FSAR_UNIT = 8.0  # CLIP-FSAR divides distances by 8, its number of frames, before it combines scores


class TMAL(nn.Module):
    """Clips to clip tokens, clip tokens to prototypes, prototypes to logits.

    Clip tokens (n, T + M, d) are a clip's T frame features and, where flow is fused at prototype level, one motion
    token behind them: all that has to be kept of a clip.

    Args:
        clip: an open_clip model (`load_backbone`); frozen, unless the settings fine-tune its image tower.
        parts: which parts there are, and how large. `methods.build` resolves a method's name into them.

    Raises:
        SettingsError: a fusion level outside the tower.
    """

    def __init__(self, clip: nn.Module, parts: ModelSettings) -> None:
        super().__init__()
        self.clip = clip.requires_grad_(False)
        self.clip.visual.requires_grad_(parts.tune_backbone)
        self.parts = parts
        self.low_memory = False
        """Whether training gives time for memory: blocks are computed anew in the backward pass."""
        visual = clip.visual
        width, self.depth = visual.conv1.out_channels, len(visual.transformer.resblocks)
        self.adapters = nn.ModuleDict(
            {
                place: nn.ModuleList(STAdapter(width, parts.bottleneck) for _ in range(self.depth))
                for place in _PLACES[parts.adapters]
            }
        )
        self.motion = self._motion_encoder() if self.reads_flow else None
        flow_blocks = self._flow_blocks()
        motion_width = width if parts.flow_encoder == "clip" else parts.fusion_width
        self.flow_fusion = nn.ModuleDict(
            {str(block): TokenFusion(width, motion_width, parts.fusion_width) for block in flow_blocks}
        )
        text_blocks = fusion_blocks(parts.text_levels, self.depth) if parts.text and self._at("token") else ()
        self.text_fusion = nn.ModuleDict(
            {str(block): TokenFusion(width, self.joint_width, parts.fusion_width) for block in text_blocks}
        )
        modulates = (parts.text or self.reads_flow) and self._at("prototype")
        self.modulation = (
            PrototypeModulation(self.joint_width, mlp_width=parts.mlp_width, gated=parts.gated, text=parts.text)
            if modulates
            else None
        )
        self.log_scale = nn.Parameter(torch.tensor(math.log(parts.logit_scale)), requires_grad=parts.gated)
        # CLIP-FSAR's scale starts at 1; elsewhere CLIP's own is where its text and picture features agree.
        text_scale = clip.logit_scale.detach().clone() if parts.gated else torch.zeros(())
        self.log_text_scale = nn.Parameter(text_scale, requires_grad=parts.text)

    @property
    def joint_width(self) -> int:
        """d, the width of frame and text features."""
        visual = self.clip.visual
        return visual.conv1.out_channels if visual.proj is None else visual.proj.shape[1]

    @property
    def reads_flow(self) -> bool:
        """Whether clips come with flow."""
        return self.parts.reads_flow

    @property
    def reads_text(self) -> bool:
        """Whether support clips come with their class's text."""
        return self.parts.reads_text

    @property
    def merges_shots(self) -> bool:
        """Whether a class's shots are averaged into one prototype, instead of their distances."""
        return self.modulation is not None

    @property
    def separate_roles(self) -> bool:
        """Whether a clip has other tokens as support than as query."""
        return bool(self.text_fusion)

    def train(self, mode: bool = True) -> TMAL:
        """Switch what is learned; CLIP has nothing to switch and stays in eval mode."""
        super().train(mode)
        self.clip.eval()
        return self

    def encode(self, frames: Tensor, flow_px: Tensor | None = None, text: Tensor | None = None) -> Tensor:
        """Clip tokens in one role.

        Args:
            frames: (n, T, 3, H, W) float, normalised.
            flow_px: (n, T, 2, H, W) in pixels of the crop, from each frame to the next native one; where it is read.
            text: (n, d) of each clip's class makes it support; None makes it a query.

        Returns:
            (n, T + M, d).

        Raises:
            ValueError: the model reads flow and none came.
        """
        motion = self._encode_motion(frames, flow_px)
        tokens = self.clip.visual._embeds(frames.flatten(0, 1))
        tokens = self._to_pool(tokens, 1, frames.shape[1], motion, text)
        return self._clip_tokens(tokens, motion, frames.shape[:2])

    def encode_roles(
        self,
        frames: Tensor,
        flow_px: Tensor | None = None,
        text: Tensor | None = None,
        num_support: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Clip tokens as query and as support; blocks before the first text level run once for both.

        Args:
            frames, flow_px: as for `encode`, of n clips.
            text: without it clips are the same in both roles.
            num_support: encode only so many of the clips, the first ones, as support; all n by default.

        Returns:
            (n, T + M, d) and (num_support, T + M, d); twice the same tensor where no text joins inside the tower.
        """
        num_clips, num_frames = frames.shape[:2]
        motion = self._encode_motion(frames, flow_px)
        first = min(map(int, self.text_fusion), default=self.depth)
        shared = self.clip.visual._embeds(frames.flatten(0, 1))
        for number in range(1, first):
            shared = self._block(number, shared, num_frames, motion, None)
        as_query = self._to_pool(shared, first, num_frames, motion)
        query = self._clip_tokens(as_query, motion, frames.shape[:2])
        if not self.separate_roles or text is None:
            return query, query
        if num_support is not None and num_support < num_clips:
            shared, text = shared[: num_support * num_frames], text[:num_support]
            motion = None if motion is None else motion.of_first(num_support, num_frames)
            num_clips = num_support
        as_support = self._to_pool(shared, first, num_frames, motion, text)
        return query, self._clip_tokens(as_support, motion, (num_clips, num_frames))

    def tokens(self, frames: Tensor, flow_px: Tensor | None = None, text: Tensor | None = None) -> list[Tensor]:
        """Tokens (n * T, 1 + P, D) that enter the first block, and those that leave each block. As `encode`."""
        motion = self._encode_motion(frames, flow_px)
        stages = [self.clip.visual._embeds(frames.flatten(0, 1))]
        for number in range(1, self.depth + 1):
            stages.append(self._block(number, stages[-1], frames.shape[1], motion, text))
        return stages

    def modulate(self, clip_tokens: Tensor, text: Tensor | None = None) -> Tensor:
        """Clip tokens (n, T + M, d), with text (n, d) of support, to frame features (n, T, d) that are matched."""
        if self.modulation is None:
            return clip_tokens
        with_motion = self._motion_at_prototypes
        frames = clip_tokens[:, :-1] if with_motion else clip_tokens
        return self.modulation(frames, clip_tokens[:, -1] if with_motion else None, text if self.parts.text else None)

    def prototypes(self, support: Tensor, labels: Tensor, text: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What queries are matched with.

        Args:
            support: (S, T + M, d) clip tokens.
            labels: (S,) int64 in 0..N-1, each at least once.
            text: (N, d) of the classes, where the model reads text.

        Returns:
            Frame features (N, T, d) and labels 0..N-1 where shots are averaged first, else (S, T, d) and `labels`.
        """
        if not self.merges_shots:
            return support, labels
        means = class_means(support, labels)
        return self.modulate(means, text), torch.arange(len(means), device=labels.device)

    def frame_features(self, clip_tokens: Tensor) -> Tensor:
        """(n, T, d): clip tokens without the motion token."""
        return clip_tokens[:, :-1] if self._motion_at_prototypes else clip_tokens

    def distances(self, query: Tensor, prototypes: Tensor) -> Tensor:
        """Modulated frame features (Q, T, d) and prototypes (S, T, d) to distances (Q, S)."""
        return match(query, prototypes, self.parts.matching, smoothing=self.parts.smoothing)

    def group_distances(self, query: Tensor, prototypes: Tensor) -> Tensor:
        """The same within each of g groups, without gradient: (g, Q, T, d) and (g, S, T, d) to (g, Q, S)."""
        return match_groups(query, prototypes, self.parts.matching, smoothing=self.parts.smoothing)

    def episode_logits(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None = None) -> Tensor:
        """Logits of an episode from clip tokens.

        Args:
            query: (Q, T + M, d), encoded as queries.
            support: (S, T + M, d), encoded as support.
            labels: (S,) int64 in 0..N-1, each at least once.
            text: (N, d) of the classes, where the model reads text.

        Returns:
            (Q, N): minus the distance to a class, times the learned scale; in evaluation with `text_score` the log of
            the combined score.
        """
        prototypes, prototype_labels = self.prototypes(support, labels, text)
        visual = class_logits(self.distances(self.modulate(query), prototypes), prototype_labels)
        return self.score(visual, self.text_similarity(query, text) if self.scores_text else None)

    @property
    def scores_text(self) -> bool:
        """Whether answers combine distances with the class names' own score (never in training)."""
        return self.parts.text_score > 0 and not self.training

    def text_similarity(self, clip_tokens: Tensor, text: Tensor) -> Tensor:
        """Clip tokens (n, T + M, d) and text (C, d) to scaled cosine similarities (n, C)."""
        frames, text = at_least_float32(self.frame_features(clip_tokens), text)
        pooled = frames.mean(1)
        if self.parts.gated:
            with torch.autocast(pooled.device.type, enabled=False):  # as for distances: bfloat16 is too coarse
                return self.log_text_scale.exp() * normalize(pooled, dim=-1) @ normalize(text, dim=-1).T
        # CLIP-FSAR adds 0.01 to the product of the norms here, as in its distances.
        return self.log_text_scale.exp() * (1 - cosine_distance(pooled[:, None], text[:, None])[:, :, 0, 0])

    def score(self, visual: Tensor, text: Tensor | None = None) -> Tensor:
        """Minus distances (..., N), and text similarities (..., N) where they count, to logits (..., N).

        With text the log of p_text^a * p_visual^(1 - a), a being `text_score` (CLIP-FSAR, its code's "COMBINE").
        """
        logits = self.log_scale.exp() * visual
        if text is None:
            return logits
        power = self.parts.text_score
        visual_logits = logits if self.parts.gated else logits / _CLIP_FSAR_UNIT
        return power * text.log_softmax(-1) + (1 - power) * visual_logits.log_softmax(-1)

    def tunable(self) -> dict[str, Tensor]:
        """What training changes, by name: the content of a checkpoint."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def _at(self, place: str) -> bool:
        return self.parts.fusion in (place, "both")

    @property
    def _motion_at_prototypes(self) -> bool:
        return self.reads_flow and self._at("prototype")

    def _flow_blocks(self) -> tuple[int, ...]:
        return fusion_blocks(self.parts.fusion_levels, self.depth) if self.reads_flow and self._at("token") else ()

    def _motion_encoder(self) -> StemEncoder | PictureEncoder:
        visual, blocks = self.clip.visual, self._flow_blocks()
        if self.parts.flow_encoder == "stem":
            joint_width = self.joint_width if self._motion_at_prototypes else None
            return StemEncoder(visual.conv1.kernel_size[0], self.parts.fusion_width, joint_width, blocks)
        return PictureEncoder(self._plain_tokens, self._pool, blocks)

    def _encode_motion(self, frames: Tensor, flow_px: Tensor | None) -> Motion | None:
        if self.motion is None:
            return None
        if flow_px is None or flow_px.shape[:2] != frames.shape[:2]:
            got = "none" if flow_px is None else str(tuple(flow_px.shape))
            raise ValueError(f"expected flow (n, T, 2, H, W) for frames {tuple(frames.shape)}, got {got}")
        return self.motion(flow_px)

    def _to_pool(
        self, tokens: Tensor, first: int, num_frames: int, motion: Motion | None, text: Tensor | None = None
    ) -> Tensor:
        """Tokens that enter block `first` to those that are pooled: (n * T, 1 or 1 + P, D).

        Where CLIP pools its class token, the last block's patch tokens have done their work once they are attended to:
        its attention is asked for the class token only, and its FFN has one token instead of 1 + P.
        """
        visual = self.clip.visual
        pools_all = visual.attn_pool is not None or visual.pool_type != "tok"
        for number in range(first, self.depth + 1):
            tokens = self._block(number, tokens, num_frames, motion, text, not pools_all and number == self.depth)
        return tokens

    def _block(
        self,
        number: int,
        tokens: Tensor,
        num_frames: int,
        motion: Motion | None,
        text: Tensor | None,
        class_token_only: bool = False,
    ) -> Tensor:
        """Tokens (n * T, 1 + P, D) after one block; where memory is scarce some clips at a time, and computed anew in
        the backward pass."""
        level = motion.levels[number] if str(number) in self.flow_fusion else None
        if not (self.low_memory and self.training and torch.is_grad_enabled()):
            return self._block_at_once(number, tokens, num_frames, level, text, class_token_only)
        size = _CLIPS_IN_LOW_MEMORY * num_frames
        num_parts = -(-len(tokens) // size)
        levels = [None] * num_parts if level is None else level.split(size)
        texts = [None] * num_parts if text is None else text.split(_CLIPS_IN_LOW_MEMORY)
        parts = [
            checkpoint(
                self._block_at_once,
                number,
                part,
                num_frames,
                part_level,
                part_text,
                class_token_only,
                use_reentrant=False,
            )
            for part, part_level, part_text in zip(tokens.split(size), levels, texts, strict=True)
        ]
        return torch.cat(parts)

    def _block_at_once(
        self,
        number: int,
        tokens: Tensor,
        num_frames: int,
        level: Tensor | None,
        text: Tensor | None,
        class_token_only: bool,
    ) -> Tensor:
        """One block: flow (n * T, P, C), text (n, d) and an adapter join, then attention, an adapter, the FFN."""
        name, block = str(number), self.clip.visual.transformer.resblocks[number - 1]
        if level is not None:
            tokens = fuse_patches(self.flow_fusion[name], tokens, level)
        if text is not None and name in self.text_fusion:
            tokens = self.text_fusion[name](tokens, text.repeat_interleave(num_frames, 0)[:, None])
        tokens = attend(block, self._adapt(BEFORE_ATTENTION, number, tokens, num_frames), class_token_only)
        if not class_token_only:  # without patch tokens there is nothing to adapt
            tokens = self._adapt(BEFORE_FFN, number, tokens, num_frames)
        return feed_forward(block, tokens)

    def _plain_tokens(self, pictures: Tensor) -> Iterator[Tensor]:
        """CLIP's own tokens of pictures (n, 3, H, W): those that enter the first block, and that leave each block."""
        tokens = self.clip.visual._embeds(pictures)
        yield tokens
        for block in self.clip.visual.transformer.resblocks:
            tokens = feed_forward(block, attend(block, tokens))
            yield tokens

    def _pool(self, tokens: Tensor) -> Tensor:
        """Tokens (n, 1 + P, D) that left the last block to features (n, d)."""
        visual = self.clip.visual
        pooled, _ = visual._pool(tokens)
        return pooled if visual.proj is None else pooled @ visual.proj

    def _clip_tokens(self, tokens: Tensor, motion: Motion | None, shape: tuple[int, int]) -> Tensor:
        frames = self._pool(tokens).unflatten(0, shape)
        return torch.cat([frames, motion.clip[:, None]], dim=1) if self._motion_at_prototypes else frames

    def _adapt(self, place: str, number: int, tokens: Tensor, num_frames: int) -> Tensor:
        return self.adapters[place][number - 1](tokens, num_frames) if place in self.adapters else tokens


def class_logits(distances: Tensor, labels: Tensor, way: int = -1) -> Tensor:
    """Minus the mean distance to each class: (Q, S) and (S,) int64 to (Q, N); a GPU need not be asked for a given N."""
    one_hot = nn.functional.one_hot(labels, way).to(distances.dtype)
    with torch.autocast(distances.device.type, enabled=False):  # or the product rounds what the matcher kept apart
        return -(distances @ one_hot) / one_hot.sum(0)
