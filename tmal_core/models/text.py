"""Class names as CLIP's text tower sees them."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tmal_core.config import ModelSettings
from tmal_core.errors import DataError
from tmal_core.models.backbone import located
from tmal_core.models.tokenizers import tokenizer


@torch.no_grad()
def class_text(
    clip: Any, settings: ModelSettings, names: list[str], say: Callable[[str], object] = warnings.warn
) -> Float[Tensor, "c d"]:
    """Text features, float32, of class names, each put into `settings.prompt`.

    Args:
        say: is told of each name that was cut because its text is longer than the tower's context.

    Raises:
        DataError: two names read the same, as their beginnings may.
        WeightsError: the model's tokenizer is not here (`tokenizer`).
    """
    tokenize = tokenizer(located(settings.backbone))
    tokens = tokenize([settings.prompt.format(_cut(name, settings.prompt, tokenize, say)) for name in names])
    first_of: dict[tuple[int, ...], str] = {}
    for name, row in zip(names, tokens.tolist(), strict=True):
        first = first_of.setdefault(tuple(row), name)
        if first != name:
            got = f"{first!r} and {name!r}, the same in the {tokens.shape[1]} tokens of {settings.backbone}"
            raise DataError("class names that read differently", got, "Rename one of them.")
    return clip.encode_text(tokens.to(clip.logit_scale.device)).float()


def _cut(name: str, prompt: str, tokenize: Any, say: Callable[[str], object]) -> str:
    """The name without the last words that its text has no room for; a single word is left to the tokenizer."""
    words = name.split(" ")
    kept = next((n for n in range(len(words), 1, -1) if _fits(prompt.format(" ".join(words[:n])), tokenize)), 1)
    short = " ".join(words[:kept])
    if not _fits(prompt.format(short), tokenize):
        say(f"class name {name!r} is cut within {short!r}: its text is longer than the text tower reads")
    elif kept < len(words):
        say(f"class name {name!r} is read as {short!r}: its text is longer than the text tower reads")
    return short


def _fits(text: str, tokenize: Any) -> bool:
    """Whether a text has no more tokens than the context, whatever pads it."""
    row, room = tokenize([text])[0], 4 * len(text.encode()) + 16
    whole = tokenize([text], context_length=max(room, len(row) + 1))[0]
    # What is cut ends where the whole goes on. One kind of tokenizer ends every row with a token for the class.
    context = len(row) - (getattr(tokenize, "tokenizer_mode", None) == "clips")
    return bool((row[:context] == whole[:context]).all())


@dataclass(frozen=True)
class SplitText:
    """The class names of a split as features."""

    features: Tensor
    """(C, d) float32."""
    class_of: np.ndarray
    """(V,) index into `features` of each video's class."""

    def of_videos(self, rows: np.ndarray) -> Tensor:
        """(..., d): text features of the classes of videos (...)."""
        return self.features[torch.from_numpy(self.class_of[rows])]
