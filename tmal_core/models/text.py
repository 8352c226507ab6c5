"""Class names as CLIP's text tower sees them: in a sentence, in several, or described by sentences of their own."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from tmal_core.config import ModelSettings, in_project
from tmal_core.errors import DataError
from tmal_core.models.backbone import located
from tmal_core.models.descriptions import odd_ones, read_descriptions, sentences_of
from tmal_core.models.tokenizers import tokenizer

Say = Callable[[str], object]
_TEXTS_AT_ONCE = 256


@torch.no_grad()
def class_text(clip: Any, settings: ModelSettings, names: list[str], say: Say = warnings.warn) -> Float[Tensor, "c d"]:
    """Text features, float32, of classes by their names.

    Each name put into `settings.prompt` is CLIP's feature as it is, not normalised. With `settings.prompts` or
    `settings.descriptions` the features of a class's sentences are averaged (`averaged`): of length one.

    Args:
        say: is told of each name that was cut because its text is longer than the tower's context; in one line of
            descriptions that were; and in one of those that look like no descriptions.

    Raises:
        DataError: two classes read the same, as their beginnings may; or a file of descriptions that is faulty or lacks
            a class.
        WeightsError: the model's tokenizer is not here (`tokenizer`).
    """
    tokenize = tokenizer(located(settings.backbone))
    sentences = _sentences(settings, names, tokenize, say)
    tokens, counts = tokenize([text for of_class in sentences for text in of_class]), list(map(len, sentences))
    _require_different(names, tokens.split(counts), settings)
    device = clip.logit_scale.device
    if settings.descriptions is None and not settings.prompts:
        return clip.encode_text(tokens.to(device)).float()
    parts = [clip.encode_text(part.to(device)).float() for part in tokens.split(_TEXTS_AT_ONCE)]
    return averaged(torch.cat(parts), counts)


def averaged(features: Float[Tensor, "n d"], counts: Sequence[int]) -> Float[Tensor, "c d"]:
    """Features of sentences, class after class, to those of the classes: the mean of unit vectors, of length one again.

    Class c has `counts[c]` sentences. As in TS-FSAR's code (AAAI 2026); several prompts so as by Radford et al.
    (Learning Transferable Visual Models From Natural Language Supervision, 2021, section 3.1.4).
    """
    means = [part.mean(0) for part in normalize(features, dim=-1).split(list(counts))]
    return normalize(torch.stack(means), dim=-1)


def _sentences(settings: ModelSettings, names: list[str], tokenize: Any, say: Say) -> list[list[str]]:
    """What is read of each class, as long as the text tower reads; of a description the tokenizer drops the rest."""
    if settings.descriptions is None:
        said: list[str] = []
        prompts = settings.prompts or (settings.prompt,)
        found = [[prompt.format(_cut(name, prompt, tokenize, said.append)) for prompt in prompts] for name in names]
        for line in dict.fromkeys(said):
            say(line)
        return found
    place = in_project(settings.descriptions)
    found = sentences_of(names, read_descriptions(place), place)
    long = [name for name, texts in zip(names, found, strict=True) for text in texts if not _fits(text, tokenize)]
    if long:
        total = sum(map(len, found))
        say(f"{len(long)} of {total} descriptions are cut to what the text tower reads, the first of class {long[0]!r}")
    if odd := odd_ones(names, found):
        say(odd)
    return found


def _require_different(names: list[str], tokens: Sequence[Tensor], settings: ModelSettings) -> None:
    """Refuse two classes whose sentences, in whatever order, are the same tokens."""
    first_of: dict[tuple[tuple[int, ...], ...], str] = {}
    for name, rows in zip(names, tokens, strict=True):
        first = first_of.setdefault(tuple(sorted(map(tuple, rows.tolist()))), name)
        if first != name:
            got = f"{first!r} and {name!r}, the same in the {rows.shape[1]} tokens of {settings.backbone}"
            remedy = "Rename one of them." if settings.descriptions is None else "Describe one of them otherwise."
            raise DataError("class names that read differently", got, remedy)


def _cut(name: str, prompt: str, tokenize: Any, say: Say) -> str:
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
