"""CLIP-FSAR's head in the form of its checkpoints, held against its own code's outputs.

Wang et al., "CLIP-guided Prototype Modulating for Few-shot Action Recognition", IJCV 2023, section 3.
How it scores is said in `models.clip_fsar_head`, the method's head, whose functions it takes.
Letters: S support clips, Q queries, way classes of the episode, C training classes, T frames, D width.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from tmal_core.errors import WeightsError
from tmal_core.matching import cosine_distance, otam
from tmal_core.models.clip_fsar_head import class_cosine, log_scores
from tmal_core.models.heads import pooled_cosine
from tmal_core.models.open_clip_access import QuickGELU, VisionTransformer
from tmal_core.models.prototypes import class_means, in_context
from tmal_core.models.state_dicts import load_strictly, own_names, read_checkpoint, vit_shape
from tmal_core.models.temporal_transformer import TemporalTransformer
from tmal_core.runtime.tensor_files import is_state_dict

MODES = ("visual", "text", "combine")
_MLP_WEIGHT = "context2.layers.0.1.net.0.weight"


class CLIPFSARHead(nn.Module):
    """Frame and text features of width D to logits. State dict: `context2.*` and `scale`, as the reference's.

    `num_heads` are those of the temporal transformer, `mlp_width` is that of its FFN.
    """

    def __init__(self, width: int, num_heads: int = 8, mlp_width: int = 2048) -> None:
        super().__init__()
        self.width = width
        self.context2 = TemporalTransformer(width, num_heads, mlp_width)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(
        self,
        support: Float[Tensor, "s t d"],
        query: Float[Tensor, "q t d"],
        support_labels: Shaped[Tensor, " s"],
        support_text: Float[Tensor, "s d"],
        *,
        class_text: Float[Tensor, "c d"] | None = None,
        merge_before: bool = False,
        bidirectional: bool = True,
        mode: str = "visual",
        text_power: float = 0.9,
    ) -> tuple[Float[Tensor, "q way"], Float[Tensor, "s+q c"] | None]:
        """Logits, columns in ascending order of label; class logits, support clips first, where class text is given.

        Args:
            support, query: frame features.
            support_labels: any numbers, equal within a class.
            support_text: of each support clip's class.
            class_text: of all training classes, for the class logits.
            merge_before: average a class's shots (and texts) before the temporal transformer, not after it.
            bidirectional: OTAM in both directions, else from query to support only.
            mode: "visual" gives minus the distances, "text" and "combine" give scores in 0..1.
            text_power: a, the text's share in "combine", 0..1.

        Raises:
            ValueError: if the shapes do not belong together, there is no such mode, or `text_power` is outside 0..1.
        """
        for name, clips in (("support", support), ("query", query)):
            if clips.ndim != 3 or clips.shape[2] != self.width or 0 in clips.shape[:2]:
                raise ValueError(f"expected {name} clips (n, T, {self.width}), n, T >= 1, got {tuple(clips.shape)}")
        wanted = [("labels", support_labels, (len(support),)), ("text", support_text, (len(support), self.width))]
        if class_text is not None:
            wanted.append(("class text", class_text, (len(class_text), self.width)))
        for name, tensor, shape in wanted:
            if tuple(tensor.shape) != shape:
                raise ValueError(f"expected {name} {shape}, got {tuple(tensor.shape)}")
        if mode not in MODES:
            raise ValueError(f"expected a mode out of {', '.join(MODES)}, got {mode!r}")
        if not 0 <= text_power <= 1:
            raise ValueError(f"expected text_power in 0..1, got {text_power}")

        names = None if class_text is None else self.scale * class_cosine(torch.cat([support, query]), class_text)
        text_logits = self.scale * pooled_cosine(query, class_means(support_text, support_labels))
        if mode == "text":
            return text_logits.softmax(1), names
        if merge_before:
            means = (class_means(values, support_labels) for values in (support, support_text))
            prototypes = in_context(self.context2, *means)
        else:
            prototypes = class_means(in_context(self.context2, support, support_text), support_labels)
        distances = otam(cosine_distance(in_context(self.context2, query), prototypes), bidirectional=bidirectional)
        return -distances if mode == "visual" else log_scores(distances, text_logits, text_power).exp(), names


class CLIPFSARCheckpoint(NamedTuple):
    """A trained CLIP-FSAR."""

    backbone: VisionTransformer
    """CLIP's image tower: pictures (n, 3, H, W), CLIP-normalised, to frame features (n, D)."""
    head: CLIPFSARHead


def load_clip_fsar(path: str | Path, num_heads: int = 8) -> CLIPFSARCheckpoint:
    """Read a checkpoint of CLIP-FSAR with a ViT backbone, both parts in eval mode on the CPU.

    A file of `torch.save` with a dict whose `model_state` holds `head.backbone.*` (the image tower under CLIP's names),
    `head.context2.*` and `head.scale`; what wraps models leaves prefixes, which are taken off. Beside it are optimiser
    and settings, which are not used. Weights do not tell the number of the temporal transformer's heads.

    Raises:
        WeightsError: no such file, an unreadable one, one of another model, or names and shapes that do not agree.
    """
    content = read_checkpoint(path)
    state: Any = content.get("model_state") if isinstance(content, dict) else None
    remedy = "Take a checkpoint that CLIP-FSAR wrote."
    if not is_state_dict(state):
        raise WeightsError("a checkpoint with `model_state`, a dict of tensors", str(path), remedy)
    state = {name: value.float() for name, value in own_names(state, str(path), "head.").items()}
    visual = {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}
    rest = {name: value for name, value in state.items() if not name.startswith("backbone.")}
    proj, mlp = (weights.get(name, torch.empty(0)) for weights, name in ((visual, "proj"), (rest, _MLP_WEIGHT)))
    if proj.ndim != 2 or mlp.ndim != 2:
        got = f"{path} without matrices backbone.proj and {_MLP_WEIGHT}"
        raise WeightsError("a checkpoint of CLIP-FSAR on a ViT", got, remedy)

    shape, (mlp_width, width) = vit_shape(visual, f"backbone.* of {path}"), mlp.shape
    # QuickGELU: OpenAI's weights, which CLIP-FSAR starts from.
    backbone = VisionTransformer(**shape._asdict(), mlp_ratio=4.0, output_dim=proj.shape[1], act_layer=QuickGELU)
    if width % num_heads:
        raise WeightsError(f"a width divisible by {num_heads} heads", f"{path} of width {width}", "Set num_heads.")
    head = CLIPFSARHead(width, num_heads, mlp_width)
    load_strictly(backbone, visual, f"backbone.* of {path}")
    load_strictly(head, rest, str(path))
    return CLIPFSARCheckpoint(backbone.eval(), head.eval())
