"""The encoder: a frozen CLIP image tower, and what is learned inside it. Clips in, clip tokens out.

    frames ─► block 1 .. L, frozen ─► frame features (n, T, d)  ┐
              ▲ temporal adapters, motion tokens, text          ├─► clip tokens (n, T + M, d)
    flow ─► motion encoder ─► motion tokens, one motion token   ┘

Letters: n clips, T frames, P patches, D width of the tower, d joint width; M motion tokens per clip (1 or 0).

The tower's blocks are run here one by one, so that adapters stand where ST-Adapter puts them (before attention and
before the feed-forward part of a block) and other modalities join before attention. With nothing learned yet, every
block gives plain CLIP's tokens. A class's name is given to support clips only: nothing of a query's class reaches its
features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tmal_core.config import ModelSettings
from tmal_core.models import fast_paths
from tmal_core.models.adapters import STAdapter
from tmal_core.models.blocks import attend, feed_forward
from tmal_core.models.fusion import TokenFusion, fuse_patches, fuses, fusion_blocks
from tmal_core.models.motion import Motion, PictureEncoder, StemEncoder
from tmal_core.models.open_clip_access import embedded, joint_width, pooled

BEFORE_ATTENTION, BEFORE_FFN = "attention", "ffn"
_PLACES = {
    "none": (),
    "ffn": (BEFORE_FFN,),
    "attention": (BEFORE_ATTENTION,),
    "both": (BEFORE_ATTENTION, BEFORE_FFN),
}
_CLIPS_IN_LOW_MEMORY = 8  # whose block is computed anew at a time


class ClipEncoder(nn.Module):
    """Clips to clip tokens: T frame features and, with `motion_token`, one motion token behind them.

    Args:
        clip: an open_clip model (`load_backbone`); frozen, but for its image tower with `tune_backbone`.
        adapters: place in a block -> one adapter per block.
        motion: makes motion tokens of flow; None for an encoder that reads none.
        flow_fusion: number of a block -> fusion of motion tokens before it.
        text_fusion: the same of the class's text.
        motion_token: whether the motion encoder's token per clip is given out.
        tune_backbone: fine-tune the whole image tower.
    """

    def __init__(
        self,
        clip: nn.Module,
        adapters: nn.ModuleDict | None = None,
        motion: nn.Module | None = None,
        flow_fusion: nn.ModuleDict | None = None,
        text_fusion: nn.ModuleDict | None = None,
        motion_token: bool = False,
        tune_backbone: bool = False,
    ) -> None:
        super().__init__()
        self.clip = clip.requires_grad_(False)
        self.clip.visual.requires_grad_(tune_backbone)
        self.adapters = nn.ModuleDict() if adapters is None else adapters
        self.motion = motion
        self.flow_fusion = nn.ModuleDict() if flow_fusion is None else flow_fusion
        self.text_fusion = nn.ModuleDict() if text_fusion is None else text_fusion
        self.motion_token, self.tune_backbone = motion_token, tune_backbone
        self.low_memory = False
        """Whether training gives time for memory: blocks are computed anew in the backward pass."""

    @property
    def depth(self) -> int:
        """Blocks of the image tower."""
        return len(self.clip.visual.transformer.resblocks)

    @property
    def joint_width(self) -> int:
        """d, the width of frame and text features."""
        return joint_width(self.clip.visual)

    @property
    def reads_flow(self) -> bool:
        """Whether clips come with flow."""
        return self.motion is not None

    @property
    def separate_roles(self) -> bool:
        """Whether a clip has other tokens as support, with its class's text, than as query."""
        return bool(self.text_fusion)

    def train(self, mode: bool = True) -> ClipEncoder:
        """Switch what is learned; CLIP has nothing to switch and stays in eval mode."""
        super().train(mode)
        self.clip.eval()
        return self

    def forward(self, frames: Tensor, flow_px: Tensor | None = None, text: Tensor | None = None) -> Tensor:
        """Clip tokens in one role.

        Args:
            frames: (n, T, 3, H, W) float, normalised.
            flow_px: (n, T, 2, H, W) in pixels of the crop, from each frame to the next native one; where it is read.
            text: (n, d) of each clip's class makes it support; None makes it a query.

        Returns:
            (n, T + M, d).

        Raises:
            ValueError: the encoder reads flow and none came.
        """
        motion = self._encode_motion(frames, flow_px)
        tokens = self._to_pool(embedded(self.clip.visual, frames.flatten(0, 1)), 1, frames.shape[1], motion, text)
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
            frames, flow_px: of n clips.
            text: without it clips are the same in both roles.
            num_support: encode only so many of the clips, the first ones, as support; all n by default.

        Returns:
            (n, T + M, d) and (num_support, T + M, d); twice the same tensor where no text joins inside the tower.
        """
        num_clips, num_frames = frames.shape[:2]
        motion = self._encode_motion(frames, flow_px)
        first = min(map(int, self.text_fusion), default=self.depth)
        shared = embedded(self.clip.visual, frames.flatten(0, 1))
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
        """Tokens (n * T, 1 + P, D) that enter the first block, and those that leave each block. As `forward`."""
        motion = self._encode_motion(frames, flow_px)
        stages = [embedded(self.clip.visual, frames.flatten(0, 1))]
        for number in range(1, self.depth + 1):
            stages.append(self._block(number, stages[-1], frames.shape[1], motion, text))
        return stages

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
        its attention may be asked for the class token only, and its FFN has one token instead of 1 + P.
        """
        alone = fast_paths.class_token_alone(self.clip.visual)
        for number in range(first, self.depth + 1):
            tokens = self._block(number, tokens, num_frames, motion, text, alone and number == self.depth)
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
            return self._block_at_once(number, num_frames, class_token_only, tokens, level, text)
        num_clips = _CLIPS_IN_LOW_MEMORY
        rows = num_clips * num_frames
        count = -(-len(tokens) // rows)
        parts = zip(tokens.split(rows), _split(level, rows, count), _split(text, num_clips, count), strict=True)
        block = self._block_at_once
        return torch.cat(
            [checkpoint(block, number, num_frames, class_token_only, *part, use_reentrant=False) for part in parts]
        )

    def _block_at_once(
        self,
        number: int,
        num_frames: int,
        class_token_only: bool,
        tokens: Tensor,
        level: Tensor | None,
        text: Tensor | None,
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

    def _adapt(self, place: str, number: int, tokens: Tensor, num_frames: int) -> Tensor:
        return self.adapters[place][number - 1](tokens, num_frames) if place in self.adapters else tokens

    def _clip_tokens(self, tokens: Tensor, motion: Motion | None, shape: tuple[int, int]) -> Tensor:
        frames = pooled(self.clip.visual, tokens).unflatten(0, shape)
        return torch.cat([frames, motion.clip[:, None]], dim=1) if self.motion_token else frames


def _split(whole: Tensor | None, size: int, count: int) -> Sequence[Tensor | None]:
    return [None] * count if whole is None else whole.split(size)


def build_encoder(clip: nn.Module, parts: ModelSettings) -> ClipEncoder:
    """The encoder that the settings describe.

    Raises:
        SettingsError: a fusion level outside the tower.
    """
    visual, joint = clip.visual, joint_width(clip.visual)
    width, depth = visual.conv1.out_channels, len(visual.transformer.resblocks)
    at_tokens = fuses(parts, "token")
    flow_blocks = fusion_blocks(parts.fusion_levels, depth) if parts.reads_flow and at_tokens else ()
    text_blocks = fusion_blocks(parts.text_levels, depth) if parts.text and at_tokens else ()
    motion_token = parts.reads_flow and fuses(parts, "prototype")
    # One after the other in this order: each takes its first weights from torch's generator.
    adapters = nn.ModuleDict(
        {
            place: nn.ModuleList(STAdapter(width, parts.bottleneck) for _ in range(depth))
            for place in _PLACES[parts.adapters]
        }
    )
    motion, motion_width = None, parts.fusion_width
    if parts.reads_flow and parts.flow_encoder == "stem":
        patch = visual.conv1.kernel_size[0]
        motion = StemEncoder(patch, motion_width, joint if motion_token else None, flow_blocks)
    elif parts.reads_flow:
        motion, motion_width = PictureEncoder(visual, flow_blocks), width
    fusions = [
        nn.ModuleDict({str(block): TokenFusion(width, source, parts.fusion_width) for block in blocks})
        for blocks, source in ((flow_blocks, motion_width), (text_blocks, joint))
    ]
    return ClipEncoder(clip, adapters, motion, *fusions, motion_token, parts.tune_backbone)
