"""A class and a random stream become the frames of one clip (or of a pair of files that belong together).

Sizes: video side 72 px, 24 frames per second, 48 frames. Position (x, y) in pixels, y down.

Guarantees, each held by a test on decoded files:

- `order`, `speed`, `camera`: the backward clip holds the forward clip's frames 0..F-2 in reverse. Frame F-1 repeats
  frame F-2 in both, because flow (the motion from a frame to the next) is defined at 0..F-2 and sampling
  (`data.video.sampling`) is symmetric about the middle of that range: a clip and its twin give the same sampled frames,
  in opposite order. Their paths are closed (`closed_paths`): the law of a single sampled frame, of the first and the
  last one together and of the set of all is the same in both classes of a pair.
- `motion`: every frame shows a homogeneous Poisson field of dots whatever the class, and a dot lives `LIFETIME`
  frames, so frames at least `LIFETIME` + 1 apart have no dot in common: no set of such frames knows the class.
- `semantic`: the support file ends before the classes of a beginning part.

Whoever draws a clip knows where its object is: `object_masks` has it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tmal_core.data.diagnostic.closed_paths import along, along_by_length, one_turn, rhythm, two_rounds
from tmal_core.data.diagnostic.drawing import Thing, background, dots, paint
from tmal_core.data.diagnostic.vocabulary import COLOURS, DIRECTIONS, PLACES, SHAPES, ActionClass

SIDE = 72
FPS = 24
FRAMES = 48
LIFETIME = 3
PLACE_STEP = 19.0  # pixels between neighbouring places

_MARGIN = 6  # painted around the visible part, room for camera shake
_CANVAS = SIDE + 2 * _MARGIN
_REACH, _GROUND_CELL = 14, 10  # of a ground that moves: how far, and the size of its patches, in pixels


def files(action: ActionClass) -> dict[str, int]:
    """Number of frames by role of the files that `render` gives for a class, without rendering them."""
    if "direction" in action.parts:
        return {"forward": FRAMES, "backward": FRAMES}
    return {"support": FRAMES // 2, "query": FRAMES} if action.family == "semantic" else {"both": FRAMES}


def render(action: ActionClass, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Frames (F, SIDE, SIDE, 3) uint8 by role, those of `files`: one file for each class of a pair of reversals."""
    return {role: drawn.frames for role, drawn in _RENDER[action.family](action.parts, rng).items()}


def object_masks(action: ActionClass, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Where the object is in the frames that `render` gives for the same stream: (F, SIDE, SIDE) bool by role.

    Of `motion` it is the hidden disc, of all others the shape; what moves behind the object is not in it.
    """
    return {role: drawn.objects for role, drawn in _RENDER[action.family](action.parts, rng).items()}


class _Drawn(NamedTuple):
    """A file's frames, and where its object is."""

    frames: np.ndarray  # (F, SIDE, SIDE, 3) uint8
    objects: np.ndarray  # (F, SIDE, SIDE) bool

    def at(self, frames: slice | list[int]) -> _Drawn:
        return _Drawn(self.frames[frames], self.objects[frames])


def _appearance(parts: dict[str, str], rng: np.random.Generator) -> dict[str, _Drawn]:
    start, end = rng.uniform(-16, 16, (2, 2))
    path = start + (end - start) * _ease(rng, FRAMES)[:, None]
    colour = np.tile(_tinted(COLOURS[parts["colour"]], rng), (FRAMES, 1))
    return {"both": _draw(parts["shape"], path, colour, rng)}


def _order(parts: dict[str, str], rng: np.random.Generator) -> dict[str, _Drawn]:
    """One turn through three states from a random one of them, and the reversal."""
    progress, num = rng.integers(3) + one_turn(rng, FRAMES - 1), FRAMES - 1
    if parts["kind"] == "place":
        path, colour = along(_places(parts, rng), progress), np.tile(_any_colour(rng), (num, 1))
    else:
        path = np.tile(rng.uniform(-16, 16, 2), (num, 1))
        colour = along(np.array([_tinted(COLOURS[parts[key]], rng) for key in "012"]), progress)
    return _twins(_draw(rng.choice(SHAPES), path, colour, rng, turns=False))


def _speed(parts: dict[str, str], rng: np.random.Generator) -> dict[str, _Drawn]:
    """Once round three places from anywhere on the way, either way round, fast and slow by turns, and the reversal."""
    way = rng.choice((-1, 1)) * rhythm(rng, FRAMES - 1, {"turns": 4, "halves": 2}[parts["rhythm"]])
    path = along_by_length(_places(parts, rng), rng.random() + way)
    colour = np.tile(_any_colour(rng), (FRAMES - 1, 1))
    return _twins(_draw(rng.choice(SHAPES), path, colour, rng, turns=False))


def _camera(parts: dict[str, str], rng: np.random.Generator) -> dict[str, _Drawn]:
    """The object twice round, either way, its ground standing still the first time, and the reversal.

    The object's way in the picture is the same in both classes: the ground alone tells them apart.
    """
    corners = float(_REACH) * np.array([(0, 0), PLACES[parts["0"]], PLACES[parts["1"]]])
    rounds = two_rounds(rng, FRAMES - 1)
    way = np.round(along_by_length(corners, rng.choice((-1, 1)) * rounds)).astype(int)
    path, colour = rng.uniform(-8, 8, 2) + way, np.tile(_any_colour(rng), (FRAMES - 1, 1))
    return _twins(_draw(rng.choice(SHAPES), path, colour, rng, False, np.where(rounds[:, None] > 1, way, 0)))


def _twins(drawn: _Drawn) -> dict[str, _Drawn]:
    """F - 1 frames as they are and reversed, the last one held."""
    held = [*range(FRAMES - 1), FRAMES - 2]
    return {"forward": drawn.at(held), "backward": drawn.at(slice(None, None, -1)).at(held)}


def _semantic(parts: dict[str, str], rng: np.random.Generator) -> dict[str, _Drawn]:
    """The middle, a place, another place; the support file ends when the first place is reached."""
    middle, turn, end = (_near(place, rng) for place in ((0, 0), PLACES[parts["middle"]], PLACES[parts["end"]]))
    half = FRAMES // 2
    first = middle + (turn - middle) * _ease(rng, half)[:, None]
    second = turn + (end - turn) * _ease(rng, half + 1)[1:, None]
    colour = np.tile(_any_colour(rng), (FRAMES, 1))
    drawn = _draw(rng.choice(SHAPES), np.concatenate([first, second]), colour, rng)
    return {"support": drawn.at(slice(half)), "query": drawn}


def _motion(parts: dict[str, str], rng: np.random.Generator) -> dict[str, _Drawn]:
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
    y, x = np.mgrid[:SIDE, :SIDE]
    disc = np.hypot(x - centre[0], y - centre[1]) <= radius
    return {"both": _Drawn(frames, np.tile(disc, (FRAMES, 1, 1)))}


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


_RENDER = {"appearance": _appearance, "order": _order, "speed": _speed, "camera": _camera}
_RENDER |= {"motion": _motion, "semantic": _semantic}


def _draw(
    shape: str,
    path: np.ndarray,
    colours: np.ndarray,
    rng: np.random.Generator,
    turns: bool = True,
    ground: np.ndarray | None = None,
) -> _Drawn:
    """An object of one shape along a path (F, 2) (pixels from the centre) in colours (F, 3), under camera shake.

    A ground that moves by (F, 2) whole pixels, `_REACH` at most, has finer patches, or nobody would see it.
    """
    if ground is None:
        scene, window = background(rng, _CANVAS), np.zeros((len(path), 2), int)
    else:
        scene = background(rng, _CANVAS + 2 * (_REACH + _GROUND_CELL), (_CANVAS + 2 * _REACH) // _GROUND_CELL + 2)
        window = _REACH + rng.integers(0, 2 * _GROUND_CELL, 2) - ground
    shake = np.round(_shake(rng, len(path), 1.2)).astype(int)
    radius, angle, spin = rng.uniform(6.5, 11.0), rng.uniform(-0.25, 0.25), turns * rng.uniform(-0.3, 0.3)
    frames, objects = np.empty((len(path), SIDE, SIDE, 3), np.uint8), np.empty((len(path), SIDE, SIDE), bool)
    for t, (place, colour) in enumerate(zip(path, colours, strict=True)):
        left, upper = window[t]
        canvas, alone = scene[upper : upper + _CANVAS, left : left + _CANVAS].copy(), np.zeros((_CANVAS,) * 2, np.uint8)
        centre = (_CANVAS / 2 + place[0], _CANVAS / 2 + place[1])
        thing = Thing(shape, centre, radius, angle + spin * t / len(path), tuple(colour))
        paint(canvas, thing)
        paint(alone, thing._replace(colour=(255,)))
        x, y = _MARGIN + shake[t]
        frames[t], objects[t] = canvas[y : y + SIDE, x : x + SIDE], alone[y : y + SIDE, x : x + SIDE] > 127
    return _Drawn(frames, objects)


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


def _places(parts: dict[str, str], rng: np.random.Generator) -> np.ndarray:
    return np.array([_near(PLACES[parts[key]], rng) for key in "012"])


def _near(place: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    return np.array(place) * PLACE_STEP + rng.uniform(-4, 4, 2)


def _tinted(colour: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    return np.clip(np.array(colour) * rng.uniform(0.8, 1.05) + rng.normal(0, 6, 3), 0, 255)


def _any_colour(rng: np.random.Generator) -> np.ndarray:
    return _tinted(COLOURS[rng.choice(list(COLOURS))], rng)
