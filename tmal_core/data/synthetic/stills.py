"""Captioned still pictures that the tiny CLIP learns from: what it must know of pictures, and nothing of time."""

from __future__ import annotations

import numpy as np

from tmal_core.data.synthetic.drawing import Thing, background, dots, paint
from tmal_core.data.synthetic.families import PLACE_STEP
from tmal_core.data.synthetic.vocabulary import COLOURS, PLACES, SHAPES

_PLACES = {"middle": (0, 0), **PLACES}


def still(rng: np.random.Generator, side: int = 64) -> tuple[np.ndarray, str]:
    """One picture (side, side, 3) uint8 and its caption.

    The caption says all of colour, shape, size and place or one of them, or names random dots.
    """
    if rng.random() < 0.04:
        return _dots(rng, side), "random dots"
    colour, shape, place = rng.choice(list(COLOURS)), rng.choice(SHAPES), rng.choice(list(_PLACES))
    radius = rng.uniform(6.0, 11.5)
    offset = np.array(_PLACES[place]) * PLACE_STEP + rng.uniform(-6, 6, 2)
    tint = np.clip(np.array(COLOURS[colour]) * rng.uniform(0.75, 1.05) + rng.normal(0, 8, 3), 0, 255)
    picture = background(rng, side)
    x, y = side / 2 + offset
    paint(picture, Thing(str(shape), (float(x), float(y)), radius, rng.uniform(-0.5, 0.5), tuple(tint)))
    return picture, _caption(rng, str(colour), str(shape), str(place), radius)


def batch(rng: np.random.Generator, size: int, side: int = 64) -> tuple[np.ndarray, list[str]]:
    """Pictures (size, side, side, 3) uint8 and their captions."""
    pictures, captions = zip(*(still(rng, side) for _ in range(size)), strict=True)
    return np.stack(pictures), list(captions)


def _caption(rng: np.random.Generator, colour: str, shape: str, place: str, radius: float) -> str:
    """All there is to say, or one thing alone: a caption of one word cannot be found by colour, the easiest."""
    kind = rng.choice(["all", "shape", "place", "colour"], p=[0.4, 0.25, 0.25, 0.1])
    words = [colour] if kind in ("all", "colour") else []
    if kind == "all" and rng.random() < 0.2:
        words.insert(0, "small" if radius < 8.75 else "large")
    words.append(shape if kind in ("all", "shape") else "shape")
    says_place = kind == "place" or (kind == "all" and rng.random() < 0.5)
    where = f" {rng.choice(['in', 'at'])} the {place}" if says_place else ""
    article = "an" if words[0] == "orange" else "a"
    return f"{article} {' '.join(words)}{where}"


def _dots(rng: np.random.Generator, side: int) -> np.ndarray:
    count, ground, contrast = rng.integers(200, 320), rng.uniform(95, 150), rng.uniform(45, 85)
    values = np.round(ground + contrast * rng.choice((-1, 1), count))
    centres = rng.uniform(-4, side + 4, (count, 2))
    return np.repeat(dots(side, round(ground), centres, values, rng.uniform(1.5, 2.5))[..., None], 3, 2)
