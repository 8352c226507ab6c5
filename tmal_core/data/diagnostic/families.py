"""A class and a random stream become the frames of one clip (or of a pair of files that belong together).

Sizes: video side 72 px, 24 frames per second, 48 frames. Position (x, y) in pixels, y down.

Guarantees, each held by a test on decoded files:

- `order`: the backward clip holds the forward clip's frames 0..F-2 in reverse. Frame F-1 repeats frame F-2 in both,
  because flow (the motion from a frame to the next) is defined at 0..F-2 and sampling (`data.video.sampling`) is
  symmetric about the middle of that range: a clip and its twin give the same sampled frames, in opposite order.
- `motion`: every frame shows a homogeneous Poisson field of dots whatever the class, and a dot lives `LIFETIME`
  frames, so frames at least `LIFETIME` + 1 apart have no dot in common: no set of such frames knows the class.
- `semantic`: the support file ends before the classes of a beginning part.
"""

from __future__ import annotations

import numpy as np

from tmal_core.data.diagnostic.drawing import Thing, background, dots, paint
from tmal_core.data.diagnostic.vocabulary import COLOURS, DIRECTIONS, PLACES, SHAPES, ActionClass

SIDE = 72
FPS = 24
FRAMES = 48
LIFETIME = 3
PLACE_STEP = 19.0  # pixels between neighbouring places

_MARGIN = 6  # painted around the visible part, room for camera shake
_CANVAS = SIDE + 2 * _MARGIN


def files(action: ActionClass) -> dict[str, int]:
    """Number of frames by role of the files that `render` gives for a class, without rendering them."""
    several = {"order": {"forward": FRAMES, "backward": FRAMES}, "semantic": {"support": FRAMES // 2, "query": FRAMES}}
    return several.get(action.family, {"both": FRAMES})


def render(action: ActionClass, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Frames (F, SIDE, SIDE, 3) uint8 by role, those of `files`; of `order` one file for each class of the pair."""
    return _RENDER[action.family](action.parts, rng)


def _appearance(parts: dict[str, str], rng: np.random.Generator) -> dict[str, np.ndarray]:
    start, end = rng.uniform(-16, 16, (2, 2))
    path = start + (end - start) * _ease(rng, FRAMES)[:, None]
    colour = np.tile(_tinted(COLOURS[parts["colour"]], rng), (FRAMES, 1))
    return {"both": _draw(parts["shape"], path, colour, rng)}


def _order(parts: dict[str, str], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """From `start` to `end`, and the reversal."""
    progress = _ease(rng, FRAMES - 1)[:, None]
    if parts["kind"] == "place":
        start, end = (_near(PLACES[parts[key]], rng) for key in ("start", "end"))
        path = start + (end - start) * progress
        colour = np.tile(_any_colour(rng), (FRAMES - 1, 1))
    else:
        drift = rng.uniform(-16, 16, (2, 2))
        path = drift[0] + (drift[1] - drift[0]) * _ease(rng, FRAMES - 1)[:, None]
        first, last = (_tinted(COLOURS[parts[key]], rng) for key in ("start", "end"))
        colour = first + (last - first) * progress
    frames, held = _draw(rng.choice(SHAPES), path, colour, rng), [*range(FRAMES - 1), FRAMES - 2]
    return {"forward": frames[held], "backward": frames[::-1][held]}


def _semantic(parts: dict[str, str], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The middle, a place, another place; the support file ends when the first place is reached."""
    middle, turn, end = (_near(place, rng) for place in ((0, 0), PLACES[parts["middle"]], PLACES[parts["end"]]))
    half = FRAMES // 2
    first = middle + (turn - middle) * _ease(rng, half)[:, None]
    second = turn + (end - turn) * _ease(rng, half + 1)[1:, None]
    colour = np.tile(_any_colour(rng), (FRAMES, 1))
    frames = _draw(rng.choice(SHAPES), np.concatenate([first, second]), colour, rng)
    return {"support": frames[:half], "query": frames}


def _motion(parts: dict[str, str], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Dots inside a hidden disc drift, dots outside stand still; all live `LIFETIME` frames.

    Two independent fields, each a Poisson process on a torus in its own coordinates; a dot is shown when its centre
    falls on its field's side of the disc's edge. So a single frame is one homogeneous Poisson field.
    """
    speed = rng.uniform(1.6, 2.6)
    first, second = (np.array(DIRECTIONS[parts[key]]) * speed for key in ("first", "second"))
    turn = FRAMES // 2 + rng.integers(-3, 4)
    steps = np.where((np.arange(FRAMES) < turn)[:, None], first, second)
    offset = np.concatenate([np.zeros((1, 2)), np.cumsum(steps[:-1], 0)])
    shake = _shake(rng, FRAMES, 0.4)
    centre, radius = SIDE / 2 + rng.uniform(-5, 5, 2), rng.uniform(24, 32)
    count, width = int(rng.integers(300, 480)), rng.uniform(1.5, 2.5)
    ground, contrast = rng.uniform(95, 150), rng.uniform(45, 85)
    fields = [_DotField(rng, count, ground, contrast) for _ in range(2)]
    frames = np.empty((FRAMES, SIDE, SIDE, 3), np.uint8)
    for t in range(FRAMES):
        still, still_values = fields[0].at(t, shake[t])
        moving, moving_values = fields[1].at(t, shake[t] + offset[t])
        outside = np.hypot(*(still - centre).T) > radius
        inside = np.hypot(*(moving - centre).T) <= radius
        centres = np.concatenate([still[outside], moving[inside]])
        values = np.concatenate([still_values[outside], moving_values[inside]])
        frames[t] = dots(SIDE, round(ground), centres, values, width)[..., None]
    return {"both": frames}


class _DotField:
    """Dots uniform on a torus slightly larger than the picture; a third of them is born anew in each frame."""

    def __init__(self, rng: np.random.Generator, count: int, ground: float, contrast: float) -> None:
        self.side = SIDE + 8.0
        per_frame = rng.poisson(count / LIFETIME, FRAMES + LIFETIME)
        self.birth = np.repeat(np.arange(FRAMES + LIFETIME) - LIFETIME + 1, per_frame)
        self.place = rng.uniform(0, self.side, (len(self.birth), 2))
        self.value = np.round(ground + contrast * rng.choice((-1, 1), len(self.birth))).astype(np.int16)
        self.rank = rng.permutation(len(self.birth))  # which dot covers which must not tell their age

    def at(self, frame: int, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Centres (n, 2) in pixels of the picture and grey values (n,) of the dots alive in the frame."""
        alive = np.flatnonzero((self.birth <= frame) & (frame < self.birth + LIFETIME))
        alive = alive[np.argsort(self.rank[alive])]
        return (self.place[alive] + offset) % self.side - 4.0, self.value[alive]


_RENDER = {"appearance": _appearance, "order": _order, "motion": _motion, "semantic": _semantic}


def _draw(shape: str, path: np.ndarray, colours: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An object of one shape along a path (F, 2) (pixels from the centre) in colours (F, 3), under camera shake."""
    scene = background(rng, _CANVAS)
    shake = np.round(_shake(rng, len(path), 1.2)).astype(int)
    radius, angle, spin = rng.uniform(6.5, 11.0), rng.uniform(-0.25, 0.25), rng.uniform(-0.3, 0.3)
    frames = np.empty((len(path), SIDE, SIDE, 3), np.uint8)
    for t, (place, colour) in enumerate(zip(path, colours, strict=True)):
        canvas = scene.copy()
        centre = (_CANVAS / 2 + place[0], _CANVAS / 2 + place[1])
        paint(canvas, Thing(shape, centre, radius, angle + spin * t / len(path), tuple(colour)))
        x, y = _MARGIN + shake[t]
        frames[t] = canvas[y : y + SIDE, x : x + SIDE]
    return frames


def _ease(rng: np.random.Generator, count: int) -> np.ndarray:
    """Progress from 0 to 1 in `count` steps: rests a little at both ends, and is uneven in between.

    The law is the same read backwards, or the reversal of a clip could be told by its speed.
    """
    rest_before, rest_after = rng.uniform(0, 0.15, 2)
    clock = np.clip((np.linspace(0, 1, count) - rest_before) / (1 - rest_before - rest_after), 0, 1)
    power = np.exp(rng.uniform(0, 0.5))
    return clock**power if rng.random() < 0.5 else 1 - (1 - clock) ** power


def _shake(rng: np.random.Generator, count: int, amplitude_px: float) -> np.ndarray:
    """A smooth, bounded wander (count, 2) of the camera in pixels; the same law read backwards."""
    phase, rate = rng.uniform(0, 2 * np.pi, (2, 2)), rng.uniform(0.5, 2.0, (2, 2))
    t = np.linspace(0, 2 * np.pi, count)[:, None, None]
    wander = np.sin(rate * t + phase).mean(1)
    return amplitude_px * rng.uniform(0, 1.5) * wander


def _near(place: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    return np.array(place) * PLACE_STEP + rng.uniform(-4, 4, 2)


def _tinted(colour: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    return np.clip(np.array(colour) * rng.uniform(0.8, 1.05) + rng.normal(0, 6, 3), 0, 255)


def _any_colour(rng: np.random.Generator) -> np.ndarray:
    return _tinted(COLOURS[rng.choice(list(COLOURS))], rng)
