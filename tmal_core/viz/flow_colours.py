"""Flow as colour (Baker et al., A Database and Evaluation Methodology for Optical Flow, IJCV 2011).

The Middlebury code: hue is direction, saturation is speed, white is rest. Six hue ramps of unequal length (yellow and
red get more steps, as the eye tells those apart best) make 55 colours around the circle. Only arrays here.
"""

from __future__ import annotations

import numpy as np

from tmal_core.errors import DataError

# Steps from red to yellow, to green, to cyan, to blue, to magenta, and back to red.
_STEPS = (15, 6, 4, 11, 13, 6)
_CORNERS = np.array([(255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255)])
_RAMPS = zip(_CORNERS, np.roll(_CORNERS, -1, axis=0), _STEPS, strict=True)
# (55, 3) colours in 0..1; a ramp reaches its second colour where the next one starts.
_WHEEL = np.floor([a + (b - a) * (step / steps) for a, b, steps in _RAMPS for step in range(steps)]) / 255


def flow_to_rgb(flow: np.ndarray, max_px: float | None = None) -> np.ndarray:
    """Colour pictures of flow fields.

    Args:
        flow: (..., 2, H, W) as (dx, dy), pixels; dy points down.
        max_px: speed of full saturation; faster vectors are darkened as in the Middlebury code. By default the
            fastest vector of all the fields given, so that fields of one call can be compared.

    Returns:
        (..., H, W, 3) uint8 RGB; black where the flow is not finite.

    >>> flow_to_rgb([[[0.0, 1.0]], [[0.0, 0.0]]])  # at rest, and to the right
    array([[[255, 255, 255],
            [255,   0,   0]]], dtype=uint8)
    """
    flow = np.asarray(flow, dtype=np.float64)
    if flow.ndim < 3 or flow.shape[-3] != 2:
        raise DataError("flow of shape (..., 2, H, W)", str(flow.shape), "Pass (dx, dy) in the third axis from last.")
    if max_px is not None and not max_px > 0:
        raise DataError("max_px above 0", str(max_px), "Leave it out to scale by the fastest vector.")
    known = np.isfinite(flow).all(axis=-3)
    dx, dy = (np.where(known, component, 0.0) for component in np.moveaxis(flow, -3, 0))
    speed = np.hypot(dx, dy)
    # A field at rest stays white.
    speed /= max_px if max_px is not None else max(speed.max(initial=0.0), 1e-9)
    # Position on the wheel, with 0 at the motion to the left as in the reference.
    place = (np.arctan2(-dy, -dx) / np.pi + 1) / 2 * (len(_WHEEL) - 1)
    lower = np.floor(place).astype(int)
    fraction = (place - lower)[..., None]
    colour = (1 - fraction) * _WHEEL[lower] + fraction * _WHEEL[(lower + 1) % len(_WHEEL)]
    speed = speed[..., None]
    colour = np.where(speed <= 1, 1 - speed * (1 - colour), colour * 0.75)
    return (colour * 255 * known[..., None]).astype(np.uint8)


def color_wheel(size: int = 128) -> np.ndarray:
    """The key to the colours: (size, size, 3) uint8, each pixel the colour of motion from the centre towards it."""
    if size < 2:
        raise DataError("a wheel of at least 2 pixels", str(size), "Choose a larger size.")
    offsets = (np.arange(size) + 0.5) * 2 / size - 1
    dx, dy = np.meshgrid(offsets, offsets)
    wheel = flow_to_rgb(np.stack([dx, dy]), max_px=1.0)
    wheel[np.hypot(dx, dy) > 1] = 255
    return wheel
