"""Captioned still pictures that the tiny CLIP learns from: what it must know of pictures, and nothing of time.

No picture it learns from shows a colour and a shape that together are an `appearance` class of val or test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tmal_core.data.diagnostic.drawing import Thing, background, dots, paint
from tmal_core.data.diagnostic.families import PLACE_STEP
from tmal_core.data.diagnostic.vocabulary import COLOURS, PLACES, SHAPES, appearance_classes

_PLACES = {"middle": (0, 0), **PLACES}
FACTS = {
    "colour": [f"{'an' if colour == 'orange' else 'a'} {colour} shape" for colour in COLOURS],
    "shape": [f"a {shape}" for shape in SHAPES],
    "place": [f"a shape at the {place}" for place in _PLACES],
}
"""All captions that say one thing, by what they speak of."""
HELD_OUT = frozenset((a.parts["colour"], a.parts["shape"]) for a in appearance_classes() if a.split != "train")
"""Colours with shapes that pictures for learning leave out."""


@dataclass(frozen=True)
class Stills:
    """Pictures with what can be said of them."""

    pictures: np.ndarray  # (B, side, side, 3) uint8
    captions: list[str]  # B sentences that say all
    facts: dict[str, np.ndarray]  # by key of `FACTS` the index (B,) of the caption that is true, -1 for random dots


def batch(rng: np.random.Generator, size: int, side: int = 64, held_out: bool = False) -> Stills:
    """`size` pictures of one object each, some of them of random dots; none of `HELD_OUT`, or only such objects."""
    pictures, captions, facts = zip(*(_still(rng, side, held_out) for _ in range(size)), strict=True)
    columns = np.array(facts).T
    return Stills(np.stack(pictures), list(captions), dict(zip(FACTS, columns, strict=True)))


def _still(rng: np.random.Generator, side: int, held_out: bool) -> tuple[np.ndarray, str, tuple[int, ...]]:
    if rng.random() < 0.04:
        return _dots(rng, side), "random dots", (-1, -1, -1)
    words = ([*COLOURS], [*SHAPES], [*_PLACES])
    while True:
        facts = tuple(int(rng.integers(len(options))) for options in FACTS.values())
        colour, shape, place = (names[i] for names, i in zip(words, facts, strict=True))
        if ((colour, shape) in HELD_OUT) == held_out:
            break
    radius = rng.uniform(6.0, 11.5)
    offset = np.array(_PLACES[place]) * PLACE_STEP + rng.uniform(-6, 6, 2)
    tint = np.clip(np.array(COLOURS[colour]) * rng.uniform(0.75, 1.05) + rng.normal(0, 8, 3), 0, 255)
    picture = background(rng, side)
    x, y = side / 2 + offset
    paint(picture, Thing(shape, (float(x), float(y)), radius, rng.uniform(-0.5, 0.5), tuple(tint)))
    size = ("small " if radius < 8.75 else "large ") if rng.random() < 0.3 else ""
    article = "an" if colour == "orange" and not size else "a"
    return picture, f"{article} {size}{colour} {shape} {rng.choice(['in', 'at'])} the {place}", facts


def _dots(rng: np.random.Generator, side: int) -> np.ndarray:
    count, ground, contrast = rng.integers(200, 320), rng.uniform(95, 150), rng.uniform(45, 85)
    values = np.round(ground + contrast * rng.choice((-1, 1), count))
    centres = rng.uniform(-4, side + 4, (count, 2))
    return np.repeat(dots(side, round(ground), centres, values, rng.uniform(1.5, 2.5))[..., None], 3, 2)
