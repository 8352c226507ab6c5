"""Heads: how a method answers an episode from clip tokens.

    clip tokens ─► modulate ─► frame features ─► prototypes ─► distances ─► logits

A head of one's own is a `Head` with `distances`, or with whatever else it does otherwise.
Letters: n clips, T frames (L tokens with the motion token, where there is one), d joint width; S support clips,
Q queries, N way, C names, g groups.
"""

from __future__ import annotations

import math
from copy import copy
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import normalize

from tmal_core.matching import match, match_groups
from tmal_core.matching.cosine import EPS, at_least_float32
from tmal_core.models.prototypes import class_means
from tmal_core.models.support_gate import SupportGate

ClipTokens = Float[Tensor, "n l d"]
Frames = Float[Tensor, "n t d"]
Compared = Float[Tensor, "n t width"]
Names = Float[Tensor, "c d"]
DEFAULT_SMOOTHING = 0.5
Similarities = Float[Tensor, "n c"]
Scores = Float[Tensor, "*episodes way"]


class Head(nn.Module):
    """Clip tokens to logits by a distance to each class; the base of all heads.

    Args:
        logit_scale: start of the learned factor on minus the distance.
        log_text_scale: start of the log of the factor on cosines with names: CLIP's own `logit_scale`.
        text_score: share (a power) of the names' own score in the answers at test.
    """

    reads_text = False
    """Whether prototypes are made with the class's text."""
    merges_shots = False
    """Whether a class's shots are averaged into one prototype, instead of their distances."""
    motion_token = False
    """Whether clip tokens end with a motion token."""
    by_episode = False
    """Whether an episode is answered as a whole, by `episode_logits`, and not from a distance of each query to each
    prototype, which `prototypes`, `modulate` and `distances` make."""
    least_frames = 1
    """How many frames a clip has to have."""
    compares_support = True
    """Whether answers depend on support clips, not on the classes' names alone."""
    in_std = False
    """Whether smoothing counts in standard deviations of frame distances, which are measured on the training split."""
    frame_std = 1.0
    """What smoothing counts in; nan until it is measured."""

    def __init__(self, logit_scale: float = 1.0, log_text_scale: Tensor | None = None, text_score: float = 0.0) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(logit_scale)))
        text_scale = torch.zeros(()) if log_text_scale is None else log_text_scale.detach().clone()
        self.log_text_scale = nn.Parameter(text_scale, requires_grad=False)
        self.text_score = text_score

    @property
    def scores_text(self) -> bool:
        """Whether answers combine distances with the class names' own score (never in training)."""
        return self.text_score > 0 and not self.training

    @property
    def by_support(self) -> bool:
        """Whether a distance depends on the episode's other prototypes: `distances` is then given those of one."""
        return False

    @property
    def is_measured(self) -> bool:
        """Whether anything is measured on the training split: `frame_std`, or what a gate calls usual."""
        return self.in_std

    def frame_features(self, clip_tokens: ClipTokens) -> Frames:
        """Clip tokens without the motion token."""
        return clip_tokens[:, :-1] if self.motion_token else clip_tokens

    def modulate(self, clip_tokens: ClipTokens, text: Float[Tensor, "n d"] | None = None) -> Compared:
        """Clip tokens, with text of support, to frame features that are matched."""
        return self.frame_features(clip_tokens)

    def prototypes(
        self, support: Float[Tensor, "s l d"], labels: Int64[Tensor, " s"], text: Float[Tensor, "n d"] | None = None
    ) -> tuple[Float[Tensor, "p t width"], Int64[Tensor, " p"]]:
        """What queries are matched with, and its labels.

        Of clip tokens, their labels in 0..N-1, each at least once, and the classes' text where the head reads it: one
        prototype of each class where shots are averaged first, else one of each clip.
        """
        if not self.merges_shots:
            return self.modulate(support), labels
        means = class_means(support, labels)
        return self.modulate(means, text), torch.arange(len(means), device=labels.device)

    def in_episode(self, query: Compared, prototypes: Compared) -> tuple[Compared, Compared]:
        """Modulated frame features and prototypes of an episode as they are matched in it."""
        return query, prototypes

    def agreed(self, query: Tensor, prototypes: Tensor) -> Tensor | None:
        """What each pair of frames takes off the matcher's distance (Q, S, T, U), of modulated ones; None where nothing
        does."""
        return None

    def distances(self, query: Float[Tensor, "q t d"], prototypes: Float[Tensor, "s u d"]) -> Float[Tensor, "q s"]:
        """Modulated frame features and prototypes to distances."""
        raise NotImplementedError

    def group_distances(
        self, query: Float[Tensor, "g q t d"], prototypes: Float[Tensor, "g s u d"]
    ) -> Float[Tensor, "g q s"]:
        """The same within each of g groups, without gradient."""
        return torch.stack([self.distances(*group) for group in zip(query, prototypes, strict=True)])

    def episode_logits(
        self,
        query: Float[Tensor, "q l d"],
        support: Float[Tensor, "s l d"],
        labels: Int64[Tensor, " s"],
        text: Float[Tensor, "n d"] | None = None,
    ) -> Float[Tensor, "q n"]:
        """Logits of an episode from clip tokens, encoded as queries and as support; the rest as of `prototypes`.

        Minus the distance to a class, times the learned scale; where names have a score of their own the log of the
        combined score.
        """
        prototypes, prototype_labels = self.prototypes(support, labels, text)
        visual = visual_logits(self.distances(self.modulate(query), prototypes), prototype_labels)
        return self.score(visual, self.text_similarity(query, given(text)) if self.scores_text else None)

    def group_logits(
        self,
        query: Float[Tensor, "g q l d"],
        support: Float[Tensor, "g s l d"],
        labels: Int64[Tensor, " s"],
        text: Float[Tensor, "g n d"] | None = None,
    ) -> Float[Tensor, "g q n"]:
        """The same of g episodes of one shape, whose support clips come in the same order of classes; without gradient.

        Asked where `by_episode`: a head that has a faster way to answer many at once says it here.
        """
        texts = [None] * len(query) if text is None else list(text)
        episodes = zip(query, support, texts, strict=True)
        return torch.stack([self.episode_logits(one, other, labels, words) for one, other, words in episodes])

    def take_classes(self, num_classes: int) -> None:
        """Told before training how many classes it has; a head that learns something of each makes it here."""

    def take_shapes(self, tensors: dict[str, Tensor]) -> None:
        """Told before trained tensors, by name, are loaded; a head that learns of each class makes room for them."""

    def text_similarity(self, clip_tokens: ClipTokens, text: Names) -> Similarities:
        """Scaled cosine similarities of clips with names.

        SigLIP's `logit_bias` is left out: it is the same for every name, and answers, probabilities and losses are
        softmaxes over names, in which it cancels.
        """
        frames, text = at_least_float32(self.frame_features(clip_tokens), text)
        pooled = frames.mean(1)
        with torch.autocast(pooled.device.type, enabled=False):  # as for distances: bfloat16 is too coarse
            return self.log_text_scale.exp() * normalize(pooled, dim=-1) @ normalize(text, dim=-1).T

    def class_logits(self, clip_tokens: ClipTokens, class_text: Names) -> Similarities:
        """Logits over all training classes, for the video-text loss."""
        return self.text_similarity(clip_tokens, class_text)

    def class_loss(self, clip_tokens: ClipTokens, class_text: Names, class_ids: Int64[Tensor, " n"]) -> Tensor:
        """What clips cost by the names of all training classes: the video-text loss (CLIP-FSAR, equation 9).

        Args:
            class_ids: of the clips, rows of the class text.
        """
        (logits,) = at_least_float32(self.class_logits(clip_tokens, class_text))
        return nn.functional.cross_entropy(logits, class_ids)

    def score(self, visual: Scores | None, text: Scores | None = None) -> Scores:
        """Minus distances, and text similarities where they count, to logits.

        With text the log of p_text^a * p_visual^(1 - a), a being `text_score` (CLIP-FSAR, its code's "COMBINE").
        `visual` is None where no support is compared.
        """
        assert visual is not None
        logits = self.log_scale.exp() * visual
        return logits if text is None else combined(logits, text, self.text_score)

    def use_clip_scale(self, clip_log_scale: Tensor, num_frames: int) -> None:
        """Take CLIP's own scale, per pair of compared frames, in place of a learned one."""
        with torch.no_grad():
            self.log_scale.copy_(clip_log_scale.reshape(()) - math.log(self.compared_pairs(num_frames)))

    def compared_pairs(self, num_frames: int) -> int:
        """How many cosines of frames a distance adds up: all matchers but averaged frames go both ways."""
        return 2 * num_frames


class ZeroShotHead(Head):
    """Class names alone: the cosine of a clip's mean frame feature with a class's text. There is nothing to learn."""

    compares_support = False
    scores_text = True  # always: nothing else is compared

    def __init__(self, log_text_scale: Tensor) -> None:
        super().__init__(log_text_scale=log_text_scale, text_score=1.0)
        self.log_scale.requires_grad_(False)

    def prototypes(self, support: Tensor, labels: Tensor, text: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The names (N, 1, d), and labels 0..N-1."""
        return given(text)[:, None], torch.arange(len(given(text)), device=labels.device)

    def distances(self, query: Tensor, prototypes: Tensor) -> Tensor:
        """One minus the cosine."""
        return 1 - pooled_cosine(query, prototypes[:, 0])

    def text_similarity(self, clip_tokens: Tensor, text: Tensor) -> Tensor:
        return self.log_text_scale.exp() * pooled_cosine(clip_tokens, text)

    def score(self, visual: Tensor | None, text: Tensor | None = None) -> Tensor:
        """The names' own score."""
        return given(text)


class MatchingHead(Head):
    """Distances by one of the package's matchers, or a sum of several, of that name.

    Args:
        smoothing: OTAM's, alone or in a sum.
        smoothing_unit: "std" for a smoothing in units of `frame_std`, which somebody has to set.
        centre: "clip" takes the mean over a clip's frames off its frame features, before the cosine; "both" compares
            them as they are and without their mean, each with half a say; "gate" likewise, but a `SupportGate` says
            in every episode how much of a say. Not where averaged frames are compared, of which nothing would be left.
        gate_sharpness: the gate's.
        scores: as of `Head`.
    """

    def __init__(
        self,
        matching: str,
        smoothing: float = DEFAULT_SMOOTHING,
        smoothing_unit: str = "absolute",
        centre: str = "none",
        gate_sharpness: float = 1.0,
        **scores: Any,
    ) -> None:
        super().__init__(**scores)
        self.matching, self.options = matching, {"smoothing": smoothing} if aligns(matching) else {}
        self.in_std = smoothing_unit == "std" and aligns(matching)
        self.frame_std = math.nan if self.in_std else 1.0
        self.centre = "none" if matching == "mean" else centre
        self.gate = SupportGate(gate_sharpness) if self.centre == "gate" else None

    @property
    def by_support(self) -> bool:
        return self.centre == "gate"

    @property
    def is_measured(self) -> bool:
        return self.in_std or self.centre == "gate"

    def rematched(self, matching: str | None = None, smoothing: float | None = None) -> MatchingHead:
        """The same head, of the same parameters, under another matcher or smoothing (in the head's own unit)."""
        other = copy(self)
        if matching is not None:
            other.matching, other.centre = matching, "none" if matching == "mean" else self.centre
        if aligns(other.matching):
            start = self.options.get("smoothing", DEFAULT_SMOOTHING)
            other.options = {"smoothing": start if smoothing is None else smoothing}
        else:
            other.options, other.in_std, other.frame_std = {}, False, 1.0
        return other

    def modulate(self, clip_tokens: Tensor, text: Tensor | None = None) -> Tensor:
        return self.centred(self.frame_features(clip_tokens))

    def centred(self, frames: Frames) -> Compared:
        """Frame features as they are compared: twice as wide, where they count as they are and without their mean."""
        if self.centre == "none":
            return frames
        (frames,) = at_least_float32(frames)  # what is left of them is small against what is taken off
        centred = frames - frames.mean(1, keepdim=True)
        if self.centre == "clip":
            return centred
        # Of length one, or the longer ones would decide; of a still picture nothing is left, not even its rounding.
        return torch.cat([part * (part.square().sum(2, True) + EPS).rsqrt() for part in (frames, centred)], 2)

    def in_episode(self, query: Tensor, prototypes: Tensor) -> tuple[Tensor, Tensor]:
        """With a gate the two halves of either, times its factors for this support set, or for each of g."""
        if self.centre != "gate":
            return query, prototypes
        assert self.gate is not None
        width = prototypes.shape[-1] // 2
        factors = self.gate(prototypes[..., :width]).repeat_interleave(width, -1)[..., None, None, :]
        return query * factors, prototypes * factors

    def distances(self, query: Tensor, prototypes: Tensor) -> Tensor:
        query, prototypes = self.in_episode(query, prototypes)
        return match(query, prototypes, self.matching, **self._options)

    def group_distances(self, query: Tensor, prototypes: Tensor) -> Tensor:
        query, prototypes = self.in_episode(query, prototypes)
        return match_groups(query, prototypes, self.matching, **self._options)

    @property
    def smoothing(self) -> float:
        """OTAM's, in distances themselves."""
        return self._options.get("smoothing", DEFAULT_SMOOTHING)

    @property
    def _options(self) -> dict[str, float]:
        if math.isnan(self.frame_std):
            raise ValueError("expected a measured frame_std for smoothing_unit std, got none: set it, or measure_unit")
        return {name: value * self.frame_std for name, value in self.options.items()}

    def compared_pairs(self, num_frames: int) -> int:
        return 1 if self.matching == "mean" else super().compared_pairs(num_frames)


class MeanHead(MatchingHead):
    """Averaged frames, compared by their cosine: ProtoNet's way."""

    def __init__(self, **scores: Any) -> None:
        super().__init__("mean", **scores)


class OTAMHead(MatchingHead):
    """Frames aligned in their order: OTAM in both directions."""

    def __init__(self, smoothing: float = DEFAULT_SMOOTHING, **scores: Any) -> None:
        super().__init__("otam", smoothing, **scores)


def aligns(matching: str) -> bool:
    """Whether OTAM is the matcher, or part of the sum."""
    return "otam" in matching.split("+")


def given(text: Tensor | None) -> Tensor:
    """The classes' text, where it is read."""
    if text is None:
        raise ValueError("expected text (N, d) of the classes, which this method reads, got none")
    return text


def visual_logits(distances: Float[Tensor, "q s"], labels: Int64[Tensor, " s"], way: int = -1) -> Scores:
    """Minus the mean distance to each class; a GPU need not be asked for the way where it is given."""
    one_hot = nn.functional.one_hot(labels, way).to(distances.dtype)
    with torch.autocast(distances.device.type, enabled=False):  # or the product rounds what the matcher kept apart
        return -(distances @ one_hot) / one_hot.sum(0)


def pooled_cosine(frames: Frames, text: Names) -> Similarities:
    """Exact cosines of clips' mean frame features with text."""
    frames, text = at_least_float32(frames, text)
    with torch.autocast(frames.device.type, enabled=False):
        return normalize(frames.mean(1), dim=-1) @ normalize(text, dim=-1).T


def combined(visual: Scores, text: Scores, power: float) -> Scores:
    """Logits of either kind to the log of p_text^power * p_visual^(1 - power)."""
    return power * text.log_softmax(-1) + (1 - power) * visual.log_softmax(-1)
