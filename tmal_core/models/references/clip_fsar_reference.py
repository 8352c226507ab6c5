"""CLIP-FSAR's head in the form of its checkpoints, held against its own code's outputs.

Wang et al., "CLIP-guided Prototype Modulating for Few-shot Action Recognition", IJCV 2023, section 3.
How it scores is said in `models.clip_fsar_head`, the method's head, whose functions it takes.
Letters: S support clips, Q queries, way classes of the episode, C training classes, T frames, D width.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tmal_core.errors import WeightsError
from tmal_core.matching import cosine_distance, otam
from tmal_core.models.clip_fsar_head import class_cosine, log_scores
from tmal_core.models.heads import pooled_cosine
from tmal_core.models.open_clip_access import QuickGELU, VisionTransformer
from tmal_core.models.prototypes import class_means, in_context
from tmal_core.models.state_dicts import load_strictly, read_checkpoint, vit_shape
from tmal_core.models.temporal_transformer import TemporalTransformer

MODES = ("visual", "text", "combine")
_MLP_WEIGHT = "context2.layers.0.1.net.0.weight"


class CLIPFSARHead(nn.Module):
    """Frame and text features of an episode to logits. State dict: `context2.*` and `scale`, as the reference's.

    Args:
        width: D of the features.
        num_heads: of the temporal transformer.
        mlp_width: of its FFN.
    """

    def __init__(self, width: int, num_heads: int = 8, mlp_width: int = 2048) -> None:
        super().__init__()
        self.width = width
        self.context2 = TemporalTransformer(width, num_heads, mlp_width)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(
        self,
        support: Tensor,
        query: Tensor,
        support_labels: Tensor,
        support_text: Tensor,
        *,
        class_text: Tensor | None = None,
        merge_before: bool = False,
        bidirectional: bool = True,
        mode: str = "visual",
        text_power: float = 0.9,
    ) -> tuple[Tensor, Tensor | None]:
        """Score every query of an episode.

        Args:
            support: (S, T, D) frame features.
            query: (Q, T, D) frame features.
            support_labels: (S,) any numbers, equal within a class.
            support_text: (S, D) text feature of each support clip's class.
            class_text: (C, D) text features of all training classes, for the class logits.
            merge_before: average a class's shots (and texts) before the temporal transformer, not after it.
            bidirectional: OTAM in both directions, else from query to support only.
            mode: "visual" gives minus the distances, "text" and "combine" give scores in 0..1.
            text_power: a, the text's share in "combine", 0..1.

        Returns:
            logits (Q, way), columns in ascending order of label; class logits (S + Q, C), support clips first, or None
            without `class_text`.

        Raises:
            ValueError: if the shapes do not belong together, there is no such mode, or `text_power` is outside 0..1.
        """
        self._check(support, query, support_labels, support_text, class_text, mode, text_power)
        names = None if class_text is None else self.scale * class_cosine(torch.cat([support, query]), class_text)
        text_logits = self.scale * pooled_cosine(query, class_means(support_text, support_labels))
        if mode == "text":
            return text_logits.softmax(1), names
        prototypes = self._prototypes(support, support_labels, support_text, merge_before)
        distances = otam(cosine_distance(in_context(self.context2, query), prototypes), bidirectional=bidirectional)
        return -distances if mode == "visual" else log_scores(distances, text_logits, text_power).exp(), names

    def _prototypes(self, support: Tensor, labels: Tensor, text: Tensor, merge_before: bool) -> Tensor:
        """(way, T, D)."""
        if merge_before:
            support, text = class_means(support, labels), class_means(text, labels)
        frames = in_context(self.context2, support, text)
        return frames if merge_before else class_means(frames, labels)

    def _check(
        self,
        support: Tensor,
        query: Tensor,
        labels: Tensor,
        text: Tensor,
        class_text: Tensor | None,
        mode: str,
        text_power: float,
    ) -> None:
        num_support = support.shape[0]
        wanted = {"labels": (labels, (num_support,)), "text": (text, (num_support, self.width))}
        if class_text is not None:
            wanted["class text"] = (class_text, (class_text.shape[0], self.width))
        for name, clips in (("support", support), ("query", query)):
            if clips.ndim != 3 or clips.shape[2] != self.width or 0 in clips.shape[:2]:
                raise ValueError(f"expected {name} clips (n, T, {self.width}), n, T >= 1, got {tuple(clips.shape)}")
        for name, (tensor, shape) in wanted.items():
            if tuple(tensor.shape) != shape:
                raise ValueError(f"expected {name} {shape}, got {tuple(tensor.shape)}")
        if mode not in MODES:
            raise ValueError(f"expected a mode out of {', '.join(MODES)}, got {mode!r}")
        if not 0 <= text_power <= 1:
            raise ValueError(f"expected text_power in 0..1, got {text_power}")


class CLIPFSARCheckpoint(NamedTuple):
    """A trained CLIP-FSAR."""

    backbone: VisionTransformer
    """CLIP's image tower: pictures (n, 3, H, W), CLIP-normalised, to frame features (n, D)."""
    head: CLIPFSARHead


def load_clip_fsar(path: str | Path, num_heads: int = 8) -> CLIPFSARCheckpoint:
    """Read a checkpoint of CLIP-FSAR with a ViT backbone, both parts in eval mode on the CPU.

    Args:
        path: written by `torch.save`: a dict whose `model_state` holds `backbone.*` (the image tower under CLIP's
            names), `context2.*` and `scale`.
        num_heads: of the temporal transformer; weights do not tell it.

    Raises:
        WeightsError: no such file, an unreadable one, one of another model, or names and shapes that do not agree.
    """
    content = read_checkpoint(path)
    state = content.get("model_state") if isinstance(content, dict) else None
    remedy = "Take a checkpoint that CLIP-FSAR wrote."
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError("a checkpoint with `model_state`, a dict of tensors", str(path), remedy)
    visual = {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}
    rest = {name: value for name, value in state.items() if not name.startswith("backbone.")}
    matrices = (visual.get("proj"), rest.get(_MLP_WEIGHT))
    if any(matrix is None or matrix.ndim != 2 for matrix in matrices):
        got = f"{path} without matrices backbone.proj and {_MLP_WEIGHT}"
        raise WeightsError("a checkpoint of CLIP-FSAR on a ViT", got, remedy)

    shape = vit_shape(visual, f"backbone.* of {path}")
    backbone = VisionTransformer(
        image_size=shape.image_size,
        patch_size=shape.patch_size,
        width=shape.width,
        layers=shape.layers,
        heads=shape.heads,
        mlp_ratio=4.0,
        output_dim=matrices[0].shape[1],
        act_layer=QuickGELU,  # OpenAI's weights, which CLIP-FSAR starts from
    )
    mlp_width, width = matrices[1].shape
    if width % num_heads:
        raise WeightsError(f"a width divisible by {num_heads} heads", f"{path} of width {width}", "Set num_heads.")
    head = CLIPFSARHead(width, num_heads, mlp_width)
    load_strictly(backbone, {name: value.float() for name, value in visual.items()}, f"backbone.* of {path}")
    load_strictly(head, {name: value.float() for name, value in rest.items()}, str(path))
    return CLIPFSARCheckpoint(backbone.eval(), head.eval())
