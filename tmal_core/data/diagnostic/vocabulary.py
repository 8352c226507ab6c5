"""The words of the diagnostic data set, its classes, and how they are split into train, val and test.

Splits are by class, and every word of a val or test name occurs in a training name too, so a text encoder has
met the words but never the sentence. The split is fixed: the seed varies the clips, not the classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

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
    group: str = ""  # classes of one group form an episode (pairs of `order`, common beginnings of `semantic`)


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
    """60 classes in 30 pairs: 20 pairs change place, 10 change colour. 6 pairs test, 4 val.

    Every change of place that val or test asks for has a parallel one in training: the same way, elsewhere in the
    picture. Else a held-out pair would ask for a direction that no training clip moves in.
    """
    held_out = {
        "test": [
            ("top", "left"), ("top right", "bottom"), ("bottom right", "bottom left"), ("bottom right", "left"),
            ("red", "orange"), ("yellow", "white"),
        ],
        "val": [("bottom", "top left"), ("bottom left", "top left"), ("green", "magenta"), ("blue", "orange")],
    }  # fmt: skip
    # Two colour pairs are left out: every colour keeps a training pair, and places, which are harder, get the room.
    left_out = {("red", "cyan"), ("green", "white")}
    pairs = [("place", pair) for pair in combinations(PLACES, 2) if _clock_distance(*pair, tuple(PLACES)) >= 2]
    for pair in combinations(COLOURS, 2):
        if _clock_distance(*pair, tuple(COLOURS)) in {2, 4} and pair not in left_out:
            pairs.append(("colour", pair))
    sentences = {"place": "a shape moves from the {} to the {}", "colour": "a shape turns from {} into {}"}
    classes = []
    for kind, (first, last) in pairs:
        split = next((name for name, out in held_out.items() if (first, last) in out), "train")
        for start, end, direction in ((first, last, "forward"), (last, first, "backward")):
            parts = {"kind": kind, "start": start, "end": end, "direction": direction}
            name = sentences[kind].format(start, end)
            classes.append(ActionClass(name, "order", split, parts, f"order: {first} - {last}"))
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


FAMILIES = {
    "appearance": appearance_classes,
    "order": order_classes,
    "motion": motion_classes,
    "semantic": semantic_classes,
}


def all_classes() -> list[ActionClass]:
    """Every class of the data set, family by family."""
    return [action for make in FAMILIES.values() for action in make()]


def _clock_distance(first: str, second: str, ring: tuple[str, ...]) -> int:
    steps = abs(ring.index(first) - ring.index(second))
    return min(steps, len(ring) - steps)
