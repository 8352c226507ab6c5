"""TS-FSAR whole, in the form of its checkpoints, held against its own code's outputs.

"Task-Specific Distance Correlation Matching for Few-Shot Action Recognition", AAAI 2026 (arXiv 2512.11340), as its code
computes it (github.com/yaozhang0417/TS-FSAR, commit 1a91053): a frozen CLIP, a side network that is fed by all its
blocks, matching by the correlation of channel distances, and three ways to the class names.

    frames ─► CLIP, frozen ─► frame features ─► adapter ─► mean ──────────────► logits_clip ──┐
                └─ tokens of all blocks ─► side network ─┬─► class token, mean ─► logits_lsn   ├─ text
                                                         ├─► patches ─► v ─► mean, Linear ─► logits_guided (training)
                                                         └─► v and class tokens of an episode ─► scores

The method `ts_fsar` is made of the same parts.
Letters: n clips, support first; S support clips, Q queries, N way, C classes of the text; T frames, P patches, W width
of CLIP, D width of the side network, d joint width.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, normalize

from tmal_core.errors import WeightsError
from tmal_core.matching.channel_distances import ALPHA
from tmal_core.models.open_clip_access import QuickGELU, VisionTransformer, joint_width
from tmal_core.models.references.hugging_face_names import from_hugging_face, to_hugging_face
from tmal_core.models.side_network import FrameAdapter, SideNetwork, beside
from tmal_core.models.state_dicts import load_strictly, own_names, read_checkpoint, vit_shape
from tmal_core.models.task_matching import TaskMatching, frame_representation
from tmal_core.models.ts_fsar_scores import distillation_loss, log_fused
from tmal_core.runtime.tensor_files import is_state_dict

_THEIR_NAMES = {
    "side.": "model.",
    "adapter.": "model.Adapter.",
    "up_ln.": "model.up_ln.",
    "up_linear.": "model.up_linear.",
    "guided.": "model.Linear.",
    "matching.": "ts_dcm.",
}
"""Start of a name here -> its start in a checkpoint; CLIP's tower is under Hugging Face's names, behind `model.`."""
_TOWER, _GENERATOR = "visual.", "ts_dcm.generator.weight"


class TSFSAROutput(NamedTuple):
    """What an episode gives; rows of clips are support first, then queries."""

    scores: Float[Tensor, "q way"]
    logits_clip: Float[Tensor, "n c"]
    logits_lsn: Float[Tensor, "n c"]
    logits_guided: Float[Tensor, "n classes"]


class TSFSAR(nn.Module):
    """Frames of an episode to scores and logits. `state_dict()` has the names of the reference's checkpoints.

    Args:
        visual: CLIP's image tower; it is frozen.
        num_classes: of training, for `logits_guided`.
        num_frames: T, which the weights fix.
        side_width: D, a multiple of 64.
        temporal_blocks: numbers, from 0, of the side blocks that attend over time.
        alpha: power of squared distances.
        residual: r of the adapter.
        temperature_clip, temperature_lsn: factors on cosines with text.
        dropout: before the guided classifier.
    """

    def __init__(
        self,
        visual: VisionTransformer,
        num_classes: int,
        *,
        num_frames: int = 8,
        side_width: int = 256,
        temporal_blocks: Collection[int] = (6, 8, 10),
        alpha: float = ALPHA,
        residual: float = 0.4,
        temperature_clip: float = 50.0,
        temperature_lsn: float = 50.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width, depth, joint = visual.conv1.out_channels, len(visual.transformer.resblocks), joint_width(visual)
        self.visual = visual.requires_grad_(False)
        self.side = SideNetwork(width, depth, side_width, num_frames, temporal_blocks)
        self.adapter = FrameAdapter(joint, residual)
        self.up_ln, self.up_linear = nn.LayerNorm(side_width), nn.Linear(side_width, joint, bias=False)
        self.guided = nn.Linear(side_width * (side_width + 1) // 2, num_classes, bias=False)
        self.matching = TaskMatching(side_width, num_frames, alpha)
        self.temperature_clip, self.temperature_lsn, self.dropout = temperature_clip, temperature_lsn, dropout
        self.register_state_dict_post_hook(_named_as_theirs)
        self.register_load_state_dict_pre_hook(_named_as_ours)

    def train(self, mode: bool = True) -> "TSFSAR":
        """Switch what is learned; CLIP stays in eval mode."""
        super().train(mode)
        self.visual.eval()
        return self

    def encode(self, frames: Float[Tensor, "n t 3 h w"]) -> tuple[Float[Tensor, "n t l width"], Float[Tensor, "n t d"]]:
        """Frames, CLIP-normalised, to the side network's tokens, class token first, and CLIP's frame features."""
        return beside(self.visual, self.side, frames)

    def forward(
        self,
        support_frames: Float[Tensor, "s t 3 h w"],
        query_frames: Float[Tensor, "q t 3 h w"],
        support_labels: Shaped[Tensor, " s"],
        text: Float[Tensor, "c d"],
    ) -> TSFSAROutput:
        """Scores and logits of an episode.

        Args:
            support_labels: any numbers, equal within a class; columns of the scores are in their ascending order.
            text: unit rows: of all training classes in training, at test of the episode's in ascending order of label.
        """
        tokens, clip = self.encode(torch.cat([support_frames, query_frames]))
        support, query = tokens.tensor_split([len(support_frames)])
        scores = self.matching(support, query, support_labels)
        adapted = normalize(self.adapter(clip).mean(1), dim=-1)
        raised = normalize(self.up_linear(self.up_ln(tokens[:, :, 0])).mean(1), dim=-1)
        described = frame_representation(tokens, self.matching.alpha).mean(1)
        guided = self.guided(dropout(described, self.dropout, self.training))
        return TSFSAROutput(
            scores, self.temperature_clip * adapted @ text.T, self.temperature_lsn * raised @ text.T, guided
        )


class TSFSARLosses(NamedTuple):
    """The parts of a training step's loss, before their weights, and their weighted sum."""

    matching: Tensor
    guided: Tensor
    lsn: Tensor
    clip: Tensor
    distillation: Tensor
    total: Tensor


def ts_fsar_losses(
    output: TSFSAROutput,
    query_labels: Int64[Tensor, " q"],
    class_ids: Int64[Tensor, " n"],
    *,
    weight_matching: float = 1.0,
    weight_guided: float = 1.0,
    weight_lsn: float = 1.0,
    weight_glac: float = 6.0,
    temperature: float = 10.0,
) -> TSFSARLosses:
    """What training minimises.

    Args:
        output: of an episode, with the text of all training classes.
        query_labels: columns of the scores.
        class_ids: of all clips, support first, among the training classes.
        weight_glac: of distillation and of the adapted CLIP's own cross-entropy together.
        temperature: of distillation.
    """
    matching = cross_entropy(output.scores, query_labels)
    guided, lsn, clip = (cross_entropy(logits, class_ids) for logits in output[3:] + output[2:3] + output[1:2])
    distillation = distillation_loss(output.logits_guided, output.logits_clip, temperature)
    total = weight_matching * matching + weight_guided * guided + weight_lsn * lsn
    total = total + weight_glac * (distillation + clip)
    return TSFSARLosses(matching, guided, lsn, clip, distillation, total)


def fused_scores(
    output: TSFSAROutput, *, power_matching: float, power_clip: float, power_lsn: float
) -> Float[Tensor, "q way"]:
    """The score at test: the product of the three probabilities of each class, each to its power, not normalised.

    Args:
        output: of an episode, with the text of its classes alone.
    """
    num_queries = len(output.scores)
    powers = (power_matching, power_clip, power_lsn)
    logits = output.scores, output.logits_clip[-num_queries:], output.logits_lsn[-num_queries:]
    return log_fused(logits, powers).exp()


def load_ts_fsar(
    path: str | Path,
    *,
    temporal_blocks: Collection[int] = (6, 8, 10),
    alpha: float = ALPHA,
    residual: float = 0.4,
    temperature_clip: float = 50.0,
    temperature_lsn: float = 50.0,
) -> TSFSAR:
    """Read a checkpoint of TS-FSAR, in eval mode on the CPU.

    A flat file of `torch.save(model.state_dict())`; sizes follow from its shapes. What weights do not tell is given as
    of `TSFSAR`: which blocks attend over time, alpha, r and the temperatures.

    Raises:
        WeightsError: no such file, an unreadable one, one of another model, or names and shapes that do not agree.
    """
    content = read_checkpoint(path)
    if not is_state_dict(content) or not isinstance(content, dict) or _GENERATOR not in content:
        remedy = "Take a checkpoint that TS-FSAR wrote."
        raise WeightsError(f"a checkpoint of TS-FSAR, a flat dict of tensors with {_GENERATOR}", str(path), remedy)
    state = {name: value.float() for name, value in own_names(content, str(path)).items()}
    state.pop("model.embeddings.position_ids", None)  # numbers 0, 1, 2, ... of older versions of transformers
    return of_state(state, str(path), temporal_blocks, alpha, residual, temperature_clip, temperature_lsn)


def of_state(state: dict[str, Tensor], source: str, temporal_blocks: Collection[int], *others: float) -> TSFSAR:
    """The model of a checkpoint's tensors, in eval mode; `others` are alpha, r and the two temperatures.

    Raises:
        WeightsError: names or shapes do not agree.
    """
    theirs = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    tower = from_hugging_face(theirs, source)
    shape = vit_shape(tower, source)
    generator, guided = state[_GENERATOR], state.get("model.Linear.weight")
    num_frames = round(generator.shape[0] ** 0.5) if generator.ndim == 2 else 0
    proj = tower.get("proj")
    if guided is None or guided.ndim != 2 or proj is None or proj.ndim != 2 or num_frames**2 != len(generator):
        got = f"{source} without matrices {_GENERATOR} (T * T, D), model.Linear.weight and model.projection.weight"
        raise WeightsError("a checkpoint of TS-FSAR on a CLIP ViT", got, "Take a checkpoint that TS-FSAR wrote.")
    more: dict[str, Any] = {"output_dim": proj.shape[1], "act_layer": QuickGELU}
    visual = VisionTransformer(**shape._asdict(), mlp_ratio=4.0, **more)
    alpha, residual, clip, lsn = others
    try:
        model = TSFSAR(
            visual,
            len(guided),
            num_frames=num_frames,
            side_width=generator.shape[1],
            temporal_blocks=temporal_blocks,
            alpha=alpha,
            residual=residual,
            temperature_clip=clip,
            temperature_lsn=lsn,
        )
    except ValueError as error:  # a width or block that cannot be
        raise WeightsError("a checkpoint of TS-FSAR", f"{source} ({error})", "Correct temporal_blocks.") from error
    load_strictly(model, state, source)
    return model.eval()


def _named_as_theirs(model: TSFSAR, state: dict[str, Tensor], prefix: str, _: Any) -> None:
    """Rename in place, as hooks do."""
    own = {name: state.pop(name) for name in list(state) if name.startswith(prefix)}
    bare = {name.removeprefix(prefix): value for name, value in own.items()}
    tower = {name.removeprefix(_TOWER): value for name, value in bare.items() if name.startswith(_TOWER)}
    state.update({f"{prefix}model.{name}": value for name, value in to_hugging_face(tower).items()})
    for name, value in bare.items():
        for start, theirs in _THEIR_NAMES.items():
            if name.startswith(start):
                state[prefix + theirs + name.removeprefix(start)] = value


def _named_as_ours(model: TSFSAR, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Rename in place; what is not known stays as it is, and is refused by torch."""
    own = {name: state.pop(name) for name in list(state) if name.startswith(prefix)}
    starts = {f"{prefix}{theirs}": start for start, theirs in _THEIR_NAMES.items() if start != "side."}
    theirs = {}
    for name, value in own.items():
        start = next((start for start in starts if name.startswith(start)), None)
        if start is not None:
            state[prefix + starts[start] + name.removeprefix(start)] = value
        elif name.startswith(f"{prefix}model.side_"):
            state[f"{prefix}side.{name.removeprefix(f'{prefix}model.')}"] = value
        elif name.startswith(f"{prefix}model."):
            theirs[name.removeprefix(f"{prefix}model.")] = value
        else:
            state[name] = value
    state.update({f"{prefix}{_TOWER}{name}": value for name, value in from_hugging_face(theirs, "the state").items()})
