"""The words of the diagnostic data set, its classes, and how they are split into train, val and test.

Splits are by class, and every word of a val or test name occurs in a training name too, so a text encoder has
met the words but never the sentence. The split is fixed: the seed varies the clips, not the classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from tmal_core.config import FAMILIES as ALL

COLOURS = {
    "red": (220, 40, 40), "green": (40, 190, 60), "blue": (60, 90, 240), "yellow": (240, 220, 50),
    "cyan": (50, 215, 225), "magenta": (225, 60, 205), "orange": (245, 140, 30), "white": (245, 245, 245),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")

# Around the clock, as (dx, dy) from the centre in units of the distance between neighbouring places; y points down.
PLACES = {
    "top": (0, -1), "top right": (1, -1), "right": (1, 0), "bottom right": (1, 1),
    "bottom": (0, 1), "bottom left": (-1, 1), "left": (-1, 0), "top left": (-1, -1),
}  # fmt: skip
DIRECTIONS = {
    "up": (0.0, -1.0), "up and right": (0.7071, -0.7071), "right": (1.0, 0.0), "down and right": (0.7071, 0.7071),
    "down": (0.0, 1.0), "down and left": (-0.7071, 0.7071), "left": (-1.0, 0.0), "up and left": (-0.7071, -0.7071),
}  # fmt: skip


@dataclass(frozen=True)
class ActionClass:
    """One class: its sentence, its family and split, what its clips show, and whom it shares episodes with."""

    name: str
    family: str
    split: str
    parts: dict[str, str] = field(hash=False)  # what the generator needs to draw it: {"start": "left", "end": "top"}
    group: str = ""  # classes of one group form an episode (a class and its reversal, common beginnings of `semantic`)


def appearance_classes() -> list[ActionClass]:
    """48 classes: a colour and a shape. 12 test, 6 val."""
    classes = []
    for c, colour in enumerate(COLOURS):
        for s, shape in enumerate(SHAPES):
            # A Latin pattern, so that no colour and no shape is held out as a whole.
            split = {0: "test", 2: "test", 4: "val"}.get((s + 5 * c) % 8, "train")
            name = f"{'an' if colour == 'orange' else 'a'} {colour} {shape}"
            classes.append(ActionClass(name, "appearance", split, {"colour": colour, "shape": shape}))
    return classes


def order_classes() -> list[ActionClass]:
    """56 classes in 28 pairs: three places (16 pairs) or colours (12) one after another, and the other way round. 6
    pairs test, 4 val."""
    triples = [("place", states) for states in _triples(PLACES)]
    # Four triples of colours are left out, or places, which are harder, would be fewer than half of a training epoch.
    triples += [("colour", states) for i, states in enumerate(_triples(COLOURS)) if i % 4 != 3]
    sentences = {
        "place": "a shape visits the {}, the {} and the {} in turn",
        "colour": "a shape turns {}, {} and {} in turn",
    }
    classes = []
    for number, (kind, states) in enumerate(triples):
        names = [sentences[kind].format(*order) for order in (states, states[::-1])]
        parts = {"kind": kind, **_numbered(states)}
        classes += _pair("order", _held_out(number), names, parts, ", ".join(states))
    return classes


def speed_classes() -> list[ActionClass]:
    """56 classes in 28 pairs: round three places in one rhythm (16 pairs by turns, 12 by halves) or its reversal. 6
    pairs test, 4 val."""
    rhythms = {"turns": "{} and {} by turns", "halves": "first {} and then {}"}
    ways = [("turns", places) for places in _triples(PLACES)]
    ways += [("halves", places) for i, places in enumerate(_triples(PLACES)) if i % 4 != 3]
    classes = []
    for number, (rhythm, places) in enumerate(ways):
        way = "a shape goes round by the {}, the {} and the {}, ".format(*places)
        names = [way + rhythms[rhythm].format(*order) for order in (("fast", "slow"), ("slow", "fast"))]
        parts = {"rhythm": rhythm, **_numbered(places)}
        classes += _pair("speed", _held_out(number), names, parts, f"{', '.join(places)} by {rhythm}")
    return classes


def camera_classes() -> list[ActionClass]:
    """56 classes in 28 pairs: first a shape and then the camera goes round by two places, or the camera first. 6 pairs
    test, 4 val."""
    classes = []
    for number, places in enumerate(combinations(PLACES, 2)):
        way = " goes round by the {} and the {}".format(*places)
        names = [f"first {one} and then {other}{way}" for one, other in (_MOVERS, _MOVERS[::-1])]
        classes += _pair("camera", _held_out(number), names, _numbered(places), ", ".join(places))
    return classes


def motion_classes() -> list[ActionClass]:
    """56 classes: hidden dots drift in one direction and then in another. 14 test, 8 val."""
    names = list(DIRECTIONS)
    classes = []
    for a, first in enumerate(names):
        for turn in range(1, 8):
            second = names[(a + turn) % 8]
            split = {0: "test", 3: "test", 5: "val"}.get((turn * 3 + a * 2) % 8, "train")
            name = f"hidden dots drift {first}, then {second}"
            classes.append(ActionClass(name, "motion", split, {"first": first, "second": second}))
    return classes


def semantic_classes() -> list[ActionClass]:
    """48 classes: from the middle to one place (common beginning), then to another. Four beginnings lend two
    endings each to test, the other four two each to val."""
    names = list(PLACES)
    classes = []
    for a, middle in enumerate(names):
        # All places but the neighbours of the first one in clockwise direction: six endings per beginning.
        for j, turn in enumerate((2, 3, 4, 5, 6, 7)):
            end = names[(a + turn) % 8]
            held_out = j in {(a // 2) % 3, (a // 2) % 3 + 3}
            split = ("test" if a % 2 else "val") if held_out else "train"
            name = f"a shape moves from the middle to the {middle} and then to the {end}"
            parts = {"middle": middle, "end": end}
            classes.append(ActionClass(name, "semantic", split, parts, group=f"semantic: to the {middle}"))
    return classes


_MOVERS = ("a shape", "the camera")
FAMILIES = {
    "appearance": appearance_classes,
    "order": order_classes,
    "speed": speed_classes,
    "camera": camera_classes,
    "motion": motion_classes,
    "semantic": semantic_classes,
}


def all_classes(families: Sequence[str] = ALL) -> list[ActionClass]:
    """Every class of the data set, family by family."""
    return [action for family in families for action in FAMILIES[family]()]


def _triples(ring: Iterable[str]) -> list[tuple[str, ...]]:
    """Three of a ring, in its order, no two of them neighbours: 16 of a ring of eight."""
    names = tuple(ring)
    apart = (three for three in combinations(names, 3))
    return [t for t in apart if all(_clock_distance(*pair, names) >= 2 for pair in combinations(t, 2))]


def _held_out(number: int) -> str:
    """The split of pair `number` of 28."""
    return (
        {1: "test", 3: "val", 5: "test"}.get(number % 8, "train") if number < 24 else {25: "val"}.get(number, "train")
    )


def _numbered(names: Iterable[str]) -> dict[str, str]:
    """States as parts of a class: "0", "1", ..."""
    return {str(number): name for number, name in enumerate(names)}


def _pair(family: str, split: str, names: Sequence[str], parts: dict[str, str], group: str) -> list[ActionClass]:
    """A class and its reversal."""
    directions = ("forward", "backward")
    return [
        ActionClass(name, family, split, {**parts, "direction": direction}, f"{family}: {group}")
        for name, direction in zip(names, directions, strict=True)
    ]


def _clock_distance(first: str, second: str, ring: tuple[str, ...]) -> int:
    steps = abs(ring.index(first) - ring.index(second))
    return min(steps, len(ring) - steps)
