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

from collections.abc import Iterable
from itertools import repeat
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tmal_core.config import ModelSettings
from tmal_core.errors import SettingsError
from tmal_core.models import fast_paths
from tmal_core.models.adapters import STAdapter
from tmal_core.models.blocks import attend, feed_forward
from tmal_core.models.frozen_encoder import Clips, ClipTokens, Encoder, Flow, FrozenEncoder, Text
from tmal_core.models.fusion import TokenFusion, fuse_patches, fuses, fusion_blocks
from tmal_core.models.motion import DifferenceEncoder, Motion, PictureEncoder, StemEncoder
from tmal_core.models.open_clip_access import embedded, has_clip_blocks, joint_width, pooled
from tmal_core.models.side_frames import SideFrames
from tmal_core.models.temporal_attention import TemporalAttention
from tmal_core.models.video_encoder import VideoEncoder, VideoTower

BEFORE_ATTENTION, BEFORE_FFN = "attention", "ffn"
_PLACES = {"none": (), "ffn": (BEFORE_FFN,), "attention": (BEFORE_ATTENTION,), "both": (BEFORE_ATTENTION, BEFORE_FFN)}
_CLIPS_IN_LOW_MEMORY = 8  # whose block is computed anew at a time


class ClipEncoder(Encoder):
    """Clips to clip tokens: T frame features and, with `motion_token`, one motion token behind them.

    Args:
        clip: an open_clip model (`load_backbone`) whose image tower is made of CLIP's own ViT blocks; frozen, but for
            that tower with `tune_backbone`.
        adapters: place in a block -> one adapter per block.
        motion: makes motion tokens of flow or differences; None for an encoder that reads none.
        flow_fusion: number of a block -> fusion of motion tokens before it.
        text_fusion: the same of the class's text.
        motion_token: whether the motion encoder's token per clip is given out.
        tune_backbone: fine-tune the whole image tower.
        frame_attention: number of a block -> temporal attention before it.
        side: a side network beside the tower, whose word is added to frame features.

    `depth` is the tower's number of blocks.
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
        frame_attention: nn.ModuleDict | None = None,
        side: SideFrames | None = None,
    ) -> None:
        super().__init__()
        self.clip = clip.requires_grad_(False)
        self.clip.visual.requires_grad_(tune_backbone)
        self.adapters, self.motion = adapters or nn.ModuleDict(), motion
        self.flow_fusion, self.text_fusion = flow_fusion or nn.ModuleDict(), text_fusion or nn.ModuleDict()
        self.frame_attention, self.side = frame_attention or nn.ModuleDict(), side
        self.motion_token, self.tune_backbone = motion_token, tune_backbone
        self.depth, self.joint_width = len(self.clip.visual.transformer.resblocks), joint_width(self.clip.visual)
        self.reads_motion, self.separate_roles = motion is not None, bool(text_fusion)

    def forward(self, frames: Clips, flow_px: Flow | None = None, text: Text | None = None) -> ClipTokens:
        """Clip tokens in one role: text makes clips support, without it they are queries.

        Raises:
            ValueError: the encoder reads flow and none came.
        """
        motion, num_frames = self._encode_motion(frames, flow_px), frames.shape[1]
        start = [embedded(self.clip.visual, frames.flatten(0, 1))]
        stages = self._through(range(1, self.depth + 1), start, num_frames, motion, text)
        return self._clip_tokens(stages, num_frames, motion)

    def encode_roles(
        self, frames: Clips, flow_px: Flow | None = None, text: Text | None = None, num_support: int | None = None
    ) -> tuple[ClipTokens, Float[Tensor, "support l d"]]:
        """Clip tokens as query and as support; blocks before the first text level run once for both.

        The same tensor twice where no text came, or none joins inside the tower; else of the first `num_support` clips
        as support, by default of all.
        """
        motion, num_frames = self._encode_motion(frames, flow_px), frames.shape[1]
        first = min(map(int, self.text_fusion), default=self.depth)
        below, above = range(1, first), range(first, self.depth + 1)
        shared = self._through(below, [embedded(self.clip.visual, frames.flatten(0, 1))], num_frames, motion)
        query = self._clip_tokens(self._through(above, shared, num_frames, motion), num_frames, motion)
        if not self.separate_roles or text is None:
            return query, query
        if num_support is not None:
            shared, text = [stage[: num_support * num_frames] for stage in shared], text[:num_support]
            motion = motion.of_first(num_support, num_frames)
        support = self._through(above, shared, num_frames, motion, text)
        return query, self._clip_tokens(support, num_frames, motion)

    def tokens(self, frames: Clips, flow_px: Flow | None = None, text: Text | None = None) -> list[Tensor]:
        """Tokens (n * T, 1 + P, D) that enter the first block, and those that leave each block. As `forward`."""
        motion = self._encode_motion(frames, flow_px)
        stages = [embedded(self.clip.visual, frames.flatten(0, 1))]
        for number in range(1, self.depth + 1):
            stages.append(self._block(number, stages[-1], frames.shape[1], motion, text))
        return stages

    def _encode_motion(self, frames: Tensor, flow_px: Tensor | None) -> Motion:
        if self.motion is None:
            return Motion({}, None)
        if flow_px is None or flow_px.shape[:2] != frames.shape[:2]:
            got = "none" if flow_px is None else str(tuple(flow_px.shape))
            raise ValueError(f"expected flow (n, T, 2, H, W) for frames {tuple(frames.shape)}, got {got}")
        return self.motion(flow_px)

    def _through(
        self, blocks: Iterable[int], stages: list[Tensor], num_frames: int, motion: Motion, text: Tensor | None = None
    ) -> list[Tensor]:
        """Stages, and the tokens after these blocks; without a side network to read them, the last tokens alone. After
        the last block of all 1 or 1 + P of a frame, for pooling.

        Where CLIP pools its class token, the last block's patch tokens have done their work once they are attended to:
        its attention may be asked for the class token only, and its FFN has one token instead of 1 + P.
        """
        alone = self.side is None and fast_paths.class_token_alone(self.clip.visual)
        for number in blocks:
            tokens = self._block(number, stages[-1], num_frames, motion, text, alone and number == self.depth)
            stages = [tokens] if self.side is None else [*stages, tokens]
        return stages

    def _block(
        self, number: int, tokens: Tensor, num_frames: int, motion: Motion, text: Tensor | None, alone: bool = False
    ) -> Tensor:
        """Tokens after one block; where memory is scarce some clips at a time, and computed anew in the backward
        pass."""
        level = motion.levels.get(number)
        if not (self.low_memory and self.training and torch.is_grad_enabled()):
            return self._block_at_once(number, num_frames, alone, tokens, level, text)
        rows = _CLIPS_IN_LOW_MEMORY * num_frames
        levels = repeat(None) if level is None else level.split(rows)
        texts = repeat(None) if text is None else text.split(_CLIPS_IN_LOW_MEMORY)
        parts = zip(tokens.split(rows), levels, texts, strict=False)
        anew = (number, num_frames, alone)
        return torch.cat([checkpoint(self._block_at_once, *anew, *part, use_reentrant=False) for part in parts])

    def _block_at_once(
        self, number: int, num_frames: int, alone: bool, tokens: Tensor, level: Tensor | None, text: Tensor | None
    ) -> Tensor:
        """One block: flow (n * T, P, C), text (n, d), temporal attention and an adapter join, then attention, an
        adapter, the FFN."""
        name, block = str(number), self.clip.visual.transformer.resblocks[number - 1]
        if level is not None:
            tokens = fuse_patches(self.flow_fusion[name], tokens, level)
        if text is not None and name in self.text_fusion:
            tokens = self.text_fusion[name](tokens, text.repeat_interleave(num_frames, 0)[:, None])
        if name in self.frame_attention:
            tokens = self.frame_attention[name](tokens, num_frames)
        tokens = attend(block, self._adapt(BEFORE_ATTENTION, number, tokens, num_frames), alone)
        if not alone:  # without patch tokens there is nothing to adapt
            tokens = self._adapt(BEFORE_FFN, number, tokens, num_frames)
        return feed_forward(block, tokens)

    def _adapt(self, place: str, number: int, tokens: Tensor, num_frames: int) -> Tensor:
        if place not in self.adapters:
            return tokens
        return self.adapters.get_submodule(f"{place}.{number - 1}")(tokens, num_frames)

    def _clip_tokens(self, stages: list[Tensor], num_frames: int, motion: Motion) -> Tensor:
        frames = pooled(self.clip.visual, stages[-1])
        if self.side is not None:
            frames = frames + self.side(stages, num_frames, self.low_memory)
        frames = frames.unflatten(0, (-1, num_frames))
        if motion.clip is None or not self.motion_token:
            return frames
        return torch.cat([frames, motion.clip[:, None]], dim=1)


def frozen(clip: nn.Module) -> Encoder:
    """The encoder of methods that learn nothing inside: of any image tower, block by block where it has CLIP's own, or
    of a video transformer."""
    if isinstance(clip, VideoTower):
        return VideoEncoder(clip)
    return ClipEncoder(clip) if has_clip_blocks(clip.visual) else FrozenEncoder(clip)


def build_encoder(clip: Any, parts: ModelSettings) -> ClipEncoder:
    """The encoder that the settings describe.

    Raises:
        SettingsError: a fusion level outside the tower, temporal attention in more blocks than it has, or a side
            network wider than it.
    """
    visual, joint = clip.visual, joint_width(clip.visual)
    width, depth = visual.conv1.out_channels, len(visual.transformer.resblocks)
    at_tokens = fuses(parts, "token")
    flow_blocks = fusion_blocks(parts.fusion_levels, depth) if parts.reads_motion and at_tokens else ()
    text_blocks = fusion_blocks(parts.text_levels, depth) if parts.text and at_tokens else ()
    motion_token = parts.reads_motion and fuses(parts, "prototype")
    # One after the other in this order: each takes its first weights from torch's generator.
    places, motion_width = _PLACES[parts.adapters], parts.fusion_width
    motion: nn.Module | None = None
    adapters = {place: nn.ModuleList(STAdapter(width, parts.bottleneck) for _ in range(depth)) for place in places}
    if parts.reads_motion and parts.flow_encoder != "clip":
        patch, kind = visual.conv1.kernel_size[0], DifferenceEncoder if parts.reads_differences else StemEncoder
        motion = kind(patch, motion_width, joint if motion_token else None, flow_blocks)
    elif parts.reads_motion:
        motion, motion_width = PictureEncoder(visual, flow_blocks), width
    flow_fusion, text_fusion = (
        nn.ModuleDict({str(block): TokenFusion(width, source, parts.fusion_width) for block in blocks})
        for blocks, source in ((flow_blocks, motion_width), (text_blocks, joint))
    )
    if parts.temporal_attention > depth:
        got, remedy = str(parts.temporal_attention), "Lower it."
        raise SettingsError(f"a model.temporal_attention up to the tower's {depth} blocks", got, remedy)
    last = range(depth - parts.temporal_attention + 1, depth + 1)
    attention = nn.ModuleDict({str(block): TemporalAttention(width, parts.bottleneck) for block in last})
    side = SideFrames(visual, parts.side_width) if parts.side_width else None
    modules = nn.ModuleDict(adapters), motion, flow_fusion, text_fusion
    return ClipEncoder(clip, *modules, motion_token, parts.tune_backbone, attention, side)
