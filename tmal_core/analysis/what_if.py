"""What if: a question asked again with a part of the method, or of what it is given, changed.

What changes no clip token (another matcher or smoothing, names where they join behind the encoder) is answered from the
bank, the rest by encoding the question's clips anew. Nothing is trained again: a part that is switched off is missing
from a method that was trained with it, which says what that method makes of it, not what a method without it can do.

Letters: q queries, S support clips, T frames, d joint width; N way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from tmal_core.analysis.inspection import Asked, Question, Tokens, banked
from tmal_core.data.clips import Clip, ClipReader, stacked
from tmal_core.errors import SettingsError
from tmal_core.evaluation.feature_bank import Bank, encode_clips
from tmal_core.models.encoder import ClipEncoder
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.heads import MatchingHead, aligns
from tmal_core.runtime.seeding import generator

Order = Literal["as it is", "reversed", "shuffled", "frozen"]
TextOf = Callable[[Sequence[str]], Tensor]
"""Names to their text features (N, d), as the method reads them."""


@dataclass(frozen=True)
class WhatIf:
    """What is changed; by default nothing."""

    text: bool = True
    """Whether class names are read."""
    flow: bool = True
    """Whether flow, or differences in its place, is read."""
    adapters: bool = True
    """Whether temporal adapters work."""
    matching: str | None = None
    """Another matcher."""
    smoothing: float | None = None
    """Another smoothing of OTAM, in the method's own unit."""
    num_frames: int | None = None
    """Another number of frames per clip, of queries and support alike."""
    order: Order = "as it is"
    """Of the queries' frames, their flow with them; frozen: the middle frame all the time."""
    names: Mapping[int, str] = field(default_factory=dict)
    """Label -> another name for its class."""

    @property
    def is_nothing(self) -> bool:
        """Whether it is the question as it was."""
        return self == WhatIf()


def parts_of(model: FewShotModel) -> dict[str, bool]:
    """Which switches of `WhatIf` change anything for a method: text, flow, adapters, matching, smoothing and so on."""
    head = model.head if isinstance(model.head, MatchingHead) else None
    return {
        "text": model.reads_text and model.head.compares_support,
        "flow": model.reads_motion,
        "adapters": len(model.encoder.adapters) > 0,
        "matching": head is not None,
        "smoothing": head is not None and aligns(head.matching),
        "num_frames": True,
        "order": True,
    }


def changed(model: FewShotModel, what_if: WhatIf) -> FewShotModel:
    """The method without what is switched off, under the matcher that is asked for; parameters are shared.

    Raises:
        SettingsError: the method has no such part, or no matcher, or looks at more frames.
    """
    _require_parts(model, what_if)
    encoder, head = model.encoder, copy(model.head)
    if isinstance(head, MatchingHead):
        head = head.rematched(what_if.matching, what_if.smoothing)
    if not what_if.text:
        head.reads_text, head.text_score = False, 0.0
    if not isinstance(encoder, ClipEncoder):  # nothing joins in it
        return FewShotModel(encoder, head).eval()
    flow = what_if.flow and encoder.reads_motion
    head.motion_token = flow and encoder.motion_token
    parts: dict[str, nn.Module | None] = {
        "adapters": encoder.adapters if what_if.adapters else None,
        "motion": encoder.motion if flow else None,
        "flow_fusion": encoder.flow_fusion if flow else None,
        "text_fusion": encoder.text_fusion if what_if.text else None,
    }
    how = {"motion_token": head.motion_token, "tune_backbone": encoder.tune_backbone}
    parts |= {"frame_attention": encoder.frame_attention, "side": encoder.side}
    return FewShotModel(ClipEncoder(encoder.clip, **parts, **how), head).eval()  # type: ignore[arg-type]


def ask_again(
    model: FewShotModel, bank: Bank, reader: ClipReader, question: Question, what_if: WhatIf, text_of: TextOf
) -> Asked:
    """The question under what is changed.

    Raises:
        SettingsError: the method has no such part, or a number of frames that the sampling does not give.
        DataError: a clip cannot be read.
    """
    asked = changed(model, what_if)
    text = _text(asked, bank, question, what_if, text_of)
    if _encodes(model, what_if):
        return Asked(asked, question, _encoded(asked, reader, question, what_if, text))
    tokens = banked(bank, question)
    # Without text inside the tower, support clips are encoded as queries are.
    support = tokens.support if what_if.text else bank.query[torch.from_numpy(question.support.ravel())]
    return Asked(asked, question, Tokens(tokens.query, support, text))


def frames_read(reader: ClipReader, row: int, what_if: WhatIf, as_query: bool) -> np.ndarray:
    """(T,) native frames that are read of a clip, in the order in which the method sees them."""
    if what_if.num_frames is not None:
        reader = reader.with_frames(what_if.num_frames)
    positions = reader.test_positions(row)
    return positions[_numbers(what_if.order, len(positions), row)] if as_query else positions


def _encodes(model: FewShotModel, what_if: WhatIf) -> bool:
    """Whether the change reaches clip tokens."""
    renamed = bool(what_if.names) and what_if.text and model.encoder.separate_roles
    other_parts = not (what_if.flow and what_if.adapters)
    return other_parts or renamed or what_if.num_frames is not None or what_if.order != "as it is"


def _text(model: FewShotModel, bank: Bank, question: Question, what_if: WhatIf, text_of: TextOf) -> Tensor | None:
    if bank.text is None or not (model.reads_text or model.head.scores_text):
        return None
    if not what_if.names:
        return bank.text.of_videos(question.support[:, 0])
    return text_of([what_if.names.get(label, name) for label, name in enumerate(question.classes)])


def _encoded(
    model: FewShotModel, reader: ClipReader, question: Question, what_if: WhatIf, text: Tensor | None
) -> Tokens:
    if what_if.num_frames is not None:
        reader = reader.with_frames(what_if.num_frames)
    query = [_ordered(reader.evaluate(int(row)), what_if.order, int(row)) for row in question.query]
    support = [reader.evaluate(int(row)) for row in question.support.ravel()]
    words = None
    if text is not None and model.encoder.separate_roles:
        words = text.repeat_interleave(question.support.shape[1], 0)
    as_query = [tokens for tokens, _ in encode_clips(model, _read(model, query))]
    as_support = [tokens for _, tokens in encode_clips(model, _read(model, support), words)]
    return Tokens(torch.cat(as_query), torch.cat(as_support), text)


def _read(model: FewShotModel, clips: list[Clip]) -> Clip:
    """What the model reads of clips."""
    whole = stacked(clips)
    return whole if model.reads_motion else Clip(whole.frames)


def _ordered(clip: Clip, order: Order, row: int) -> Clip:
    numbers = _numbers(order, len(clip.frames), row)
    return Clip(*(None if part is None else part[numbers] for part in clip))  # type: ignore[arg-type]


def _numbers(order: Order, num_frames: int, row: int) -> np.ndarray:
    """Which frame comes when; shuffled in the same way each time."""
    numbers: dict[str, np.ndarray] = {
        "as it is": np.arange(num_frames),
        "reversed": np.arange(num_frames)[::-1],
        "shuffled": generator(0, "shuffled", row).permutation(num_frames),
        "frozen": np.full(num_frames, num_frames // 2),
    }
    return numbers[order].copy()


def _require_parts(model: FewShotModel, what_if: WhatIf) -> None:
    least = model.head.least_frames
    if what_if.num_frames is not None and what_if.num_frames < least:
        remedy = "Ask for more, or leave the number as it is."
        raise SettingsError(f"{least} frames or more, as the method looks at", str(what_if.num_frames), remedy)
    has = parts_of(model)
    off = [name for name in ("text", "flow", "adapters") if not getattr(what_if, name)]
    off += [name for name in ("matching", "smoothing") if getattr(what_if, name) is not None]
    if what_if.matching is not None:
        if aligns(what_if.matching):
            has = {**has, "smoothing": has["matching"]}
        else:
            off = [name for name in off if name != "smoothing"]
    if missing := [name for name in off if not has[name]]:
        raise SettingsError(f"a method with {' and '.join(missing)}", "one without", "Leave this switch as it is.")
