"""Painting one frame: backgrounds, shapes and random dots, with OpenCV on small RGB canvases.

Coordinates are (x, y) in pixels, y down. Sub-pixel positions are kept, so slow motion is smooth.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

_SHIFT = 4  # OpenCV's fixed-point bits for sub-pixel corners


class Thing(NamedTuple):
    """One object."""

    shape: str
    centre: tuple[float, float]
    radius: float  # pixels
    angle: float  # radians
    colour: tuple[float, ...]  # RGB


def background(rng: np.random.Generator, side: int, cells: int = 5) -> np.ndarray:
    """A dim, blurred, faintly coloured picture (side, side, 3) uint8 of cells x cells patches that competes with no
    object."""
    level = rng.uniform(15, 95, (1, 1, 1))
    coarse = level + rng.normal(0, 9, (cells, cells, 1)) + rng.normal(0, 7, (cells, cells, 3))
    smooth = cv2.resize(coarse.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth, 0, 140).astype(np.uint8)


def paint(canvas: np.ndarray, thing: Thing) -> None:
    """Draw the thing into the canvas, antialiased, in place."""
    x, y = thing.centre
    colour = tuple(float(c) for c in thing.colour)
    if thing.shape in ("circle", "ring"):
        centre = (round(x * 2**_SHIFT), round(y * 2**_SHIFT))
        thickness = -1 if thing.shape == "circle" else max(2, round(thing.radius * 0.4))
        radius = thing.radius if thing.shape == "circle" else thing.radius * 0.8
        cv2.circle(canvas, centre, round(radius * 2**_SHIFT), colour, thickness, cv2.LINE_AA, _SHIFT)
        return
    corners = _OUTLINES[thing.shape]
    c, s = np.cos(thing.angle), np.sin(thing.angle)
    turned = corners @ np.array([[c, s], [-s, c]]) * thing.radius + (x, y)
    cv2.fillPoly(canvas, [np.round(turned * 2**_SHIFT).astype(np.int32)], colour, cv2.LINE_AA, _SHIFT)


def dots(side: int, ground: int, centres: np.ndarray, values: np.ndarray, width: float) -> np.ndarray:
    """A grey picture (side, side) uint8 of square dots on a grey ground; later dots cover earlier ones.

    Args:
        centres: (n, 2), x and y in pixels, accurate to half a pixel.
        values: (n,) grey values.
        width: of a dot in pixels, accurate to a whole pixel.

    The dots are set on a canvas of twice the size, which is then averaged down. A dot is first one labelled pixel;
    dilation makes it square, and where dots overlap the higher label wins.
    """
    pad = 4
    labels = np.zeros((2 * (side + 2 * pad),) * 2, np.uint16)
    x, y = np.round((centres + pad) * 2).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < len(labels)) & (y < len(labels))
    labels[y[inside], x[inside]] = np.flatnonzero(inside) + 1
    shown = cv2.dilate(labels, np.ones((2 * round(width),) * 2, np.uint8))
    grey = np.concatenate([[ground], values]).astype(np.uint8)[shown]
    return cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)[pad:-pad, pad:-pad]


def _star() -> np.ndarray:
    angles = np.arange(10) * np.pi / 5 - np.pi / 2
    radii = np.where(np.arange(10) % 2 == 0, 1.15, 0.5)
    return np.stack([np.cos(angles) * radii, np.sin(angles) * radii], 1)


_ARM = np.array([(-0.34, -1.0), (0.34, -1.0), (0.34, -0.34)])  # of the cross; the others are it, turned
_OUTLINES = {
    "square": np.array([(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]),
    "triangle": np.array([(0.0, -1.1), (1.0, 0.75), (-1.0, 0.75)]),
    "star": _star(),
    "cross": np.concatenate([_ARM @ np.linalg.matrix_power([[0, 1], [-1, 0]], turns) for turns in range(4)]),
}
