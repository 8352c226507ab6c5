"""CLIP-FSAR's head: prototypes that read the class name, matched to queries by OTAM.

Wang et al., "CLIP-guided Prototype Modulating for Few-shot Action Recognition", IJCV 2023, section 3.
Letters: S support clips, Q queries, way classes of the episode, C training classes, T frames, D width.

    prototypes   context([frames of a support clip, its class's text]), the text token dropped, averaged per class
    queries      context(frames)
    logits       - OTAM distance of query and prototype
    class logits scale * cosine (0.01 added to the norms) of a clip's mean frame feature with every class's text

Text alone scores a query by softmax(scale * exact cosine); both together by p_text^a * p_visual^(1 - a) with
p_visual = softmax((8 - distance) / 8), 8 being the number of frames in the paper's protocol and a constant in its code.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import normalize

from tmal_core.errors import WeightsError
from tmal_core.matching import cosine_distance, otam
from tmal_core.models.prototypes import class_means
from tmal_core.models.state_dicts import load_strictly, read_checkpoint, vit_shape
from tmal_core.models.temporal_transformer import TemporalTransformer

MODES = ("visual", "text", "combine")
DISTANCE_UNIT = 8.0
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
        logits = None
        if mode != "visual":
            logits = self._text_scores(query, class_means(support_text, support_labels))
        if mode != "text":
            prototypes = self._prototypes(support, support_labels, support_text, merge_before)
            distances = otam(cosine_distance(self.context2(query), prototypes), bidirectional=bidirectional)
            if mode == "visual":
                logits = -distances
            else:
                visual = ((DISTANCE_UNIT - distances) / DISTANCE_UNIT).softmax(1)
                logits = logits**text_power * visual ** (1 - text_power)
        return logits, None if class_text is None else self._class_logits(support, query, class_text)

    def _prototypes(self, support: Tensor, labels: Tensor, text: Tensor, merge_before: bool) -> Tensor:
        """(way, T, D)."""
        if merge_before:
            support, text = class_means(support, labels), class_means(text, labels)
        frames = self.context2(torch.cat([support, text[:, None]], dim=1))[:, :-1]
        return frames if merge_before else class_means(frames, labels)

    def _text_scores(self, query: Tensor, text: Tensor) -> Tensor:
        """Probabilities (Q, way) of the class names alone."""
        cosine = normalize(query.mean(1), dim=1) @ normalize(text, dim=1).t()
        return (self.scale * cosine).softmax(1)

    def _class_logits(self, support: Tensor, query: Tensor, class_text: Tensor) -> Tensor:
        clips = torch.cat([support.mean(1), query.mean(1)])
        return self.scale * (1 - cosine_distance(clips[:, None], class_text[:, None])[:, :, 0, 0])

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
